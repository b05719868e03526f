"""The guard finds every way to look ahead that a score could profit from, and accuses no causal model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pytest_mad.contracts.causality import NotFiniteError, find_leak
from tests.oracles.parameters import steady

CPU = torch.device("cpu")
VOCAB = 8


def embedded(tokens, width=VOCAB):
    """A fixed random vector per token, (B, T, width)."""
    table = torch.randn(VOCAB, width, generator=torch.Generator().manual_seed(0))
    return table[tokens]


def running_mean(tokens):
    """Causal: every position knows all tokens up to its own."""
    x = embedded(tokens)
    return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]


class Scripted(nn.Module):
    """A model of one function of its tokens."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, tokens):
        return self.logits(tokens)


def leak(logits, length=16, vocab_size=VOCAB):
    return find_leak(Scripted(logits), vocab_size, length, CPU)


def ahead(by):
    """Position t also sees token t + by."""

    def logits(tokens):
        x = embedded(tokens)
        x[:, :-by] = x[:, :-by] + x[:, by:].clone()
        return x

    return logits


def last_into(position, size=1.0):
    """One position sees the last token."""

    def logits(tokens):
        x = running_mean(tokens).clone()
        x[:, position] += size * embedded(tokens)[:, -1]
        return x

    return logits


def next_into(position):
    """One position sees the token behind it."""

    def logits(tokens):
        x = running_mean(tokens).clone()
        x[:, position] += embedded(tokens)[:, position + 1]
        return x

    return logits


def fft_convolution(tokens):
    """A causal filter as long as the sequence, through zero-padded transforms."""
    x = embedded(tokens)
    length = x.shape[1]
    kernel = torch.randn(length, generator=torch.Generator().manual_seed(1)) / length**0.5
    product = torch.fft.rfft(x, n=2 * length, dim=1) * torch.fft.rfft(kernel, n=2 * length)[:, None]
    return torch.fft.irfft(product, n=2 * length, dim=1)[:, :length]


def circular_convolution(tokens):
    """The classic mistake: without padding, the end of the sequence wraps around into its start."""
    x = embedded(tokens)
    kernel = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(1))
    return torch.fft.irfft(torch.fft.rfft(x, dim=1) * torch.fft.rfft(kernel)[:, None], n=x.shape[1], dim=1)


def attention(tokens, mask=True):
    x = embedded(tokens)
    scores = x @ x.transpose(1, 2)
    if mask:
        scores = scores.masked_fill(torch.ones_like(scores).triu(1) > 0, -torch.inf)
    return scores.softmax(-1) @ x


def normalised_over_time(tokens):
    """Statistics over all positions carry the future into the past."""
    x = embedded(tokens)
    return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 0.1)


def centred_convolution(tokens):
    """A filter of three tokens, padded on both sides: it sees one ahead."""
    x = embedded(tokens).transpose(1, 2)
    kernel = torch.randn(VOCAB, VOCAB, 3, generator=torch.Generator().manual_seed(1))
    return nn.functional.conv1d(x, kernel, padding=1).transpose(1, 2)


CAUSAL = {"tokens": embedded, "mean": running_mean, "convolution": fft_convolution, "attention": attention}


@pytest.mark.parametrize("length", [1, 2, 16, 64, 65, 66, 300])
@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_model_passes(name, length):
    """At any length, rounding of transforms included."""
    assert leak(CAUSAL[name], length) is None


@pytest.mark.parametrize("length", [2, 16, 66, 300])
@pytest.mark.parametrize(
    "logits",
    [
        ahead(1),
        circular_convolution,
        centred_convolution,
        lambda tokens: attention(tokens, mask=False),
        normalised_over_time,
    ],
    ids=[
        "one ahead",
        "circular convolution",
        "centred convolution",
        "attention without mask",
        "normalised over time",
    ],
)
def test_a_model_that_looks_ahead_everywhere_is_found(logits, length):
    """In short sequences and in those with more positions than there are cuts."""
    assert leak(logits, length).startswith("not causal: ")


def test_the_hint_fits_attention_and_convolutions():
    """A filter has no mask: what it lacks is padding on the left alone."""
    for logits in (centred_convolution, lambda tokens: attention(tokens, mask=False)):
        assert leak(logits).endswith(" on change; is a causal mask or left padding missing?")


@pytest.mark.parametrize("position", range(15))
@pytest.mark.parametrize("vocab_size", [2, VOCAB])
def test_a_leak_at_a_single_position_is_found_and_named(vocab_size, position):
    """Each position is cut off from its next token once, and then every token behind the cut is another one."""
    message = leak(next_into(position), vocab_size=vocab_size)
    assert f"position {position} " in message
    assert f"from position {position + 1} on" in message


@pytest.mark.parametrize("length", [2, 16, 300, 1024])
def test_the_last_token_in_position_0_is_found_and_named(length):
    """The longest leak of all."""
    assert "position 0 " in leak(last_into(0), length)


@pytest.mark.parametrize("position", [0, 7, 13, 14])
def test_a_leak_of_the_last_token_alone_is_found(position):
    assert f"position {position} " in leak(last_into(position))


@pytest.mark.parametrize("position", [0, 1, 137, 200])
def test_a_leak_of_the_last_token_is_found_in_long_sequences(position):
    """Beyond 64 positions not every one is cut, but every cut changes the last token."""
    assert f"position {position} " in leak(last_into(position), 300)


@pytest.mark.parametrize("by", [2, 5, 15])
def test_a_leak_from_further_ahead_is_found(by):
    """The earliest position that sees too much is named, once the cut lies behind it."""
    assert "position 0 " in leak(ahead(by))


def test_the_line_names_the_earliest_position():
    """Not the one that moves most."""

    def logits(tokens):
        x = running_mean(tokens).clone()
        x[:, 3] += 0.1 * embedded(tokens)[:, -1]
        x[:, 9] += 100 * embedded(tokens)[:, -1]
        return x

    assert "position 3 " in leak(logits)


@pytest.mark.parametrize("size", [1e-2, 1e-3])
def test_a_small_leak_is_found(size):
    """Arg-max and training amplify what a hundredth of the logits' size tells."""
    assert leak(last_into(4, size))


def masked(logits, value):
    """One entry of the vocabulary is never to be predicted."""

    def changed(tokens):
        x = logits(tokens).clone()
        x[..., 0] = value
        return x

    return changed


MASKS = [-1e4, -1e9, torch.finfo(torch.float32).min, -torch.inf]


@pytest.mark.parametrize("value", MASKS)
def test_a_masked_entry_of_the_vocabulary_is_no_leak(value):
    """A constant, infinite or not, tells nothing of the future."""
    assert leak(masked(running_mean, value)) is None


@pytest.mark.parametrize("value", MASKS)
def test_a_masked_entry_of_the_vocabulary_hides_no_leak(value):
    """The size of the logits must not be that of the mask."""
    message = leak(masked(ahead(1), value))
    assert message is not None and message.startswith("not causal: ")


def test_a_constant_offset_hides_no_leak():
    """Adding the same to all logits changes no prediction."""
    assert leak(lambda tokens: ahead(1)(tokens) + 1e4)


def test_logits_that_are_no_numbers_are_reported_as_such():
    """Causal or not: NaN is what the user must look at, at one position or at all."""

    def everywhere(tokens):
        return running_mean(tokens) * torch.nan

    def somewhere(tokens):
        x = running_mean(tokens).clone()
        x[:, 5] = torch.nan
        return x

    for logits in (everywhere, somewhere):
        with pytest.raises(NotFiniteError, match=r"^the logits of random tokens are NaN or infinite$"):
            leak(logits)


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_judged_in_evaluation_mode_and_left_as_it_was(mode):
    """Dropout is no leak; weights, generators and mode stay."""
    model = nn.Sequential(nn.Embedding(VOCAB, 8), nn.Dropout(0.5), nn.Linear(8, VOCAB)).train(mode)
    before = [p.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    assert find_leak(model, VOCAB, 16, CPU) is None
    assert all(module.training is mode for module in model.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))


def test_the_mode_is_restored_when_the_model_raises():
    def fail(tokens):
        raise RuntimeError("out of order")

    model = Scripted(fail).train()
    with pytest.raises(RuntimeError, match="out of order"):
        find_leak(model, VOCAB, 16, CPU)
    assert model.training


@steady
@given(st.integers(2, 80), st.data())
def test_a_lower_triangular_mixing_passes_and_one_entry_above_fails(length, data):
    """Any linear mixing over time; up to 65 tokens there is a cut between any two of them."""
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    mixing = torch.randn(length, length, generator=generator).tril()
    assert leak(lambda tokens: mixing @ embedded(tokens), length) is None
    row = data.draw(st.integers(0, length - 2))
    column = data.draw(st.integers(row + 1, length - 1)) if length <= 65 else length - 1
    if length > 65:
        row = 0
    mixing[row, column] = mixing.abs().max()
    assert f"position {row} " in leak(lambda tokens: mixing @ embedded(tokens), length)
