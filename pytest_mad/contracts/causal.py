"""Causality, as a contract: the guard that every training item has, once more as an item of its own."""

from __future__ import annotations

from .base import ContractError, NotApplicableError, Subject, register_contract
from .causality import NotFiniteError, find_leak, jittered


@register_contract("causality")
def causality(subject: Subject) -> None:
    """No logits depend on a later token, neither with the first weights nor with any others."""
    if subject.bottleneck:
        raise NotApplicableError("an autoencoder may see all of its input")
    model = subject.build(0)
    for candidate in (jittered(model, 0), model):
        try:
            leak = find_leak(candidate, subject.vocab_size, subject.length, subject.device)
        except NotFiniteError as error:
            raise ContractError(str(error)) from None
        if leak:
            raise ContractError(leak)
