"""One sweep: the causality guard, then the trials of one setting and seed over the recipe's points."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pytest_mad.adapters import ModelError, build_model
from pytest_mad.architecture import Architecture
from pytest_mad.contracts.causality import NotFiniteError, find_leak, jittered
from pytest_mad.determinism import one_thread, seeded
from pytest_mad.grid import Setting
from pytest_mad.store import Store

from .data import load_data
from .engines import ENGINES, Finished, Job
from .memory import keep_freed_memory
from .metrics import Accuracies
from .stored import Spec, stored_trial
from .trial import Progress, Trial, TrialError, parameter_count
from .vmap import Outcome

#: Floats of state that no model has.
_MOST_STATE = 2**50


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
    #: what the engine could not do, and why
    note: str = ""

    def accuracies(self) -> Accuracies:
        """The score: accuracies of the best trial on test data."""
        return self.best.test


def run_sweep(
    architecture: Architecture,
    setting: Setting,
    seed: int,
    *,
    device: torch.device,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    deadline: float = math.inf,
    store: Store | None = None,
    engine: str = "loop",
) -> Sweep:
    """Train the recipe's points in their order, or find them in the store, and keep the best.

    Raises what :func:`~pytest_mad.adapters.build_model` raises, :class:`NotCausalError`,
    :class:`~pytest_mad.training.trial.TrialError` when no point gave a score, and
    :class:`~pytest_mad.training.vmap.EngineError` for a model that the engine cannot train.
    """
    started = time.monotonic()
    build = functools.partial(build_model, architecture, setting, device)
    with one_thread(device), seeded("guard", setting.id, seed):
        first = build()
        guard(setting, jittered(first, seed), device)
    data = load_data(setting, seed, data_dir)
    specs = [
        Spec(setting=setting, point=point, seed=seed, data=data, device=device, engine=engine)
        for point in setting.recipe.points
    ]
    finished = race(
        engine,
        Job(
            build=build,
            setting=setting,
            seed=seed,
            data=data,
            parameters=parameter_count(first),
            device=device,
            progress=progress,
            deadline=deadline,
            places={spec.point: stored_trial(store, architecture, data_dir, spec) for spec in specs},
            is_enough=functools.partial(is_enough, setting),
        ),
    )
    outcomes = [one.outcome for one in finished]
    best = best_of(setting, outcomes)
    if best is None:
        raise next(outcome for outcome in reversed(outcomes) if isinstance(outcome, TrialError))
    with one_thread(device):
        guard(setting, best[1], device, "after training, ")
    return Sweep(
        trials=tuple(outcome[0] for outcome in outcomes if not isinstance(outcome, TrialError)),
        best=best[0],
        stored=all(one.stored for one in finished),
        seed=seed,
        parameters=parameter_count(first),
        state_size=state_size(first),
        seconds=time.monotonic() - started,
        note=finished[-1].note,
    )


def race(engine: str, job: Job) -> list[Finished]:
    """Trials in the recipe's order, as many as it takes."""
    if job.device.type == "cpu":
        keep_freed_memory()
    finished: list[Finished] = []
    for one in ENGINES[engine](job):
        finished.append(one)
        if job.is_enough([each.outcome for each in finished]):
            break
    return finished


def guard(setting: Setting, model: nn.Module, device: torch.device, when: str = "") -> None:
    """Raise :class:`NotCausalError` for a model that sees the future. An autoencoder may: its answer is its input."""
    if setting.family.bottleneck:
        return
    length = setting.family.input_length(setting.params)
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


def best_of(setting: Setting, outcomes: Sequence[Outcome]) -> tuple[Trial, nn.Module] | None:
    """The trial with the best score to select by, of several the first; None where none has a score."""
    found = [outcome for outcome in outcomes if not isinstance(outcome, TrialError)]
    return max(found, key=lambda outcome: selection_score(setting, outcome[0]), default=None)


def is_enough(setting: Setting, outcomes: Sequence[Outcome]) -> bool:
    """Whether a sweep may end behind these trials: where it races, and the best of them meets the requirement."""
    best = best_of(setting, outcomes)
    return setting.recipe.race and best is not None and meets_requirement(setting, best[0])


def meets_requirement(setting: Setting, trial: Trial) -> bool:
    """Whether the sweep may end: validation and test data both reach the threshold (or, without one, the top)."""
    needed = setting.recipe.solved_at if setting.threshold is None else setting.threshold
    return all(setting.normalized(found.accuracy) >= needed for found in (trial.validation, trial.test))


def state_size(model: nn.Module) -> int | None:
    """Floats kept per sequence between tokens, where the user's model says so with ``state_size()``."""
    inner: Any = getattr(model, "model", model)
    size = inner.state_size() if callable(getattr(inner, "state_size", None)) else None
    return size if type(size) is int and 0 <= size < _MOST_STATE else None
