"""Models that take their process with them, or never return, on the setting with a vocabulary of 24."""

from __future__ import annotations

import os
import re
import signal

from models import Tiny
from torch import Tensor, nn


class Dying(Tiny):
    """Fine until the first training step, and on every other setting."""

    def forward(self, tokens_BT: Tensor) -> Tensor:
        if self.training and self.embed.num_embeddings == 24:
            self.die()
        return super().forward(tokens_BT)

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(Dying):
    def die(self) -> None:
        re.match("(a+)+$", 40 * "a" + "b")  # for hours, and no other thread of Python's runs meanwhile


class Leaving(Dying):
    def die(self) -> None:
        os._exit(3)


class Broken(Dying):
    def die(self) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later")


def killed(vocab_size: int) -> nn.Module:
    return Dying(vocab_size)


def hangs(vocab_size: int) -> nn.Module:
    return Hanging(vocab_size)


def leaves(vocab_size: int) -> nn.Module:
    return Leaving(vocab_size)


def broken_cuda(vocab_size: int) -> nn.Module:
    return Broken(vocab_size)
