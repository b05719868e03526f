"""Whether an engine computes what the model computes alone: losses, gradients, buffers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from pytest_mad.common.determinism import seeded
from pytest_mad.common.errors import first_line, is_out_of_memory
from pytest_mad.presets.recipe import Recipe

from .trial import autocast, loss_of

#: Parts of the largest number by which a loss or a gradient may differ between the stack and a model on its own.
_OF_FLOAT32, _OF_BF16 = 1e-3, 0.05


_LONGEST_REASON = 200


_PLAIN = (int, float, str, tuple)


class EngineError(RuntimeError):
    """A model that this engine cannot train as the loop would; the message is the reason, in one line."""


def refuse(error: Exception, by: str) -> NoReturn:
    """Raise :class:`EngineError` for what a model raised under an engine; what says nothing of the model as it is."""
    if isinstance(error, EngineError) or is_out_of_memory(error):
        raise error
    line = first_line(error)[:_LONGEST_REASON]
    raise EngineError(f"{by} does not run it: {type(error).__name__}: {line}") from error


def loss_alone(model: nn.Module, inputs_BT: Tensor, targets_BT: Tensor, recipe: Recipe) -> Tensor:
    """Forward and backward without vmap; :class:`EngineError` if that depends on, or changes, more than its tensors."""
    before = _attributes(model)
    with seeded("vmap"):
        undisturbed = _draws(inputs_BT.device)
    with seeded("vmap"):
        model.zero_grad()
        with autocast(inputs_BT.device, recipe):
            loss = loss_of(model, inputs_BT, targets_BT)
        loss.backward()  # type: ignore[no-untyped-call]
        if _draws(inputs_BT.device) != undisturbed:
            raise EngineError("it draws random numbers, as dropout does: they would not be those of the loop")
    for name, value in _attributes(model).items():
        if name not in before or not (value is before[name] or (isinstance(value, _PLAIN) and value == before[name])):
            raise EngineError(f"{name} changes when the model is called, and is no buffer")
    return loss.detach()


def _draws(device: torch.device) -> tuple[float, ...]:
    """The next number of each generator that a model may use."""
    python = random.random()  # noqa: S311 - compared, not kept secret
    return python, float(np.random.rand()), float(torch.rand(())), float(torch.rand((), device=device))


def _attributes(model: nn.Module) -> dict[str, object]:
    """What the model's modules hold besides weights and buffers, by name."""
    return {
        f"{name}.{key}".lstrip("."): value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
    }


def compare(
    alone: Sequence[nn.Module],
    losses_M: Tensor,
    together: Sequence[nn.Module],
    found_M: Tensor,
    recipe: Recipe,
    engine: str = "vmap",
) -> None:
    """Raise :class:`EngineError` where losses, gradients or buffers differ by more than rounding explains."""
    tolerance = _OF_BF16 if recipe.precision == "bf16" and found_M.is_cuda else _OF_FLOAT32
    if not _agree(found_M, losses_M, tolerance):
        raise EngineError(f"its losses under {engine} are {_listed(found_M)} instead of {_listed(losses_M)}")
    for one, other in zip(alone, together, strict=True):
        expected, found = (
            {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
            for model in (one, other)
        )
        for name in sorted(expected.keys() ^ found.keys()):
            raise EngineError(f"{name} has a gradient only {'without' if name in expected else 'under'} {engine}")
        # some gradients are zero but for rounding, e.g. that of a bias of keys: nothing to compare
        least = 1e-3 * max((float(gradient.abs().max()) for gradient in expected.values()), default=0.0)
        for name, gradient in expected.items():
            if not _agree(found[name], gradient, tolerance, least):
                raise EngineError(f"the gradient of {name} is another under {engine}")
        for name, buffer in one.named_buffers():
            if not _agree(other.get_buffer(name), buffer, tolerance):
                raise EngineError(f"the buffer {name} is updated otherwise under {engine}")


def _agree(found: Tensor, expected: Tensor, tolerance: float, least: float = 0.0) -> bool:
    """Up to a part of the largest number, or of ``least`` if that is larger."""
    is_rounded = expected.is_floating_point() or expected.is_complex()
    if not is_rounded or not expected.numel():
        return torch.equal(found, expected)
    return bool((found - expected).abs().max() <= tolerance * max(float(expected.abs().max()), least))


def _listed(losses_M: Tensor) -> str:
    return ", ".join(f"{loss:.4g}" for loss in losses_M.tolist())
