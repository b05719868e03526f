"""Attention with one thing changed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.attention import Attention
from pytest_mad.layers.modules.projection import split_heads
from pytest_mad.layers.ops.operator import Backend

_HIDDEN = -1e9


class Softmax(Attention):
    """As the equation has it, with everything in reach."""

    AXIS, AHEAD, SCALE = -1, 0, 1.0

    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        scores_BHTS = torch.einsum("bthk,bshk->bhts", q_BTHK, k_BSHK) * self.SCALE / q_BTHK.shape[-1] ** 0.5
        hidden_TS = self.hidden(q_BTHK.shape[1], k_BSHK.shape[1])
        weights_BHTS = self.weights(self.scores(scores_BHTS), hidden_TS)
        y_BTHK = torch.einsum("bhts,bshk->bthk", weights_BHTS, self.values(v_BSHK))
        y_BTD: Tensor = self.out(self.heads(y_BTHK).flatten(2))
        return y_BTD

    def scores(self, scores_BHTS: Tensor) -> Tensor:
        return scores_BHTS

    def weights(self, scores_BHTS: Tensor, hidden_TS: Tensor) -> Tensor:
        return scores_BHTS.masked_fill(hidden_TS, _HIDDEN).softmax(self.AXIS)

    def hidden(self, queries: int, keys: int) -> Tensor:
        return torch.ones(queries, keys).triu(keys - queries + 1 + self.AHEAD) > 0

    def values(self, v_BSHK: Tensor) -> Tensor:
        return v_BSHK

    def heads(self, y_BTHK: Tensor) -> Tensor:
        return y_BTHK


class OneAhead(Softmax):
    AHEAD = 1


class OneBehind(Softmax):
    AHEAD = -1


class OverQueries(Softmax):
    AXIS = -2


class OverHeads(Softmax):
    """Causal: what is masked has no weight in any head... unless all are masked."""

    AXIS = 1


class OverBatch(Softmax):
    AXIS = 0


class Unscaled(Softmax):
    SCALE = 4.0


class ScaledTwice(Softmax):
    SCALE = 0.25


class WrongSign(Softmax):
    SCALE = -1.0


class MaskedAfterwards(Softmax):
    """The weights of what is hidden are zero, but it stands in the denominator."""

    def weights(self, scores_BHTS: Tensor, hidden_TS: Tensor) -> Tensor:
        return scores_BHTS.softmax(-1).masked_fill(hidden_TS, 0.0)


class AddedMask(Softmax):
    """A mask of ones is added where minus infinity is due."""

    def weights(self, scores_BHTS: Tensor, hidden_TS: Tensor) -> Tensor:
        return (scores_BHTS - hidden_TS.float()).softmax(-1)


class Saturated(Softmax):
    """A soft cap meant for large logits, in the wrong unit: no weight is ever far above another."""

    def scores(self, scores_BHTS: Tensor) -> Tensor:
        return scores_BHTS.tanh()


class Averaged(Softmax):
    """The scores are computed and left out."""

    def scores(self, scores_BHTS: Tensor) -> Tensor:
        return 0.0 * scores_BHTS


class Unnormalised(Softmax):
    """Sigmoid, without a sum."""

    def weights(self, scores_BHTS: Tensor, hidden_TS: Tensor) -> Tensor:
        return scores_BHTS.masked_fill(hidden_TS, _HIDDEN).sigmoid()


class Window(Softmax):
    """The last keys only; a mask that was meant for another layer."""

    WIDTH = 4

    def hidden(self, queries: int, keys: int) -> Tensor:
        return super().hidden(queries, keys) | (torch.ones(queries, keys).tril(keys - queries - self.WIDTH) > 0)


class Window12(Window):
    WIDTH = 12


class Blocks(Softmax):
    """Chunks of four, each on its own: what came before a chunk is forgotten."""

    def hidden(self, queries: int, keys: int) -> Tensor:
        query_T, key_S = torch.arange(keys - queries, keys) // 4, torch.arange(keys) // 4
        return super().hidden(queries, keys) | (query_T[:, None] != key_S)


class FirstKeyLost(Softmax):
    """A mask that hides the first token, as if it were padding, from all others."""

    def hidden(self, queries: int, keys: int) -> Tensor:
        is_later_T = torch.arange(keys - queries, keys) > 0
        return super().hidden(queries, keys) | (is_later_T[:, None] & (torch.arange(keys) == 0))


class DetachedValues(Softmax):
    def values(self, v_BSHK: Tensor) -> Tensor:
        return v_BSHK.detach()


class OneGroup(Softmax):
    """Grouped heads, mapped wrong: all queries read the keys and values of the first head."""

    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        return super()._attend(q_BTHK, k_BSHK[:, :, :1].expand_as(k_BSHK), v_BSHK[:, :, :1].expand_as(v_BSHK), backend)


class MeanOfHeads(Softmax):
    """The heads' outputs are averaged before the last map."""

    def heads(self, y_BTHK: Tensor) -> Tensor:
        return y_BTHK.mean(2, keepdim=True).expand_as(y_BTHK)


class OtherOrder(Softmax):
    """Heads come back in another order: relabelled, and as good as before."""

    def heads(self, y_BTHK: Tensor) -> Tensor:
        return y_BTHK.flip(2)


class OtherPairing(Attention):
    """Each query head reads the next head's keys and values: relabelled, and as good as before."""

    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        return super()._attend(q_BTHK, k_BSHK.roll(1, 2), v_BSHK.roll(1, 2), backend)


class HeadsBeforeTime(Softmax):
    """``reshape`` where ``transpose`` is due: heads are made of pieces of time."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        batch, length, dim = x_BTD.shape
        q, k, v = (part.reshape(batch, self.num_heads, length, -1) for part in self.qkv(x_BTD).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y_BTD: Tensor = self.out(y.transpose(1, 2).reshape(batch, length, dim))
        return y_BTD


class LeftOn(Attention):
    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        return F.dropout(super()._attend(q_BTHK, k_BSHK, v_BSHK, backend), 0.1)


class NinetyPercent(Attention):
    """A dropout of 0.9 where a keep probability of 0.9 was meant."""

    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        return F.dropout(super()._attend(q_BTHK, k_BSHK, v_BSHK, backend), 0.9, training=self.training)


class Rotated(Attention):
    """Queries and keys are turned as a subclass says; ``turn`` gets them before any rotation."""

    def _queries_keys_values(self, x_BTD: Tensor, position: int) -> tuple[Tensor, Tensor, Tensor]:
        q_BTHK, k_BTHK, v_BTHK = (split_heads(part, self.num_heads) for part in self.qkv(x_BTD).chunk(3, -1))
        return *self.turn(q_BTHK, k_BTHK, position), v_BTHK

    def turn(self, q_BTHK: Tensor, k_BTHK: Tensor, position: int) -> tuple[Tensor, Tensor]:
        return self.by(q_BTHK, self.place(q_BTHK, position)), self.by(k_BTHK, self.place(k_BTHK, position))

    def place(self, x_BTHK: Tensor, position: int) -> Tensor:
        return torch.arange(position, position + x_BTHK.shape[1])

    def by(self, x_BTHK: Tensor, place_T: Tensor) -> Tensor:
        """Every position turned as ``place_T`` says, which may be below 0."""
        assert self.rotary is not None
        half = self.num_heads  # the tables are repeated for queries and keys
        cos_THR = self.rotary.cos_THR[place_T.abs(), :half]
        sin_THR = self.rotary.sin_THR[place_T.abs(), :half] * place_T.sign()[:, None, None]
        return x_BTHK * cos_THR + x_BTHK.roll(x_BTHK.shape[-1] // 2, -1) * sin_THR


class QueriesOnly(Rotated):
    """Keys are not rotated."""

    def turn(self, q_BTHK: Tensor, k_BTHK: Tensor, position: int) -> tuple[Tensor, Tensor]:
        return super().turn(q_BTHK, k_BTHK, position)[0], k_BTHK


class NotRotated(Rotated):
    """No position at all."""

    def turn(self, q_BTHK: Tensor, k_BTHK: Tensor, position: int) -> tuple[Tensor, Tensor]:
        return q_BTHK, k_BTHK


class Conjugated(Rotated):
    """Keys are rotated the other way: scores depend on the sum of the positions."""

    def turn(self, q_BTHK: Tensor, k_BTHK: Tensor, position: int) -> tuple[Tensor, Tensor]:
        q_BTHK, _ = super().turn(q_BTHK, k_BTHK, position)
        return q_BTHK, self.by(k_BTHK, -self.place(k_BTHK, position))


class KeysOneLate(Rotated):
    """Positions of queries and keys are off by one: every distance is, and attention learns them all the same."""

    def turn(self, q_BTHK: Tensor, k_BTHK: Tensor, position: int) -> tuple[Tensor, Tensor]:
        q_BTHK, _ = super().turn(q_BTHK, k_BTHK, position)
        return q_BTHK, self.by(k_BTHK, self.place(k_BTHK, position) - 1)


class InEights(Rotated):
    """Whole-number division: eight neighbours share a position."""

    def place(self, x_BTHK: Tensor, position: int) -> Tensor:
        return super().place(x_BTHK, position) // 8


class AnewEveryFour(Rotated):
    """Positions inside a chunk, not in the sequence."""

    def place(self, x_BTHK: Tensor, position: int) -> Tensor:
        return super().place(x_BTHK, position) % 4


class FromFive(Rotated):
    """Counting begins at 5, for queries and keys: only distances matter."""

    def by(self, x_BTHK: Tensor, place_T: Tensor) -> Tensor:
        return super().by(x_BTHK, place_T - 5)


class Fused(Attention):
    """torch's own attention at every size."""

    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q_BTHK, k_BSHK, v_BSHK))
        seen_TS = torch.ones(q.shape[2], k.shape[2]).tril(k.shape[2] - q.shape[2]) > 0
        y_BTD: Tensor = self.out(F.scaled_dot_product_attention(q, k, v, seen_TS).transpose(1, 2).flatten(2))
        return y_BTD


class InDouble(Softmax):
    """Scores, weights and sums in float64."""

    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        q, k, v = (x.double() for x in (q_BTHK, k_BSHK, v_BSHK))
        scores_BHTS = torch.einsum("bthk,bshk->bhts", q, k) / q.shape[-1] ** 0.5
        weights_BHTS = self.weights(scores_BHTS, self.hidden(q.shape[1], k.shape[1]))
        y_BTD: Tensor = self.out(torch.einsum("bhts,bshk->bthk", weights_BHTS, v).flatten(2).to(q_BTHK.dtype))
        return y_BTD


class ScaleInWeights(Softmax):
    """Without a scale: it is in the queries' weights, see `fold_scale`."""

    SCALE = 4.0  # takes back the division by the root of 16


class Unfused(nn.Module):
    """Three maps side by side instead of one, with its weights."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        parts = zip(fused.weight.chunk(3), fused.bias.chunk(3), strict=True)
        self.parts = nn.ModuleList(nn.Linear(fused.in_features, fused.out_features // 3) for _ in range(3))
        for (weight, bias), linear in zip(parts, self.parts, strict=True):
            assert isinstance(linear, nn.Linear)
            linear.weight, linear.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())

    def forward(self, x_BTD: Tensor) -> Tensor:
        return torch.cat([part(x_BTD) for part in self.parts], -1)
