"""Its numbers stay finite."""

from __future__ import annotations

import math

from .base import ContractError, Subject, register_contract
from .checking import are_finite, logits_of, users_name

STEPS = 5
#: Of the first logits: far above what the usual initialisations give, and what a softmax tells apart.
LARGE = 100.0


@register_contract("finite")
def finite(subject: Subject) -> str | None:
    """Logits are finite at first, and losses and weights through a few steps at the recipe's largest learning rate.

    That the first logits are large is told: it is how a denominator shows that may come close to zero.
    """
    model = subject.build(0)
    logits = logits_of(model, subject.tokens(2))
    if not are_finite(logits):
        raise ContractError("the logits of a new model are not finite")
    for step in range(1, STEPS + 1):
        loss = subject.learn(model, subject.batches[step % len(subject.batches)])
        if not math.isfinite(loss):
            raise ContractError(f"the loss of step {step} is {loss}")
        for name, parameter in model.named_parameters():
            if not parameter.isfinite().all():
                raise ContractError(f"{users_name(name)} is not finite after step {step}")
    size = float(logits[logits.isfinite()].abs().max())
    return f"logits of a new model reach {size:.3g}: is there a denominator close to zero?" if size > LARGE else None
