"""Grouped queries with one thing changed."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_mad.layers.ops.attention import attention
from pytest_mad.layers.ops.operator import Backend

from .bases import GroupedAttention


class OtherGroup(GroupedAttention):
    """A relabelling: each query reads the keys and values of the other group."""

    def shared(self, x_BTGK: Tensor) -> Tensor:
        return super().shared(x_BTGK.flip(2))


class Tiled(GroupedAttention):
    """A relabelling: heads 0 and 2 share a group, instead of 0 and 1."""

    def shared(self, x_BTGK: Tensor) -> Tensor:
        return x_BTGK.repeat(1, 1, 2, 1)


class FirstGroup(GroupedAttention):
    """All queries read the first group."""

    def shared(self, x_BTGK: Tensor) -> Tensor:
        return super().shared(x_BTGK[:, :, :1].expand_as(x_BTGK))


class MeanKeys(GroupedAttention):
    """One head of keys, the mean of both."""

    def keys(self, k_BTGK: Tensor) -> Tensor:
        return k_BTGK.mean(2, keepdim=True).expand_as(k_BTGK)


class DetachedKeys(GroupedAttention):
    def keys(self, k_BTGK: Tensor) -> Tensor:
        return k_BTGK.detach()


class UnitKeys(GroupedAttention):
    """Keys of length one: scores are too small to tell one key from the others."""

    def keys(self, k_BTGK: Tensor) -> Tensor:
        return torch.nn.functional.normalize(k_BTGK, dim=-1)


class TurnedByHead(GroupedAttention):
    """The angle grows with the head instead of the position."""

    def turned(self, q_BTHK: Tensor, k_BTGK: Tensor, position: int) -> tuple[Tensor, Tensor]:
        batch, length, heads, width = q_BTHK.shape
        q = self.rotary(q_BTHK[:, :, :, None].expand(-1, -1, -1, 6, -1).reshape(batch * length, heads, 6, width))
        k = self.rotary(k_BTGK[:, :, :, None].expand(-1, -1, -1, 6, -1).reshape(batch * length, -1, 6, width))
        return q[:, :, 0].view_as(q_BTHK), k[:, :, 0].view_as(k_BTGK)


class KeysNotTurned(GroupedAttention):
    def turned(self, q_BTHK: Tensor, k_BTGK: Tensor, position: int) -> tuple[Tensor, Tensor]:
        return super().turned(q_BTHK, k_BTGK, position)[0], k_BTGK


class MeanQueries(GroupedAttention):
    """The queries of a group are averaged, as if the group had one."""

    def turned(self, q_BTHK: Tensor, k_BTGK: Tensor, position: int) -> tuple[Tensor, Tensor]:
        q_BTHK, k_BTGK = super().turned(q_BTHK, k_BTGK, position)
        first_BTGK, second_BTGK = q_BTHK[:, :, ::2], q_BTHK[:, :, 1::2]
        return ((first_BTGK + second_BTGK) / 2).repeat_interleave(2, 2), k_BTGK


class ValuesOfKeys(GroupedAttention):
    """The values are those before: each head reads what stood one position earlier."""

    def values(self, v_BTGK: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(v_BTGK[:, :1]), v_BTGK[:, :-1]], 1)


class SmallScale(GroupedAttention):
    """Divided by the root of the whole width, and once more."""

    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        return super()._attend(q_BTHK / 16, k_BSHK, v_BSHK, backend)


class SecondGroupNear(GroupedAttention):
    """The heads of the second group have a window of four."""

    def _attend(self, q_BTHK: Tensor, k_BSHK: Tensor, v_BSHK: Tensor, backend: Backend) -> Tensor:
        far = attention(q_BTHK[:, :, :2], k_BSHK[:, :, :2], v_BSHK[:, :, :2], backend=backend)
        near = attention(q_BTHK[:, :, 2:], k_BSHK[:, :, 2:], v_BSHK[:, :, 2:], window=4, backend=backend)
        y_BTD: Tensor = self.out(torch.cat([far, near], 2).flatten(2))
        return y_BTD


class GroupsOfTime(GroupedAttention):
    """Heads and positions are confused when groups are laid out."""

    def shared(self, x_BTGK: Tensor) -> Tensor:
        batch, length, groups, width = x_BTGK.shape
        mixed = x_BTGK.reshape(batch, groups, length, width).transpose(1, 2)
        return super().shared(mixed)
