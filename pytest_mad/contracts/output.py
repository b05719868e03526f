"""Logits: their shape and dtype."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from .base import ContractError, Subject, register_contract
from .checking import falsify, many, raising


@register_contract("output")
def output(subject: Subject) -> None:
    """Logits (batch, length, vocabulary) of a floating dtype, for any batch."""
    model = subject.build(0).eval()
    subject.build(0)  # which raises where it is no new one

    def check(batch: int) -> None:
        tokens = subject.tokens(batch)
        with torch.no_grad(), raising(f"a batch of {many(batch, 'sequence')}"):
            logits = model(tokens)
        expected = (*tokens.shape, subject.vocab_size)
        if tuple(logits.shape) != expected:
            raise ContractError(
                f"a batch of {many(batch, 'sequence')} gives logits {tuple(logits.shape)}, but must give {expected}"
            )
        if not logits.is_floating_point():
            raise ContractError(f"the logits have dtype {logits.dtype}, but must be floating point")

    falsify(check, batch=st.integers(1, 8))
