"""The sequences of a batch do not see each other."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from pytest_mad.architectures.jitter import jitter, jittered
from pytest_mad.common.determinism import seeded

from .base import ContractError, Subject, register_contract
from .checking import TOLERANCE, falsify, logits_of, moved

MOST = 6


@register_contract("batch-independence")
def batch_independence(subject: Subject) -> None:
    """A sequence has the same logits alone, in any batch, at any place in it; also while the model trains."""
    with jittered(subject.build(0).eval(), 0) as model:
        _check(subject, model)


def _check(subject: Subject, model: nn.Module) -> None:
    tolerance = _tolerance(model)

    def twin() -> nn.Module:
        """For training mode, in which buffers may move: a copy, or where there can be none, the same built again."""
        try:
            return copy.deepcopy(model)
        except Exception:
            return jitter(subject.build(0), 0)

    def check(change: float, what: str) -> None:
        if not change <= tolerance:
            raise ContractError(f"{what}, by {change:.2g} of their size; do the sequences of a batch see each other?")

    def alone(place: tuple[int, int]) -> None:
        batch, row = place
        tokens = subject.tokens(batch)
        change = moved(logits_of(model, tokens)[row], logits_of(model, tokens[row : row + 1])[0])
        check(change, f"alone and as sequence {row} of {batch}, one sequence has other logits")

    def in_any_order(batch: int) -> None:
        tokens = subject.tokens(batch)
        change = moved(logits_of(model, tokens.flip(0)).flip(0), logits_of(model, tokens))
        check(change, f"with {batch} sequences in the opposite order, their logits are others")

    def beside_others(place: tuple[int, int]) -> None:
        batch, row = place
        one, other = subject.tokens(batch), subject.tokens(batch, seed=1)
        other[row] = one[row]
        change = moved(_while_training(twin(), other)[row], _while_training(twin(), one)[row])
        check(change, f"beside other sequences, sequence {row} of {batch} has other logits in training mode")

    places = [(batch, row) for batch in range(2, MOST + 1) for row in range(batch)]
    falsify(alone, places)
    falsify(in_any_order, range(2, MOST + 1))
    falsify(beside_others, places)


def _tolerance(model: nn.Module) -> float:
    """A model in half precision rounds more."""
    return max(TOLERANCE, *(10 * torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()))


def _while_training(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    """Logits in training mode, with the same random numbers every time."""
    with seeded("contract batch-independence"):
        return logits_of(model.train(), tokens_BT)
