"""Under autocast to bfloat16 little changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytest_mad.evaluation.options import ContractOptions
from tests.unit.contracts.models import COMPRESSION, D, Model, Recurrent, V, ask, broken


class MixedDtypes(Model):
    """A buffer's float32 meets a product's bfloat16 in an operation that does not promote."""

    def mix(self, x):
        y = self.mlp(x)
        z = torch.zeros(x.shape)
        return super().mix(x) + z.index_add(0, torch.arange(len(y)), y)


class Cancels(Model):
    """The difference of two large, almost equal numbers."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.large = nn.Linear(D, D)
        self.large.bias.data += 1e3

    def mix(self, x):
        return super().mix(x) + self.large(x) - self.large.bias


class Counts(Model):
    """Positions that bfloat16 cannot tell apart."""

    def mix(self, x):
        ones = torch.ones(x.shape[1], x.shape[1]).tril()
        position = 300 + (ones @ ones[:, :1])
        return super().mix(x) + position.float().sin() + 0 * position


class Overflows(Model):
    """Half precision by the user's own hand: 65,504 is its largest number."""

    def mix(self, x):
        x = super().mix(x)
        return x + (1e4 * x.to(torch.get_autocast_dtype("cpu")).half()).exp() if torch.is_autocast_enabled("cpu") else x


class Masked(Model):
    def forward(self, tokens):
        logits = super().forward(tokens).clone()
        logits[..., V - 1] = -torch.inf
        return logits


def test_a_dtype_that_does_not_fit_is_told_in_one_line():
    message = broken(MixedDtypes, "autocast")
    assert "raises RuntimeError: " in message and "\n" not in message


@pytest.mark.parametrize("build", [Cancels, Counts], ids=lambda build: build.__name__)
def test_digits_that_are_lost_are_counted(build):
    message = broken(build, "autocast")
    assert message.startswith("under bfloat16 autocast the logits change by ")
    assert message.endswith(" of their size")


def test_an_overflow_is_found():
    assert "change by " in broken(Overflows, "autocast")


@pytest.mark.parametrize("build", [Model, Recurrent, Masked], ids=lambda build: build.__name__)
def test_a_model_that_keeps_its_digits_passes(build):
    assert ask(build, "autocast") == ("pass", "")


def test_an_autoencoder_is_asked_too():
    assert ask(Model, "autocast", COMPRESSION) == ("pass", "")


def test_it_only_warns():
    assert ContractOptions().mode("autocast").name == "warn"
