"""AdamW as torch has it, without an import of torch's compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def _bare(method: Callable[..., Any]) -> Callable[..., Any]:
    """What torch has wrapped; the method itself where a version wraps nothing."""
    bare: Callable[..., Any] = getattr(method, "__wrapped__", method)
    return bare


class AdamW(torch.optim.AdamW):
    """The same steps. torch wraps these methods for whoever compiles optimizer steps, which nobody does here: at its
    first call each wrapper imports ``torch._dynamo``, which takes as long as torch itself.
    """

    add_param_group = _bare(torch.optim.Optimizer.add_param_group)
    zero_grad = _bare(torch.optim.Optimizer.zero_grad)
    state_dict = _bare(torch.optim.Optimizer.state_dict)
    load_state_dict = _bare(torch.optim.Optimizer.load_state_dict)
    step = torch.no_grad()(_bare(torch.optim.AdamW.step))
