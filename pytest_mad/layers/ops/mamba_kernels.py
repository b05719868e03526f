"""The scans of Mamba and Mamba-2 by mamba-ssm: the first in CUDA, the second in Triton."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from .kernel import Kernel

PACKAGE = "mamba-ssm --no-build-isolation"  # it compiles against the torch that is installed
MODES = 256  # of a channel, at most
CHUNKS = (16, 64)  # shortest and longest, a power of 2: what is compared before use has two of them


def selective_scan(
    module: Any,
    x_BTC: Tensor,
    dt_BTC: Tensor,
    A_CN: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    h_BCN: None,
) -> tuple[Tensor, Tensor]:
    """All that changes with time in one dtype, the widest, and with time last.

    Its backward pass leaves the last state out, so a gradient through that would be wrong and is stopped.
    """
    changing = (x_BTC, dt_BTC, B_BTN, C_BTN)
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in changing))
    x_BCT, dt_BCT, B_BNT, C_BNT = (tensor.to(dtype).mT.contiguous() for tensor in changing)
    y_BCT, h_BCN_last = module.selective_scan_fn(x_BCT, dt_BCT, A_CN.float(), B_BNT, C_BNT, return_last_state=True)
    return y_BCT.mT, h_BCN_last.detach()


def ssd(
    module: Any, x_BTHP: Tensor, dt_BTH: Tensor, A_H: Tensor, B_BTGN: Tensor, C_BTGN: Tensor, S_BHNP: Tensor
) -> tuple[Tensor, Tensor]:
    """Its states have the width of a value before that of a key."""
    shortest, longest = CHUNKS
    chunk = min(longest, max(shortest, 2 ** (x_BTHP.shape[1] - 1).bit_length()))
    y_BTHP, S_BHPN = module.mamba_chunk_scan_combined(
        x_BTHP,
        dt_BTH.float(),
        A_H.float(),
        B_BTGN.to(x_BTHP.dtype),
        C_BTGN.to(x_BTHP.dtype),
        chunk,
        initial_states=S_BHNP.float().mT.contiguous(),
        return_final_states=True,
    )
    return y_BTHP, S_BHPN.mT


def _has_state_or_many_modes(
    x_BTC: Tensor, dt_BTC: Tensor, A_CN: Tensor, B_BTN: Tensor, C_BTN: Tensor, h_BCN: Tensor | None
) -> str | None:
    if h_BCN is not None:
        return "begins with an empty state, None, and takes no other"
    return f"takes up to {MODES} modes, not {A_CN.shape[1]}" if A_CN.shape[1] > MODES else None


SELECTIVE_SCAN = Kernel(
    name="mamba_ssm.selective_scan_fn",
    package=PACKAGE,
    module="mamba_ssm.ops.selective_scan_interface",
    run=selective_scan,
    refuses=_has_state_or_many_modes,
)
SSD = Kernel(
    name="mamba_ssm.mamba_chunk_scan_combined",
    package=PACKAGE,
    module="mamba_ssm.ops.triton.ssd_combined",
    run=ssd,
)
