"""Models that offer their one vector in every way that there is, and some that offer none."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from models import Table, Tiny
from torch import Tensor, nn

LENGTH = 4


class Flat(nn.Module):
    """An autoencoder: the whole sequence in one vector, and every position from it."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 16)
        self.decode = nn.Linear(LENGTH * 16, LENGTH * vocab_size)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return self.decode(self.embed(tokens_BT).flatten(1)).unflatten(1, (LENGTH, -1))


def own(task: str, vocab_size: int) -> nn.Module:
    return Flat(vocab_size) if task == "compression" else Tiny(vocab_size)


def without_task(vocab_size: int) -> nn.Module:
    """The same autoencoder from a factory that cannot know that it is to build one."""
    return Flat(vocab_size)


def language_model(task: str, vocab_size: int) -> nn.Module:
    """It knows the task, and builds its language model all the same."""
    return Tiny(vocab_size)


class LooksAhead(Tiny):
    """A language model that sees every token, its own included: all it takes to copy the input."""

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embed(tokens_BT)
        return x_BTD + x_BTD.mean(1, keepdim=True)


def looks_ahead(task: str, vocab_size: int) -> nn.Module:
    """Its logits at position 0 depend on the last token, as an autoencoder's do."""
    return LooksAhead(vocab_size)


class Encoder(Tiny):
    """``encode`` comes before the input of the head."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self.summary = nn.Linear(16, 12)

    def encode(self, tokens_BT: Tensor) -> Tensor:
        return self.summary(self.hidden(tokens_BT).mean(1))


class EncoderOfPositions(Encoder):
    """One vector per position: the last one counts."""

    def encode(self, tokens_BT: Tensor) -> Tensor:
        return self.summary(self.hidden(tokens_BT))


class HiddenStates(Tiny):
    """As Hugging Face's models: a config, and all hidden states on request; the head is a plain matrix."""

    config = SimpleNamespace(hidden_size=20)

    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self.widen = nn.Linear(16, 20)
        self.head = None
        self.out_DV = nn.Parameter(torch.randn(20, vocab_size) / 5)

    def forward(self, tokens_BT: Tensor, output_hidden_states: bool = False) -> SimpleNamespace:
        x_BTD = self.widen(self.hidden(tokens_BT))
        states = (torch.zeros_like(x_BTD), x_BTD) if output_hidden_states else None
        return SimpleNamespace(logits=x_BTD @ self.out_DV, hidden_states=states)


class TwoHeads(Tiny):
    """More than one linear map to the vocabulary: the last one is the head."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self.early = nn.Linear(16, vocab_size)
        self.back = nn.Linear(vocab_size, 24)
        self.head = nn.Linear(24, vocab_size)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return self.head(self.back(self.early(self.hidden(tokens_BT))))


def table(task: str, vocab_size: int) -> nn.Module:
    """No vector anywhere."""
    return Table(vocab_size)
