"""The engine ``vmap``: several trials of a setting at once, their weights stacked, each trained as it would be alone.

The weights and buffers of the members' models lie side by side in tensors with one more axis, M. One call of the model
under ``torch.func.vmap`` computes all members' losses, and one backward pass through their sum all gradients: the
gradient of a member's weights comes from its own loss alone. Each member's own parameters are views of the stack, so
that the optimizer, the evaluation and the checks of finite numbers are those of the loop, member by member.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pytest_mad.common.determinism import one_thread, seeded
from pytest_mad.presets.recipe import Point, Recipe
from pytest_mad.presets.setting import Setting

from .agreement import compare, loss_alone, refuse
from .data import TaskData
from .trial import (
    Progress,
    Trial,
    TrialError,
    autocast,
    check_finite,
    ending,
    evaluate,
    identity,
    initial_model,
    loss_of,
    make_optimizer,
    out_of_time,
    scheduled_lr,
    set_lr,
    shuffled_batches,
    to_device,
)

Outcome = tuple[Trial, nn.Module] | TrialError
_CHECKED_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class Member:
    """One trial of a stack, and the data of its seed."""

    point: Point
    seed: int
    data: TaskData


@dataclass(kw_only=True)
class _Run:
    """A member under way."""

    place: int
    member: Member
    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Iterator[tuple[Tensor, Tensor]]
    validation: tuple[Tensor, Tensor]
    curve: list[tuple[int, float]] = field(default_factory=list)


def train_members(
    build: Callable[[], nn.Module],
    setting: Setting,
    members: Sequence[Member],
    *,
    device: torch.device,
    progress: Progress | None = None,
    deadline: float = math.inf,
    enough: Callable[[Sequence[Outcome]], bool] = lambda _: False,
) -> list[Outcome]:
    """Train the members side by side; for each what :func:`~pytest_mad.training.trial.train_trial` would give or raise.

    Every member has the same start, batches and ends as alone, and the same numbers up to rounding. One that has ended
    leaves the stack, so that nothing is spent on it. ``enough`` is asked about the first outcome, the first two, and so
    on, as soon as they are there; when it says yes, they are the result: what a loop that asks after each trial would
    have trained. ``progress`` is told the best accuracy of those under way; ``seconds``
    of a trial are those of the stack until it ended.

    A model that draws random numbers when it is trained, as dropout does, is refused: one draw for the whole stack
    would make a trial depend on its companions, and it must be a function of its own spec alone.

    Raises :class:`EngineError`, before any training, for this or another reason that :func:`check` finds.
    """
    started = time.monotonic()
    check(build, setting, members, device)
    recipe = setting.recipe
    total = recipe.total_steps(setting.params.num_train_examples)
    running = _begin(build, setting, members, device)
    outcomes: dict[int, Outcome] = {}
    known: list[Outcome] = []
    with one_thread(device), seeded("train", *(identity(setting, m.point, m.seed) for m in members)):
        step, next_evaluation = 0, recipe.evaluation_after(0, total)
        while running:
            stack = Stack([run.model for run in running])
            while not any(run.place in outcomes for run in running):
                step += 1
                losses_M = _step(stack, running, recipe, step, total)
                if step < next_evaluation:
                    continue
                next_evaluation = recipe.evaluation_after(step, total)
                for run, loss in zip(running, losses_M.tolist(), strict=True):
                    outcome = _judge(run, setting, loss, step, total, started, deadline)
                    if outcome is not None:
                        outcomes[run.place] = outcome
                if progress:
                    progress(step, total, max((run.curve[-1][1] for run in running if run.curve), default=0.0))
            running = [run for run in running if run.place not in outcomes]
            while len(known) in outcomes:
                known.append(outcomes[len(known)])
                if enough(known):
                    return known
    return known


def _begin(
    build: Callable[[], nn.Module], setting: Setting, members: Sequence[Member], device: torch.device
) -> list[_Run]:
    """Every member as the loop would start it. Data that members share goes to the device once."""
    recipe, found = setting.recipe, []
    on_device: dict[int, tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]] = {}
    for place, member in enumerate(members):
        model = initial_model(build, setting, member.point, member.seed, device).train()
        if id(member.data) not in on_device:
            train, validation = (to_device(batch, device) for batch in (member.data.train, member.data.validation))
            on_device[id(member.data)] = train, validation
        train, validation = on_device[id(member.data)]
        found.append(
            _Run(
                place=place,
                member=member,
                model=model,
                optimizer=make_optimizer(model, recipe, member.point),
                batches=shuffled_batches(train, recipe.batch_size, member.seed),
                validation=validation,
            )
        )
    return found


def _step(stack: Stack, runs: Sequence[_Run], recipe: Recipe, step: int, total: int) -> Tensor:
    """One optimizer step of every member, each with the learning rate of its own schedule; returns losses (M,)."""
    batches = [next(run.batches) for run in runs]
    inputs_MBT, targets_MBT = (torch.stack(parts) for parts in zip(*batches, strict=True))
    losses_M = stack.backward(inputs_MBT, targets_MBT, recipe)
    for run in runs:
        set_lr(run.optimizer, scheduled_lr(recipe, run.member.point, step, total))
        run.optimizer.step()
    return losses_M


def _judge(
    run: _Run, setting: Setting, loss: float, step: int, total: int, started: float, deadline: float
) -> Outcome | None:
    """Evaluate a member; what it has come to, or None while it goes on."""
    point, recipe = run.member.point, setting.recipe
    try:
        check_finite(run.model, loss, f"at step {step} (lr {point.lr:g})")
    except TrialError as error:
        return error
    found = evaluate(run.model, run.validation, recipe)
    run.curve.append((step, found.accuracy))
    stopped = ending(setting, run.curve, total)
    if stopped is None:
        return out_of_time(setting, step, found.accuracy) if time.monotonic() > deadline else None
    model = released(run.model).eval()
    seconds = time.monotonic() - started
    trial = Trial(
        point=point,
        seed=run.member.seed,
        steps=step,
        stopped=stopped,
        curve=tuple(run.curve),
        validation=found,
        test=evaluate(model, to_device(run.member.data.test, run.validation[0].device), recipe),
        seconds=seconds,
        seconds_per_step=seconds / step,
    )
    return trial, model


class Stack:
    """Models of one shape whose weights and buffers lie side by side, along a first axis M.

    The models' own parameters and buffers become views of the stack: who changes one changes the other.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = models
        self.weights = _side_by_side([dict(model.named_parameters()) for model in models])
        self.buffers = _side_by_side([dict(model.named_buffers()) for model in models])
        self.trained = [name for name, weight in models[0].named_parameters() if weight.requires_grad]
        for name in self.trained:
            self.weights[name].requires_grad_()
        self.places = _places(models[0])

    def backward(self, inputs_MBT: Tensor, targets_MBT: Tensor, recipe: Recipe) -> Tensor:
        """Losses (M,), and their gradients in the ``grad`` of each model's parameters."""
        with autocast(inputs_MBT.device, recipe):
            losses_M: Tensor = torch.vmap(self._loss)(self.weights | self.buffers, inputs_MBT, targets_MBT)
        gradients = torch.autograd.grad(losses_M.sum(), [self.weights[n] for n in self.trained], allow_unused=True)
        for name, gradient in zip(self.trained, gradients, strict=True):
            # vmap may lay it out transposed; the fused AdamW reads it in the order of the parameter's memory
            rows = [None] * len(self.models) if gradient is None else gradient.contiguous().unbind()
            for model, row in zip(self.models, rows, strict=True):
                model.get_parameter(name).grad = row
        return losses_M.detach()

    def _loss(self, tensors: dict[str, Tensor], inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """One member's. All run through the first model: they differ in their tensors only."""
        placed = {place: tensors[name] for place, name in self.places.items()}

        def model(tokens_BT: Tensor) -> Any:
            return functional_call(self.models[0], placed, (tokens_BT,), tie_weights=False)

        return loss_of(model, inputs_BT, targets_BT)


def _places(model: nn.Module) -> dict[str, str]:
    """Every place of a weight or buffer in the model, and its name there or, where it is shared, its first one.

    ``functional_call`` finds shared weights by itself, but leaves a model damaged that has a module under two names.
    """
    names = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    return {
        f"{prefix}.{key}".lstrip("."): names[id(tensor)]
        for prefix, module in model.named_modules()
        for key, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None
    }


def _side_by_side(tensors: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """By name a tensor with the axis M in front; the given ones become its rows."""
    stacked = {}
    for name in tensors[0]:
        stacked[name] = torch.stack([own[name].detach() for own in tensors])
        for own, row in zip(tensors, stacked[name], strict=True):
            own[name].data = row
    return stacked


def released(model: nn.Module) -> nn.Module:
    """The model with tensors of its own, so that it does not keep the stack in memory."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
        tensor.grad = None
    return model


def check(build: Callable[[], nn.Module], setting: Setting, members: Sequence[Member], device: torch.device) -> None:
    """Raise :class:`EngineError` unless these models can be trained as a stack.

    Tried on a few sequences: in the stack, losses, gradients and buffers must be what they are for each model alone.
    Twice, because what a model keeps from one call may spoil the next.
    """
    with one_thread(device):
        alone, together = (
            [initial_model(build, setting, m.point, m.seed, device).train() for m in members] for _ in range(2)
        )
        batch = [part[:_CHECKED_ROWS] for part in to_device(members[0].data.train, device)]
        try:
            stack = Stack(together)
            for inputs_BT, targets_BT in (batch, [part.flip(0) for part in batch]):
                losses_M = torch.stack([loss_alone(model, inputs_BT, targets_BT, setting.recipe) for model in alone])
                inputs_MBT, targets_MBT = (part.expand(len(alone), -1, -1) for part in (inputs_BT, targets_BT))
                found_M = stack.backward(inputs_MBT, targets_MBT, setting.recipe)
                compare(alone, losses_M, together, found_M, setting.recipe)
            for model in together:
                evaluate(model, (inputs_BT, targets_BT), setting.recipe)  # fails on what has been kept from inside vmap
        except Exception as error:
            refuse(error, "torch.func.vmap")
