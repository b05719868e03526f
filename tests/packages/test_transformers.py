"""Whole layers against those of Hugging Face's transformers, in plain PyTorch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pytest_mad.layers import build_layer
from tests.packages.drawing import Draw, draws, examples
from tests.packages.installed import load
from tests.packages.mamba_names import MAMBA, mamba_2
from tests.packages.twins import Names, Weights, assert_twins

MODES = 5
# 8 channels at least: the norm of fewer can come close to zero, where dividing by it makes much of a rounding error
widths = st.sampled_from([8, 16])

DELTANET: Names = {
    "qkv.weight": ("q_proj.weight", "k_proj.weight", "v_proj.weight"),
    "conv.weight_CW": "conv1d.weight",
    "beta.weight": "b_proj.weight",
    "norm.weight": "o_norm.weight",
    "out.weight": "o_proj.weight",
}
GATED_DELTANET: Names = {
    **DELTANET,
    "decay.weight": "a_proj.weight",
    "dt_bias_H": "dt_bias",
    "A_log_H": "A_log",
    "gate.weight": "g_proj.weight",
}
KDA: Names = {
    **DELTANET,
    "decay.0.weight": "forget_gate.f_a_proj.weight",
    "decay.1.weight": "forget_gate.f_b_proj.weight",
    "dt_bias_K": "forget_gate.dt_bias",
    "A_log_H": "forget_gate.A_log",
    "gate.0.weight": "g_a_proj.weight",
    "gate.1.weight": "g_b_proj.weight",
    "gate.1.bias": lambda their: torch.zeros(len(their["g_b_proj.weight"])),
}
ATTENTION: Names = {
    "qkv.weight": ("q_proj.weight", "k_proj.weight", "v_proj.weight"),
    "qkv.bias": ("q_proj.bias", "k_proj.bias", "v_proj.bias"),
    "out.weight": "o_proj.weight",
    "out.bias": "o_proj.bias",
}


def rwkv_channel_mixer(share: Callable[[Tensor], Tensor]) -> Names:
    """``share`` makes theirs, that of the present token, ours."""
    return {
        "mu_CD": lambda their: share(torch.cat([their["time_mix_receptance"], their["time_mix_key"]])),
        "r.weight": "receptance.weight",
        "k.weight": "key.weight",
        "v.weight": "value.weight",
    }


def qwen_3_next(draw: Draw) -> Names:
    """One matrix makes q, k, v and z of the first head, then of the next; another beta and a."""

    def rows_of_parts(their: Weights) -> list[Tensor]:
        by_head = their["in_proj_qkvz.weight"].unflatten(0, (draw.H, -1))
        return [part.flatten(0, 1) for part in by_head.split([draw.K, draw.K, draw.K, draw.K], dim=1)]

    return {
        **GATED_DELTANET,
        "qkv.weight": lambda their: torch.cat(rows_of_parts(their)[:3]),
        "gate.weight": lambda their: rows_of_parts(their)[3],
        "beta.weight": lambda their: their["in_proj_ba.weight"][0::2],
        "decay.weight": lambda their: their["in_proj_ba.weight"][1::2],
        "norm.weight": "norm.weight",
        "out.weight": "out_proj.weight",
    }


def build(path: str, name: str, config: str, **values) -> nn.Module:
    """Theirs, as the first of two layers."""
    module = load(f"transformers.models.{path}.modeling_{path}")
    use_pytorch(module)
    return getattr(module, name)(getattr(module, config)(num_hidden_layers=2, **values), 0).eval()


def use_pytorch(module: ModuleType) -> None:
    """They wrap functions in a choice that falls on the kernels of an installed package, be there a GPU or not."""
    for name, function in list(vars(module).items()):
        if inspect.isfunction(function):
            setattr(module, name, inspect.unwrap(function))


@given(draws(widths=widths))
@examples
def test_mamba(draw: Draw):
    dim = draw.H * draw.K
    ours = build_layer("mamba", dim, draw.T, state_dim=MODES, dt_rank=3)
    theirs = build("mamba", "MambaMixer", "MambaConfig", hidden_size=dim, state_size=MODES, time_step_rank=3)
    assert_twins(ours, theirs, MAMBA, draw.normal(draw.B, draw.T, dim))


@given(draws(widths=widths), st.sampled_from([1, 2]))
@examples
def test_mamba_2(draw: Draw, groups: int):
    dim = draw.H * draw.K
    ours = build_layer("mamba2", dim, draw.T, head_dim=draw.K, state_dim=MODES, num_groups=groups)
    theirs = build(
        "mamba2",
        "Mamba2Mixer",
        "Mamba2Config",
        hidden_size=dim,
        num_heads=2 * draw.H,
        head_dim=draw.K,
        state_size=MODES,
        n_groups=groups,
        chunk_size=16,
    )
    assert_twins(ours, theirs, mamba_2(2 * dim, 2 * draw.H), draw.normal(draw.B, draw.T, dim))


@given(draws(widths=widths), st.booleans())
@examples
def test_gated_deltanet_of_olmo(draw: Draw, negative_eigenvalues: bool):
    dim = draw.H * draw.K
    ours = build_layer("gated-deltanet", dim, draw.T, num_heads=draw.H, allow_negative_eigenvalues=negative_eigenvalues)
    theirs = build(
        "olmo_hybrid",
        "OlmoHybridGatedDeltaNet",
        "OlmoHybridConfig",
        hidden_size=dim,
        linear_num_key_heads=draw.H,
        linear_num_value_heads=draw.H,
        linear_key_head_dim=draw.K,
        linear_value_head_dim=draw.K,
        linear_allow_neg_eigval=negative_eigenvalues,
        layer_types=["linear_attention", "full_attention"],
    )
    assert_twins(ours, theirs, GATED_DELTANET, draw.normal(draw.B, draw.T, dim))


@given(draws(widths=widths))
@examples
def test_gated_deltanet_of_qwen(draw: Draw):
    dim = draw.H * draw.K
    ours = build_layer("gated-deltanet", dim, draw.T, num_heads=draw.H)
    theirs = build(
        "qwen3_next",
        "Qwen3NextGatedDeltaNet",
        "Qwen3NextConfig",
        hidden_size=dim,
        linear_num_key_heads=draw.H,
        linear_num_value_heads=draw.H,
        linear_key_head_dim=draw.K,
        linear_value_head_dim=draw.K,
        rms_norm_eps=1e-5,
    )
    nn.init.zeros_(theirs.A_log)  # their decay is so strong at first that a float32 sum over a chunk is rough
    nn.init.zeros_(theirs.dt_bias)
    assert_twins(ours, theirs, qwen_3_next(draw), draw.normal(draw.B, draw.T, dim))


@given(draws(widths=widths))
@examples
def test_kimi_delta_attention(draw: Draw):
    dim = draw.H * draw.K
    ours = build_layer("kda", dim, draw.T, num_heads=draw.H)
    theirs = build(
        "kimi_linear",
        "KimiLinearDeltaAttention",
        "KimiLinearConfig",
        hidden_size=dim,
        linear_num_heads=draw.H,
        linear_head_dim=draw.K,
        rms_norm_eps=1e-5,
    )
    nn.init.zeros_(theirs.forget_gate.A_log)
    nn.init.zeros_(theirs.forget_gate.dt_bias)
    assert_twins(ours, theirs, KDA, draw.normal(draw.B, draw.T, dim))


@pytest.mark.parametrize(
    ("name", "share"), [("rwkv5-channel-mixer", torch.positive), ("rwkv6-channel-mixer", lambda present: 1 - present)]
)
@given(draws())
@examples
def test_rwkv_channel_mixer(name: str, share: Callable[[Tensor], Tensor], draw: Draw):
    """That of RWKV-4, which has stayed the same."""
    ours = build_layer(name, draw.K, draw.T)
    theirs = build("rwkv", "RwkvFeedForward", "RwkvConfig", hidden_size=draw.K, attention_hidden_size=draw.K)
    nn.init.uniform_(theirs.time_mix_key)
    nn.init.uniform_(theirs.time_mix_receptance)
    assert_twins(ours, theirs, rwkv_channel_mixer(share), draw.normal(draw.B, draw.T, draw.K))


@given(draws(widths=widths), st.none() | st.integers(1, 40))
@examples
def test_attention(draw: Draw, window: int | None):
    dim = draw.H * draw.K
    ours = build_layer("mh-attention", dim, draw.T, num_heads=draw.H, window=window)
    config = {"hidden_size": dim, "num_attention_heads": draw.H, "num_key_value_heads": draw.H}
    theirs = build("llama", "LlamaAttention", "LlamaConfig", **config, attention_bias=True, attn_implementation="eager")
    rotary = load("transformers.models.llama.modeling_llama.LlamaRotaryEmbedding")(theirs.config)
    x, position = draw.normal(draw.B, draw.T, dim), torch.arange(draw.T)
    age = position[:, None] - position
    hidden = (age < 0) | (age >= (window or draw.T))
    assert_twins(
        ours,
        theirs,
        ATTENTION,
        x,
        position_embeddings=rotary(x, position[None]),
        attention_mask=torch.zeros(draw.T, draw.T).masked_fill(hidden, float("-inf")),
    )
