"""Logits must be (batch, length, vocabulary), floating, for any batch."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from tests.unit.contracts.models import Model, T, V, all_broken, ask, broken


class Squeezed(Model):
    def forward(self, tokens):
        return super().forward(tokens).squeeze(0)


class Cast(Model):
    DTYPE = torch.int64

    def forward(self, tokens):
        return (100 * super().forward(tokens)).to(self.DTYPE)


class Complex(Cast):
    DTYPE = torch.complex64


class Half(Cast):
    DTYPE = torch.float16


class BFloat16(Cast):
    DTYPE = torch.bfloat16


class Double(Cast):
    DTYPE = torch.float64


class FourAtMost(Model):
    """A buffer for a batch that was thought to be the largest."""

    def forward(self, tokens):
        return super().forward(tokens[:4])


def test_a_batch_of_one_that_is_squeezed_is_found():
    assert broken(Squeezed, "output") == f"a batch of 1 sequence gives logits {(T, V)}, but must give {(1, T, V)}"


def test_sequences_that_get_no_logits_are_counted():
    """The smallest batch that shows it."""
    assert broken(FourAtMost, "output") == f"a batch of 5 sequences gives logits {(4, T, V)}, but must give {(5, T, V)}"


@pytest.mark.parametrize("model", [Cast, Complex])
def test_logits_that_are_no_real_numbers_are_found(model):
    assert broken(model, "output") == f"the logits have dtype {model.DTYPE}, but must be floating point"


@pytest.mark.parametrize("model", [Model, Half, BFloat16, Double])
def test_any_floating_dtype_will_do(model):
    assert ask(model, "output") == ("pass", "")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_in_another_precision_keeps_what_it_computes_apart(dtype):
    """Rounding is no leak: neither between sequences nor from the future."""

    def build(vocab_size, max_length):
        return Model(vocab_size, max_length).to(dtype)

    assert not all_broken(build, contracts=["output", "causality", "batch-independence", "repeatability"])


def test_a_model_that_cannot_take_every_batch_is_found():
    """With what it raised."""

    class Pairs(Model):
        def forward(self, tokens):
            return super().forward(tokens.view(2, -1, tokens.shape[1]).flatten(0, 1))

    assert broken(Pairs, "output").startswith(
        "a batch of 1 sequence raises RuntimeError: shape '[2, -1, 16]' is invalid"
    )


def test_models_of_one_factory_have_one_size():
    """Or something counts outside of them."""
    sizes = itertools.count(8, 2)

    def make_model(vocab_size):
        dim = next(sizes)
        return nn.Sequential(nn.Embedding(vocab_size, dim), nn.Linear(dim, vocab_size))

    assert broken(make_model, "output") == (
        "two models of one factory differ: 0.weight is (8, 8) in the first and (8, 10) in the second; is there a state that "
        "is kept outside of the model?"
    )
