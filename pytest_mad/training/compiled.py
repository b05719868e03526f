"""The loss of long trials on a CPU, compiled: what is done number by number is fused, products go to oneDNN.

Compiling takes up to a minute or two, once per setting: all points of a sweep share it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_mad.common.determinism import one_thread
from pytest_mad.presets.recipe import Point, Recipe
from pytest_mad.presets.setting import Setting
from pytest_mad.tasks import Batch

from .agreement import EngineError, compare, loss_alone, refuse
from .one_dnn import one_dnn_pass
from .trial import Loss, as_it_is, initial_model, loss_of, to_device

#: Floating-point operations of a sweep, about six minutes; a third of it is saved, several times the cost.
WORTH_COMPILING = 1.5e13
#: What compiling a small model costs, counted in the same way: about 15 seconds.
_COST = 6e11
#: A model of more operations, such as one that loops over its tokens in Python, compiles for many minutes: up to 0.1
#: seconds each. Of the reference architectures RWKV-7 has the most: 900.
MOST_OPERATIONS = 2_000


def compiled_from(parameters: int, setting: Setting, point: Point) -> int | None:
    """The first step of this trial that is compiled; None for a sweep that is too short for it.

    The first point's trials wait for a third of their budget, which a sound model does not need, or until they have
    cost as much as compiling does. A second point is only trained where the first fell short: it does not wait. Sizes
    alone decide, since a clock would train the same trial now in one way and now in another: six operations per
    parameter and token, forward and backward (Kaplan et al., arXiv 2001.08361, section 2.1).
    """
    recipe = setting.recipe
    steps = recipe.total_steps(setting.params.num_train_examples)
    tokens = recipe.batch_size * setting.task.input_length(setting.params)
    of_a_step = 6 * tokens * parameters
    if len(recipe.points) * steps * of_a_step < WORTH_COMPILING or not has_compiler():
        return None
    return 1 if point != recipe.points[0] else 1 + int(min(steps / 3, _COST / of_a_step))


@functools.cache
def has_compiler() -> bool:
    """Whether there is a C++ compiler, which torch.compile needs on a CPU."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception:  # torch has one class for each way of having none
        return False
    return True


class Compiled:
    """The loss of one setting's models, compiled for batches of the recipe's size when it is first called."""

    def __init__(self, recipe: Recipe) -> None:
        self.batch_size = recipe.batch_size
        torch.compiler.reset()  # what was compiled for other settings would stay in memory, and count towards a limit
        self._fast = torch.compile(loss_of, dynamic=False, options=_options())

    def loss(self, model: nn.Module) -> Loss:
        """How this model's is computed. The smaller last batch of an epoch is not worth compiling for."""

        def loss(inputs_BT: Tensor, targets_BT: Tensor, reduction: str = "mean") -> Tensor:
            is_whole = len(inputs_BT) == self.batch_size and reduction == "mean"
            found: Tensor = (self._fast if is_whole else loss_of)(model, inputs_BT, targets_BT, reduction)
            return found

        return loss


def compiled(build: Callable[[], nn.Module], setting: Setting, point: Point, seed: int, train: Batch) -> Compiled:
    """The compiled loss, tried on the first batch; all models of the setting share it.

    Raises :class:`EngineError` where it cannot be compiled, gives another loss or other gradients than without, draws
    random numbers (they would be others), or changes attributes when it is called (it would be compiled each time).
    """
    cpu, recipe = torch.device("cpu"), setting.recipe
    with one_thread(cpu):  # which the compiler makes code for
        plain, fast = (initial_model(build, setting, point, seed, cpu).train() for _ in range(2))
        inputs_BT, targets_BT = (part[: recipe.batch_size] for part in to_device(train, cpu))
        loss = loss_alone(plain, inputs_BT, targets_BT, recipe)
        try:
            check_operations(plain, inputs_BT)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # compilers talk about themselves
                found = Compiled(recipe)
                fast_loss = found.loss(fast)(inputs_BT, targets_BT)
                fast_loss.backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            refuse(error, "torch.compile")
        compare([plain], loss[None], [fast], fast_loss.detach()[None], recipe, "torch.compile")
    return found


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what a model asks of torch."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def check_operations(model: nn.Module, tokens_BT: Tensor) -> None:
    """Raise :class:`EngineError` for a model that would compile for many minutes."""
    with torch.no_grad(), Operations() as operations:
        model(tokens_BT)
    if operations.count > MOST_OPERATIONS:
        raise EngineError(f"{operations.count:,} operations, above {MOST_OPERATIONS:,}, would take long to compile")


class Later:
    """How the trials of one sweep compute their losses: as they are, and compiled from the step on where that pays."""

    def __init__(
        self, build: Callable[[], nn.Module], setting: Setting, seed: int, train: Batch, parameters: int
    ) -> None:
        self.build, self.setting, self.seed, self.train = build, setting, seed, train
        self.parameters = parameters
        #: why compiling was due and could not be had; empty where it was not due, or could
        self.refusal = ""
        self._compiled: Compiled | None = None

    def loss_at(self, point: Point) -> Callable[[nn.Module, int], Loss]:
        """What a trial at this point calls in a step, counted from 1."""
        first = compiled_from(self.parameters, self.setting, point)
        return as_it_is if first is None else lambda model, step: (as_it_is if step < first else self._fast)(model)

    def _fast(self, model: nn.Module) -> Loss:
        if self._compiled is None and not self.refusal:
            try:
                point = self.setting.recipe.points[0]
                self._compiled = compiled(self.build, self.setting, point, self.seed, self.train)
            except EngineError as error:
                self.refusal = str(error)
        return self._compiled.loss(model) if self._compiled else as_it_is(model)


def _options() -> dict[str, Any]:
    """Inductor's, as far as this torch has them: no pool of processes beside our workers, and products by oneDNN.

    A graph is one program with all its loops, where each loop would be compiled by itself: up to half the time less.
    What the processor can do is known without compiling and loading a program for each of its instruction sets; a
    compiler that is older than the processor is refused like one that fails. To precompile headers takes six seconds,
    and saves one where a setting is compiled, which few are. Checks that tensors have the shapes and strides that were
    traced take a tenth of the time; what they would find makes another loss or other gradients on the first batch.
    """
    from torch._inductor import list_options

    options: dict[str, Any] = {
        "compile_threads": 1,
        "cpp_wrapper": True,
        "cpp.vec_isa_ok": True,
        "cpp_cache_precompile_headers": False,
        "size_asserts": False,
    }
    if one_dnn := one_dnn_pass():
        options["post_grad_custom_post_pass"] = one_dnn
    return {name: value for name, value in options.items() if name in list_options()}
