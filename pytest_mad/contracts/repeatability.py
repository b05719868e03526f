"""The same again gives the same again."""

from __future__ import annotations

import math

from pytest_mad.common.determinism import seeded

from .base import ContractError, NotApplicableError, Subject, register_contract
from .checking import falsify, logits_of, many, moved

STEPS = 3
#: Some sums on a GPU come in no fixed order.
TOLERANCE_ON_GPU = 1e-3


@register_contract("repeatability")
def repeatability(subject: Subject) -> None:
    """``eval()`` answers the same tokens twice alike, and training twice from one seed gives the same losses."""
    tolerance = TOLERANCE_ON_GPU if subject.device.type == "cuda" else 0.0
    model = subject.build(0).eval()

    def evaluate_twice(batch: int) -> None:
        tokens = subject.tokens(batch)
        change = moved(logits_of(model, tokens), logits_of(model, tokens))
        if not change <= tolerance:
            who = f"in eval(), a batch of {many(batch, 'sequence')} gets other logits the second time"
            raise ContractError(f"{who}, by {change:.2g} of their size; is dropout left on, or a state not reset?")

    falsify(evaluate_twice, range(1, 5))
    first, second = _losses(subject), _losses(subject)
    for step, (one, other) in enumerate(zip(first, second, strict=True), start=1):
        if not math.isfinite(one) and not math.isfinite(other):
            raise NotApplicableError("the losses are not finite: see contract finite")
        if not abs(one - other) <= tolerance * max(1.0, abs(one)):
            raise ContractError(
                f"trained twice from one seed, the losses of step {step} are {one:.6g} and {other:.6g}; is there a "
                "random number without a seed, or a state that is kept outside of the model?"
            )


def _losses(subject: Subject) -> list[float]:
    model = subject.build(0)
    with seeded("contract repeatability"):
        return [subject.learn(model, subject.batches[step % len(subject.batches)]) for step in range(STEPS)]
