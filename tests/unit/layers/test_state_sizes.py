"""Parameters and states at MAD's width of 128, counted by hand from the papers' shapes."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_mad.layers import build_layer

LENGTH = 128


@pytest.mark.parametrize(
    ("name", "count"),
    {
        "attention": 66_048,
        "mh-attention": 66_048,
        "sliding-attention": 66_048,
        "mh-sliding-attention": 66_048,
        "linear-attention": 131_584,
        "mh-linear-attention": 65_824,
        "gated-linear-attention": 86_272,
        "mh-gated-linear-attention": 86_160,
        "hyena": 123_964 + 3 * LENGTH,
        "mh-hyena": 30_478 + 3 * LENGTH,
        "hyena-experts": 57_080 + 3 * LENGTH,
        "mamba": 107_264,
        "rwkv5-time-mixer": 82_944,
        "rwkv6-time-mixer": 140_544,
        "rwkv5-channel-mixer": 147_712,
        "rwkv6-channel-mixer": 147_712,
        "mlp": 131_072,
        "swiglu": 135_168,
        "moe-mlp": 165_000 - 8 * 16,  # without MAD-Lab's unused `gates`
    }.items(),
)
def test_parameter_counts_of_mad(name: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in build_layer(name, dim=128, max_length=LENGTH).parameters()) == count


@pytest.mark.parametrize(
    ("name", "size"),
    {
        "attention": None,
        "mh-attention": None,
        "sliding-attention": 2 * 32 * 128,
        "mh-sliding-attention": 2 * 32 * 128,
        "linear-attention": 128 * (128 + 1),
        "mh-linear-attention": 16 * 8 * (8 + 1),
        "gated-linear-attention": 128 * 128,
        "mh-gated-linear-attention": 2_048,
        "hyena": None,
        "mh-hyena": None,
        "hyena-experts": None,
        "mamba": 1_024 + 3 * 256,
        "rwkv5-time-mixer": 2_048 + 128,
        "rwkv6-time-mixer": 2_048 + 128,
        "rwkv5-channel-mixer": 128,
        "rwkv6-channel-mixer": 128,
        "mlp": 0,
        "swiglu": 0,
        "moe-mlp": 0,
    }.items(),
)
def test_states_of_mad(name: str, size: int | None) -> None:
    assert build_layer(name, dim=128, max_length=LENGTH).state_size() == size


def test_sliding_windows_as_mad_counts_them() -> None:
    assert build_layer("sliding-attention", dim=128, compat=True).state_size() == 8_448


SHORT_CONVOLUTIONS = 3 * (128 + 128 + 128)  # of q, k and v, with 4 taps


@pytest.mark.parametrize(
    ("name", "config", "besides"),
    [
        ("mh-gated-linear-attention", {}, 0),
        ("rwkv5-time-mixer", {}, 128),
        ("rwkv6-time-mixer", {}, 128),
        ("rwkv7-time-mixer", {"head_dim": 16}, 128),
        ("mamba2", {"head_dim": 16, "state_dim": 8}, 3 * (256 + 2 * 8)),
        ("retnet", {"head_dim": 16, "expand_v": 1}, 0),
        ("deltanet", {"head_dim": 16}, SHORT_CONVOLUTIONS),
        ("gated-deltanet", {"head_dim": 16, "expand_v": 1}, SHORT_CONVOLUTIONS),
        ("kda", {"head_dim": 16}, SHORT_CONVOLUTIONS),
        ("hgrn2", {"head_dim": 16}, 0),
        ("gsa", {"head_dim": 16, "num_slots": 8}, 0),
    ],
)
def test_iso_state(name: str, config: dict[str, Any], besides: int) -> None:
    """MAD compares layers at one size of their memory: 2,048 floats, besides what convolutions and shifts keep."""
    assert build_layer(name, dim=128, max_length=LENGTH, **config).state_size() == 2_048 + besides
