"""Sound models that are no reference architecture, for changes to be planted in.

They are calibrated by name: ``python -m benchmarks.calibration.calibrate --arch
experts=benchmarks.gate.planted.bases:experts``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytest_mad.layers.attention import Attention
from pytest_mad.layers.modules.checks import check_length
from pytest_mad.layers.modules.projection import projection
from pytest_mad.layers.modules.rotary import Rotary
from reference_archs._stack import small_stack

_HEADS, _GROUPS, _WIDTH = 4, 2, 16


class GroupedAttention(Attention):
    """Queries in groups, each of which shares one head of keys and values.

    Source: Ainslie et al., GQA, arXiv 2305.13245, section 2.2.
    """

    def __init__(self, dim: int, max_length: int) -> None:
        super().__init__(dim, max_length, num_heads=_HEADS)
        self.qkv = projection(dim, (_HEADS + 2 * _GROUPS) * _WIDTH, bias=True)
        self.rotary: Rotary = Rotary(_WIDTH, max_length, _HEADS + _GROUPS)

    def _queries_keys_values(self, x_BTD: Tensor, position: int) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x_BTD.shape
        check_length(position + length, self.max_length)
        qkv_BTHK = self.qkv(x_BTD).view(batch, length, -1, _WIDTH)
        q_BTHK, k_BTGK, v_BTGK = qkv_BTHK.split([_HEADS, _GROUPS, _GROUPS], 2)
        q_BTHK, k_BTGK = self.turned(q_BTHK, k_BTGK, position)
        return q_BTHK, self.shared(self.keys(k_BTGK)), self.shared(self.values(v_BTGK))

    def turned(self, q_BTHK: Tensor, k_BTGK: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """Queries and keys with their positions."""
        q_BTHK, k_BTGK = self.rotary(torch.cat([q_BTHK, k_BTGK], 2), position).split([_HEADS, _GROUPS], 2)
        return q_BTHK, k_BTGK

    def shared(self, x_BTGK: Tensor) -> Tensor:
        """One head for each query."""
        return x_BTGK.repeat_interleave(_HEADS // _GROUPS, 2)

    def keys(self, k_BTGK: Tensor) -> Tensor:
        return k_BTGK

    def values(self, v_BTGK: Tensor) -> Tensor:
        return v_BTGK


def grouped_queries(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """The transformer with two heads of keys and values for four of queries."""
    layers = ("mh-attention", "swiglu", "mh-attention", "swiglu")
    model = small_stack(layers, task=task, vocab_size=vocab_size, max_length=max_length)
    trunk = model.trunk
    assert isinstance(trunk, nn.Module)
    stack = trunk.layers
    assert isinstance(stack, nn.ModuleList)
    for number, layer in enumerate(stack):
        if isinstance(layer, Attention):
            stack[number] = GroupedAttention(64, layer.max_length)
    return model


def experts(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """The transformer with 8 experts, of which 2 are active, instead of SwiGLU."""
    return small_stack(
        ("mh-attention", "moe-mlp", "mh-attention", "moe-mlp"),
        task=task,
        vocab_size=vocab_size,
        max_length=max_length,
        config={"mh-attention": {"head_dim": 16}},
    )
