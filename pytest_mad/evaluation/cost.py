"""What a step costs beside what it cost when a baseline was recorded: it is told, and no verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pytest_mad.gate.baseline import another_machine

from .options import RunOptions
from .requirement import Requirement

if TYPE_CHECKING:
    from .sweep import Sweep

#: Less than this is the machine's mood.
MUCH = 1.5
#: Seconds of training that are enough to say anything.
ENOUGH = 5.0


def cost(
    requirement: Requirement, options: RunOptions, sweeps: Sequence[Sweep], now: float, device: torch.device
) -> str:
    """One clause where a step takes ``MUCH`` times the recorded seconds; nothing where that cannot be told.

    A test would fail or pass with the load of its machine, so this is no verdict and no warning of Python's.
    """
    entry = requirement.entry
    if entry is None or entry.seconds_per_step is None or requirement.record or options.engine == "vmap":
        return ""
    if options.baseline is None or options.baseline.is_shipped:
        return ""
    if another_machine(entry, torch=torch.__version__, device=device.type):
        return ""
    trained = sum(trial.seconds for sweep in sweeps if not sweep.stored for trial in sweep.trials)
    before = entry.seconds_per_step
    if trained < ENOUGH or now <= MUCH * before:
        return ""
    return f"a step takes {now / before:.1f} times as long as recorded ({now:.3g} s, not {before:.3g})"
