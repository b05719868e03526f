"""The model leaves its input as it is."""

from __future__ import annotations

import torch
from torch import nn

from .base import ContractError, Subject, register_contract
from .checking import raising


@register_contract("input-unchanged", hard=False)
def input_unchanged(subject: Subject) -> None:
    """The tokens are after a forward pass what they were before. It gets copies here; in a training loop it may not."""
    model = subject.build(0)
    for is_training in (False, True):
        tokens = subject.tokens(4)
        before = tokens.clone()
        with torch.no_grad(), raising("a batch of 4 sequences"):
            _users(model.train(is_training))(tokens)
        if not torch.equal(tokens, before):
            count = int((tokens != before).sum())
            raise ContractError(
                f"the model writes into its input: {count} of {tokens.numel()} tokens are others after a forward pass; "
                "here it gets copies, but a training loop would go on with the changed ones"
            )


def _users(model: nn.Module) -> nn.Module:
    """What the factory returned: our wrapper makes the copies."""
    return model.get_submodule("model")
