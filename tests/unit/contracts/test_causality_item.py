"""The guard as an item: with the first weights and with others, and not for autoencoders."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.unit.contracts.models import COMPRESSION, Attention, D, Model, ask, broken


class OneTooFar(Attention):
    def hidden(self, length):
        return torch.ones(length, length).triu(2) > 0


class OneTooFew(Attention):
    """Strictly the past: position 0 sees itself, or it would see nothing."""

    def hidden(self, length):
        return torch.ones(length, length).triu(0).fill_diagonal_(0).bool() | self.diagonal(length)

    def diagonal(self, length):
        return torch.eye(length).bool() & (torch.arange(length) > 0)


class OverQueries(Attention):
    def weights(self, scores):
        return scores.masked_fill(self.hidden(scores.shape[-1]), -1e9).softmax(-2)


class Unmasked(Attention):
    def hidden(self, length):
        return torch.zeros(length, length).bool()


def with_attention(attention):
    class Changed(Model):
        def __init__(self, vocab_size, max_length):
            super().__init__(vocab_size, max_length)
            self.attention = attention()

    return Changed


class BehindZero(Model):
    """It looks ahead, and shows nothing of it before it has learned to."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.ahead = nn.Linear(D, D, bias=False)
        nn.init.zeros_(self.ahead.weight)

    def mix(self, x):
        return super().mix(x) + self.ahead(x.roll(-1, 1))


class FirstWeightsOnly(Model):
    """It looks ahead through a gate that any change of its weights closes."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.gate = nn.Parameter(torch.ones(1))

    def mix(self, x):
        return super().mix(x) + (self.gate == 1) * x.roll(-1, 1) * self.gate


def test_a_mask_off_by_one_is_found_and_named():
    assert broken(with_attention(OneTooFar), "causality").startswith("not causal: the logits at position 0 change by ")
    assert "tokens from position 1 on" in broken(with_attention(OneTooFar), "causality")


@pytest.mark.parametrize(
    "build",
    [with_attention(Unmasked), with_attention(OverQueries), BehindZero, FirstWeightsOnly],
    ids=["no mask", "softmax over queries", "behind a projection that is zero", "in the first weights only"],
)
def test_a_model_that_sees_the_future_is_found(build):
    assert broken(build, "causality").startswith("not causal: the logits at position ")


@pytest.mark.parametrize("build", [Model, with_attention(OneTooFew)], ids=["causal", "strictly past"])
def test_a_model_that_does_not_is_not(build):
    """Seeing too little is for the scores to tell."""
    assert ask(build, "causality") == ("pass", "")


def test_an_autoencoder_may_see_all():
    assert ask(Model, "causality", COMPRESSION) == ("skipped", "an autoencoder may see all of its input")


def test_logits_that_are_no_numbers_are_said_to_be_so():
    class NotANumber(Model):
        def forward(self, tokens):
            return super().forward(tokens) * torch.nan

    assert broken(NotANumber, "causality") == "the logits of random tokens are NaN or infinite"
