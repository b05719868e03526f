"""Engines: how the trials of one sweep are trained inside a process."""

from __future__ import annotations

import functools
import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import nn

from pytest_mad.common.errors import is_out_of_memory
from pytest_mad.presets.recipe import Point
from pytest_mad.presets.setting import Setting

from .compiled import Later
from .data import TaskData
from .trial import (
    Checkpoints,
    IsLate,
    Loss,
    OutOfTimeError,
    Progress,
    Trial,
    TrialError,
    as_it_is,
    never,
    out_of_time,
    train_trial,
)
from .vmap import Member, Outcome, train_members


class Place(Checkpoints, Protocol):
    """Where one trial is kept, and found again; whoever sweeps hands it in."""

    def find(self) -> tuple[Trial, nn.Module] | None:
        """The trial and its trained model."""

    def keep(self, trial: Trial, model: nn.Module, /) -> None:
        """Keep a finished trial."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The trials of one setting and seed, in the recipe's order, and where each is stored."""

    build: Callable[[], nn.Module]
    setting: Setting
    seed: int
    data: TaskData
    #: how many numbers the model learns
    parameters: int
    device: torch.device
    progress: Progress | None
    deadline: float
    #: None without a store
    places: dict[Point, Place | None]
    #: whether no further trial is needed
    is_enough: Callable[[Sequence[Outcome]], bool]
    #: whether a trial of the first point is cut; those of others never are
    is_late: IsLate = never

    def find(self, point: Point) -> Outcome | None:
        """The trial, if the store has it."""
        place = self.places[point]
        return place.find() if place else None

    def keep(self, point: Point, outcome: Outcome) -> Outcome:
        """Store what has a score."""
        place = self.places[point]
        if place and not isinstance(outcome, TrialError):
            place.keep(*outcome)
        return outcome

    def lateness(self, point: Point) -> IsLate:
        """When a trial of this point is cut."""
        return self.is_late if point == next(iter(self.places)) else never

    def check_time(self, outcome: Outcome) -> None:
        """Raise :class:`OutOfTimeError` behind a trial that ended too late. It is stored: the next run has it."""
        if not isinstance(outcome, TrialError) and time.monotonic() > self.deadline:
            trial, _ = outcome
            raise out_of_time(self.setting, trial.steps, trial.validation.accuracy)


#: Of a batch, where a whole one does not fit into memory.
PARTS = 8


class Finished(NamedTuple):
    """A trial that is over, and whether it came from the store."""

    outcome: Outcome
    stored: bool
    #: what the engine could not do for it, and why
    refusal: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result should know of it."""
        own = "" if isinstance(self.outcome, TrialError) else self.outcome[0].note
        return tuple(filter(None, (own, self.refusal)))


def by_loop(job: Job) -> Iterator[Finished]:
    """One after the other, for as long as the caller asks. Works for every model; on a CPU long trials are compiled."""
    later = Later(job.build, job.setting, job.seed, job.data.train, job.parameters)
    for point in job.places:
        outcome = job.find(point)
        if outcome is not None:
            yield Finished(outcome, stored=True)
            continue
        loss_at = later.loss_at(point) if job.device.type == "cpu" else as_it_is
        trained = job.keep(point, _train(job, point, loss_at))
        job.check_time(trained)
        yield Finished(trained, stored=False, refusal=later.refusal and f"not compiled: {later.refusal}")


def _train(job: Job, point: Point, loss_at: Callable[[nn.Module, int], Loss]) -> Outcome:
    """Train a trial; where the memory does not suffice, once more in smaller parts, and with a note about it."""
    train = functools.partial(
        train_trial,
        job.build,
        job.setting,
        point,
        job.seed,
        job.data,
        device=job.device,
        progress=job.progress,
        deadline=job.deadline,
        checkpoints=job.places[point],
        loss_at=loss_at,
        is_late=job.lateness(point),
    )
    try:
        try:
            return train()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory(job.device)  # outside of the handler: what the failing step had in memory hangs on its traceback
        size = math.ceil(job.setting.recipe.batch_size / PARTS)
        note = f"out of memory with whole batches, so trained in parts of {size} sequences"
        trial, model = train(parts=PARTS, loss_at=as_it_is)  # compiled for whole batches only
        return replace(trial, note=note), model
    except OutOfTimeError:
        raise
    except TrialError as error:
        return error


def free_memory(device: torch.device) -> None:
    """Let go of what nobody uses any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def by_vmap(job: Job) -> Iterator[Finished]:
    """All that the store lacks at once, as one stacked model; see :func:`~pytest_mad.training.vmap.train_members`.

    Raises :class:`~pytest_mad.training.agreement.EngineError` for a model that cannot be stacked.
    """
    known: dict[Point, Outcome] = {}
    for point in job.places:
        found = job.find(point)
        if found:
            known[point] = found
    points = list(job.places)
    missing = [point for point in points if point not in known]
    first = points.index(missing[0]) if missing else len(points)
    if job.is_enough([known[point] for point in points[:first]]):
        missing = []

    def merged(trained: Sequence[Outcome]) -> list[Outcome]:
        """Outcomes in the recipe's order, up to the first that there is none of yet."""
        have, found = known | dict(zip(missing, trained, strict=False)), []
        for point in points:
            if point not in have:
                break
            found.append(have[point])
        return found

    trained = _train_stack(job, missing, lambda outcomes: job.is_enough(merged(outcomes))) if missing else []
    for point, outcome in zip(missing, trained, strict=False):
        if isinstance(outcome, OutOfTimeError):
            raise outcome
        job.keep(point, outcome)
    for outcome in trained:
        job.check_time(outcome)
    for point, outcome in zip(points, merged(trained), strict=False):
        yield Finished(outcome, stored=point in known)


def _train_stack(job: Job, points: list[Point], enough: Callable[[Sequence[Outcome]], bool]) -> list[Outcome]:
    return train_members(
        job.build,
        job.setting,
        [Member(point=point, seed=job.seed, data=job.data) for point in points],
        device=job.device,
        progress=job.progress,
        deadline=job.deadline,
        enough=enough,
    )


#: In the order in which ``auto`` would prefer them if each were measured to be faster; on a CPU none is but the loop.
ENGINES = {"loop": by_loop, "vmap": by_vmap}


def choose_engine(name: str) -> str:
    """``auto`` is the loop: on a CPU a stack of models is no faster, and on a GPU that has not been measured yet."""
    return "loop" if name == "auto" else name
