"""Whether a kernel agrees with the reference: both are run on a small part of a call's own tensors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .precision import Form, kernel_dtype

SEQUENCES, TOKENS = 2, 128  # the part that is compared; with two chunks of every kernel we know

# A number may differ from the reference's by this part of the largest one: half precision, or TF32 products
TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 1e-2, torch.float32: 5e-3}
NOTHING = 1e-3  # as a part of the largest number of all
OF_GRADIENTS = 5  # times that: rounding adds up over two passes and over all tokens. A wrong formula is further off


@dataclass(frozen=True)
class Call:
    """The arguments of an operator.

    Args:
        tensors: the first gives device and dtype.
        config: keywords.
        form: any form of the operator, for the names of its parameters.
    """

    tensors: tuple[Tensor | None, ...]
    config: dict[str, Any]
    form: Form

    @property
    def first(self) -> Tensor:
        first = self.tensors[0]
        assert first is not None
        return first

    def needs_gradients(self) -> bool:
        return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in self.tensors)

    def kind(self) -> Hashable:
        """What decides how a kernel computes it: not how many sequences, and tokens by magnitude."""
        parts = zip(self.tensors, batch_and_time(self.form), strict=False)
        shapes = [None if tensor is None else (tensor.dtype, tensor.shape[lead:]) for tensor, lead in parts]
        tokens = min(self.first.shape[1], TOKENS).bit_length()  # one token says little about many
        where = self.first.device, kernel_dtype(self.first), self.needs_gradients(), tokens
        return (*where, *shapes, *self.config.items())

    def part(self) -> list[Tensor | None]:
        """A few sequences and tokens of every tensor, copied."""
        cuts = (slice(SEQUENCES), slice(TOKENS))
        parts = zip(self.tensors, batch_and_time(self.form), strict=False)
        return [None if tensor is None else tensor.detach()[cuts[:lead]].clone() for tensor, lead in parts]


@functools.cache
def batch_and_time(form: Form) -> tuple[int, ...]:
    """How many of each tensor's first axes are batch and time, as the parameters' names say: 2 for ``q_BTHK``.

    S is time too, that of keys which are more than the queries.
    """
    axes = [name.rpartition("_")[2] for name in inspect.signature(form).parameters]
    return tuple(len(names) - len(names.lstrip("BTS")) for names in axes)


def disagreement(kernel: Form, reference: Form, call: Call) -> str | None:
    """What is wrong with the kernel's numbers, or the error that it ends in; None if nothing is.

    Draws no random numbers. A lack of memory is nobody's fault, and raised.
    """
    try:
        values = list(_values(kernel, call))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compilers, drivers and packages have their own
        return f"fails: {in_short(error)}"
    tolerance = TOLERANCE[kernel_dtype(call.first)]
    references = list(_values(reference, call))
    largest_of_all = max(expected.abs().max().item() for _, _, expected in references)
    for (name, scale, actual), (_, _, expected) in zip(values, references, strict=True):
        gap, largest = (actual - expected).abs().max().item(), expected.abs().max().item()
        largest = max(largest, NOTHING * largest_of_all)  # what ought to be zero may be a sum of what cancels
        if not gap <= scale * tolerance * largest:  # a NaN fits nowhere
            return f"disagrees with the reference: {name} is off by {gap:.2g}, its largest number is {largest:.2g}"
    return None


def in_short(error: Exception) -> str:
    """Compilers write pages."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _values(form: Form, call: Call) -> Iterator[tuple[str, int, Tensor]]:
    """Output, states and, if the call needs them, gradients: name, tolerated share of rounding, value in float32."""
    tensors = call.part()
    wanted = []
    for given, tensor in zip(call.tensors, tensors, strict=True):
        if call.needs_gradients() and given is not None and tensor is not None and given.requires_grad:
            wanted.append(tensor.requires_grad_())
    with torch.set_grad_enabled(bool(wanted)):
        output, *states = _flat(form(*tensors, **_without_dropout(call.config)))
    yield "the output", 1, output.detach().float()
    for state in states:
        yield "the state", 1, state.detach().float()
    if wanted:
        probe = torch.arange(output.numel(), device=output.device).cos().view_as(output).to(output.dtype)
        for gradient in torch.autograd.grad(output, wanted, probe, materialize_grads=True):
            yield "a gradient", OF_GRADIENTS, gradient.float()


def _flat(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [tensor for part in result for tensor in _flat(part)]


def _without_dropout(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"dropout": 0.0} if "dropout" in config else config
