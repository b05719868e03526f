"""A model that can run token by token gives the same logits as in one pass."""

from __future__ import annotations

from typing import Any

import torch

from pytest_mad.architectures.backbones import WholeSequencesError

from .base import ContractError, NotApplicableError, Subject, register_contract
from .checking import falsify, logits_of, moved, raising

TOLERANCE = 1e-3


@register_contract("state", hard=False)
@torch.no_grad()
def state(subject: Subject) -> None:
    """``init_state(batch)`` and ``step(tokens, state) -> (logits, state)`` agree with the parallel form."""
    model = subject.build(0).eval()
    inner: Any = getattr(model, "model", model)
    if subject.bottleneck or not all(callable(getattr(inner, name, None)) for name in ("init_state", "step")):
        raise NotApplicableError("the model has no init_state(batch) and step(tokens, state)")

    def check(length: int) -> None:
        tokens = subject.tokens(2, length)
        parallel = logits_of(model, tokens)
        with raising("init_state(2)"):
            try:
                memory = inner.init_state(2)
            except WholeSequencesError as reason:
                raise NotApplicableError(str(reason)) from None
        for t in range(length):
            with raising(f"step number {t + 1}"):
                logits, memory = inner.step(tokens[:, t], memory)
            change = moved(logits.float(), parallel[:, t])
            if not change <= TOLERANCE:
                raise ContractError(
                    f"step by step, the logits of token {t} of {length} differ from the parallel form's by "
                    f"{change:.2g} of their size"
                )

    falsify(check, range(1, subject.length + 1), most=5)
