"""A model with other weights, on which what its first weights hide can be seen."""

from __future__ import annotations

import copy

import torch
from torch import nn

from pytest_mad.common.seeds import derive_seed


@torch.no_grad()
def jittered(model: nn.Module, seed: int) -> nn.Module:
    """A copy in which every trained parameter has moved by about a tenth of its size, so that signs stay.

    Zeros move by a tenth of the size of the others, or by 0.1 where all are zero.
    """
    noise = torch.Generator().manual_seed(derive_seed("jitter", seed))
    moved = copy.deepcopy(model)
    for parameter in moved.parameters():
        if parameter.requires_grad and parameter.is_floating_point():
            size = parameter.float().square().mean().sqrt().item() or 1.0
            draw = torch.randn(parameter.shape, generator=noise).to(parameter)
            parameter.add_(draw * torch.where(parameter == 0, size, parameter.abs()), alpha=0.1)
    return moved
