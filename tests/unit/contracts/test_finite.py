"""Numbers stay finite: at first, and through a few steps at the recipe's largest learning rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytest_mad.presets.recipe import Point
from tests.unit.contracts.models import SIZES, D, Model, Recurrent, V, ask, broken
from tests.unit.tiny import make_setting


class NaNAtFirst(Model):
    """A weight that nothing sets."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.head.weight.data[2, 3] = torch.nan


class InfiniteAtLast(Model):
    """At one position, for lack of anything to divide by."""

    def mix(self, x):
        return super().mix(x) / torch.arange(x.shape[1] - 1, -1, -1)[:, None]


class Exploding(Model):
    """exp of what is not normalised."""

    def forward(self, tokens):
        return (10 * super().forward(tokens)).exp()


class RootOfZero(Model):
    """A finite loss, and a gradient that is not."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.scale = nn.Parameter(torch.zeros(D))

    def mix(self, x):
        return super().mix(x) * (1 + self.scale.square().sqrt())


class NeverPredicted(Model):
    """A mask of the vocabulary is meant to be infinite."""

    def forward(self, tokens):
        logits = super().forward(tokens).clone()
        logits[..., V - 1] = -torch.inf
        return logits


def test_weights_that_nothing_sets_are_found():
    assert broken(NaNAtFirst, "finite") == "the logits of a new model are not finite"


def test_one_position_is_enough():
    assert broken(InfiniteAtLast, "finite") == "the logits of a new model are not finite"


def test_an_explosion_is_found_within_a_few_steps():
    message = broken(Exploding, "finite", setting(1.0))
    assert message.startswith("the loss of step 2 is ") or message.endswith("is not finite after step 1")


def test_the_largest_learning_rate_of_the_recipe_counts():
    """Wherever it stands in it."""
    assert ask(Exploding, "finite", setting(1e-4)).outcome == "pass"
    assert ask(Exploding, "finite", setting(1e-4, 1.0, 1e-3)).outcome == "fail"


def test_weights_that_become_nan_are_named_as_the_user_names_them():
    """The loss is finite, its gradient is not."""
    assert broken(RootOfZero, "finite") == "scale is not finite after step 1"


@pytest.mark.parametrize("build", [Model, Recurrent, NeverPredicted], ids=lambda build: build.__name__)
def test_finite_numbers_pass(build):
    assert ask(build, "finite") == ("pass", "")


def setting(*rates):
    points = [Point(lr=rate) for rate in rates]
    return make_setting("selective-copying", SIZES | {"num_tokens_to_copy": 4}, points=points)


class LargeLogits(Model):
    """As behind a normaliser that is close to zero."""

    def forward(self, tokens):
        return 200 * super().forward(tokens)


def test_large_logits_of_a_new_model_are_told():
    """They fail nothing: training may bring them down."""
    outcome, detail = ask(LargeLogits, "finite")
    assert outcome == "pass" and detail.startswith("logits of a new model reach ")
    assert ask(Model, "finite") == ("pass", "")
