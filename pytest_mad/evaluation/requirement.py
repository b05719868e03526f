"""What a score must satisfy: a threshold, a baseline's floor, or nothing."""

from __future__ import annotations

import shlex
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.common.packages import version
from pytest_mad.gate import Floor, Verdict, draw_floor, judge_baseline, judge_recording, judge_threshold
from pytest_mad.gate.baseline import Baseline, Entry, MissingEntryError, another_machine, check_fits, check_new
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
    #: at most
    seeds: int = 1
    threshold: float | None = None
    floor: Floor | None = None
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

    def is_closed(self, score: float) -> bool:
        """Whether no further seed is needed."""
        return self.floor is not None and score >= self.floor.floor and not self.record

    def judge(self, scores: list[float], lost: int) -> Verdict:
        """The verdict on what was measured; ``lost`` seeds gave no score."""
        if self.floor:
            return judge_baseline(scores, self.floor, lost)
        if self.record:
            return judge_recording(scores)
        return judge_threshold(scores, self.threshold, self.seeds)


def requirement_of(architecture: Architecture, setting: Setting, options: RunOptions) -> Requirement:
    """What this run requires of a setting.

    New seeds begin after the recorded ones: on the same data and weights an unchanged model would repeat its scores,
    and the bound on false alarms is about seeds that are new. Raises ``MissingEntryError`` and ``BaselineError``.
    """
    found = None if options.baseline is None else _entry(architecture, setting, options, options.baseline)
    usual = setting.gate.baseline_seeds if options.record else setting.gate.seeds if found else 1
    seeds = options.seeds or usual
    next_seed = found[1].next_seed if found else 0
    return Requirement(
        first_seed=next_seed if options.first_seed is None else options.first_seed,
        seeds=seeds,
        threshold=threshold_of(setting, options),
        floor=_floor(setting, options, *found, seeds) if found else None,
        entry=found[1] if found else None,
        record=options.record,
    )


def threshold_of(setting: Setting, options: RunOptions) -> float | None:
    """The setting's, unless a baseline takes its place; a recording requires nothing."""
    return None if options.baseline or options.record else setting.threshold


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
    check_new(found[1], options.first_seed)
    return found


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
