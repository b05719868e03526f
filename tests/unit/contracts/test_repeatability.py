"""The same again gives the same again, in evaluation and in training."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from tests.unit.contracts.models import SETTING, D, Model, Recurrent, V, ask, broken


class DropoutLeftOn(Model):
    def mix(self, x):
        return nn.functional.dropout(super().mix(x), 0.1)


class NoisyNumpy(Model):
    def mix(self, x):
        return super().mix(x) + 0.1 * torch.from_numpy(np.random.randn(*x.shape)).to(x)


class StateNotReset(Model):
    """The end of one sequence is the start of the next."""

    state = 0.0

    def mix(self, x):
        x = super().mix(x + self.state)
        self.state = x.detach().mean((0, 1))
        return x


class CountsCalls(Model):
    """A step counter that evaluation moves too."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.register_buffer("calls", torch.zeros(()))

    def mix(self, x):
        self.calls += 1
        return super().mix(x) * (1 + 0.01 * self.calls)


class OnceInAWhile(Model):
    """A state that shows in a few of many calls."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.register_buffer("calls", torch.zeros(()))

    def mix(self, x):
        self.calls += 1
        return super().mix(x) + float(self.calls % 5 == 0)


_own = np.random.default_rng()


class UnseededWeights(Model):
    """Weights from a generator of the module's own, which nothing seeds."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.head.weight.data = torch.from_numpy(_own.standard_normal((vocab_size, D))).float()


class UnseededTraining(Model):
    """Dropout from a generator of its own."""

    def mix(self, x):
        x = super().mix(x)
        return x * torch.from_numpy(_own.random(x.shape) > 0.1).to(x) if self.training else x


class Seeded(Model):
    """Weights from every global generator, which the factory is called with."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.head.weight.data = torch.from_numpy(np.random.randn(vocab_size, D)).float() + random.random()


class Dropout(Model):
    def mix(self, x):
        return nn.functional.dropout(super().mix(x), 0.1, self.training)


class LayerDrop(Model):
    """Python decides which layers a step has, as some libraries do it; training is seeded."""

    def mix(self, x):
        return x if self.training and random.random() < 0.5 else super().mix(x)


class NumpyNoise(Model):
    """The same with NumPy's global generator."""

    def mix(self, x):
        x = super().mix(x)
        return x + 0.1 * torch.from_numpy(np.random.randn(*x.shape)).to(x) if self.training else x


class WithBuffers(Model):
    """Filled by the first call, and a table."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.register_buffer("table", torch.linspace(0, 1, max_length)[:, None])
        self.cache = None

    def mix(self, x):
        if self.cache is None:
            self.cache = self.table.sin()
        return super().mix(x + self.cache[: x.shape[1]])


class MaskedEntry(Model):
    def forward(self, tokens):
        logits = super().forward(tokens).clone()
        logits[..., V - 1] = -torch.inf
        return logits


@pytest.mark.parametrize(
    "build", [DropoutLeftOn, NoisyNumpy, StateNotReset, CountsCalls], ids=lambda build: build.__name__
)
def test_evaluation_that_is_not_repeatable_is_found(build):
    message = broken(build, "repeatability")
    assert message.startswith("in eval(), a batch of 1 sequence gets")
    assert message.endswith("of their size; is dropout left on, or a state not reset?")


def test_evaluation_that_is_seldom_unrepeatable_is_found_too():
    """Where a second look does not show it again, the first one counts."""
    assert broken(OnceInAWhile, "repeatability").startswith("in eval(), ")


@pytest.mark.parametrize("build", [UnseededWeights, UnseededTraining], ids=lambda build: build.__name__)
def test_training_with_numbers_that_nothing_seeds_is_found(build):
    message = broken(build, "repeatability")
    assert message.startswith("trained twice from one seed, the losses of step 1 are ")
    assert message.endswith("is there a random number without a seed, or a state that is kept outside of the model?")


@pytest.mark.parametrize(
    "build",
    [Model, Recurrent, Seeded, Dropout, LayerDrop, NumpyNoise, WithBuffers, MaskedEntry],
    ids=lambda build: build.__name__,
)
def test_a_model_that_repeats_itself_passes(build):
    """Random numbers in training are seeded: torch's, NumPy's and Python's."""
    assert ask(build, "repeatability", SETTING) == ("pass", "")


@pytest.mark.parametrize("build", [LayerDrop, NumpyNoise], ids=lambda build: build.__name__)
def test_random_numbers_in_training_are_no_leak_between_sequences(build):
    """With the same ones, the others of the batch change nothing."""
    assert ask(build, "batch-independence") == ("pass", "")


@pytest.mark.parametrize("contract", ["causality", "batch-independence"])
def test_what_is_not_repeatable_does_not_pass_for_sound(contract):
    """Its logits move for no reason, which every comparison sees."""
    assert ask(DropoutLeftOn, contract).outcome == "fail"
