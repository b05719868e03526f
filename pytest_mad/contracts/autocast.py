"""Half precision changes little."""

from __future__ import annotations

import torch

from .base import ContractError, Subject, register_contract
from .checking import logits_of, moved

TOLERANCE = 0.05


@register_contract("autocast", hard=False)
def autocast(subject: Subject) -> None:
    """Under autocast to bfloat16 the logits are the same within 5 % of their size."""
    model, tokens = subject.build(0).eval(), subject.tokens(4)
    full = logits_of(model, tokens)
    with torch.autocast(subject.device.type, torch.bfloat16):
        half = logits_of(model, tokens)
    change = moved(half, full)
    if not change <= TOLERANCE:
        raise ContractError(f"under bfloat16 autocast the logits change by {change:.2g} of their size")
