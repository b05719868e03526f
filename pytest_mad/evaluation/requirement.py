"""What a score must satisfy: a threshold, a baseline's floor, or nothing."""

from __future__ import annotations

import shlex
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.common.packages import version
from pytest_mad.gate import Line, Verdict, draw_line, judge_baseline, judge_recording, judge_threshold
from pytest_mad.gate.baseline import Entry, MissingEntryError, another_machine, check_fits, check_new
from pytest_mad.presets.setting import Setting

from .options import RunOptions

if TYPE_CHECKING:
    import torch


class BaselineWarning(UserWarning):
    """A baseline that is compared with although it is another machine's."""


def as_asked(setting: Setting, options: RunOptions) -> Setting:
    """A baseline is asked for instead of the threshold, and a recording asks for nothing."""
    return replace(setting, threshold=None) if options.baseline or options.record else setting


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one setting is held to, and which seeds that takes."""

    #: races to what is asked; without a race where every sweep must be full
    setting: Setting
    first_seed: int
    #: at most
    seeds: int
    line: Line | None = None
    #: the entry that the line was drawn through
    entry: Entry | None = None
    record: bool = False

    def telling(self, scores: list[float]) -> float:
        """The score that decides: one good seed is enough against a baseline, one bad seed against a threshold."""
        return max(scores) if self.line and not self.record else min(scores)

    def is_closed(self, score: float) -> bool:
        """Whether no further seed is needed."""
        return self.line is not None and score >= self.line.line and not self.record


def asked_of(architecture: Architecture, setting: Setting, options: RunOptions) -> Asked:
    """The requirement: a threshold, a baseline's line, or to be recorded.

    New seeds begin behind the recorded ones: on the same data and weights an unchanged model would repeat its scores,
    and the bound on false alarms is about seeds that are new. Raises ``MissingEntryError`` and ``BaselineError``.
    """
    found = None if options.baseline is None else _entry(architecture, setting, options)
    first = options.first_seed if options.first_seed is not None else (found[1].next_seed if found else 0)
    usual = setting.gate.baseline_seeds if options.record else setting.gate.seeds if found else 1
    asked = Asked(setting=setting, first_seed=first, seeds=options.seeds or usual, record=options.record)
    if found:
        assert options.baseline is not None
        line = draw_line(
            options.baseline.source,
            found[0],
            found[1].scores,
            margin=setting.gate.margin if options.margin is None else options.margin,
            most_seeds=asked.seeds,
            solved_at=setting.recipe.solved_at,
        )
        asked = replace(asked, line=line, entry=found[1], setting=replace(setting, threshold=line.line))
    if options.record:
        full = replace(setting, recipe=replace(setting.recipe, race=False))
        asked = replace(asked, setting=full)
    return asked


def _entry(architecture: Architecture, setting: Setting, options: RunOptions) -> tuple[str, Entry] | None:
    assert options.baseline is not None
    found = options.baseline.find(architecture.name, setting.id)
    if found is None and options.record:  # this run adds it
        return None
    if found is None:
        if options.baseline.is_shipped:
            raise MissingEntryError(f"baseline {options.baseline.source} has no {setting.id}")
        has = (
            "" if architecture.name in options.baseline.entries else f" (it has {', '.join(options.baseline.entries)})"
        )
        item = shlex.quote(f"mad::{architecture.name}::{setting.id}")
        remedy = f"; add it: {options.remedy} {item}" if options.remedy else ""
        raise MissingEntryError(
            f"baseline {options.baseline.source} has no {architecture.name}, {setting.id}{has}{remedy}"
        )
    check_fits(found[1], f"{found[0]}, {setting.id}", setting.identity())
    check_new(found[1], options.first_seed)
    return found


def warn_of_another_machine(asked: Asked, device: torch.device) -> None:
    """Scores are only promised to repeat under one minor version of torch and one class of device."""
    difference = asked.entry and another_machine(asked.entry, torch=version("torch") or "", device=device.type)
    if difference and asked.line:
        warnings.warn(f"baseline {asked.line.source}: {difference}", BaselineWarning, stacklevel=1)


def judge(asked: Asked, scores: list[float], lost: int) -> Verdict:
    """The verdict on what was measured."""
    if asked.line:
        return judge_baseline(scores, asked.line, lost)
    if asked.record:
        return judge_recording(scores)
    return judge_threshold(scores, asked.setting.threshold, asked.seeds)
