"""Delta rules and selective scans with one thing changed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_mad.layers.deltanet import DeltaNet, GatedDeltaNet
from pytest_mad.layers.mamba import Mamba
from pytest_mad.layers.mixer import State
from pytest_mad.layers.modules.projection import split_heads
from pytest_mad.layers.ops.delta import delta_rule
from pytest_mad.layers.ops.operator import Backend
from pytest_mad.layers.ops.selective_scan import selective_scan


class Delta(GatedDeltaNet):
    """As the equation has it, with everything in reach."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        qkv_BTC, past_BPC = self.conv(self.qkv(self.ahead(x_BTD)), state["conv"], backend)
        parts = torch.split(F.silu(qkv_BTC), self.widths, -1)
        q_BTHK, k_BTHK, v_BTHV = (split_heads(part, self.num_heads) for part in parts)
        q_BTHK, k_BTHK = self.unit(q_BTHK) * self.key_head_dim**-0.5, self.unit(k_BTHK)
        v_BTHV, beta_BTH = self.write(v_BTHV, self.beta(x_BTD).sigmoid())
        g_BTHK = self.decays(self._log_decay(x_BTD), backend)
        o_BTHV, S_BHKV = self.rule(q_BTHK, k_BTHK, v_BTHV, beta_BTH, g_BTHK, state["S"], backend)
        y_BTD = self.out((self.norm(o_BTHV) * self._gate(x_BTD)).flatten(2))
        return y_BTD, {"conv": past_BPC, "S": S_BHKV}

    def ahead(self, x_BTD: Tensor) -> Tensor:
        return x_BTD

    def unit(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1, eps=1e-3)

    def write(self, v_BTHV: Tensor, beta_BTH: Tensor) -> tuple[Tensor, Tensor]:
        return v_BTHV, beta_BTH

    def decays(self, g_BTHK: Tensor, backend: Backend) -> Tensor:
        return g_BTHK

    def rule(
        self, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, S_BHKV: Tensor, backend: Backend
    ) -> tuple[Tensor, Tensor]:
        o_BTHV, S_BHKV = delta_rule(q, k, v, beta, g, S_BHKV, backend=backend)
        return o_BTHV, S_BHKV


class GrowsInsteadOfDecays(Delta):
    def decays(self, g_BTHK: Tensor, backend: Backend) -> Tensor:
        return -g_BTHK


class NeverDecays(Delta):
    def decays(self, g_BTHK: Tensor, backend: Backend) -> Tensor:
        return torch.zeros_like(g_BTHK)


class DecaysAtOnce(Delta):
    """The log of the decay is taken for the decay's complement, a hundred times too large."""

    def decays(self, g_BTHK: Tensor, backend: Backend) -> Tensor:
        return 100 * g_BTHK


class OnlyTheStepDecays(Delta):
    def decays(self, g_BTHK: Tensor, backend: Backend) -> Tensor:
        return g_BTHK if backend == "recurrent" else 0 * g_BTHK.detach() + 0.01 * g_BTHK


class DeltaWithTheWrongSign(Delta):
    def write(self, v_BTHV: Tensor, beta_BTH: Tensor) -> tuple[Tensor, Tensor]:
        return -v_BTHV, -beta_BTH


class DetachedBeta(Delta):
    def write(self, v_BTHV: Tensor, beta_BTH: Tensor) -> tuple[Tensor, Tensor]:
        return v_BTHV, beta_BTH.detach()


class NoBeta(Delta):
    def write(self, v_BTHV: Tensor, beta_BTH: Tensor) -> tuple[Tensor, Tensor]:
        return v_BTHV, torch.ones_like(beta_BTH)


class NoUnit(Delta):
    """Queries and keys as long as they come."""

    def unit(self, x: Tensor) -> Tensor:
        return x


class ConvolutionAhead(Delta):
    """Padded on both sides."""

    def ahead(self, x_BTD: Tensor) -> Tensor:
        return torch.cat([x_BTD[:, 1:], torch.zeros_like(x_BTD[:, :1])], 1)


class ConvolutionLate(Delta):
    """Shifted by one: a token is written when the next one is there."""

    def ahead(self, x_BTD: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x_BTD[:, :1]), x_BTD[:, :-1]], 1)


class KeepsItsState(Delta):
    """From one batch to the next of its size."""

    kept: State | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        known = self.kept is not None and len(self.kept["S"]) == len(x_BTD)
        before = self.kept if known and self.kept is not None else self.init_state(len(x_BTD))
        y_BTD, after = self.prefill(x_BTD, before)
        self.kept = {name: part.detach() for name, part in after.items()}
        return y_BTD


class InPieces(DeltaNet):
    """Piece by piece; what a piece begins with is a subclass's to say."""

    PIECE = 4

    def forward(self, x_BTD: Tensor) -> Tensor:
        state, found = self.init_state(len(x_BTD)), []
        for piece in torch.split(x_BTD, self.PIECE, 1):
            y_BTD, state = self.prefill(piece, self.between(state, len(x_BTD)))
            found.append(y_BTD)
        return torch.cat(found, 1)

    def between(self, state: State, batch: int) -> State:
        return state


class CarriedOver(InPieces):
    """Two pieces or three, and the state goes with them: another chunk size."""

    PIECE = 20


class ForgottenBetweenPieces(InPieces):
    """Every chunk of four begins with an empty state, as if it were a sequence."""

    def between(self, state: State, batch: int) -> State:
        return self.init_state(batch)


class DetachedBetweenPieces(InPieces):
    """Gradients end at the border of a chunk of four."""

    def between(self, state: State, batch: int) -> State:
        return {name: part.detach() for name, part in state.items()}


class NotTakenOut(DeltaNet):
    """The old value stays when the new one is written: a sum, not a delta."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        qkv_BTC, past_BPC = self.conv(self.qkv(x_BTD), state["conv"], backend)
        parts = torch.split(F.silu(qkv_BTC), self.widths, -1)
        q, k, v = (split_heads(part, self.num_heads) for part in parts)
        q, k = F.normalize(q, dim=-1, eps=1e-3) * self.key_head_dim**-0.5, F.normalize(k, dim=-1, eps=1e-3)
        written = v * torch.sigmoid(self.beta(x_BTD))[..., None]
        scores_BHTS = torch.einsum("bthk,bshk->bhts", q, k).tril()
        o_BTHV = torch.einsum("bhts,bshv->bthv", scores_BHTS, written) + torch.einsum("bthk,bhkv->bthv", q, state["S"])
        S_BHKV = state["S"] + torch.einsum("bthk,bthv->bhkv", k, written)
        return self.out(self.norm(o_BTHV).flatten(2)), {"conv": past_BPC, "S": S_BHKV}


class OneByOne(DeltaNet):
    """Token by token, also in training."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        return super()._mix(x_BTD, state, "recurrent")


class KeysForQueries(DeltaNet):
    """What is written as key is asked for as query, and the other way: relabelled."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        qkv_BTC, past_BPC = self.conv(self.qkv(x_BTD), state["conv"], backend)
        k, q, v = (split_heads(part, self.num_heads) for part in torch.split(F.silu(qkv_BTC), self.widths, -1))
        q, k = F.normalize(q, dim=-1, eps=1e-3) * self.key_head_dim**-0.5, F.normalize(k, dim=-1, eps=1e-3)
        beta_BTH = torch.sigmoid(self.beta(x_BTD))
        o_BTHV, S_BHKV = delta_rule(q, k, v, beta_BTH, None, state["S"], backend=backend)
        return self.out(self.norm(o_BTHV).flatten(2)), {"conv": past_BPC, "S": S_BHKV}


class Scan(Mamba):
    """As the equation has it, with everything in reach."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        x_BTC, z_BTC = self.xz(x_BTD).chunk(2, -1)
        x_BTC, past_BPC = self.conv(x_BTC, state["conv"], backend)
        x_BTC = F.silu(x_BTC)
        low_rank_BTR, B_BTN, C_BTN = self.select(x_BTC).split(self.widths, -1)
        dt_BTC, A_CN = self.steps(low_rank_BTR), self.rates()
        h_BCN = state.get("h")
        y_BTC, h_BCN = selective_scan(x_BTC, dt_BTC, A_CN, B_BTN, C_BTN, h_BCN, backend=backend)
        assert h_BCN is not None
        return self.out(self.gate(self.skip(y_BTC, x_BTC), z_BTC)), {"conv": past_BPC, "h": h_BCN}

    def steps(self, low_rank_BTR: Tensor) -> Tensor:
        return F.softplus(self.dt(low_rank_BTR))

    def rates(self) -> Tensor:
        return -self.A_log_CN.exp()

    def skip(self, y_BTC: Tensor, x_BTC: Tensor) -> Tensor:
        return y_BTC + self.D_C * x_BTC

    def gate(self, y_BTC: Tensor, z_BTC: Tensor) -> Tensor:
        return y_BTC * F.silu(z_BTC)


class PositiveRates(Scan):
    def rates(self) -> Tensor:
        return self.A_log_CN.exp()


class NoRates(Scan):
    def rates(self) -> Tensor:
        return torch.zeros_like(self.A_log_CN)


class NegativeGate(Scan):
    def gate(self, y_BTC: Tensor, z_BTC: Tensor) -> Tensor:
        return y_BTC * F.silu(-z_BTC)


class NoGate(Scan):
    def gate(self, y_BTC: Tensor, z_BTC: Tensor) -> Tensor:
        return y_BTC


class DetachedSteps(Scan):
    def steps(self, low_rank_BTR: Tensor) -> Tensor:
        return super().steps(low_rank_BTR).detach()


class LinearSteps(Scan):
    """Without softplus, of either sign."""

    def steps(self, low_rank_BTR: Tensor) -> Tensor:
        steps_BTC: Tensor = self.dt(low_rank_BTR)
        return steps_BTC


class NoSkip(Scan):
    def skip(self, y_BTC: Tensor, x_BTC: Tensor) -> Tensor:
        return y_BTC


class Backwards(Scan):
    def forward(self, x_BTD: Tensor) -> Tensor:
        return super().forward(x_BTD.flip(1)).flip(1)


class BatchFirstForgotten(Scan):
    def forward(self, x_BTD: Tensor) -> Tensor:
        return super().forward(x_BTD.transpose(0, 1)).transpose(0, 1)
