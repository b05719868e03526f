"""Everything that can be wrong with a factory or with what it returns."""

from __future__ import annotations

import torch
from models import Tiny, make_model
from torch import Tensor, nn

number = 3
instance = Tiny(8)


class Namespace:
    make_model = staticmethod(make_model)


def needs_width(vocab_size: int, width: int, *, depth: int) -> nn.Module:
    raise AssertionError("never called")


def positional_only(vocab_size: int, /) -> nn.Module:
    raise AssertionError("never called")


class NoWidth(nn.Module):
    def __init__(self, size: int = 16) -> None:
        super().__init__()


def raises(vocab_size: int) -> nn.Module:
    return helper(vocab_size)


def helper(vocab_size: int) -> nn.Module:
    raise ValueError(f"a vocabulary of {vocab_size} is too much for me\nand this is a second line")


def not_a_module(vocab_size: int) -> object:
    return {"model": Tiny(vocab_size)}


def nothing(vocab_size: int) -> None:
    Tiny(vocab_size)


class NoParameters(nn.Module):
    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return nn.functional.one_hot(tokens_BT, self.vocab_size).float()


class Rank(Tiny):
    def forward(self, tokens_BT: Tensor) -> Tensor:
        return super().forward(tokens_BT)[:, -1]


class Length(Tiny):
    def forward(self, tokens_BT: Tensor) -> Tensor:
        return super().forward(tokens_BT)[:, 1:]


class Vocabulary(Tiny):
    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size + 1)


class NoTensor(Tiny):
    def forward(self, tokens_BT: Tensor) -> list[Tensor]:
        return [super().forward(tokens_BT)]


class Crash(Tiny):
    """Fails for every input."""

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return super().forward(tokens_BT) @ torch.zeros(3, 3)


class NaN(Tiny):
    """Not a number from the start."""

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return super().forward(tokens_BT) * float("nan")


class Later(Tiny):
    """Fine until the eighth training step: no contract takes so many."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self.steps = 0

    def forward(self, tokens_BT: Tensor) -> Tensor:
        logits_BTV = super().forward(tokens_BT)
        self.steps += self.training
        return self.then(logits_BTV) if self.training and self.steps >= 8 else logits_BTV

    def then(self, logits_BTV: Tensor) -> Tensor:
        raise NotImplementedError


class LaterNaN(Later):
    def then(self, logits_BTV: Tensor) -> Tensor:
        return logits_BTV * float("nan")


class LaterInf(Later):
    def then(self, logits_BTV: Tensor) -> Tensor:
        return logits_BTV.index_fill(-1, torch.arange(7, 16), float("-inf"))


class LaterCrash(Later):
    def then(self, logits_BTV: Tensor) -> Tensor:
        raise IndexError("lost my way\nand more")


class DeviceMemory(Later):
    def then(self, logits_BTV: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


class HostMemory(Later):
    def then(self, logits_BTV: Tensor) -> Tensor:
        return torch.empty(2**60)


class AtOnce(Tiny):
    def forward(self, tokens_BT: Tensor) -> Tensor:
        return torch.empty(2**60)
