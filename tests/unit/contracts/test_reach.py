"""What no input can reach needs no gradient, and what is only forgotten still does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.unit.contracts.models import D, Model, T, V, ask


class LongPositions(Model):
    """A plain table of positions, four times as long as the data."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.positions = nn.Parameter(0.02 * torch.randn(4 * max_length, D))

    def mix(self, x):
        return super().mix(x + self.look_up(x.shape[1]))

    def look_up(self, length):
        return self.positions[:length]


class ByArange(LongPositions):
    def look_up(self, length):
        return self.positions[torch.arange(length)]


class Selected(LongPositions):
    def look_up(self, length):
        return self.positions.index_select(0, torch.arange(length) + 3)


class Cast(LongPositions):
    def look_up(self, length):
        return (2 * self.positions.to(torch.bfloat16)).float()[:length]


class Gathered(LongPositions):
    def look_up(self, length):
        return self.positions.gather(0, torch.arange(length)[:, None].expand(length, D))


class Transposed(LongPositions):
    def look_up(self, length):
        return self.positions.T[:, :length].T


class Batched(LongPositions):
    def look_up(self, length):
        return self.positions[None].expand(1, -1, -1)[:, :length][0]


class Functional(LongPositions):
    def look_up(self, length):
        return F.embedding(torch.arange(length), self.positions)


class Split(LongPositions):
    def look_up(self, length):
        return self.positions.split([length, len(self.positions) - length])[0]


class Unbound(LongPositions):
    def look_up(self, length):
        return torch.stack(self.positions.unbind()[:length])


class Padding(LongPositions):
    """Row 0 stays at zero."""

    def look_up(self, length):
        return F.embedding(torch.arange(length), self.positions, padding_idx=0)


class Distances(Model):
    """A bias per distance, of which short inputs have few."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.bias = nn.Parameter(torch.zeros(1000))

    def mix(self, x):
        steps = torch.arange(x.shape[1])
        bias = self.bias[(steps[:, None] - steps).clamp(min=0)]
        return super().mix(x) + bias.tril() @ x


class PaddedHead(Model):
    """Rounded up to 50 answers, of which the first are given back."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.vocab_size = vocab_size
        self.head = nn.Linear(D, 50)

    def forward(self, tokens):
        return self.cut(super().forward(tokens))

    def cut(self, logits):
        return logits[..., : self.vocab_size]


class PaddedAndCapped(PaddedHead):
    def cut(self, logits):
        return 30 * torch.tanh(super().cut(logits) / 30)


class PaddedAndNormalised(PaddedHead):
    def cut(self, logits):
        return super().cut(logits).log_softmax(-1)


class PaddedAndCast(PaddedHead):
    def cut(self, logits):
        return super().cut(logits.double()).float().clone()


class ShiftedHead(Model):
    """Row 0 is for padding, which is no answer."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.head = nn.Linear(D, vocab_size + 1)

    def forward(self, tokens):
        return super().forward(tokens)[..., 1:]


class SparseExperts(Model):
    """Eighty experts, one per token, of which many get none; those are not called."""

    COUNT = 80

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.router = nn.Linear(D, self.COUNT)
        with torch.no_grad():
            self.router.bias.add_(6.0 * torch.randn(self.COUNT))
        self.make()

    def make(self):
        self.experts = nn.ModuleList(nn.Linear(D, D) for _ in range(self.COUNT))

    def mix(self, x):
        x = super().mix(x).flatten(0, 1)
        share, chosen = self.router(x).softmax(-1).max(-1)
        out = torch.zeros_like(x)
        for e in chosen.unique().tolist():
            mine = chosen == e
            out[mine] = share[mine, None] * self.expert(e, x[mine])
        return (x + out).unflatten(0, (-1, T))

    def expert(self, e, x):
        return self.experts[e](x)


class StackedExperts(SparseExperts):
    def make(self):
        self.weight = nn.Parameter(torch.randn(self.COUNT, D, D) / 4)

    def expert(self, e, x):
        return x @ self.weight[e]


class CalledByKeyword(SparseExperts):
    def expert(self, e, x):
        return self.experts[e](input=x)


class UsedByWeight(SparseExperts):
    def expert(self, e, x):
        return F.linear(x, self.experts[e].weight)

    def make(self):
        self.experts = nn.ModuleList(nn.Linear(D, D, bias=False) for _ in range(self.COUNT))


class InParameterList(SparseExperts):
    def make(self):
        self.weights = nn.ParameterList(torch.randn(D, D) / 4 for _ in range(self.COUNT))

    def expert(self, e, x):
        return x @ self.weights[e]


class Normed(LongPositions):
    def look_up(self, length):
        return F.layer_norm(self.positions, (D,))[:length]


class Projected(LongPositions):
    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.project = nn.Linear(D, D)

    def look_up(self, length):
        return self.project(self.positions)[:length]


class Flipped(LongPositions):
    def look_up(self, length):
        return self.positions.flip(0)[:length]


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(50, D))

    def forward(self, tokens):
        return self.rows[tokens]


class OneHot(Table):
    def forward(self, tokens):
        return F.one_hot(tokens, 50).float() @ self.rows


class PaddedTable(Model):
    """Token ids look up a plain parameter, rounded up to 50 rows."""

    TABLE = Table

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.embed = self.TABLE()


class PaddedOneHot(PaddedTable):
    TABLE = OneHot


class TwoOfOneTensor(LongPositions):
    """Two long tables that are cut from one."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        both = torch.randn(8 * max_length, D) / 50
        self.positions, self.other = (nn.Parameter(half) for half in both.chunk(2))

    def look_up(self, length):
        return self.positions[:length] + self.other[:length].tanh()


class ClosedGates(Model):
    """Two gates in a row that start closed, before a block whose output starts at zero."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.block = nn.Sequential(nn.Linear(D, D), nn.GELU(), nn.Linear(D, D))
        nn.init.zeros_(self.block[2].weight)
        nn.init.zeros_(self.block[2].bias)
        self.gates = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(2))

    def mix(self, x):
        return super().mix(x) + self.gates[0] * self.gates[1] * self.block(x)


SOUND = [
    LongPositions,
    ByArange,
    Selected,
    Cast,
    Gathered,
    Transposed,
    Batched,
    Functional,
    Split,
    Unbound,
    Padding,
    Distances,
    PaddedHead,
    PaddedAndCapped,
    PaddedAndNormalised,
    PaddedAndCast,
    ShiftedHead,
    SparseExperts,
    StackedExperts,
    CalledByKeyword,
    UsedByWeight,
    InParameterList,
    Normed,
    Projected,
    Flipped,
    PaddedTable,
    PaddedOneHot,
    TwoOfOneTensor,
    ClosedGates,
]


@pytest.mark.parametrize("build", SOUND, ids=lambda build: build.__name__)
def test_what_no_input_reaches_is_exempt(build):
    verdict = ask(build, "gradients")
    assert verdict.outcome == "pass", verdict


class FirstHalf(LongPositions):
    """The same rows whatever the input: the others are forgotten, not waiting."""

    def look_up(self, length):
        return self.positions[: len(self.positions) // 2].mean(0)


class ConstantIndex(LongPositions):
    def look_up(self, length):
        return self.positions[torch.arange(8)].mean(0)


class EveryOther(Model):
    """A list of layers, of which every second one is left out."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.layers = nn.ModuleList(nn.Linear(D, D) for _ in range(4))

    def mix(self, x):
        for layer in self.layers[::2]:
            x = x + layer(x)
        return super().mix(x)


class LastExpertLost(SparseExperts):
    """Chosen by the router, and never run."""

    COUNT = 4

    def expert(self, e, x):
        return self.experts[e](x) if e < 3 else 0 * x


class OneMemberIsConditional(Model):
    """A list of blocks: one runs for some tokens only, and one is left out."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.blocks = nn.ModuleList(nn.Linear(D, D) for _ in range(3))

    def mix(self, x):
        some = self.blocks[0](x).sum(-1) > 0
        x = x + torch.zeros_like(x).masked_scatter(some[..., None], self.blocks[1](x[some]))
        return super().mix(x + self.blocks[0](x))


class HalfOfAGate(Model):
    """A projection of twice the width whose second half nobody reads; as wide as the vocabulary, by chance."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.up, self.down = nn.Linear(D, 2 * V), nn.Linear(V, D)

    def mix(self, x):
        return super().mix(x) + self.down(self.up(x)[..., :V].relu())


class UnusedTable(Model):
    """Looked up, and the result thrown away."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.positions = nn.Parameter(torch.randn(max_length, D))

    def mix(self, x):
        return super().mix(x) + 0 * self.positions[: x.shape[1]]


class TwoRowsLost(Model):
    """A table that is as long as the data, two rows of which are skipped by mistake."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.positions = nn.Parameter(torch.randn(max_length, D))

    def mix(self, x):
        p = self.positions[: x.shape[1]].clone()
        p[:2] = 0
        return super().mix(x + p)


FORGOTTEN = {
    FirstHalf: "positions (rows 32, 33, 34 of 64)",
    ConstantIndex: "positions (rows 8, 9, 10 of 64)",
    EveryOther: "layers.1.weight, layers.1.bias, layers.3.weight and 1 more",
    LastExpertLost: "experts.3.weight, experts.3.bias",
    OneMemberIsConditional: "blocks.2.weight, blocks.2.bias",
    HalfOfAGate: "up.weight (rows 8, 9, 10 of 16), up.bias (rows 8, 9, 10 of 16)",
    UnusedTable: "positions",
    TwoRowsLost: "positions (rows 0, 1 of 16)",
}


@pytest.mark.parametrize("build", FORGOTTEN, ids=lambda build: build.__name__)
def test_what_is_forgotten_is_named(build):
    verdict = ask(build, "gradients")
    assert verdict == ("fail", f"no gradient reaches {FORGOTTEN[build]}")


class Frozen(Model):
    """Positions that are sines, and a random projection: parameters that are not trained."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.positions = nn.Parameter(torch.randn(max_length, D), requires_grad=False)
        self.features = nn.Linear(D, D).requires_grad_(False)

    def mix(self, x):
        return super().mix(self.features(x) + self.positions[: x.shape[1]])


def test_what_is_frozen_is_told_and_no_defect():
    verdict = ask(Frozen, "gradients")
    assert verdict == ("pass", "frozen, with requires_grad=False: positions, features.weight, features.bias")
