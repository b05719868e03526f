"""Several result files as one: their settings and contracts side by side, and what is missing among them.

What was measured twice must have been measured alike. Nothing is averaged and nothing chosen: two scores of one
setting are a contradiction, which only the user can resolve.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from typing import NamedTuple, TypeVar

from pytest_mad.common.files import FileError
from pytest_mad.common.packages import minor

from .gaps import absent
from .result import ArchitectureResult, ContractResult, Environment, ItemResult, Run, SettingResult, Shards
from .result_file import run_of
from .verdicts import fails, pooled

#: Runs by the names of their files.
Files = Mapping[str, Run]
Item = TypeVar("Item", SettingResult, ContractResult)
#: Of two measurements of one setting these may differ: a stored result takes no time, and may have taken two attempts;
#: schema 1 knew no whole.
_OF_THE_RUN = ("seconds", "seconds_per_step", "stored", "device", "attempts", "preset_tasks")


class Merged(NamedTuple):
    """One report made of several."""

    run: Run
    #: of all architectures, in the order of reports
    settings: list[SettingResult]
    contracts: list[ContractResult]
    #: what puts the scores' agreement in doubt, a line each
    warnings: list[str]

    @property
    def missing(self) -> list[str]:
        """The shards that no file has: ``shards 2-3 of 4``."""
        return list(map(absent, self.run.shards))

    @property
    def is_complete(self) -> bool:
        return not (self.run.shards or self.run.cut_short)

    @property
    def failing(self) -> int:
        """How many settings and contracts fail, and architectures that are late over all their settings."""
        return sum(map(fails, self.settings)) + sum(map(fails, self.contracts)) + self.late

    @property
    def late(self) -> int:
        """How many architectures the pooled test calls slower, where that fails a run. No shard judges it alone."""
        names = dict.fromkeys(one.architecture for one in self.settings)
        found = (pooled(one for one in self.settings if one.architecture == name) for name in names)
        return sum(one is not None and one.outcome == "slower" for one in found)

    @property
    def exit_code(self) -> int:
        """0 if everything is there and passed; otherwise 1."""
        return int(self.failing > 0 or not self.is_complete)


def merge(files: Files, command: str = "") -> Merged:
    """Join the runs of result files.

    ``command`` is what joins them; it stands below the commands that measured. Raises ``FileError`` with one line that
    names both files where two of them contradict each other.
    """
    preset = _preset(files)
    settings, contracts = _once(_settings(files)), _once(_contracts(files))
    if not (settings or contracts):
        raise FileError(f"{' and '.join(files)} hold no results")
    runs = list(files.values())
    run = run_of(
        settings,
        preset,
        contracts,
        "\n".join(dict.fromkeys(filter(None, (*(one.command for one in runs), command)))),
        cut_short=any(one.cut_short for one in runs),
        shards=joined(shard for one in runs for shard in one.shards),
    )
    whole = next((one.preset_tasks for one in runs if one.preset_tasks), {})
    run = replace(run, environment=_environment(runs), preset_tasks=whole, architectures=_sized(run, runs))
    return Merged(run, settings, contracts, list(_warnings(runs)))


def _preset(files: Files) -> str:
    (first, run), *others = files.items()
    for name, other in others:
        if other.preset != run.preset:
            raise FileError(f"{first} has preset {run.preset!r}, but {name} has {other.preset!r}")
    return run.preset


def joined(shards: Iterable[Shards]) -> list[Shards]:
    """Shards of one suite together, without the suites that are complete."""
    parts: dict[tuple[str, int], set[int]] = defaultdict(set)
    for shard in shards:
        parts[shard.suite, shard.of].update(shard.parts)
    return [
        Shards(suite=suite, of=of, parts=tuple(sorted(own)))
        for (suite, of), own in sorted(parts.items())
        if len(own) < of
    ]


# -- settings and contracts -----------------------------------------------------------------------------------------


def _settings(files: Files) -> Iterator[tuple[str, str, SettingResult]]:
    """File, name and result of every setting."""
    for file, run in files.items():
        for one in run.architectures.values():
            yield from ((file, name, result) for name, result in one.settings.items())


def _contracts(files: Files) -> Iterator[tuple[str, str, ContractResult]]:
    """The same of every contract."""
    for file, run in files.items():
        for one in run.architectures.values():
            yield from ((file, name, result) for name, result in one.contracts.items())


def _once(all_of_them: Iterable[tuple[str, str, Item]]) -> list[Item]:
    """Everything once, in order; what stands in several files must be the same in them."""
    found: dict[tuple[str, str], tuple[str, Item]] = {}
    for file, name, result in all_of_them:
        first, known = found.setdefault((result.architecture, name), (file, result))
        keys = [field.name for field in fields(known) if field.name not in _OF_THE_RUN]
        differing = [key for key in keys if getattr(known, key) != getattr(result, key)]
        if differing:
            raise FileError(_contradiction(f"{result.architecture}, {name}", differing, (first, known), (file, result)))
    return [found[key][1] for key in sorted(found, key=_natural)]


def _contradiction(what: str, differing: list[str], *found: tuple[str, ItemResult]) -> str:
    """What differs that says most: scores before verdicts before anything else."""
    known = [key for key in ("normalized", "accuracy", "verdict") if key in differing] or differing
    told = [f"{known[0]} {_shown(getattr(result, known[0])):.60} in {file}" for file, result in found]
    return f"{what} was measured twice, with {', but '.join(told)}"


def _shown(value: object) -> str:
    return repr("; ".join(map(str, value))) if isinstance(value, tuple) else repr(value)


def _natural(key: tuple[str, str]) -> tuple[object, ...]:
    """Tasks by name, in each the baseline first, and 32 before 128."""
    architecture, name = key
    task, _, rest = name.partition("[")
    digits = [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,18})", rest)]
    return architecture, task, not rest.startswith("baseline"), digits


def _sized(run: Run, runs: list[Run]) -> dict[str, ArchitectureResult]:
    """Architectures with the most parameters that a file has of them: in schema 1 no setting knows its own."""
    found = {}
    for name, one in run.architectures.items():
        counts = [own.architectures[name].parameters for own in runs if name in own.architectures]
        found[name] = replace(one, parameters=max((count for count in counts if count is not None), default=None))
    return found


# -- where it was measured ------------------------------------------------------------------------------------------


def _environment(runs: list[Run]) -> Environment:
    """All that was there, by name; a shard without items has no device."""
    all_of_them = [asdict(run.environment) for run in runs]
    found = {key: ", ".join(_several(one[key] for one in all_of_them)) for key in all_of_them[0]}
    return Environment(
        torch=found["torch"] or None,
        python=found["python"],
        device=found["device"],
        plugin=found["plugin"] or None,
    )


def _several(values: Iterator[str | None]) -> list[str]:
    return sorted({part for value in values if value for part in value.split(", ")})


def _warnings(runs: list[Run]) -> Iterator[str]:
    """As in a comparison: scores only repeat under one minor version of torch and one class of device."""
    found = _environment(runs)
    torch = sorted({minor(one) for one in (found.torch or "").split(", ")})
    differing = [("torch", ", ".join(torch)), ("device", found.device), ("pytest-mad", found.plugin or "")]
    told = [f"{name} {values}" for name, values in differing if ", " in values]
    if told:
        yield f"measured with {'; '.join(told)}: scores may differ for this alone"
