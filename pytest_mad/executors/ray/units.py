"""What one remote worker computes at a time, in which order, and how often what was lost is tried again.

Plain data and pure functions: they know of no cluster, so that a simulation may use them as well.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.requirement import requirement_of
from pytest_mad.gate.baseline import BaselineError, MissingEntryError
from pytest_mad.presets.recipe import Point
from pytest_mad.presets.setting import Setting

#: How often a unit is handed out again whose worker died.
RETRIES = 2
#: Rough seconds of one contract, beside the settings' costs: short work fills the gaps between long work.
CONTRACT_COST = 0.5


class Key(NamedTuple):
    """Which item a unit belongs to."""

    architecture: str
    #: a setting's id, or a contract's name
    item: str
    is_contract: bool = False


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A contract, a setting with its whole sweep, or one trial of a sweep."""

    key: Key
    #: that is trained, or at whose sizes the contract is asked
    setting: Setting
    #: the one trial: seed and recipe point
    trial: tuple[int, Point] | None = None
    cost: float = 0.0
    #: workers that died of it, or with it
    deaths: int = 0


def units_of(architecture: Architecture, setting: Setting, run: RunOptions) -> list[Unit]:
    """Single trials where none waits for another's score, else the setting with its sweep."""
    key = Key(architecture.name, setting.id)
    trials = separate_trials(architecture, setting, run)
    if len(trials) > 1:
        return [Unit(key=key, setting=setting, trial=trial, cost=setting.cost) for trial in trials]
    return [Unit(key=key, setting=setting, cost=setting.cost * most_trials(setting, run))]


def separate_trials(architecture: Architecture, setting: Setting, run: RunOptions) -> list[tuple[int, Point]]:
    """Seeds and recipe points that are all trained whatever the others score; none where a sweep may end early."""
    try:
        requirement = requirement_of(architecture, setting, run)
    except (MissingEntryError, BaselineError):  # which is the setting's verdict
        return []
    recipe = setting.recipe
    may_end_early = not requirement.record and (recipe.race or requirement.floor is not None)
    if may_end_early or run.engine == "vmap":  # which trains the points of a sweep together
        return []
    seeds = range(requirement.first_seed, requirement.first_seed + requirement.seeds)
    return [(seed, point) for seed in seeds for point in recipe.points]


def most_trials(setting: Setting, run: RunOptions) -> int:
    """Trials of a setting if none of its sweeps ends early; a stack counts as one."""
    return most_seeds(setting, run) * (1 if run.engine == "vmap" else len(setting.recipe.points))


def most_seeds(setting: Setting, run: RunOptions) -> int:
    """Seeds of a setting if none of them decides before the others."""
    gate = setting.gate
    compared = max(gate.seeds, gate.speed_seeds)
    return run.seeds or (gate.baseline_seeds if run.record else compared if run.baseline else 1)


class Waiting:
    """Units that nobody works on. Contracts come first, being short and ending what is hopeless; then the longest."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self._heap = [(self._rank(unit), number, unit) for number, unit in enumerate(units)]
        heapq.heapify(self._heap)
        self._count = len(self._heap)

    @staticmethod
    def _rank(unit: Unit) -> tuple[bool, float]:
        return not unit.key.is_contract, -unit.cost

    def __len__(self) -> int:
        return len(self._heap)

    def take(self) -> Unit:
        """The next one."""
        return heapq.heappop(self._heap)[2]

    def put_back(self, unit: Unit) -> bool:
        """Wait again for a worker, because the last one died; false where that happened too often."""
        again = replace(unit, deaths=unit.deaths + 1)
        if again.deaths > RETRIES:
            return False
        self._count += 1
        heapq.heappush(self._heap, (self._rank(again), self._count, again))
        return True

    def drop(self, key: Key) -> list[Unit]:
        """Forget the units of an item; returns them."""
        dropped = [unit for _, _, unit in self._heap if unit.key == key]
        self._heap = [one for one in self._heap if one[2].key != key]
        heapq.heapify(self._heap)
        return dropped
