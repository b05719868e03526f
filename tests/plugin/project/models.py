"""Tiny models; the plugin's tests copy this module into the folder in which they run pytest."""

from __future__ import annotations

import random
import time

import numpy as np
import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """Each token and the one before it, then a linear head: enough to memorize, not to recall."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 16)
        self.head = nn.Linear(16, vocab_size)

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embed(tokens_BT)
        return x_BTD + previous(x_BTD)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return self.head(self.hidden(tokens_BT))


def previous(x_BTD: Tensor) -> Tensor:
    """Every position gets what stood one position earlier."""
    return torch.cat([torch.zeros_like(x_BTD[:, :1]), x_BTD[:, :-1]], dim=1)


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD-Lab's form."""
    return Tiny(vocab_size)


def plain(vocab_size: int) -> nn.Module:
    """A factory that does not know the task."""
    return Tiny(vocab_size)


def drawn(vocab_size: int) -> nn.Module:
    """A factory that draws its initialisation from every global generator."""
    model = Tiny(vocab_size)
    with torch.no_grad():
        model.head.weight += torch.from_numpy(np.random.normal(size=model.head.weight.shape))
        model.head.weight *= 1 + random.random()
    return model


def broken(vocab_size: int) -> nn.Module:
    """A factory that raises."""
    raise ValueError("no model today")


def interrupted(vocab_size: int) -> nn.Module:
    """A factory whose second setting is cut short by Ctrl-C."""
    if vocab_size == 24:
        raise KeyboardInterrupt
    return Tiny(vocab_size)


def slow(vocab_size: int) -> nn.Module:
    """A factory whose second setting takes longer than anyone waits."""
    if vocab_size == 24:
        time.sleep(30)
    return Tiny(vocab_size)


class Table(nn.Module):
    """Logits of each token from a table: no vector anywhere."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.logits_VV = nn.Parameter(0.02 * torch.randn(vocab_size, vocab_size))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return self.logits_VV[tokens_BT]


def table(vocab_size: int) -> nn.Module:
    return Table(vocab_size)
