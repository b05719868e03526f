"""What everybody calls the weights of Mamba and Mamba-2."""

from __future__ import annotations

from tests.packages.twins import Names

MAMBA: Names = {
    "xz.weight": "in_proj.weight",
    "conv.weight_CW": "conv1d.weight",
    "conv.bias_C": "conv1d.bias",
    "select.weight": "x_proj.weight",
    "dt.weight": "dt_proj.weight",
    "dt.bias": "dt_proj.bias",
    "A_log_CN": "A_log",
    "D_C": "D",
    "out.weight": "out_proj.weight",
}


def mamba_2(inner: int, heads: int) -> Names:
    """One matrix makes z, then x, B and C, then dt."""
    return {
        "z.weight": lambda their: their["in_proj.weight"][:inner],
        "xBC.weight": lambda their: their["in_proj.weight"][inner:-heads],
        "dt.weight": lambda their: their["in_proj.weight"][-heads:],
        "conv.weight_CW": "conv1d.weight",
        "conv.bias_C": "conv1d.bias",
        "dt_bias_H": "dt_bias",
        "A_log_H": "A_log",
        "D_H": "D",
        "norm.weight": "norm.weight",
        "out.weight": "out_proj.weight",
    }
