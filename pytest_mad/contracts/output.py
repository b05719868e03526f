"""Logits: their shape and dtype."""

from __future__ import annotations

import torch
from torch import nn

from .base import ContractError, Subject, register_contract
from .checking import falsify, many, raising, users_name


@register_contract("output")
def output(subject: Subject) -> None:
    """Logits (batch, length, vocabulary) of a floating dtype, for any batch; one size of all models of a factory."""
    model = subject.build(0).eval()
    sizes = [_sizes(one) for one in (model, subject.build(0))]  # which raises where the second is no new one
    for name in sorted(sizes[0].keys() | sizes[1].keys()):
        if sizes[0].get(name) != sizes[1].get(name):
            one, other = (found.get(name, "absent") for found in sizes)
            raise ContractError(
                f"two models of one factory differ: {users_name(name)} is {one} in the first and {other} in the "
                "second; is there a state that is kept outside of the model?"
            )

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

    falsify(check, range(1, 9))


def _sizes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
