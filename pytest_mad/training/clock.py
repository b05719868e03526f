"""What one training step costs, apart from compiling, evaluating and waiting for others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch


@dataclass(kw_only=True)
class StepClock:
    """Seconds per step of each stretch between two evaluations; the median knows nothing of the one that compiled.

    On a CPU, where a trial has one thread, that thread's own time: other processes lengthen it little. Elsewhere the
    time that passes; each stretch ends in an evaluation's wait for the device.
    """

    now: Callable[[], float]
    stretches: list[float] = field(default_factory=list)
    began: float = 0.0
    first: int = 0

    @classmethod
    def of(cls, device: torch.device) -> StepClock:
        return cls(now=time.thread_time if device.type == "cpu" else time.perf_counter)

    def begin(self, step: int) -> None:
        """Training goes on behind this step."""
        self.began, self.first = self.now(), step

    def end(self, step: int) -> None:
        """The last step of a stretch is over."""
        self.stretches.append((self.now() - self.began) / (step - self.first))

    @property
    def seconds_per_step(self) -> float:
        return statistics.median(self.stretches)
