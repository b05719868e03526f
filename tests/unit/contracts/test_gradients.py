"""Gradients reach every row of every weight; what they do not reach is named, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.unit.contracts.models import COMPRESSION, SETTING, Attention, D, Model, Recurrent, ask, broken
from tests.unit.contracts.test_finite import RootOfZero


class Changed(Model):
    """With one more linear map between embedding and head."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.extra = nn.Linear(D, D)

    def mix(self, x):
        return super().mix(x) + self.more(x)

    def more(self, x):
        return self.extra(x)


class Detached(Changed):
    def more(self, x):
        return self.extra(x).detach()


class NoGrad(Changed):
    @torch.no_grad()
    def more(self, x):
        return self.extra(x)


class Unused(Changed):
    def more(self, x):
        return 0.0


class TimesZero(Changed):
    def more(self, x):
        return 0.0 * self.extra(x)


class Rounded(Changed):
    """A step has no slope."""

    def more(self, x):
        return self.extra(x).sign()


class HalfUsed(Changed):
    """A split that drops the second half of what was computed."""

    def more(self, x):
        return torch.cat([self.extra(x)[..., : D // 2], x[..., : D // 2]], -1)


class OneRowUnused(Changed):
    def more(self, x):
        return torch.cat([self.extra(x)[..., :5], x[..., :1], self.extra(x)[..., 6:]], -1)


class UnusedEmbedding(Model):
    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.position = nn.Embedding(max_length, D)


class Experts(Model):
    """The best ``ACTIVE`` of ``EXPERTS``, each weighted by its share."""

    EXPERTS, ACTIVE = 4, 2

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.router = nn.Linear(D, self.EXPERTS)
        self.experts = nn.ModuleList(nn.Linear(D, D) for _ in range(self.EXPERTS))

    def mix(self, x):
        x = super().mix(x)
        share, chosen = self.route(x).softmax(-1).topk(self.ACTIVE)
        weight = torch.zeros(*x.shape[:2], self.EXPERTS).scatter(-1, chosen, share)
        return x + sum(weight[..., e, None] * expert(x) for e, expert in enumerate(self.experts))

    def route(self, x):
        return self.router(x)


class UnusedExpert(Experts):
    """The router's last output never wins."""

    def route(self, x):
        return self.router(x) - 1e4 * (torch.arange(self.EXPERTS) == self.EXPERTS - 1)


class ManyExperts(Experts):
    EXPERTS, ACTIVE = 16, 1


class ManyDead(Model):
    """More than one line has room for."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.unused = nn.ParameterList(nn.Parameter(torch.ones(2)) for _ in range(5))


class Scalar(Model):
    """One number, never used."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.temperature = nn.Parameter(torch.tensor(1.0))


DEFECTS = {
    Detached: "extra.weight, extra.bias",
    NoGrad: "extra.weight, extra.bias",
    Unused: "extra.weight, extra.bias",
    TimesZero: "extra.weight, extra.bias",
    Rounded: "extra.weight, extra.bias",
    HalfUsed: "extra.weight (rows 8, 9, 10 of 16), extra.bias (rows 8, 9, 10 of 16)",
    OneRowUnused: "extra.weight (row 5 of 16), extra.bias (row 5 of 16)",
    UnusedEmbedding: "position.weight",
    UnusedExpert: "router.weight (row 3 of 4), router.bias (row 3 of 4), experts.3.weight and 1 more",
    ManyDead: "unused.0, unused.1, unused.2 and 2 more",
    Scalar: "temperature",
}


@pytest.mark.parametrize("build", DEFECTS, ids=lambda build: build.__name__)
def test_weights_that_do_not_learn_are_named(build):
    message = broken(build, "gradients")
    if build is UnusedExpert:  # a share that rounds to zero has a gradient that does so too, or not
        assert "experts.3.weight" in message and "experts.0" not in message
    else:
        assert message == f"no gradient reaches {DEFECTS[build]}"


def test_a_gradient_that_is_not_finite_is_named():
    assert broken(RootOfZero, "gradients") == "the gradient of scale is not finite"


class ZeroOutputs(Model):
    """Every block starts as the identity."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        for layer in (self.attention.o, self.mlp[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class ZeroHead(ZeroOutputs):
    """And the head at zero, as in many speed records: gradients pass one zero per step."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


class ZeroGains(Model):
    """Norms that start by giving nothing but their bias, before heads and blocks."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        for norm in self.norms:
            nn.init.zeros_(norm.weight)


class RMSGains(Model):
    """Gains counted from one: zero-initialised, as in Gemma."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.gain = nn.Parameter(torch.zeros(D))

    def mix(self, x):
        return super().mix((1 + self.gain) * x)


class ReLU(Model):
    """Wide, and with units that few tokens wake."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.mlp = nn.Sequential(nn.Linear(D, 256), nn.ReLU(), nn.Linear(256, D))
        self.mlp[0].bias.data -= 0.5


class Tied(Model):
    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.head = nn.Linear(D, vocab_size, bias=False)
        self.head.weight = self.embed.weight


class LearnedPositions(Model):
    """A plain parameter, as long as the longest input."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.positions = nn.Parameter(0.02 * torch.randn(max_length, D))

    def mix(self, x):
        return super().mix(x + self.positions[: x.shape[1]])


class LearnedPositionEmbedding(Model):
    """An embedding for longer inputs than there are."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.positions = nn.Embedding(4 * max_length, D)

    def mix(self, x):
        return super().mix(x + self.positions.weight[: x.shape[1]])


class PaddedVocabulary(Model):
    """Embedding and head of tokens that never come, for the sake of fast kernels."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.embed = nn.Embedding(64, D)


class Dropout(Model):
    def mix(self, x):
        return nn.functional.dropout(super().mix(x), 0.5, self.training)


class Buffers(Model):
    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.register_buffer("table", torch.randn(max_length, D))

    def mix(self, x):
        return super().mix(x + self.table[: x.shape[1]])


class Multiplied(Model):
    """Two heads of a gate whose product the loss sees, one of them a single number."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def forward(self, tokens):
        return super().forward(tokens) * self.temperature


class FewKeys(Attention):
    """Keys that hardly differ: the weights are uniform but for rounding."""

    def __init__(self):
        super().__init__()
        self.k.weight.data *= 1e-3


class NearlyUniform(Model):
    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.attention = FewKeys()


class GRU(Model):
    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.gru = nn.GRU(D, D, batch_first=True)

    def mix(self, x):
        return super().mix(x) + self.gru(x)[0]


class Empty(Model):
    """No prefix, by configuration."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.prefix = nn.Parameter(torch.zeros(0, D))

    def mix(self, x):
        return super().mix(x) + self.prefix.sum()


class Complex(Model):
    """Decays on the unit disc."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.decay = nn.Parameter(torch.polar(torch.full((D,), 0.9), torch.linspace(0, 3, D)))

    def mix(self, x):
        steps = torch.arange(x.shape[1])
        weight = self.decay ** (steps[:, None] - steps).clamp(min=0)[..., None]
        weight = weight * (steps[:, None] >= steps)[..., None]
        return super().mix(x) + torch.einsum("tsd,bsd->btd", weight, x.to(weight)).real


SOUND = [
    Model,
    Recurrent,
    ZeroOutputs,
    ZeroHead,
    ZeroGains,
    RMSGains,
    ReLU,
    Experts,
    ManyExperts,
    Tied,
    LearnedPositions,
    LearnedPositionEmbedding,
    PaddedVocabulary,
    Dropout,
    Buffers,
    Multiplied,
    NearlyUniform,
    GRU,
    Empty,
    Complex,
]


@pytest.mark.parametrize("build", SOUND, ids=lambda build: build.__name__)
def test_a_sound_model_is_not_accused(build):
    """Zeros that the next step moves, units that are dead by chance, tokens that do not come."""
    assert ask(build, "gradients") == ("pass", "")


@pytest.mark.parametrize("build", [Model, Recurrent, ZeroOutputs, LearnedPositions], ids=lambda build: build.__name__)
def test_a_language_models_own_head_is_not_missed_where_the_plugin_decodes(build):
    """For compression the plugin's decoder stands in its place."""
    assert ask(build, "gradients", COMPRESSION) == ("pass", "")


def test_a_defect_is_found_where_the_plugin_decodes():
    assert "extra.weight" in broken(HalfUsed, "gradients", COMPRESSION)


def test_a_key_bias_that_moves_no_logit_is_not_missed():
    """Softmax does not see what all keys share: its gradient is rounding, and may be exactly zero."""

    class Exact(Attention):
        def scores(self, x):
            return (self.q(x).double() @ self.k(x).double().transpose(-1, -2) / D**0.5).float()

    class InDouble(Model):
        def __init__(self, vocab_size, max_length):
            super().__init__(vocab_size, max_length)
            self.attention = Exact()

    assert ask(InDouble, "gradients", SETTING) == ("pass", "")
