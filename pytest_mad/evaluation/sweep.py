"""One sweep: the causality guard, then the trials of one setting and seed over the recipe's points."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.architectures.build import build_model
from pytest_mad.architectures.jitter import jittered
from pytest_mad.architectures.wrappers import ModelError
from pytest_mad.common.determinism import one_thread, seeded
from pytest_mad.contracts.causality import NotFiniteError, find_leak
from pytest_mad.presets.recipe import Point
from pytest_mad.presets.setting import Setting
from pytest_mad.store.folder import Store
from pytest_mad.store.trials import Spec, stored_trial
from pytest_mad.training.data import load_data
from pytest_mad.training.engines import ENGINES, Finished, Job
from pytest_mad.training.memory import keep_freed_memory
from pytest_mad.training.metrics import Accuracies
from pytest_mad.training.trial import (
    IsLate,
    LateError,
    OutOfTimeError,
    Progress,
    Trial,
    TrialError,
    never,
    parameter_count,
)

from .requirement import Requirement

#: Floats of state that no model has, and no record holds.
_MOST_STATE = 10**15
#: Normalised: a trial that was never above it has learned nothing yet.
TRIVIAL = 0.1
#: What stands beside a trial: its trained model, or what another process found of it.
_Beside = TypeVar("_Beside")


class NotCausalError(Exception):
    """The model sees the future; the message is the guard's line."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep found: its trials, the best of them, and the size of the model."""

    trials: tuple[Trial, ...]
    best: Trial
    #: whether all trials came from the store
    stored: bool = False
    seed: int
    parameters: int
    state_size: int | None
    seconds: float
    #: what was done otherwise than asked, and why
    notes: tuple[str, ...] = ()

    def accuracies(self) -> Accuracies:
        """The score: accuracies of the best trial on test data."""
        return self.best.test


def run_sweep(
    architecture: Architecture,
    setting: Setting,
    seed: int,
    *,
    requirement: Requirement | None = None,
    device: torch.device,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    deadline: float = math.inf,
    store: Store | None = None,
    engine: str = "loop",
    is_late: IsLate = never,
) -> Sweep:
    """Train the recipe's points in their order, or find them in the store, and keep the best.

    Without a ``requirement`` it is the setting's own threshold.

    Raises what :func:`~pytest_mad.architectures.build.build_model` raises, :class:`NotCausalError`,
    :class:`~pytest_mad.training.trial.TrialError` when no point gave a score,
    :class:`~pytest_mad.training.trial.LateError` when ``is_late`` says so of the first point's curve, and
    :class:`~pytest_mad.training.agreement.EngineError` for a model that the engine cannot train.
    """
    started = time.monotonic()
    requirement = requirement or Requirement(threshold=setting.threshold)
    with architecture.entered():
        job, first = begin(
            architecture,
            setting,
            seed,
            setting.recipe.points,
            requirement=requirement,
            device=device,
            data_dir=data_dir,
            progress=progress,
            deadline=deadline,
            store=store,
            engine=engine,
            is_late=is_late,
        )
        finished = race(engine, job)
        again = retry_of(setting, requirement, [one.outcome for one in finished])
        if again:
            spec = Spec(setting=setting, point=again, seed=seed, data=job.data, device=device, engine=engine)
            place = stored_trial(store, architecture, data_dir, spec)
            finished += race(engine, replace(job, places={again: place}, is_late=never))
        best = chosen(setting, [one.outcome for one in finished])
        with one_thread(device):
            guard(setting, best[1], device, "after training, ")
        size = state_size(first)
    return Sweep(
        trials=tuple(one.outcome[0] for one in finished if not isinstance(one.outcome, TrialError)),
        best=best[0],
        stored=all(one.stored for one in finished),
        seed=seed,
        parameters=parameter_count(first),
        state_size=size,
        seconds=time.monotonic() - started,
        notes=(*dict.fromkeys(note for one in finished for note in one.notes), *retry_note(setting, again, best[0])),
    )


def begin(
    architecture: Architecture,
    setting: Setting,
    seed: int,
    points: Sequence[Point],
    *,
    requirement: Requirement,
    device: torch.device,
    data_dir: Path | None,
    progress: Progress | None,
    deadline: float,
    store: Store | None,
    engine: str,
    is_late: IsLate = never,
) -> tuple[Job, nn.Module]:
    """What there is to train of a sweep, and a model that the guard has let through."""
    build = functools.partial(build_model, architecture, setting, device)
    with one_thread(device), seeded("guard", setting.id, seed):
        first = build()
        with jittered(first, seed):
            guard(setting, first, device)
    data = load_data(setting, seed, data_dir)
    specs = [Spec(setting=setting, point=point, seed=seed, data=data, device=device, engine=engine) for point in points]
    job = Job(
        build=build,
        setting=setting,
        seed=seed,
        data=data,
        parameters=parameter_count(first),
        device=device,
        progress=progress,
        deadline=deadline,
        places={spec.point: stored_trial(store, architecture, data_dir, spec) for spec in specs},
        is_enough=functools.partial(is_enough, setting, requirement),
        is_late=is_late,
    )
    return job, first


@dataclass(frozen=True, kw_only=True)
class Part:
    """One recipe point of a sweep, trained alone; :func:`join` makes the sweep of all parts."""

    #: None where it gave no score
    trial: Trial | None
    #: why it gave none
    failure: str = ""
    #: the same, because its time was up
    is_late: bool = False
    #: what the guard said of the trained model, which counts if the trial is the best
    leak: str = ""
    bad_logits: str = ""
    parameters: int = 0
    state_size: int | None = None
    stored: bool = False
    notes: tuple[str, ...] = ()


def run_part(
    architecture: Architecture,
    setting: Setting,
    seed: int,
    point: Point,
    *,
    device: torch.device,
    data_dir: Path | None = None,
    deadline: float = math.inf,
    store: Store | None = None,
) -> Part:
    """Train one point of a sweep that does not race, by the loop: its trial is the one that the sweep would have had.

    Raises what :func:`~pytest_mad.architectures.build.build_model` raises, and :class:`NotCausalError` before training.
    """
    with architecture.entered():
        return _run_part(
            architecture, setting, seed, point, device=device, data_dir=data_dir, deadline=deadline, store=store
        )


def _run_part(
    architecture: Architecture,
    setting: Setting,
    seed: int,
    point: Point,
    *,
    device: torch.device,
    data_dir: Path | None,
    deadline: float,
    store: Store | None,
) -> Part:
    job, first = begin(
        architecture,
        setting,
        seed,
        [point],
        requirement=Requirement(),
        device=device,
        data_dir=data_dir,
        progress=None,
        deadline=deadline,
        store=store,
        engine="loop",
    )
    try:
        [finished] = race("loop", job)
    except OutOfTimeError as error:
        return Part(trial=None, failure=str(error), is_late=True)
    if isinstance(finished.outcome, TrialError):
        return Part(trial=None, failure=str(finished.outcome))
    trial, model = finished.outcome
    leak = bad_logits = ""
    try:
        with one_thread(device):
            guard(setting, model, device, "after training, ")
    except NotCausalError as error:
        leak = str(error)
    except ModelError as error:
        bad_logits = str(error)
    return Part(
        trial=trial,
        leak=leak,
        bad_logits=bad_logits,
        parameters=parameter_count(first),
        state_size=state_size(first),
        stored=finished.stored,
        notes=finished.notes,
    )


def join(setting: Setting, seed: int, parts: Sequence[Part]) -> Sweep:
    """The sweep of these parts, in the recipe's order. Raises as :func:`run_sweep` does behind its training."""
    for part in parts:
        if part.is_late:
            raise OutOfTimeError(part.failure)
    trial, part = chosen(setting, [(p.trial, p) if p.trial else TrialError(p.failure) for p in parts])
    if part.leak:
        raise NotCausalError(part.leak)
    if part.bad_logits:
        raise ModelError(part.bad_logits)
    trials = tuple(part.trial for part in parts if part.trial)
    return Sweep(
        trials=trials,
        best=trial,
        stored=all(part.stored for part in parts),
        seed=seed,
        parameters=part.parameters,
        state_size=part.state_size,
        seconds=sum(trial.seconds for trial in trials),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def race(engine: str, job: Job) -> list[Finished]:
    """Trials in the recipe's order, as many as it takes."""
    if job.device.type == "cpu":
        keep_freed_memory()
    finished: list[Finished] = []
    for one in ENGINES[engine](job):
        if not finished:
            check_late(one.outcome, job.is_late)
        finished.append(one)
        if job.is_enough([each.outcome for each in finished]):
            break
    return finished


def check_late(outcome: tuple[Trial, nn.Module] | TrialError, is_late: IsLate) -> None:
    """Raise :class:`~pytest_mad.training.trial.LateError` for a first trial that is late, wherever it comes from.

    A store, and an engine that trains several trials together, give trials that went on; they count as cut all the
    same, so that the same command says the same whatever ran before.
    """
    if isinstance(outcome, LateError):
        raise outcome
    if isinstance(outcome, TrialError):
        return
    trial, _ = outcome
    for count in range(1, len(trial.curve)):  # the last evaluation ended it anyway
        if is_late(trial.curve[:count]):
            raise LateError(trial.point, trial.seed, trial.curve[:count])


def guard(setting: Setting, model: nn.Module, device: torch.device, when: str = "") -> None:
    """Raise :class:`NotCausalError` for a model that sees the future. An autoencoder may: its answer is its input."""
    if setting.task.bottleneck:
        return
    length = setting.task.input_length(setting.params)
    try:
        leak = find_leak(model, setting.params.vocab_size, length, device)
    except NotFiniteError as error:
        raise ModelError(f"{when}{error}") from None
    if leak:
        raise NotCausalError(when + leak)


def selection_score(setting: Setting, trial: Trial) -> float:
    """What the best trial is chosen by: validation accuracy, or test data or MAD-Lab's metric if the recipe says so."""
    found = trial.validation if setting.recipe.selection == "validation" else trial.test
    return found.accuracy if setting.recipe.metric == "accuracy" else found.accuracy_compat


def chosen(setting: Setting, outcomes: Sequence[tuple[Trial, _Beside] | TrialError]) -> tuple[Trial, _Beside]:
    """The best trial; the last error where none has a score."""
    best = best_of(setting, outcomes)
    if best is None:
        raise next(outcome for outcome in reversed(outcomes) if isinstance(outcome, TrialError))
    return best


def best_of(setting: Setting, outcomes: Sequence[tuple[Trial, _Beside] | TrialError]) -> tuple[Trial, _Beside] | None:
    """The trial with the best score to select by, of several the first; None where none has a score."""
    found = [outcome for outcome in outcomes if not isinstance(outcome, TrialError)]
    return max(found, key=lambda outcome: selection_score(setting, outcome[0]), default=None)


def is_enough(setting: Setting, requirement: Requirement, outcomes: Sequence[tuple[Trial, Any] | TrialError]) -> bool:
    """Whether a sweep may end after these trials: where it races, and the best of them meets the requirement."""
    best = best_of(setting, outcomes)
    may_race = setting.recipe.race and not requirement.record
    return may_race and best is not None and is_met(setting, requirement, best[0])


def retry_of(
    setting: Setting, requirement: Requirement, outcomes: Sequence[tuple[Trial, Any] | TrialError]
) -> Point | None:
    """The recipe's spare point, where a threshold would fail and no trial of these ever left the trivial level.

    A baseline was recorded at the recipe's points, so nothing else is compared with it.
    """
    trials = [outcome[0] for outcome in outcomes if not isinstance(outcome, TrialError)]
    judged = requirement.threshold is not None and requirement.floor is None and not requirement.record
    if not (judged and setting.recipe.race and trials):
        return None
    highest = max(setting.normalized(accuracy) for trial in trials for _, accuracy in trial.curve)
    return setting.recipe.retry if highest <= TRIVIAL else None


def retry_note(setting: Setting, again: Point | None, best: Trial) -> tuple[str, ...]:
    """What became of the spare point, if it was tried, and how to have it from the start."""
    if again is None:
        return ()
    rates = ", ".join(f"{point.lr:g}" for point in setting.recipe.points)
    stays = f"at lr {rates}, the recipe's, it stays at the trivial level"
    if best.point == again:
        return (f"this is at lr {again.lr:g}; {stays} (--mad-lr={setting.task_name}={again.lr:g} sets it)",)
    return (f"{stays}, and at lr {again.lr:g} too",)


def is_met(setting: Setting, requirement: Requirement, trial: Trial) -> bool:
    """Whether validation and test data both reach what is needed (or, where nothing is, the top)."""
    needed = setting.recipe.solved_at if requirement.needed is None else requirement.needed
    return all(setting.normalized(found.accuracy) >= needed for found in (trial.validation, trial.test))


def state_size(model: nn.Module) -> int | None:
    """Floats kept per sequence between tokens, where the user's model says so with ``state_size()``."""
    inner: Any = getattr(model, "model", model)
    size = inner.state_size() if callable(getattr(inner, "state_size", None)) else None
    return size if type(size) is int and 0 <= size < _MOST_STATE else None
