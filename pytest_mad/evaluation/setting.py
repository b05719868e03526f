"""Train and judge one setting in this process."""

from __future__ import annotations

import functools
import math
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.common.errors import SkippedError, kept_inside, user_traceback, what_happened
from pytest_mad.gate import Verdict
from pytest_mad.gate.baseline import (
    BaselineError,
    MissingEntryError,
)
from pytest_mad.presets.setting import Setting
from pytest_mad.results.result import Best, SettingResult, TrialResult
from pytest_mad.store.folder import open_store

from .contract import first_broken
from .options import RunOptions
from .place import place
from .requirement import BaselineWarning, Requirement, requirement_of, threshold_of, warn_of_another_machine
from .seeds import OpenCaseError, Seeds, run_seeds, shown, steps_of_sweep

if TYPE_CHECKING:
    import torch

    from pytest_mad.training.trial import IsLate, LateError, Trial

    from .seeds import RunSweep
    from .sweep import Sweep


#: ``report(seed, step, total_steps, validation_accuracy)``, called after each evaluation; the first seed is number 1.
SeedProgress = Callable[[int, int, int, float], None]


class ContractBrokenError(Exception):
    """A hard contract is broken, so there is nothing to train for; the message is one line."""


def broken_contract(result: SettingResult) -> str | None:
    """Which contract kept a setting from being trained, if one did."""
    found = re.match(r"contract (\S+) is broken: ", result.detail)
    return found[1] if found and result.verdict == "fail" and result.accuracy is None else None


class Measured(NamedTuple):
    """A result and, where the user's code raised, its traceback."""

    result: SettingResult
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
    architecture: Architecture, setting: Setting, options: RunOptions, progress: SeedProgress | None = None
) -> SettingResult:
    """Sweep seeds, as many as the requirement takes, and judge the scores.

    Raises ``MissingEntryError``, ``BaselineError`` and ``ContractBrokenError`` before any training, ``ModelError``,
    ``NoBottleneckError``, ``NotCausalError``, ``TrialError``, ``PublishedDataError``, or what the user's model raises.
    """
    device, requirement = choose_device(options.device), requirement_of(architecture, setting, options)
    check_contracts(architecture, setting, options, device)
    warn_of_another_machine(requirement, device)
    started = time.monotonic()  # the contracts are timed as items of their own
    sweep = sweeper(architecture, setting, requirement, options, device, progress)
    found = run_seeds(setting, requirement, sweep)
    return conclude(architecture, setting, requirement, options, found, time.monotonic() - started)


def check_contracts(architecture: Architecture, setting: Setting, options: RunOptions, device: torch.device) -> None:
    """Raise :class:`ContractBrokenError` where there is nothing to train for."""
    broken = first_broken(architecture, setting, options.contracts, device)
    if broken:
        raise ContractBrokenError(broken)


def conclude(
    architecture: Architecture,
    setting: Setting,
    requirement: Requirement,
    options: RunOptions,
    found: Seeds,
    seconds: float,
) -> SettingResult:
    """The verdict on what the seeds have shown, with all that a report needs."""
    from pytest_mad.training.engines import choose_engine

    from .cost import cost

    sweeps = found.sweeps
    scores = [setting.normalized(sweep.accuracies().accuracy) for sweep in sweeps]
    told = sweeps[scores.index(requirement.telling(scores))]
    verdict = requirement.judge(scores, found.seen)
    mark = mark_of(setting, requirement, scores)
    steps = sorted(steps_by_seed(setting, mark, found).items())
    mode, reason = setting.slower or (options.slower, "")
    if verdict.outcome == "slower" and reason:
        verdict = verdict._replace(detail=f"{verdict.detail}; counts as {mode}: {reason}")
    if verdict.outcome in ("fail", "regress"):
        verdict = verdict._replace(detail=f"{verdict.detail}, {_ending(told.best)}")
    if verdict.outcome == "inconclusive":  # the time ran out
        verdict = verdict._replace(detail=joined(verdict.detail, options.limit()))
    note = joined(*dict.fromkeys(note for sweep in sweeps for note in sweep.notes))
    placed, pace = place(setting, requirement, options, [one for _, one in steps]), seconds_per_step(sweeps)
    costs = cost(requirement, options, sweeps, pace, choose_device(options.device))
    note = joined(note, placed)
    verdict = verdict._replace(detail=joined(verdict.detail, note, costs))
    return _result(
        architecture,
        setting,
        options,
        verdict,
        **asdict(told.accuracies()),
        normalized=requirement.telling(scores),
        scores=tuple((sweep.seed, score) for sweep, score in zip(sweeps, scores, strict=True)),
        mark=mark,
        steps=tuple(steps) if mark is not None else (),
        pace=requirement.pace,
        slower=mode,
        baseline=requirement.floor,
        tolerant=options.tolerant,
        best=Best(lr=told.best.point.lr, weight_decay=told.best.point.weight_decay, seed=told.seed),
        trials=trial_results(found),
        parameters=told.parameters,
        state_size=told.state_size,
        seconds=round(seconds, 3),
        seconds_per_step=pace,
        stored=all(sweep.stored for sweep in sweeps) and not found.late,
        device=choose_device(options.device).type,
        engine=choose_engine(options.engine),
        note=note,
    )


def mark_of(setting: Setting, requirement: Requirement, scores: Sequence[float]) -> float | None:
    """The requirement's mark; in a recording without a threshold the floor that its scores will ask for."""
    if requirement.mark is not None or not requirement.record:
        return requirement.mark
    floor = min(*scores, setting.recipe.solved_at) - setting.gate.margin
    return floor if 0 < floor <= 1 else None


def steps_by_seed(setting: Setting, mark: float | None, found: Seeds) -> dict[int, int | None]:
    """Steps to the mark of every seed that was trained; a diverged one never reached it."""
    if mark is None:
        return {}
    unknown: dict[int, int | None] = dict.fromkeys([*found.lost, *(late.seed for late in found.late)])
    return unknown | {sweep.seed: steps_of_sweep(setting, mark, sweep) for sweep in found.sweeps}


def seconds_per_step(sweeps: Sequence[Sweep]) -> float:
    """Median over all trials, of a stored one as it was when it was trained."""
    paces = [trial.seconds_per_step for sweep in sweeps for trial in sweep.trials]
    return float(f"{statistics.median(paces):.3g}")


def trial_results(found: Seeds) -> tuple[TrialResult, ...]:
    """What a report tells of all trials, by seed."""
    finished = [trial_result(trial) for sweep in found.sweeps for trial in sweep.trials]
    return tuple(sorted([*finished, *map(cut_trial, found.late)], key=lambda trial: trial.seed))


def trial_result(trial: Trial) -> TrialResult:
    """What a report tells of a trial."""
    return TrialResult(
        lr=trial.point.lr,
        weight_decay=trial.point.weight_decay,
        seed=trial.seed,
        steps=trial.steps,
        stopped=trial.stopped,
        curve=shown(trial.curve),
    )


def cut_trial(late: LateError) -> TrialResult:
    """The same of one that was cut."""
    return TrialResult(
        lr=late.point.lr,
        weight_decay=late.point.weight_decay,
        seed=late.seed,
        steps=late.steps,
        stopped="late",
        curve=shown(late.curve),
    )


def sweeper(
    architecture: Architecture,
    setting: Setting,
    requirement: Requirement,
    options: RunOptions,
    device: torch.device,
    progress: SeedProgress | None,
) -> RunSweep:
    """What trains the sweep of a seed; the time for all of them runs from now on."""
    from pytest_mad.training.engines import choose_engine

    from .sweep import run_sweep

    deadline = math.inf if options.timeout is None else time.monotonic() + options.timeout
    store = open_store(options.store) if options.store else None

    def sweep(seed: int, is_late: IsLate) -> Sweep:
        number = seed - requirement.first_seed + 1
        return run_sweep(
            architecture,
            setting,
            seed,
            requirement=requirement,
            device=device,
            data_dir=options.data_dir,
            progress=progress and functools.partial(progress, number),
            deadline=deadline,
            store=store,
            engine=choose_engine(options.engine),
            is_late=is_late,
        )

    return sweep


def run_and_judge(
    architecture: Architecture, setting: Setting, options: RunOptions, progress: SeedProgress | None = None
) -> Measured:
    """As :func:`run_setting`, with every error turned into a verdict for this one setting."""
    started = time.monotonic()
    try:
        with kept_inside():
            return Measured(run_setting(architecture, setting, options, progress))
    except Exception as error:
        return stopped_by(error, architecture, setting, options, time.monotonic() - started)


def stopped_by(
    error: Exception, architecture: Architecture, setting: Setting, options: RunOptions, seconds: float
) -> Measured:
    """The verdict on a setting that ended in this error."""
    from pytest_mad.architectures.wrappers import ModelError
    from pytest_mad.training.agreement import EngineError
    from pytest_mad.training.published import PublishedDataError
    from pytest_mad.training.trial import OutOfTimeError, TrialError

    from .sweep import NotCausalError

    shown = ""
    if isinstance(error, SkippedError):
        verdict = Verdict("skipped", str(error))
    elif isinstance(error, ContractBrokenError | NotCausalError | MissingEntryError):
        verdict = Verdict("fail", str(error))
    elif isinstance(error, OpenCaseError):
        verdict = Verdict("inconclusive", joined(str(error), options.limit()))
    elif isinstance(error, OutOfTimeError):
        verdict = Verdict("error", joined(str(error), options.limit()))
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
    timing = {"seconds": round(seconds, 3), "device": device}
    found = _result(architecture, setting, options, verdict, tolerant=options.tolerant, **timing)
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


def _result(
    architecture: Architecture, setting: Setting, options: RunOptions, verdict: Verdict, **found: Any
) -> SettingResult:
    return SettingResult(
        architecture=architecture.name,
        setting=setting.id,
        task=setting.task_name,
        verdict=verdict.outcome,
        detail=verdict.detail,
        oracle=setting.oracle,
        trivial=setting.trivial,
        threshold=threshold_of(setting, options),
        metric=setting.recipe.metric,
        preset_tasks=dict(setting.preset_tasks),
        **setting.identity(),
        **found,
    )
