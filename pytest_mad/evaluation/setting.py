"""Train and judge one setting in this process."""

from __future__ import annotations

import functools
import math
import shlex
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pytest_mad.architectures.targets import Architecture
from pytest_mad.common.errors import user_traceback, what_happened
from pytest_mad.common.packages import version
from pytest_mad.gate import Line, Verdict, draw_line, judge_baseline, judge_recording, judge_threshold
from pytest_mad.gate.baseline import (
    Baseline,
    BaselineError,
    Entry,
    MissingEntryError,
    another_machine,
    check_fits,
    check_new,
)
from pytest_mad.presets.reading import Setting
from pytest_mad.results.result import Result
from pytest_mad.store.folder import open_store

from .contract import ContractOptions, first_broken

if TYPE_CHECKING:
    import torch

    from pytest_mad.training.trial import Progress, Trial

    from .sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How settings are run, whichever they are."""

    #: replications per setting; None for one, or with a baseline as many as the preset's gate says
    seeds: int | None = None
    #: where counting begins; None for 0, or with a baseline behind the recorded seeds
    first_seed: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["auto", "loop", "vmap"] = "auto"
    #: seconds per setting
    timeout: float | None = None
    data_dir: Path | None = None
    #: where trials are kept, and found again
    store: Path | None = None
    contracts: ContractOptions = field(default_factory=ContractOptions)
    #: compare with these scores instead of thresholds
    baseline: Baseline | None = None
    #: over the preset's
    margin: float | None = None
    #: full sweeps of every seed, for a baseline
    record: bool = False
    #: ``inconclusive`` counts as a pass
    tolerant: bool = False
    #: the command that adds what is missing in the baseline
    remedy: str = ""


class ContractBrokenError(Exception):
    """A hard contract is broken, so there is nothing to train for; the message is one line."""


class BaselineWarning(UserWarning):
    """A baseline that is compared with although it is another machine's."""


class Measured(NamedTuple):
    """A result and, where the user's code raised, its traceback."""

    result: Result
    traceback: str = ""

    def with_note(self, note: str) -> Measured:
        """The same with something added to the verdict's reason."""
        if not note:
            return self
        detail, note = joined(self.result.detail, note), joined(self.result.note, note)
        return self._replace(result=replace(self.result, detail=detail, note=note))


def joined(*parts: str) -> str:
    """What there is of these, in one line."""
    return "; ".join(filter(None, parts))


def run_setting(
    architecture: Architecture, setting: Setting, options: RunOptions, progress: Progress | None = None
) -> Result:
    """Sweep seeds, as many as the requirement takes, and judge the scores.

    Raises ``MissingEntryError``, ``BaselineError`` and ``ContractBrokenError`` before any training, ``ModelError``,
    ``NoBottleneckError``, ``NotCausalError``, ``TrialError``, ``PublishedDataError``, or what the user's model raises.
    """
    device, setting = choose_device(options.device), as_asked(setting, options)
    asked = asked_of(architecture, setting, options)
    check_contracts(architecture, setting, options, device)
    warn_of_another_machine(asked, device)
    started = time.monotonic()  # the contracts are timed as items of their own
    sweep = sweeper(architecture, asked.setting, options, device, progress)
    sweeps, lost = run_sweeps(asked, sweep)
    return conclude(architecture, setting, asked, options, sweeps, lost, time.monotonic() - started)


def check_contracts(architecture: Architecture, setting: Setting, options: RunOptions, device: torch.device) -> None:
    """Raise :class:`ContractBrokenError` where there is nothing to train for."""
    broken = first_broken(architecture, setting, options.contracts, device)
    if broken:
        raise ContractBrokenError(broken)


def conclude(
    architecture: Architecture,
    setting: Setting,
    asked: Asked,
    options: RunOptions,
    sweeps: list[Sweep],
    lost: int,
    seconds: float,
) -> Result:
    """The verdict on what the sweeps found, with all that a report needs."""
    from pytest_mad.training.engines import choose_engine

    scores = [setting.normalized(sweep.accuracies().accuracy) for sweep in sweeps]
    shown = sweeps[scores.index(asked.telling(scores))]
    verdict = judge(asked, scores, lost)
    if verdict.outcome in ("fail", "regress"):
        verdict = verdict._replace(detail=f"{verdict.detail}, {_ending(shown.best)}")
    note = joined(*dict.fromkeys(note for sweep in sweeps for note in sweep.notes))
    verdict = verdict._replace(detail=joined(verdict.detail, note))
    return _result(
        architecture,
        setting,
        verdict,
        **shown.accuracies().to_json(),
        normalized=asked.telling(scores),
        scores=[[sweep.seed, score] for sweep, score in zip(sweeps, scores, strict=True)],
        baseline=asked.line.to_json() if asked.line else None,
        tolerant=options.tolerant,
        best={"lr": shown.best.point.lr, "weight_decay": shown.best.point.weight_decay, "seed": shown.seed},
        trials=[trial.to_json() for sweep in sweeps for trial in sweep.trials],
        parameters=shown.parameters,
        state_size=shown.state_size,
        seconds=round(seconds, 3),
        stored=all(sweep.stored for sweep in sweeps),
        device=choose_device(options.device).type,
        engine=choose_engine(options.engine),
        note=note,
    )


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


def sweeper(
    architecture: Architecture, setting: Setting, options: RunOptions, device: torch.device, progress: Progress | None
) -> Callable[[int], Sweep]:
    """What trains the sweep of a seed; the time for all of them runs from now on."""
    from pytest_mad.training.engines import choose_engine

    from .sweep import run_sweep

    return functools.partial(
        run_sweep,
        architecture,
        setting,
        device=device,
        data_dir=options.data_dir,
        progress=progress,
        deadline=math.inf if options.timeout is None else time.monotonic() + options.timeout,
        store=open_store(options.store) if options.store else None,
        engine=choose_engine(options.engine),
    )


def run_sweeps(asked: Asked, run_sweep: Callable[[int], Sweep]) -> tuple[list[Sweep], int]:
    """Sweep one seed after the other until the case is closed; fewer where the time runs out behind the first.

    Against a baseline the next seed is tried when one gives no score, and how many did not is returned too; an
    unchanged architecture may diverge as rarely as it did before. Anything else than a score is an error elsewhere.
    """
    from pytest_mad.training.trial import OutOfTimeError, TrialError

    lost: list[TrialError] = []
    sweeps: list[Sweep] = []
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        try:
            sweep = run_sweep(seed)
        except OutOfTimeError:
            if not sweeps or asked.record:  # half a recording is none
                raise
            break
        except TrialError as error:
            if not asked.line or asked.record:
                raise
            lost.append(error)
            continue
        sweeps.append(sweep)
        if asked.is_closed(asked.setting.normalized(sweep.accuracies().accuracy)):
            break
    if not sweeps:
        raise lost[-1]
    return sweeps, len(lost)


def judge(asked: Asked, scores: list[float], lost: int) -> Verdict:
    """The verdict on what was measured."""
    if asked.line:
        return judge_baseline(scores, asked.line, lost)
    if asked.record:
        return judge_recording(scores)
    return judge_threshold(scores, asked.setting.threshold, asked.seeds)


def run_and_judge(
    architecture: Architecture, setting: Setting, options: RunOptions, progress: Progress | None = None
) -> Measured:
    """As :func:`run_setting`, with every error turned into a verdict for this one setting."""
    started = time.monotonic()
    try:
        return Measured(run_setting(architecture, setting, options, progress))
    except Exception as error:
        return stopped_by(error, architecture, setting, options, time.monotonic() - started)


def stopped_by(
    error: Exception, architecture: Architecture, setting: Setting, options: RunOptions, seconds: float
) -> Measured:
    """The verdict on a setting that ended in this error."""
    from pytest_mad.architectures.build import ModelError, NoBottleneckError
    from pytest_mad.training.published import PublishedDataError
    from pytest_mad.training.trial import TrialError
    from pytest_mad.training.vmap import EngineError

    from .sweep import NotCausalError

    shown = ""
    if isinstance(error, NoBottleneckError):
        verdict = Verdict("skipped", str(error))
    elif isinstance(error, ContractBrokenError | NotCausalError | MissingEntryError):
        verdict = Verdict("fail", str(error))
    elif isinstance(error, TrialError | PublishedDataError | BaselineError | BaselineWarning):
        verdict = Verdict("error", str(error))
    elif isinstance(error, ModelError):
        verdict, shown = Verdict("error", str(error)), user_traceback(error.__cause__)
    elif isinstance(error, EngineError):
        verdict = Verdict("error", f"--mad-engine={options.engine} cannot train this model: {error}; use loop")
    else:
        verdict, shown = Verdict("error", what_happened(error, "training")), user_traceback(error)
    return ended(architecture, setting, options, verdict, seconds, shown)


def ended(
    architecture: Architecture,
    setting: Setting,
    options: RunOptions,
    verdict: Verdict,
    seconds: float,
    shown: str = "",
    device: str | None = None,
) -> Measured:
    """A setting that ended without a score; on which ``device``, where another process must say that."""
    device = device or choose_device(options.device).type
    found = _result(architecture, as_asked(setting, options), verdict, seconds=round(seconds, 3), device=device)
    return Measured(found, shown)


def _ending(trial: Trial) -> str:
    """How a trial that did not reach its threshold ended."""
    how = "given up as hopeless" if trial.stopped == "hopeless" else "trained to the end"
    return f"{how} ({trial.steps} steps, lr {trial.point.lr:g})"


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _result(architecture: Architecture, setting: Setting, verdict: Verdict, **found: Any) -> Result:
    return Result(
        architecture=architecture.name,
        setting=setting.id,
        task=setting.task,
        verdict=verdict.outcome,
        detail=verdict.detail,
        oracle=setting.oracle,
        trivial=setting.trivial,
        threshold=setting.threshold,
        **setting.identity(),
        **found,
    )
