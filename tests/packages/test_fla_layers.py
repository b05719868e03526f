"""Whole layers against those of flash-linear-attention, whose kernels are interpreted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.layers import build_layer
from tests.packages.comparing import TOLERANCE
from tests.packages.drawing import Draw, draws, few_examples
from tests.packages.installed import load
from tests.packages.twins import Names, assert_twins

from . import fla_names


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A layer of ours, one of theirs, and how they are built to be the same."""

    ours: str
    theirs: str
    names: Names
    config: dict[str, Any] = field(default_factory=dict)
    their_config: Callable[[Draw], dict[str, Any]] = lambda draw: {"num_heads": draw.H}
    tolerance: float = TOLERANCE

    def __str__(self) -> str:
        return " ".join([self.ours, *map(str, self.config.values())])


def linear_attention(feature_map: str, names: Names) -> Pair:
    return Pair(
        ours="mh-linear-attention",
        theirs="LinearAttention",
        names=names,
        config={"feature_map": feature_map},
        their_config=lambda draw: {
            "num_heads": draw.H,
            "feature_map": feature_map,
            "do_feature_map_norm": True,
            "output_norm": "identity",
        },
    )


PAIRS = [
    linear_attention("elu", fla_names.LINEAR_ATTENTION),
    linear_attention("dpfp", fla_names.LINEAR_ATTENTION),
    linear_attention("hedgehog", fla_names.HEDGEHOG),
    Pair(
        ours="mh-linear-attention",
        theirs="BasedLinearAttention",
        names=fla_names.LINEAR_ATTENTION,
        config={"feature_map": "taylor"},
        their_config=lambda draw: {
            "num_heads": draw.H,
            "num_key_value_heads": draw.H,
            "feature_dim": draw.K,
        },
    ),
    Pair(
        ours="gated-linear-attention",
        theirs="GatedLinearAttention",
        names=fla_names.GLA,
        their_config=lambda draw: {"num_heads": draw.H, "expand_k": 1},
    ),
    Pair(ours="retnet", theirs="MultiScaleRetention", names=fla_names.RETNET, config={"expand_v": 2}),
    Pair(
        ours="hgrn2",
        theirs="HGRN2Attention",
        names=fla_names.HGRN2,
        their_config=lambda draw: {"num_heads": draw.H, "expand_ratio": draw.K},
    ),
    Pair(
        ours="gsa",
        theirs="GatedSlotAttention",
        names=fla_names.GSA,
        config={"num_slots": 5},
        their_config=lambda draw: {"num_heads": draw.H, "num_slots": 5},
    ),
    Pair(ours="deltanet", theirs="DeltaNet", names=fla_names.DELTANET),
    Pair(
        ours="gated-deltanet",
        theirs="GatedDeltaNet",
        names=fla_names.GATED_DELTANET,
        config={"expand_v": 2},
        their_config=lambda draw: {"num_heads": draw.H, "head_dim": draw.K},
    ),
    Pair(
        ours="kda",
        theirs="KimiDeltaAttention",
        names=fla_names.KDA,
        their_config=lambda draw: {"num_heads": draw.H, "head_dim": draw.K},
    ),
    Pair(
        ours="rwkv6-time-mixer",
        theirs="RWKV6Attention",
        names=fla_names.RWKV6,
        their_config=lambda draw: {"num_heads": draw.H, "expand_k": 1, "norm_eps": 64e-5},
    ),
    Pair(
        ours="rwkv7-time-mixer",
        theirs="RWKV7Attention",
        names=fla_names.RWKV7,
        config={"gate_low_rank": 32},
        their_config=lambda draw: {
            "head_dim": draw.K,
            "layer_idx": 0,
            "num_hidden_layers": 2,
            "norm_eps": 64e-5 / draw.K,
            "fuse_norm": False,  # the fused one adds an eps where it makes the key's norm 1
        },
        tolerance=1e-4,  # it asks its kernel for a form that is faster and rougher
    ),
]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")  # what they think of their own layers
@pytest.mark.parametrize("pair", PAIRS, ids=str)
@given(draws(longest=24, widths=st.sampled_from([8, 16])))
@few_examples
def test_layer(pair: Pair, draw: Draw):
    torch.manual_seed(draw.seed)
    dim = draw.H * draw.K
    ours = build_layer(pair.ours, dim, draw.T, num_heads=draw.H, **pair.config)
    theirs = load(f"fla.layers.{pair.theirs}")(hidden_size=dim, **pair.their_config(draw))
    assert_twins(ours, theirs, pair.names, draw.normal(draw.B, draw.T, dim), pair.tolerance)
