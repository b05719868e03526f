"""Other weights for a model, on which what its first weights hide can be seen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from pytest_mad.common.seeds import derive_seed


@torch.no_grad()
def jitter(model: nn.Module, seed: int) -> nn.Module:
    """Move every trained parameter by about a tenth of its size, so that signs stay; the model itself is returned.

    Zeros move by a tenth of the size of the others, or by 0.1 where all are zero.
    """
    noise = torch.Generator().manual_seed(derive_seed("jitter", seed))
    for parameter in _moved(model):
        size = parameter.float().square().mean().sqrt().item() or 1.0
        draw = torch.randn(parameter.shape, generator=noise, dtype=torch.float32, device="cpu").to(parameter)
        parameter.add_(draw * torch.where(parameter == 0, size, parameter.abs()), alpha=0.1)
    return model


@contextlib.contextmanager
def jittered(model: nn.Module, seed: int) -> Iterator[nn.Module]:
    """The same for as long as what is inside runs. No copy is made: not every model can be copied."""
    before = [(parameter, parameter.detach().clone()) for parameter in _moved(model)]
    try:
        yield jitter(model, seed)
    finally:
        with torch.no_grad():
            for parameter, weights in before:
                parameter.copy_(weights)


@contextlib.contextmanager
def shaken(model: nn.Module, seed: int) -> Iterator[nn.Module]:
    """For as long as what is inside runs, weights that are drawn anew, of the same size: other experts, open gates.

    Vectors are drawn near zero, so that no bias decides alone.
    """
    noise = torch.Generator().manual_seed(derive_seed("shake", seed))
    before = [(parameter, parameter.detach().clone()) for parameter in _moved(model)]
    try:
        with torch.no_grad():
            for parameter, weights in before:
                size = weights.float().square().mean().sqrt().item() or 1.0
                draw = torch.randn(weights.shape, generator=noise, dtype=torch.float32, device="cpu")
                parameter.copy_(draw * (size if parameter.dim() > 1 else 0.1))
        yield model
    finally:
        with torch.no_grad():
            for parameter, weights in before:
                parameter.copy_(weights)


def _moved(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad and p.is_floating_point() and p.numel()]
