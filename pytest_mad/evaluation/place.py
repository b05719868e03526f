"""How soon a setting was learned beside recorded seeds that do not judge it: those that come with the package."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_mad.gate.baseline import Entry, load_baseline, shipped_baselines
from pytest_mad.gate.speed import Steps, pairs_later
from pytest_mad.presets.setting import Setting

from .options import RunOptions
from .requirement import Requirement


class Recorded(NamedTuple):
    """Seeds of one or several architectures, whose steps are of the same recipe and to the same mark."""

    architectures: tuple[str, ...]
    steps: tuple[Steps, ...]

    @property
    def span(self) -> str:
        """``50 to 770 steps``, of the seeds that arrived."""
        solved = sorted(steps for steps in self.steps if steps is not None)
        return f"{solved[0]:,} to {solved[-1]:,} steps"


def place(setting: Setting, requirement: Requirement, options: RunOptions, steps: Sequence[Steps]) -> str:
    """One clause about the steps to the mark of this run's seeds; nothing where there is nothing to say.

    Beside another architecture's baseline it is the rank of the best one, for one good seed passes there. Beside
    thresholds only what lies beyond all reference architectures is told: a budget that is too short and a capability
    that is missing look alike.
    """
    if requirement.record or not steps:
        return ""
    solved = [one for one in steps if one is not None]
    if requirement.entry and options.baseline and options.baseline.is_shipped:
        return _rank(min(solved, default=None), Recorded((options.baseline.source,), requirement.entry.steps))
    if requirement.floor or requirement.mark is None:
        return ""
    return _beyond(max(solved) if len(solved) == len(steps) else None, references(setting, requirement.mark))


def _rank(latest: Steps, recorded: Recorded) -> str:
    if not any(recorded.steps):
        return ""
    if latest is None:
        return f"not learned, and {recorded.architectures[0]} learns it in {recorded.span}"
    later = pairs_later(latest, recorded.steps)
    return (
        f"learned in {latest:,} steps, later than {later} of {len(recorded.steps)} seeds of {recorded.architectures[0]}"
    )


def _beyond(latest: Steps, recorded: Recorded) -> str:
    solved = [steps for steps in recorded.steps if steps is not None]
    if not solved or (latest is not None and latest <= max(solved)):
        return ""
    known = f"{len(recorded.steps)} seeds of {', '.join(recorded.architectures)}"
    if latest is None:
        return f"{known} learn it in {recorded.span}"
    return f"learned in {latest:,} steps, later than all {known} ({recorded.span})"


def references(setting: Setting, mark: float) -> Recorded:
    """The shipped seeds of this setting, as far as they were trained by the same recipe and to the same mark."""
    own = {name: table[setting.id] for name, table in _shipped().items() if setting.id in table}
    fitting = {name: entry for name, entry in own.items() if _fits(setting, mark, entry)}
    return Recorded(tuple(fitting), tuple(steps for entry in fitting.values() for steps in entry.steps))


def _fits(setting: Setting, mark: float, entry: Entry) -> bool:
    return entry.mark == mark and all(getattr(entry, name) == value for name, value in setting.identity().items())


@functools.cache
def _shipped() -> dict[str, Mapping[str, Entry]]:
    """Settings and entries by architecture, read once in each process."""
    loaded = {name: load_baseline(name, Path()) for name in shipped_baselines()}
    return {name: baseline.entries[name] for name, baseline in loaded.items()}
