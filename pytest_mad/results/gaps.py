"""What a report says of itself when it does not have all results.

Its run was cut short or it has some shards only, and there is no MAD score; or it was told to measure a part of its
preset, and the MAD score is one of that part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from .result import ArchitectureResult, Shards


def gaps(*, cut_short: bool, shards: Iterable[Shards]) -> list[str]:
    """A sentence for each reason why results of a run are missing; none where all are there."""
    lines = ["The run was cut short: what had not finished is missing here."] if cut_short else []
    return lines + [f"{present(one)} only: the rest of the suite is missing here." for one in shards]


def headline(*, cut_short: bool, shards: Iterable[Shards]) -> str:
    """The same in front of a title."""
    short = ["Cut short"] if cut_short else []
    return "".join(f"{text}: " for text in [*short, *map(present, shards)])


def part(found: ArchitectureResult) -> str:
    """What the means of an architecture are of, where that is not the whole preset: ``2 of 6 tasks``.

    Where some of a task's settings are missing, ``9 of 27 settings``. Nothing where nobody knows what the preset has.
    """
    whole = next((one.preset_tasks for one in found.settings.values() if one.preset_tasks), {})
    scored = Counter(one.task for one in found.settings.values() if one.normalized is not None)
    if all(scored[task] >= count for task, count in whole.items()):
        return ""
    if all(scored[task] in (0, count) for task, count in whole.items()):
        return f"{sum(scored[task] > 0 for task in whole)} of {_counted(len(whole), 'task')}"
    return f"{sum(scored[task] for task in whole)} of {_counted(sum(whole.values()), 'setting')}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def present(one: Shards) -> str:
    """``Shards 1-2, 4 of 5``."""
    return _named("Shard", one.parts, one.of)


def absent(one: Shards) -> str:
    """``shard 3 of 5``."""
    return _named("shard", [part for part in range(1, one.of + 1) if part not in one.parts], one.of)


def _named(noun: str, parts: Sequence[int], of: int) -> str:
    return f"{noun}{'' if len(parts) == 1 else 's'} {_ranges(parts)} of {of}"


def _ranges(numbers: Iterable[int]) -> str:
    """``1-3, 5`` of ascending numbers."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
