"""What flash-linear-attention calls the weights of its layers."""

from __future__ import annotations

from tests.packages.twins import Names

QKV = {"q.weight": "q_proj.weight", "k.weight": "k_proj.weight", "v.weight": "v_proj.weight"}
OUT = {"out.weight": "o_proj.weight"}

LINEAR_ATTENTION: Names = {**QKV, **OUT}
HEDGEHOG: Names = {
    **LINEAR_ATTENTION,
    "map_q.linear.weight": "feature_map_q.layer.weight",
    "map_q.linear.bias": "feature_map_q.layer.bias",
    "map_k.linear.weight": "feature_map_k.layer.weight",
    "map_k.linear.bias": "feature_map_k.layer.bias",
}
GLA: Names = {
    **QKV,
    **OUT,
    "decay.0.weight": "gk_proj.0.weight",
    "decay.1.weight": "gk_proj.1.weight",
    "decay.1.bias": "gk_proj.1.bias",
    "gate.weight": "g_proj.weight",
    "norm.weight": "g_norm_swish_gate.weight",
}
RETNET: Names = {
    **OUT,
    "qk.weight": ("q_proj.weight", "k_proj.weight"),
    "v.weight": "v_proj.weight",
    "gate.weight": "g_proj.weight",
    "norm.weight": "g_norm_swish_gate.weight",
}
HGRN2: Names = {
    **OUT,
    "q.weight": "q_proj.weight",
    "forget.weight": "f_proj.weight",
    "input.weight": "i_proj.weight",
    "norm.weight": "g_norm.weight",
}
GSA: Names = {**QKV, **OUT, "forget.weight": "f_proj.weight", "norm.weight": "g_norm.weight"}
DELTANET: Names = {
    **OUT,
    "qkv.weight": ("q_proj.weight", "k_proj.weight", "v_proj.weight"),
    "conv.weight_CW": ("q_conv1d.weight", "k_conv1d.weight", "v_conv1d.weight"),
    "beta.weight": "b_proj.weight",
    "norm.weight": "o_norm.weight",
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
    "decay.0.weight": "f_proj.0.weight",
    "decay.1.weight": "f_proj.1.weight",
    "dt_bias_K": "dt_bias",
    "A_log_H": "A_log",
    "gate.0.weight": "g_proj.0.weight",
    "gate.1.weight": "g_proj.1.weight",
    "gate.1.bias": "g_proj.1.bias",
}


RKVGW = [0, 2, 3, 4, 1]  # they have r, w, k, v, g
RWKV6: Names = {
    **OUT,
    "mu_z_D": "x_proj.0.mu",
    "mu_CD": lambda their: their["x_bias"][RKVGW],
    "mix_down_DR": lambda their: their["x_proj.0.linear.weight"].unflatten(0, (5, -1))[RKVGW].flatten(0, 1).T,
    "mix_up_5RD": lambda their: their["x_proj.2.weight"].unflatten(1, (5, -1))[:, RKVGW].permute(1, 2, 0),
    "decay_D": "w_proj.linear.lora.2.bias",
    "decay.down_DR": lambda their: their["w_proj.linear.lora.0.weight"].T,
    "decay.up_RD": lambda their: their["w_proj.linear.lora.2.weight"].T,
    "bonus_HK": "bonus",
    "r.weight": "r_proj.linear.weight",
    "k.weight": "k_proj.linear.weight",
    "v.weight": "v_proj.linear.weight",
    "gate.weight": "g_proj.linear.weight",
    "norm.weight": "g_norm.weight",
    "norm.bias": "g_norm.bias",
}
RWKV7: Names = {
    **OUT,
    "mu_CD": ("x_r", "x_k", "x_v", "x_w", "x_a", "x_g"),
    "r.weight": "r_proj.weight",
    "k.weight": "k_proj.weight",
    "v.weight": "v_proj.weight",
    "decay_D": "w_lora.lora.2.bias",
    "rate_D": "a_lora.lora.2.bias",
    "decay.down_DR": lambda their: their["w_lora.lora.0.weight"].T,
    "decay.up_RD": lambda their: their["w_lora.lora.2.weight"].T,
    "rate.down_DR": lambda their: their["a_lora.lora.0.weight"].T,
    "rate.up_RD": lambda their: their["a_lora.lora.2.weight"].T,
    "gate.down_DR": lambda their: their["g_lora.lora.0.weight"].T,
    "gate.up_RD": lambda their: their["g_lora.lora.2.weight"].T,
    "xi_D": "k_k",
    "alpha_D": "k_a",
    "bonus_HK": "r_k",
    "norm.weight": "g_norm.weight",
    "norm.bias": "g_norm.bias",
}
