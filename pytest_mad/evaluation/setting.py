"""Train and judge one setting in this process."""

from __future__ import annotations

import functools
import math
import re
import time
from collections.abc import Callable
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
from .requirement import BaselineWarning, Requirement, requirement_of, threshold_of, warn_of_another_machine

if TYPE_CHECKING:
    import torch

    from pytest_mad.training.trial import Trial

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
    sweeps, lost = run_sweeps(setting, requirement, sweep)
    return conclude(architecture, setting, requirement, options, sweeps, lost, time.monotonic() - started)


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
    sweeps: list[Sweep],
    lost: int,
    seconds: float,
) -> SettingResult:
    """The verdict on what the sweeps found, with all that a report needs."""
    from pytest_mad.training.engines import choose_engine

    scores = [setting.normalized(sweep.accuracies().accuracy) for sweep in sweeps]
    shown = sweeps[scores.index(requirement.telling(scores))]
    verdict = requirement.judge(scores, lost)
    if verdict.outcome in ("fail", "regress"):
        verdict = verdict._replace(detail=f"{verdict.detail}, {_ending(shown.best)}")
    if verdict.outcome == "inconclusive":  # the time ran out
        verdict = verdict._replace(detail=joined(verdict.detail, options.limit()))
    note = joined(*dict.fromkeys(note for sweep in sweeps for note in sweep.notes))
    verdict = verdict._replace(detail=joined(verdict.detail, note))
    return _result(
        architecture,
        setting,
        options,
        verdict,
        **asdict(shown.accuracies()),
        normalized=requirement.telling(scores),
        scores=tuple((sweep.seed, score) for sweep, score in zip(sweeps, scores, strict=True)),
        baseline=requirement.floor,
        tolerant=options.tolerant,
        best=Best(lr=shown.best.point.lr, weight_decay=shown.best.point.weight_decay, seed=shown.seed),
        trials=tuple(trial_result(trial) for sweep in sweeps for trial in sweep.trials),
        parameters=shown.parameters,
        state_size=shown.state_size,
        seconds=round(seconds, 3),
        stored=all(sweep.stored for sweep in sweeps),
        device=choose_device(options.device).type,
        engine=choose_engine(options.engine),
        note=note,
    )


def trial_result(trial: Trial) -> TrialResult:
    """What a report tells of a trial."""
    return TrialResult(
        lr=trial.point.lr,
        weight_decay=trial.point.weight_decay,
        seed=trial.seed,
        steps=trial.steps,
        stopped=trial.stopped,
        curve=tuple((step, round(accuracy, 4)) for step, accuracy in trial.curve),
    )


def sweeper(
    architecture: Architecture,
    setting: Setting,
    requirement: Requirement,
    options: RunOptions,
    device: torch.device,
    progress: SeedProgress | None,
) -> Callable[[int], Sweep]:
    """What trains the sweep of a seed; the time for all of them runs from now on."""
    from pytest_mad.training.engines import choose_engine

    from .sweep import run_sweep

    deadline = math.inf if options.timeout is None else time.monotonic() + options.timeout
    store = open_store(options.store) if options.store else None

    def sweep(seed: int) -> Sweep:
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
        )

    return sweep


def run_sweeps(
    setting: Setting, requirement: Requirement, run_sweep: Callable[[int], Sweep]
) -> tuple[list[Sweep], int]:
    """Sweep one seed after the other until the case is closed; fewer where the time runs out behind the first.

    Against a baseline the next seed is tried when one gives no score, and how many did not is returned too; an
    unchanged architecture may diverge as rarely as it did before. Anything else than a score is an error elsewhere.
    """
    from pytest_mad.training.trial import OutOfTimeError, TrialError

    lost: list[TrialError] = []
    sweeps: list[Sweep] = []
    for seed in range(requirement.first_seed, requirement.first_seed + requirement.seeds):
        try:
            sweep = run_sweep(seed)
        except OutOfTimeError:
            if not sweeps or requirement.record:  # half a recording is none
                raise
            break
        except TrialError as error:
            if not requirement.floor or requirement.record:
                raise
            lost.append(error)
            continue
        sweeps.append(sweep)
        if requirement.is_closed(setting.normalized(sweep.accuracies().accuracy)):
            break
    if not sweeps:
        raise lost[-1]
    return sweeps, len(lost)


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
    found = _result(architecture, setting, options, verdict, seconds=round(seconds, 3), device=device)
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
