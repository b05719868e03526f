"""Jittered weights show what a model could do once it is trained: nothing stays closed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytest_mad.architectures.jitter import jitter, jittered
from pytest_mad.contracts.causality import find_leak

VOCAB = 8


def model_of_all_kinds():
    """Weights, zeros, a scalar, a frozen parameter, two tied ones, half precision, integers, and a buffer."""
    model = nn.Module()
    model.weight = nn.Parameter(3 * torch.randn(20, 10))
    model.zeros = nn.Parameter(torch.zeros(50))
    model.gate = nn.Parameter(torch.zeros(()))
    model.frozen = nn.Parameter(torch.ones(5), requires_grad=False)
    model.tied = model.weight
    model.coarse = nn.Parameter(torch.ones(30, dtype=torch.bfloat16))
    model.numbers = nn.Parameter(torch.arange(4), requires_grad=False)
    model.register_buffer("table", torch.ones(3))
    return model


def test_jittered_moves_every_trained_parameter_by_a_tenth_and_zeros_by_a_tenth_of_one():
    """Every entry of them; integers, buffers and frozen parameters stay: those may be masks."""
    model, moved = model_of_all_kinds(), model_of_all_kinds()
    moved.load_state_dict(model.state_dict())
    jitter(moved, 0)
    for name, before in model.named_parameters():
        after = moved.get_parameter(name)
        if not before.requires_grad:
            assert torch.equal(after, before)
            continue
        assert (after != before).float().mean() > 0.8, name  # in half precision a small draw may vanish
        assert after.dtype == before.dtype
        assert after.requires_grad == before.requires_grad
    assert (moved.weight != model.weight).all()
    assert (moved.zeros != 0).all()
    assert moved.gate != 0
    size = (moved.weight - model.weight).detach().std() / model.weight.detach().std()
    assert size.item() == pytest.approx(0.1, rel=0.2)
    assert moved.zeros.detach().std().item() == pytest.approx(0.1, rel=0.4)
    assert moved.tied is moved.weight
    assert torch.equal(moved.table, model.table)


@pytest.mark.parametrize("mode", [True, False])
def test_jittered_leaves_the_original_and_the_generator_untouched(mode):
    """It gets its weights back; moved in the same way for the same seed, in another for another."""
    model = model_of_all_kinds().train(mode)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    moved = []
    for seed in (0, 0, 1):
        with jittered(model, seed):
            assert model.training is mode
            moved.append(model.weight.detach().clone())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(moved[0], moved[1])
    assert not torch.equal(moved[0], moved[2])


def test_a_leak_behind_a_projection_of_zeros_shows_only_when_jittered():
    """As with residual branches that start closed."""

    class Closed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(VOCAB, VOCAB)
            self.out = nn.Linear(VOCAB, VOCAB, bias=False)
            nn.init.zeros_(self.out.weight)

        def forward(self, tokens):
            x = self.embed(tokens)
            return x + self.out(x.roll(-1, dims=1))

    model = Closed()
    assert find_leak(model, VOCAB, 16, torch.device("cpu")) is None
    assert find_leak(jitter(model, 0), VOCAB, 16, torch.device("cpu"))


class FrozenMask(nn.Module):
    """Causal through a mask that is a parameter without a gradient, as some models keep it."""

    def __init__(self, length):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, VOCAB)
        self.mask = nn.Parameter(torch.tril(torch.ones(length, length)), requires_grad=False)

    def forward(self, tokens_BT):
        return self.mask[: tokens_BT.shape[1], : tokens_BT.shape[1]] @ self.embed(tokens_BT)


def test_a_frozen_mask_is_not_jittered_into_a_leak():
    """Training cannot move it either."""
    model = FrozenMask(8)
    assert find_leak(jitter(model, 0), VOCAB, 8, torch.device("cpu")) is None
    model.mask.requires_grad_(True)
    assert find_leak(jitter(model, 0), VOCAB, 8, torch.device("cpu")) is not None
