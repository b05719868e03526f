"""What a score must satisfy: a threshold, a baseline's floor, or nothing."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.common.packages import version
from pytest_mad.gate import Floor, Verdict, draw_floor, judge_baseline, judge_recording, judge_threshold
from pytest_mad.gate.baseline import Baseline, Entry, MissingEntryError, another_machine, check_fits, check_new
from pytest_mad.gate.case import Seed, judge_case
from pytest_mad.gate.rule import speed_level
from pytest_mad.gate.speed import Pace, draw_pace
from pytest_mad.presets.setting import Setting

from .options import RunOptions

if TYPE_CHECKING:
    import torch


class BaselineWarning(UserWarning):
    """A baseline that is compared with although it is another machine's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """What the score of one setting must satisfy, and which seeds that takes."""

    first_seed: int = 0
    #: at most; against a baseline as many as floor and pace allow
    seeds: int = 1
    threshold: float | None = None
    floor: Floor | None = None
    #: what the steps to the mark must satisfy; None where the baseline cannot say
    pace: Pace | None = None
    #: the normalised score from which the setting counts as learned
    mark: float | None = None
    #: the entry that the floor was drawn through
    entry: Entry | None = None
    #: every sweep is full: what it finds is what later runs must reach
    record: bool = False

    @property
    def needed(self) -> float | None:
        """The normalised score that a seed must reach."""
        return self.floor.floor if self.floor else self.threshold

    def telling(self, scores: list[float]) -> float:
        """The score that decides: one good seed is enough against a baseline, one bad seed against a threshold."""
        return max(scores) if self.floor and not self.record else min(scores)

    def judge(self, scores: list[float], seen: Sequence[Seed]) -> Verdict:
        """The verdict on what was measured; ``seen`` is what the seeds of a comparison have shown."""
        if self.floor:
            return judge_baseline(scores, self.floor) if self.record else judge_case(seen, self.floor, self.pace)
        if self.record:
            return judge_recording(scores)
        return judge_threshold(scores, self.threshold, self.seeds)


def requirement_of(architecture: Architecture, setting: Setting, options: RunOptions) -> Requirement:
    """What this run requires of a setting.

    New seeds begin after the recorded ones: on the same data and weights an unchanged model would repeat its scores,
    and the bound on false alarms is about seeds that are new. Raises ``MissingEntryError`` and ``BaselineError``.
    """
    found = None if options.baseline is None else _entry(architecture, setting, options, options.baseline)
    first_seed = options.first_seed if options.first_seed is not None else found[1].next_seed if found else 0
    if not found:
        seeds = options.seeds or (setting.gate.baseline_seeds if options.record else 1)
        threshold = threshold_of(setting, options)
        return Requirement(
            first_seed=first_seed, seeds=seeds, threshold=threshold, mark=setting.threshold, record=options.record
        )
    name, entry = found
    usual = setting.gate.baseline_seeds if options.record else setting.gate.seeds
    floor, pace = _floor(setting, options, name, entry, options.seeds or usual), pace_of(setting, options, entry)
    return Requirement(
        first_seed=first_seed,
        seeds=max(floor.most_seeds, pace.most_seeds if pace else 0),
        floor=floor,
        pace=pace,
        mark=setting.threshold if options.record else entry.mark,
        entry=entry,
        record=options.record,
    )


def threshold_of(setting: Setting, options: RunOptions) -> float | None:
    """The setting's, unless a baseline takes its place; a recording requires nothing."""
    return None if options.baseline or options.record else setting.threshold


def pace_of(setting: Setting, options: RunOptions, entry: Entry) -> Pace | None:
    """What the steps to the mark must satisfy.

    None where the entry cannot say, and where it is another architecture's: learning later than that is no defect.
    """
    assert options.baseline is not None
    if entry.mark is None or options.baseline.is_shipped or options.record:
        return None
    num_settings = sum(count for _, count in setting.preset_tasks) or 1
    level = speed_level(num_settings, len(entry.scores), options.seeds or setting.gate.seeds)
    return draw_pace(entry.steps, entry.mark, most_seeds=options.seeds or setting.gate.speed_seeds, level=level)


def _floor(setting: Setting, options: RunOptions, name: str, entry: Entry, seeds: int) -> Floor:
    assert options.baseline is not None
    return draw_floor(
        options.baseline.source,
        name,
        entry.scores,
        margin=setting.gate.margin if options.margin is None else options.margin,
        most_seeds=seeds,
        solved_at=setting.recipe.solved_at,
    )


def _entry(
    architecture: Architecture, setting: Setting, options: RunOptions, baseline: Baseline
) -> tuple[str, Entry] | None:
    """What was recorded, and of which architecture; None for what this run adds."""
    found = baseline.find(architecture.name, setting.id)
    if found is None and options.record:
        return None
    if found is None:
        raise MissingEntryError(_missing(architecture, setting, options, baseline))
    check_fits(found[1], f"{found[0]}, {setting.id}", setting.identity())
    check_new(found[1], options.first_seed, most_new_seeds(setting, options))
    return found


def most_new_seeds(setting: Setting, options: RunOptions) -> int:
    """How many seeds a comparison may take, by scores or by steps."""
    return options.seeds or max(setting.gate.seeds, setting.gate.speed_seeds)


def _missing(architecture: Architecture, setting: Setting, options: RunOptions, baseline: Baseline) -> str:
    """What a baseline lacks, and the command that adds it."""
    if baseline.is_shipped:
        return f"baseline {baseline.source} has no {setting.id}"
    has = "" if architecture.name in baseline.entries else f" (it has {', '.join(baseline.entries)})"
    add = ""
    if options.recorded_by:
        add = f"; add it: {shlex.join((*options.recorded_by, f'mad::{architecture.name}::{setting.id}'))}"
    return f"baseline {baseline.source} has no {architecture.name}, {setting.id}{has}{add}"


def warn_of_another_machine(requirement: Requirement, device: torch.device) -> None:
    """Scores are only promised to repeat under one minor version of torch and one class of device."""
    entry, floor = requirement.entry, requirement.floor
    difference = entry and another_machine(entry, torch=version("torch") or "", device=device.type)
    if difference and floor:
        warnings.warn(f"baseline {floor.source}: {difference}", BaselineWarning, stacklevel=1)
