"""What contracts check with: logits, how far they moved, and the cases that a check is tried on."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from pytest_mad.common.errors import first_line, is_out_of_memory, type_name

from .base import ContractError, NotApplicableError

#: How far logits may move, relative to their size, before they count as different: well above the rounding of float32
#: (FFT convolutions move by some 1e-6), well below what a score could profit from.
TOLERANCE = 1e-4
#: An entry of the vocabulary this far below the top one is never predicted. It may be masked, also by -inf: a mask must
#: neither hide a change nor pass for one.
_NEVER = 100.0
_GOLDEN = (math.sqrt(5) - 1) / 2
CaseT = TypeVar("CaseT")


def falsify(check: Callable[[CaseT], None], cases: Sequence[CaseT], *, most: int = 10) -> None:
    """Raise what ``check`` raises on the first of the cases on which it does.

    At most so many cases are tried, the same ones in every run: the first, the last, and others spread in between.
    Where one of them fails, those before it are tried too, so that the smallest is told.
    """
    tried = spread(len(cases), most)
    try:
        for place in tried:
            check(cases[place])
    except Exception:
        for earlier in sorted(set(range(place)) - set(tried)):
            check(cases[earlier])
        raise


def spread(count: int, most: int) -> list[int]:
    """At most so many of ``range(count)``, in order: both ends, and multiples of the golden section, modulo 1.

    They are spread evenly and, other than equal steps, follow no period that lengths or batches may have.
    """
    if count <= most:
        return list(range(count))
    found = {0, count - 1}
    multiples = (int(count * (number * _GOLDEN % 1)) for number in itertools.count(1))
    while len(found) < most:
        found.add(next(multiples))
    return sorted(found)


@torch.no_grad()
def logits_of(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    """``(B, T, V)`` in float32. What the model raises becomes a :class:`ContractError` that names the case."""
    batch, length = tokens_BT.shape
    with raising(f"a batch of {many(batch, 'sequence')} of {many(length, 'token')}"):
        logits_BTV: Tensor = model(tokens_BT)
        return logits_BTV.float()


@contextlib.contextmanager
def raising(what: str) -> Iterator[None]:
    """Turn an exception of the user's code into a :class:`ContractError`: ``what`` raises it."""
    try:
        yield
    except (ContractError, NotApplicableError):
        raise
    except Exception as error:
        if is_out_of_memory(error):  # says nothing about the model
            raise
        raise ContractError(f"{what} raises {type_name(error)}: {first_line(error)}") from error


@contextlib.contextmanager
def naming_sparse(model: nn.Module) -> Iterator[None]:
    """Say which gradient is sparse where the optimizer takes none."""
    try:
        yield
    except RuntimeError as error:
        sparse = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.is_sparse]
        if not sparse:
            raise
        raise ContractError(
            f"the gradient of {users_name(sparse[0])} is sparse, and AdamW takes no sparse gradients: use sparse=False"
        ) from error


def are_finite(logits_BTV: Tensor) -> bool:
    """Whether they can be answers. Entries of the vocabulary may be masked by -inf, but not all of them."""
    return bool(logits_BTV.amax(dim=-1).isfinite().all()) and not bool(logits_BTV.isnan().any())


def many(count: int, what: str) -> str:
    """``1 token``, ``2 tokens``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def moved(after: Tensor, before: Tensor) -> float:
    """The largest difference of logits, relative to their size. Adding the same to all changes no prediction."""
    if not after.numel():
        return 0.0
    if not are_finite(before):
        raise NotApplicableError("the logits are not finite: see contract finite")
    if not are_finite(after):
        return math.inf
    after, before = below_top(after), below_top(before)
    return float(((after - before).abs().amax() / size(before)).item())


def below_top(logits_BTV: Tensor) -> Tensor:
    """Logits relative to the highest of their position: adding the same to all of them changes no prediction."""
    return (logits_BTV - logits_BTV.amax(dim=-1, keepdim=True)).clamp(min=-_NEVER)


def size(relative_BTV: Tensor) -> Tensor:
    """What a change of such logits is measured against: the largest of them that may be predicted, and at least 1."""
    return relative_BTV.where(relative_BTV > -_NEVER, 0.0).abs().amax().clamp(min=1.0)


def users_name(name: str) -> str:
    """The user's name of a parameter: ours wraps their model."""
    return name.removeprefix("model.")
