"""One trial: a seeded model, data on the device, AdamW, evaluations, and one of three ends."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pytest_mad.common.determinism import one_thread, seeded
from pytest_mad.common.records import Between, CurvePoint, Positive, Seed
from pytest_mad.common.seeds import derive_seed
from pytest_mad.common.text import round_down
from pytest_mad.presets.recipe import Point, Recipe
from pytest_mad.presets.setting import Setting
from pytest_mad.tasks import IGNORE, Batch

from .clock import StepClock
from .data import TaskData
from .metrics import Accuracies, accuracies
from .optimizer import AdamW

Stopped = Literal["solved", "hopeless", "budget"]
#: ``report(step, total_steps, validation_accuracy)``, called after each evaluation.
Progress = Callable[[int, int, float], None]
_FEWEST_ROWS = 32
_LOWEST_LR = 1e-6


class Loss(Protocol):
    """What a model is trained through: the loss of a batch's inputs and targets, both (B, T)."""

    def __call__(self, inputs_BT: Tensor, targets_BT: Tensor, reduction: str = "mean", /) -> Tensor: ...


class TrialError(RuntimeError):
    """A trial that cannot give a score: its loss is not finite, or its time is up. The message is one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What a trial found. ``curve`` holds (step, validation accuracy)."""

    point: Point
    seed: Seed
    steps: Annotated[int, Between(1)]
    stopped: Stopped
    curve: tuple[CurvePoint, ...]
    validation: Accuracies
    test: Accuracies
    seconds: Positive
    #: as :class:`~pytest_mad.training.clock.StepClock` has it; of a member of a stack the whole stack's
    seconds_per_step: Positive
    #: what was done otherwise than asked, and why
    note: str = ""


class OutOfTimeError(TrialError):
    """A trial that would have gone on."""


class LateError(TrialError):
    """A trial that was cut: what it was trained for could no longer come in time. It has a curve, and no score."""

    def __init__(self, point: Point, seed: int, curve: Sequence[tuple[int, float]]) -> None:
        self.point, self.seed, self.curve = point, seed, tuple(curve)
        super().__init__(f"cut at step {self.steps}, because it is late")

    @property
    def steps(self) -> int:
        """How far it came."""
        return self.curve[-1][0]


#: Of a curve so far, whether its trial is late.
IsLate = Callable[[Sequence[tuple[int, float]]], bool]


def never(curve: Sequence[tuple[int, float]]) -> bool:
    """Of a trial that is not cut."""
    return False


def out_of_time(setting: Setting, step: int, accuracy: float) -> OutOfTimeError:
    """What is said of a trial that was evaluated at this step, and may not go on: how far it came."""
    total = setting.recipe.total_steps(setting.params.num_train_examples)
    reached = round_down(setting.normalized(accuracy))
    return OutOfTimeError(f"out of time at step {step} of {total}, with a normalised validation score of {reached:.3f}")


@dataclass(kw_only=True)
class Training:
    """A trial under way. With the states of the random generators this is all that its next step depends on."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    #: (step, validation accuracy)
    curve: list[tuple[int, float]] = field(default_factory=list)


class Checkpoints(Protocol):
    """Where a trial is kept while it is under way."""

    def resume(self, training: Training) -> None:
        """Bring a training that has not begun to where an earlier one stopped, if there is any."""

    def save(self, training: Training, *, is_last: bool = False) -> None:
        """Keep this, in place of what was kept before, if that is worth it; in any case what is kept at the end."""


def as_it_is(model: nn.Module, step: int = 1) -> Loss:
    """What a step calls where nothing else is faster: the model, and torch's loss."""
    return functools.partial(loss_of, model)


def train_trial(
    build: Callable[[], nn.Module],
    setting: Setting,
    point: Point,
    seed: int,
    data: TaskData,
    *,
    device: torch.device,
    progress: Progress | None = None,
    deadline: float = math.inf,
    checkpoints: Checkpoints | None = None,
    loss_at: Callable[[nn.Module, int], Loss] = as_it_is,
    parts: int = 1,
    is_late: IsLate = never,
) -> tuple[Trial, nn.Module]:
    """Train one model, which ``build`` puts on the device, and return what was found and the model in evaluation mode.

    ``loss_at`` says how a step, counted from 1, computes its loss. Batches go through the model in ``parts``, for less
    memory: the gradient is the same up to rounding. A pure function of its arguments, ``progress`` and ``checkpoints``
    apart: from a checkpoint it goes on as if it had never stopped. Raises :class:`TrialError` when the loss is NaN or
    infinite, when ``time.monotonic()`` passes ``deadline``, and (``LateError``) where ``is_late`` says so of its curve.
    """
    started, recipe = time.monotonic(), setting.recipe
    total = recipe.total_steps(setting.params.num_train_examples)
    model = initial_model(build, setting, point, seed, device)
    with one_thread(device), seeded("train", *identity(setting, point, seed)):
        training = Training(model=model, optimizer=make_optimizer(model, recipe, point))
        resume(training, checkpoints, point, seed, is_late)
        train, validation = to_device(data.train, device), to_device(data.validation, device)
        batches = shuffled_batches(train, recipe.batch_size, seed, training.step)
        next_evaluation = recipe.evaluation_after(training.step, total)
        clock = StepClock.of(device)
        clock.begin(training.step)
        model.train()
        stopped: Stopped | None = None
        while stopped is None:
            training.step = step = training.step + 1
            set_lr(training.optimizer, scheduled_lr(recipe, point, step, total))
            batch = next(batches)
            loss = training_step(loss_at(model, step), training.optimizer, *batch, autocast(device, recipe), parts)
            if step < next_evaluation:
                continue
            check_finite(model, float(loss), f"at step {step} (lr {point.lr:g})")
            clock.end(step)
            found = evaluate(model, validation, recipe, parts)
            training.curve.append((step, found.accuracy))
            if progress:
                progress(step, total, found.accuracy)
            stopped = ending(setting, training.curve, total)
            if stopped is None:
                next_evaluation = recipe.evaluation_after(step, total)
                go_on(training, setting, point, seed, checkpoints, deadline, is_late)
                clock.begin(step)
        trial = Trial(
            point=point, seed=seed, steps=training.step, stopped=stopped, curve=tuple(training.curve),
            validation=found, test=evaluate(model, to_device(data.test, device), recipe, parts),
            seconds=time.monotonic() - started, seconds_per_step=clock.seconds_per_step,
        )  # fmt: skip
    return trial, model.eval()


def resume(training: Training, checkpoints: Checkpoints | None, point: Point, seed: int, is_late: IsLate) -> None:
    """Bring a training to where an earlier one stopped; raise :class:`LateError` where that one was cut."""
    if checkpoints:
        checkpoints.resume(training)
    if training.curve and is_late(training.curve):
        raise LateError(point, seed, training.curve)


def go_on(
    training: Training,
    setting: Setting,
    point: Point,
    seed: int,
    checkpoints: Checkpoints | None,
    deadline: float,
    is_late: IsLate,
) -> None:
    """Keep a training that was just evaluated; raise :class:`OutOfTimeError` or :class:`LateError` where it ends."""
    is_out_of_time, is_cut = time.monotonic() > deadline, is_late(training.curve)
    if checkpoints:
        checkpoints.save(training, is_last=is_out_of_time or is_cut)
    if is_cut:
        raise LateError(point, seed, training.curve)
    if is_out_of_time:
        raise out_of_time(setting, *training.curve[-1])


def identity(setting: Setting, point: Point, seed: int) -> tuple[object, ...]:
    """What the random numbers of a trial are derived from."""
    return setting.task_name, setting.params.to_json(), point.lr, point.weight_decay, seed


def initial_model(
    build: Callable[[], nn.Module], setting: Setting, point: Point, seed: int, device: torch.device
) -> nn.Module:
    """The model that a trial begins with."""
    with one_thread(device), seeded("init", *identity(setting, point, seed)):
        return build()


def training_step(
    loss_of_batch: Loss,
    optimizer: torch.optim.Optimizer,
    inputs_BT: Tensor,
    targets_BT: Tensor,
    precision: contextlib.AbstractContextManager[Any],
    parts: int = 1,
) -> Tensor:
    """One optimizer step on the mean cross entropy over scored positions; returns the loss without waiting for it."""
    optimizer.zero_grad(set_to_none=True)
    if parts > 1:
        loss = backward_in_parts(loss_of_batch, inputs_BT, targets_BT, precision, parts)
    else:
        with precision:
            loss = loss_of_batch(inputs_BT, targets_BT)
        loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def backward_in_parts(
    loss_of_batch: Loss,
    inputs_BT: Tensor,
    targets_BT: Tensor,
    precision: contextlib.AbstractContextManager[Any],
    parts: int,
) -> Tensor:
    """The loss and, added up in the parameters, its gradient, from one part of the batch after the other.

    A part counts as much as it has of the positions that are scored.
    """
    scored = (targets_BT != IGNORE).sum()
    loss = torch.zeros((), device=inputs_BT.device)
    size = math.ceil(len(inputs_BT) / parts)
    for inputs, targets in zip(torch.split(inputs_BT, size), torch.split(targets_BT, size), strict=True):
        with precision:
            part = loss_of_batch(inputs, targets, "sum") / scored
        part.backward()  # type: ignore[no-untyped-call]
        loss += part.detach()
    return loss


def loss_of(model: Callable[[Tensor], Any], inputs_BT: Tensor, targets_BT: Tensor, reduction: str = "mean") -> Tensor:
    """Cross entropy over the positions that are scored, their mean unless told otherwise, in float32 or finer."""
    logits_BTV = model(inputs_BT)
    if logits_BTV.dtype != torch.float64:
        logits_BTV = logits_BTV.float()
    return F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORE, reduction=reduction)


def check_finite(model: nn.Module, loss: float, when: str) -> None:
    """Raise :class:`TrialError` for a loss, or weights after the step that followed it, that are NaN or infinite."""
    if not math.isfinite(loss):
        raise TrialError(f"the loss is {loss} {when}")
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        raise TrialError(f"the weights are not finite {when}")


def ending(setting: Setting, curve: list[tuple[int, float]], total: int) -> Stopped | None:
    """Why the trial ends here; None where it goes on."""
    recipe = setting.recipe
    step, accuracy = curve[-1]
    if setting.normalized(accuracy) >= recipe.solved_at:
        return "solved"
    best = max(setting.normalized(a) for _, a in curve)
    if step >= recipe.hopeless_after * total and step < total and best <= recipe.hopeless_below:
        return "hopeless"
    return "budget" if step >= total else None


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def make_optimizer(model: nn.Module, recipe: Recipe, point: Point) -> torch.optim.Optimizer:
    """AdamW on every parameter, as MAD-Lab does; the fused kernel where the parameters allow it."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    fused = all(p.is_floating_point() for p in parameters)
    return AdamW(parameters, lr=point.lr, weight_decay=point.weight_decay, betas=recipe.betas, fused=fused or None)


def scheduled_lr(recipe: Recipe, point: Point, step: int, total: int) -> float:
    """Constant, as MAD-Lab really trains, or the cosine to 1e-6 that its paper states; ``step`` counts from 1.

    Over the recipe's ``warmup`` it rises in equal parts.
    """
    lr = point.lr
    if recipe.schedule == "cosine":
        lr = _LOWEST_LR + (lr - _LOWEST_LR) * (1 + math.cos(math.pi * (step - 1) / total)) / 2
    return lr * min(1.0, step / max(1, recipe.warmup))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets as tensors that stay on the device."""
    inputs, targets = (torch.from_numpy(np.array(array)).to(device) for array in batch)
    return inputs, targets


def shuffled_batches(
    train: tuple[Tensor, Tensor], size: int, seed: int, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Epochs without end, each in a new order, from batch ``start`` on; the last batch of an epoch may be smaller."""
    inputs, targets = train
    order = np.random.default_rng(derive_seed("order", len(inputs), size, seed))
    epochs, first = divmod(start, math.ceil(len(inputs) / size))
    for _ in range(epochs):
        order.permutation(len(inputs))
    while True:
        batches = torch.split(torch.from_numpy(order.permutation(len(inputs))).to(inputs.device), size)
        for rows in batches[first:]:
            yield inputs[rows], targets[rows]
        first = 0


def autocast(device: torch.device, recipe: Recipe) -> contextlib.AbstractContextManager[Any]:
    """bf16 mixed precision on CUDA where the recipe asks for it; a CPU always computes in float32."""
    if recipe.precision == "bf16" and device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=True)
    return contextlib.nullcontext()


@torch.no_grad()
def evaluate(model: nn.Module, batch: tuple[Tensor, Tensor], recipe: Recipe, parts: int = 1) -> Accuracies:
    """The three accuracies of arg-max predictions; the model is left in the mode it was in.

    In batches of the training's size, which stay in a CPU's cache as they do there; of a few rows they would be slow.
    """
    inputs, targets = batch
    was_training = model.training
    model.eval()
    with autocast(inputs.device, recipe):
        size = math.ceil(max(recipe.batch_size, _FEWEST_ROWS) / parts)
        predictions = torch.cat([model(rows).argmax(dim=-1) for rows in torch.split(inputs, size)])
    model.train(was_training)
    return accuracies(predictions.cpu().numpy(), targets.cpu().numpy())
