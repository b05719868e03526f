"""Sequences of a batch do not see each other: not their neighbours, their place, nor those before them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.unit.contracts.models import Attention, D, Model, V, ask, broken


class BatchNormed(Model):
    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.batch_norm = nn.BatchNorm1d(D)

    def mix(self, x):
        return super().mix(self.batch_norm(x.transpose(1, 2)).transpose(1, 2))


class RunningMean(Model):
    """A buffer follows the data while the model trains; it is read before it is written."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.register_buffer("mean", torch.zeros(D))

    def mix(self, x):
        x = super().mix(x - self.mean)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 1))
        return x


class Centred(Model):
    """The mean over the batch, also in evaluation."""

    def mix(self, x):
        return super().mix(x - x.mean(0, keepdim=True))


class OverTheBatch(Attention):
    def weights(self, scores):
        return super().weights(scores).softmax(0)


class SoftmaxOverBatch(Model):
    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.attention = OverTheBatch()


class BatchAsTime(Model):
    """A recurrent layer that expects time first."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.gru = nn.GRU(D, D)

    def mix(self, x):
        return super().mix(x) + self.gru(x)[0]


class AttentionOverBatch(Model):
    def mix(self, x):
        return x + self.attention(self.norms[0](x).transpose(0, 1)).transpose(0, 1)


class RowPosition(Model):
    """Positions counted along the wrong axis."""

    def mix(self, x):
        return super().mix(x + 0.3 * torch.arange(len(x))[:, None, None])


class Previous(Model):
    """The row above, as a reshape with swapped axes gives it."""

    def mix(self, x):
        return super().mix(x + x.roll(1, 0))


class FirstRow(Model):
    def mix(self, x):
        return super().mix(x + x[:1].mean(1, keepdim=True))


class LoadBalanced(Model):
    """Experts with room for half of the tokens of a batch, first come, first served."""

    def mix(self, x):
        x = super().mix(x)
        chosen = (x[..., 0] > 0).flatten()
        room = chosen.cumsum(0) <= max(1, chosen.numel() // 3)
        return x + (chosen & room).view(*x.shape[:2], 1) * x.tanh()


class Dropout(Model):
    """Drawn at every step, of every row alike."""

    def mix(self, x):
        return nn.functional.dropout(super().mix(x), 0.3, self.training)


def test_normalisation_over_the_batch_is_found_in_training():
    """In evaluation it has fixed statistics."""
    message = broken(BatchNormed, "batch-independence")
    assert message.startswith("beside other sequences, sequence 0 of 2 has other logits in training mode, by ")


@pytest.mark.parametrize(
    "build",
    [Centred, SoftmaxOverBatch, BatchAsTime, AttentionOverBatch, RowPosition, Previous, LoadBalanced],
    ids=lambda build: build.__name__,
)
def test_sequences_that_see_each_other_are_found_in_the_smallest_batch(build):
    """Two; and one of them."""
    message = broken(build, "batch-independence")
    assert "sequence 0 of 2" in message or "sequence 1 of 2" in message
    assert message.endswith("of their size; do the sequences of a batch see each other?")


def test_the_first_sequence_in_all_others_is_found():
    assert broken(FirstRow, "batch-independence").startswith("alone and as sequence 1 of 2, one sequence has other")


@pytest.mark.parametrize("build", [Model, Dropout, RunningMean], ids=lambda build: build.__name__)
def test_sequences_on_their_own_pass(build):
    """With random numbers, the same for both; and statistics of earlier batches only."""
    assert ask(build, "batch-independence") == ("pass", "")


class Masked(Model):
    """An entry of the vocabulary that is never to be predicted."""

    VALUE = -torch.inf
    LEAK = 0.0

    def forward(self, tokens):
        x = self.embed(tokens)
        logits = self.head(super().mix(x) + self.LEAK * x.mean(0, keepdim=True)).clone()
        logits[..., V - 1] = self.VALUE
        return logits


MASKS = [-1e4, -1e9, torch.finfo(torch.float32).min, -torch.inf]


def masked(value, leak):
    return type("Changed", (Masked,), {"VALUE": value, "LEAK": leak})


@pytest.mark.parametrize("value", MASKS)
def test_a_masked_entry_of_the_vocabulary_is_no_leak(value):
    assert ask(masked(value, 0.0), "batch-independence") == ("pass", "")


@pytest.mark.parametrize("value", MASKS)
def test_a_masked_entry_of_the_vocabulary_hides_no_leak(value):
    message = broken(masked(value, 1.0), "batch-independence")
    assert "of 2" in message and "nan" not in message
