"""What every layer is: a map of sequences that can also run one token at a time."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from pytest_mad.layers.ops.operator import Backend

State = dict[str, Tensor]


class Mixer(nn.Module):
    """A layer in two forms that agree: all positions at once to train, one after the other to generate.

    A subclass writes `_mix`, in which ``backend`` is for the operator at its core; what comes before and after the
    operator is the same code in both forms. What is kept between tokens is a dict of tensors, from `init_state`.
    """

    backend: Backend = "auto"

    def forward(self, x_BTD: Tensor) -> Tensor:
        """``(B, T, D) -> (B, T, D)``, all positions at once."""
        return self.prefill(x_BTD, self.init_state(len(x_BTD)))[0]

    def prefill(self, x_BTD: Tensor, state: State) -> tuple[Tensor, State]:
        """``(B, T, D) -> (B, T, D)``, all positions at once, going on from ``state``; and the state behind them."""
        return self._mix(x_BTD, state, self.backend)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        """``(B, D) -> (B, D)``: the next position, by the recurrence; and the state behind it."""
        y_BTD, state = self._mix(x_BD[:, None], state, "recurrent")
        return y_BTD[:, 0], state

    def init_state(self, batch: int) -> State:
        """The state before the first token of ``batch`` sequences; empty for a layer without memory."""
        return {}

    def state_size(self) -> int | None:
        """Floats kept per sequence between tokens, counted on a real state; None if they grow with the sequence."""
        return sum(part.numel() for part in self.init_state(1).values() if part.is_floating_point())

    @abstractmethod
    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        """``(B, T, D) -> (B, T, D)`` from ``state``, and the state behind the last position."""
        raise NotImplementedError

    def _zeros(self, *shape: int) -> Tensor:
        """A part of a state, where and as precise as the layer's parameters are."""
        return next(self.parameters()).new_zeros(shape)
