"""A mixture of experts with one thing changed, most of them in its router."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_mad.layers.mixer import State
from pytest_mad.layers.moe import MoeMLP
from pytest_mad.layers.ops.operator import Backend


class OneByOne(MoeMLP):
    """A loop over experts."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        inner_BTI = self.up(x_BTD) * F.gelu(self.gate(x_BTD), approximate="tanh")
        weights_BTE = self.route(x_BTD)
        parts = [
            F.linear(inner_BTI, self.down.weight[number :: self.num_experts]) * weights_BTE[..., number, None]
            for number in range(self.num_experts)
        ]
        return torch.stack(parts).sum(0), state


class OtherExperts(MoeMLP):
    """A relabelling: the router's last score is the first expert's."""

    def route(self, x_BTD: Tensor) -> Tensor:
        return super().route(x_BTD).flip(-1)


class WorstExperts(MoeMLP):
    """The two with the lowest scores."""

    def route(self, x_BTD: Tensor) -> Tensor:
        scores_BTE = self.router(x_BTD)
        worst = (-scores_BTE).topk(2, -1)
        return torch.full_like(scores_BTE, float("-inf")).scatter(-1, worst.indices, -worst.values).softmax(-1)


class SameExperts(MoeMLP):
    """The first two, whatever the scores."""

    def route(self, x_BTD: Tensor) -> Tensor:
        scores_BTE = self.router(x_BTD)
        return torch.cat([scores_BTE[..., :2].softmax(-1), torch.zeros_like(scores_BTE[..., 2:])], -1)


class Sigmoids(MoeMLP):
    """Weights that do not sum to one, of all experts."""

    def route(self, x_BTD: Tensor) -> Tensor:
        weights_BTE: Tensor = self.router(x_BTD).sigmoid()
        return weights_BTE


class OverTime(MoeMLP):
    """The softmax over positions."""

    def route(self, x_BTD: Tensor) -> Tensor:
        weights_BTE: Tensor = self.router(x_BTD).softmax(1)
        return weights_BTE


class OverBatch(MoeMLP):
    def route(self, x_BTD: Tensor) -> Tensor:
        weights_BTE: Tensor = self.router(x_BTD).softmax(0)
        return weights_BTE


class RoutedOneLate(MoeMLP):
    """By the token before."""

    def route(self, x_BTD: Tensor) -> Tensor:
        return super().route(torch.cat([torch.zeros_like(x_BTD[:, :1]), x_BTD[:, :-1]], 1))


class WeightedTwice(MoeMLP):
    def route(self, x_BTD: Tensor) -> Tensor:
        return super().route(x_BTD).square()


class DetachedRouter(MoeMLP):
    def route(self, x_BTD: Tensor) -> Tensor:
        return super().route(x_BTD).detach()


class HardChoice(MoeMLP):
    """One expert, with weight one: nothing to learn from."""

    def route(self, x_BTD: Tensor) -> Tensor:
        scores_BTE = super().route(x_BTD)
        return F.one_hot(scores_BTE.argmax(-1), self.num_experts).to(scores_BTE)


class NoisyScores(MoeMLP):
    """The noise that balances the experts' load is left on after training."""

    def route(self, x_BTD: Tensor) -> Tensor:
        scores_BTE = self.router(x_BTD)
        weights_BTE: Tensor = (scores_BTE + 0.5 * torch.randn_like(scores_BTE)).softmax(-1)
        return weights_BTE


class Overfull(MoeMLP):
    """An expert takes the best quarter of all tokens in the batch; the others get nothing of it."""

    def route(self, x_BTD: Tensor) -> Tensor:
        weights_BTE = super().route(x_BTD)
        flat = weights_BTE.flatten(0, 1)
        least_E = flat.topk(max(1, len(flat) // 4), 0).values[-1]
        return weights_BTE * (weights_BTE >= least_E)


class DividedTwice(MoeMLP):
    """The mean over experts where a sum is due, in both maps."""

    def route(self, x_BTD: Tensor) -> Tensor:
        return super().route(x_BTD) / self.num_experts**2


class ChosenBlindly(MoeMLP):
    """The router's bias alone decides."""

    def route(self, x_BTD: Tensor) -> Tensor:
        weights_BTE: Tensor = self.router.weights(torch.zeros_like(x_BTD))
        return weights_BTE


class NotActivated(MoeMLP):
    """A product of two linear maps in every expert."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        z_BTDE = self.down(self.up(x_BTD) * self.gate(x_BTD)).unflatten(2, (-1, self.num_experts))
        return (z_BTDE @ self.route(x_BTD).unsqueeze(-1)).squeeze(-1), state


class ChannelsOfExperts(MoeMLP):
    """The outputs are laid out expert by expert, and read channel by channel."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        inner_BTI = self.up(x_BTD) * F.gelu(self.gate(x_BTD), approximate="tanh")
        z_BTED = self.down(inner_BTI).unflatten(2, (self.num_experts, -1))
        return (z_BTED.mT @ self.route(x_BTD).unsqueeze(-1)).squeeze(-1), state
