"""Token by token a model gives what it gives in one pass, where it can."""

from __future__ import annotations

import pytest
import torch

from pytest_mad.architectures.targets import from_mixer
from pytest_mad.evaluation.options import ContractOptions
from tests.unit.contracts.models import COMPRESSION, D, Model, Recurrent, ask, broken


class NoDecay(Recurrent):
    def step(self, tokens, state):
        memory, position = state
        memory = memory + self.embed(tokens) + self.position.weight[position]
        return self.head(memory), (memory, position + 1)


class OnePositionAhead(Recurrent):
    def init_state(self, batch):
        return torch.zeros(batch, D), 1

    def step(self, tokens, state):
        logits, (memory, position) = super().step(tokens, state)
        return logits, (memory, min(position, self.position.num_embeddings - 1))


class Forgetful(Recurrent):
    """From the fifth token on."""

    def step(self, tokens, state):
        memory, position = state
        return super().step(tokens, (memory * (position != 4), position))


class OneRowForAll(Recurrent):
    """A state without a batch axis."""

    def step(self, tokens, state):
        logits, (memory, position) = super().step(tokens, state)
        return logits, (memory.mean(0, keepdim=True).expand_as(memory), position)


class NotANumber(Recurrent):
    def step(self, tokens, state):
        logits, state = super().step(tokens, state)
        return logits / 0, state


class WithoutStep(Recurrent):
    step = None


class HalfPrecision(Recurrent):
    def step(self, tokens, state):
        logits, state = super().step(tokens, state)
        return logits.bfloat16(), state


@pytest.mark.parametrize(
    ("build", "token", "length"),
    [(NoDecay, 1, 2), (OnePositionAhead, 0, 1), (Forgetful, 4, 5), (OneRowForAll, 1, 2), (NotANumber, 0, 1)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_first_token_that_differs_is_named_in_the_shortest_sequence(build, token, length):
    message = broken(build, "state")
    assert message.startswith(
        f"step by step, the logits of token {token} of {length} differ from the parallel form's by "
    )


def test_a_step_that_agrees_passes():
    assert ask(Recurrent, "state") == ("pass", "")


def test_a_step_of_lower_precision_is_told_apart():
    """Three digits are not four."""
    assert broken(HalfPrecision, "state").startswith("step by step, ")


@pytest.mark.parametrize("build", [Model, WithoutStep])
def test_a_model_without_one_is_skipped(build):
    reason = "the model has no init_state(batch) and step(tokens, state)"
    assert ask(build, "state") == ("skipped", reason)


def test_an_autoencoder_is_skipped():
    assert ask(Recurrent, "state", COMPRESSION).outcome == "skipped"


def test_it_only_warns():
    assert ContractOptions().mode("state").name == "warn"


def test_a_mixer_without_a_step_form_is_skipped(tmp_path, monkeypatch):
    """The backbone around it has one, but cannot step through it."""
    (tmp_path / "bare.py").write_text(
        "from torch import nn\n\n\nclass Bare(nn.Linear):\n    def __init__(self, dim):\n        super().__init__(dim, dim)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert ask(from_mixer("bare.py:Bare"), "state") == (
        "skipped",
        "Bare runs over whole sequences only, and has no step form",
    )
