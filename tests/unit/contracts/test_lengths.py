"""Any length from 1 to the longest; the shortest that fails is named."""

from __future__ import annotations

import pytest
import torch

from pytest_mad.evaluation.options import ContractOptions
from tests.unit.contracts.models import COMPRESSION, Model, Recurrent, T, V, ask, broken


class Even(Model):
    def mix(self, x):
        return super().mix(x.unflatten(1, (-1, 2)).flatten(1, 2))


class Eights(Model):
    def mix(self, x):
        if x.shape[1] % 8:
            raise ValueError("the length must be a multiple of 8\nsee the manual")
        return super().mix(x)


class UpToSix(Model):
    """A table that is too short."""

    def mix(self, x):
        return super().mix(x + torch.zeros(6 if x.shape[1] < T else T, 1)[: x.shape[1]])


class NotOne(Model):
    """A difference of neighbours, which one token does not have."""

    def mix(self, x):
        if x.shape[1] == 1:
            raise IndexError("no neighbour")
        return super().mix(x)


class Padded(Model):
    """To the next multiple of four, and not cut again."""

    def mix(self, x):
        return super().mix(torch.nn.functional.pad(x, (0, 0, 0, -x.shape[1] % 4)))


class NotTheLongest(Model):
    """An off-by-one that only sequences as long as those of the contract's task do not show."""

    def mix(self, x):
        assert x.shape[1] not in (T - 1, T - 2), "one too long"
        return super().mix(x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Even, "a batch of 2 sequences of 1 token raises RuntimeError: unflatten: "),
        (Eights, "a batch of 2 sequences of 1 token raises ValueError: the length must be a multiple of 8"),
        (UpToSix, "a batch of 2 sequences of 7 tokens raises RuntimeError: The size of tensor a (7) must match"),
        (NotOne, "a batch of 2 sequences of 1 token raises IndexError: no neighbour"),
        (Padded, f"sequences of 1 tokens give logits {(2, 4, V)}"),
        (NotTheLongest, f"a batch of 2 sequences of {T - 2} tokens raises AssertionError: one too long"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_shortest_length_that_fails_is_named(build, message):
    said = broken(build, "lengths")
    assert said.startswith(message) and "\n" not in said


@pytest.mark.parametrize("build", [Model, Recurrent])
def test_any_length_passes(build):
    assert ask(build, "lengths") == ("pass", "")


def test_an_autoencoder_has_one_length():
    assert ask(Model, "lengths", COMPRESSION) == ("skipped", "an autoencoder is built for one length")


def test_it_only_warns():
    """Sound kernels have constraints."""
    assert ContractOptions().mode("lengths").name == "warn"
