"""Any length up to the longest."""

from __future__ import annotations

from .base import ContractError, NotApplicableError, Subject, register_contract
from .checking import falsify, logits_of

FEW = 64  # lengths are all tried up to here


@register_contract("lengths", hard=False)
def lengths(subject: Subject) -> None:
    """Any length from 1 to ``max_length``, odd ones too. Sound kernels have constraints, so this is a warning."""
    if subject.bottleneck:
        raise NotApplicableError("an autoencoder is built for one length")
    model = subject.build(0).eval()

    def check(length: int) -> None:
        logits = logits_of(model, subject.tokens(2, length))
        if tuple(logits.shape) != (2, length, subject.vocab_size):
            raise ContractError(f"sequences of {length} tokens give logits {tuple(logits.shape)}")

    for length in range(1, min(subject.max_length, FEW) + 1):
        check(length)
    if subject.max_length > FEW:
        check(subject.max_length)
        falsify(check, range(FEW + 1, subject.max_length + 1))
