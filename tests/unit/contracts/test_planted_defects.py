"""Mistakes that happen, planted in the reference transformer, gated DeltaNet and Mamba, and the contracts that find them.

Those that none finds cost a capability, if anything, and are for the scores to tell.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pytest_mad.layers.attention import Attention
from pytest_mad.layers.deltanet import GatedDeltaNet
from pytest_mad.layers.mamba import Mamba
from pytest_mad.layers.mlp import SwiGLU
from pytest_mad.layers.ops.delta import delta_rule
from pytest_mad.layers.ops.selective_scan import selective_scan
from pytest_mad.layers.projection import split_heads
from reference_archs import gated_deltanet, mamba, transformer
from tests.unit.tiny import make_setting

from .models import HARD, all_broken


class Softmax(Attention):
    """As the equation has it, with everything in reach."""

    AXIS, AHEAD, SCALE = -1, 0, 1.0

    def _attend(self, q_BTHK, k_BSHK, v_BSHK, backend):
        scores_BHTS = torch.einsum("bthk,bshk->bhts", q_BTHK, k_BSHK) * self.SCALE / q_BTHK.shape[-1] ** 0.5
        hidden_TS = self.hidden(q_BTHK.shape[1], k_BSHK.shape[1])
        weights_BHTS = scores_BHTS.masked_fill(hidden_TS, -1e9).softmax(self.AXIS)
        return self.out(torch.einsum("bhts,bshk->bthk", weights_BHTS, self.values(v_BSHK)).flatten(2))

    def hidden(self, queries, keys):
        return torch.ones(queries, keys).triu(keys - queries + 1 + self.AHEAD) > 0

    def values(self, v_BSHK):
        return v_BSHK


class OneAhead(Softmax):
    AHEAD = 1


class OneBehind(Softmax):
    AHEAD = -1


class OverQueries(Softmax):
    AXIS = -2


class OverHeads(Softmax):
    """Causal: what is masked has no weight in any head... unless all are masked."""

    AXIS = 1


class OverBatch(Softmax):
    AXIS = 0


class Unscaled(Softmax):
    SCALE = 4.0


class ScaledTwice(Softmax):
    SCALE = 0.25


class WrongSign(Softmax):
    SCALE = -1.0


class NearWindow(Softmax):
    """The last four keys; a mask that was meant for another layer."""

    def hidden(self, queries, keys):
        return super().hidden(queries, keys) | (torch.ones(queries, keys).tril(keys - queries - 4) > 0)


class DetachedValues(Softmax):
    def values(self, v_BSHK):
        return v_BSHK.detach()


class QueriesOnly(Attention):
    """Keys are not rotated."""

    def _queries_keys_values(self, x_BTD, position):
        _, length, _ = x_BTD.shape
        q_BTHK, _, v_BTHK = super()._queries_keys_values(x_BTD, position)
        k_BTHK = self.qkv(x_BTD).view(len(x_BTD), length, 3 * self.num_heads, -1)[:, :, self.num_heads :]
        return q_BTHK, k_BTHK[:, :, : self.num_heads], v_BTHK


class HeadsBeforeTime(Softmax):
    """``reshape`` where ``transpose`` is due: heads are made of pieces of time."""

    def forward(self, x_BTD):
        batch, length, dim = x_BTD.shape
        q, k, v = (part.reshape(batch, self.num_heads, length, -1) for part in self.qkv(x_BTD).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, dim))


class LeftOn(Attention):
    def _attend(self, q_BTHK, k_BSHK, v_BSHK, backend):
        return F.dropout(super()._attend(q_BTHK, k_BSHK, v_BSHK, backend), 0.1)


class Delta(GatedDeltaNet):
    """As the equation has it, with everything in reach."""

    def _mix(self, x_BTD, state, backend):
        qkv_BTC, past_BPC = self.conv(self.qkv(self.ahead(x_BTD)), state["conv"], backend)
        parts = torch.split(F.silu(qkv_BTC), self.widths, -1)
        q_BTHK, k_BTHK, v_BTHV = (split_heads(part, self.num_heads) for part in parts)
        q_BTHK, k_BTHK = self.unit(q_BTHK) * self.key_head_dim**-0.5, self.unit(k_BTHK)
        v_BTHV, beta_BTH = self.write(v_BTHV, self.beta(x_BTD).sigmoid())
        g_BTHK = self.decays(self._log_decay(x_BTD), backend)
        o_BTHV, S_BHKV = delta_rule(q_BTHK, k_BTHK, v_BTHV, beta_BTH, g_BTHK, state["S"], backend=backend)
        y_BTD = self.out((self.norm(o_BTHV) * self._gate(x_BTD)).flatten(2))
        return y_BTD, {"conv": past_BPC, "S": S_BHKV}

    def ahead(self, x_BTD):
        return x_BTD

    def unit(self, x):
        return F.normalize(x, dim=-1, eps=1e-3)

    def write(self, v_BTHV, beta_BTH):
        return v_BTHV, beta_BTH

    def decays(self, g_BTHK, backend):
        return g_BTHK


class GrowsInsteadOfDecays(Delta):
    def decays(self, g_BTHK, backend):
        return -g_BTHK


class NeverDecays(Delta):
    def decays(self, g_BTHK, backend):
        return torch.zeros_like(g_BTHK)


class OnlyTheStepDecays(Delta):
    def decays(self, g_BTHK, backend):
        return g_BTHK if backend == "recurrent" else 0 * g_BTHK.detach() + 0.01 * g_BTHK


class DeltaWithTheWrongSign(Delta):
    def write(self, v_BTHV, beta_BTH):
        return -v_BTHV, -beta_BTH


class DetachedBeta(Delta):
    def write(self, v_BTHV, beta_BTH):
        return v_BTHV, beta_BTH.detach()


class ConvolutionAhead(Delta):
    """Padded on both sides."""

    def ahead(self, x_BTD):
        return torch.cat([x_BTD[:, 1:], torch.zeros_like(x_BTD[:, :1])], 1)


class KeepsItsState(Delta):
    """From one batch to the next of its size."""

    kept = None

    def forward(self, x_BTD):
        known = self.kept is not None and len(self.kept["S"]) == len(x_BTD)
        y_BTD, after = self.prefill(x_BTD, self.kept if known else self.init_state(len(x_BTD)))
        self.kept = {name: part.detach() for name, part in after.items()}
        return y_BTD


class Scan(Mamba):
    """As the equation has it, with everything in reach."""

    def _mix(self, x_BTD, state, backend):
        x_BTC, z_BTC = self.xz(x_BTD).chunk(2, -1)
        x_BTC, past_BPC = self.conv(x_BTC, state["conv"], backend)
        x_BTC = F.silu(x_BTC)
        low_rank_BTR, B_BTN, C_BTN = self.select(x_BTC).split(self.widths, -1)
        dt_BTC, A_CN = self.steps(low_rank_BTR), self.rates()
        h_BCN = state.get("h")
        y_BTC, h_BCN = selective_scan(x_BTC, dt_BTC, A_CN, B_BTN, C_BTN, h_BCN, backend=backend)
        return self.out(self.gate(self.skip(y_BTC, x_BTC), z_BTC)), {"conv": past_BPC, "h": h_BCN}

    def steps(self, low_rank_BTR):
        return F.softplus(self.dt(low_rank_BTR))

    def rates(self):
        return -self.A_log_CN.exp()

    def skip(self, y_BTC, x_BTC):
        return y_BTC + self.D_C * x_BTC

    def gate(self, y_BTC, z_BTC):
        return y_BTC * F.silu(z_BTC)


class PositiveRates(Scan):
    def rates(self):
        return self.A_log_CN.exp()


class NoRates(Scan):
    def rates(self):
        return torch.zeros_like(self.A_log_CN)


class NegativeGate(Scan):
    def gate(self, y_BTC, z_BTC):
        return y_BTC * F.silu(-z_BTC)


class NoGate(Scan):
    def gate(self, y_BTC, z_BTC):
        return y_BTC


class DetachedSteps(Scan):
    def steps(self, low_rank_BTR):
        return super().steps(low_rank_BTR).detach()


class LinearSteps(Scan):
    """Without softplus, of either sign."""

    def steps(self, low_rank_BTR):
        return self.dt(low_rank_BTR)


class NoSkip(Scan):
    def skip(self, y_BTC, x_BTC):
        return y_BTC


class Backwards(Scan):
    def forward(self, x_BTD):
        return super().forward(x_BTD.flip(1)).flip(1)


class BatchFirstForgotten(Scan):
    def forward(self, x_BTD):
        return super().forward(x_BTD.transpose(0, 1)).transpose(0, 1)


class NegativeSwiGLU(SwiGLU):
    def _mix(self, x_BTD, state, backend):
        return self.down(F.silu(-self.gate(x_BTD)) * self.up(x_BTD)), state


class TimesZero(SwiGLU):
    def _mix(self, x_BTD, state, backend):
        return 0.0 * super()._mix(x_BTD, state, backend)[0], state


def swap(old, new):
    """Every layer of one class becomes one of another, with the same weights."""

    def change(model):
        for module in model.modules():
            if type(module) is old:
                module.__class__ = new
        return model

    return change


class OverTime(nn.Module):
    def __init__(self, axis):
        super().__init__()
        self.axis = axis
        self.weight = nn.Parameter(torch.ones(64))

    def forward(self, x):
        size = x.square().mean(self.axis, keepdim=True) if x.dim() == 3 else x.square()
        return x * (size + 1e-5).rsqrt() * self.weight


def norms(axis):
    def change(model):
        model.trunk.norms = nn.ModuleList(OverTime(axis) for _ in model.trunk.norms)
        return model

    return change


def no_norms(model):
    model.trunk.norms = nn.ModuleList(nn.Identity() for _ in model.trunk.norms)
    model.norm = nn.Identity()
    return model


def detached_norms(model):
    for norm in model.trunk.norms:
        norm.register_forward_hook(lambda module, given, found: found.detach())
    return model


def frozen(name):
    def change(model):
        model.get_parameter(name).requires_grad_(False)
        return model

    return change


def tied_layers(model):
    model.trunk.layers[2] = model.trunk.layers[0]
    return model


def no_residual(model):
    def mix(x):
        for norm, layer in zip(model.trunk.norms, model.trunk.layers, strict=True):
            x = layer(norm(x))
        return x

    model.trunk.mix, model.step = mix, None
    return model


def last_layer_skipped(model):
    def mix(x):
        for norm, layer in list(zip(model.trunk.norms, model.trunk.layers, strict=True))[:-1]:
            x = x + layer(norm(x))
        return x

    model.trunk.mix, model.step = mix, None
    return model


T, G, M = transformer, gated_deltanet, mamba
GUARDED = {"causality"}
MIXED = {"batch-independence"}
#: What is changed, where, and which contracts say so.
DEFECTS = {
    "nothing in attention as it is written": (T, swap(Attention, Softmax), set()),
    "mask one ahead": (T, swap(Attention, OneAhead), GUARDED),
    "mask one behind": (T, swap(Attention, OneBehind), {"causality"}),
    "rotary on queries only": (T, swap(Attention, QueriesOnly), set()),
    "softmax over queries": (T, swap(Attention, OverQueries), GUARDED),
    "softmax over heads": (T, swap(Attention, OverHeads), GUARDED),
    "softmax over the batch": (T, swap(Attention, OverBatch), MIXED),
    "heads made of time": (T, swap(Attention, HeadsBeforeTime), GUARDED),
    "no scale": (T, swap(Attention, Unscaled), set()),
    "scaled twice": (T, swap(Attention, ScaledTwice), set()),
    "scores with the wrong sign": (T, swap(Attention, WrongSign), set()),
    "truncated window": (T, swap(Attention, NearWindow), set()),
    "detached values": (T, swap(Attention, DetachedValues), {"gradients"}),
    "dropout left on": (T, swap(Attention, LeftOn), {"repeatability"}),
    "norm over time": (T, norms(1), GUARDED),
    "norm over the batch": (T, norms(0), MIXED),
    "no norm": (T, no_norms, set()),
    "detached norms": (T, detached_norms, {"gradients"}),
    "frozen attention": (T, frozen("trunk.layers.0.qkv.weight"), {"gradients"}),
    "frozen embedding": (T, frozen("trunk.token_embeds.weight"), {"gradients"}),
    "tied layers": (T, tied_layers, set()),
    "no residual": (T, no_residual, set()),
    "last layer skipped": (T, last_layer_skipped, {"gradients"}),
    "SwiGLU with the wrong sign": (T, swap(SwiGLU, NegativeSwiGLU), set()),
    "SwiGLU times zero": (T, swap(SwiGLU, TimesZero), {"gradients"}),
    "nothing in the delta rule as it is written": (G, swap(GatedDeltaNet, Delta), set()),
    "decay with the wrong sign": (G, swap(GatedDeltaNet, GrowsInsteadOfDecays), set()),
    "decay that never decays": (G, swap(GatedDeltaNet, NeverDecays), {"gradients"}),
    "decay in the step only": (G, swap(GatedDeltaNet, OnlyTheStepDecays), {"state"}),
    "delta rule with the wrong sign": (G, swap(GatedDeltaNet, DeltaWithTheWrongSign), set()),
    "detached beta": (G, swap(GatedDeltaNet, DetachedBeta), {"gradients"}),
    "convolution one ahead": (G, swap(GatedDeltaNet, ConvolutionAhead), GUARDED),
    "state not reset": (G, swap(GatedDeltaNet, KeepsItsState), {"repeatability"}),
    "nothing in the scan as it is written": (M, swap(Mamba, Scan), set()),
    "rates with the wrong sign": (M, swap(Mamba, PositiveRates), set()),
    "no rates": (M, swap(Mamba, NoRates), {"gradients"}),
    "gate with the wrong sign": (M, swap(Mamba, NegativeGate), set()),
    "no gate": (M, swap(Mamba, NoGate), {"gradients"}),
    "detached steps": (M, swap(Mamba, DetachedSteps), {"gradients"}),
    "steps without softplus": (M, swap(Mamba, LinearSteps), {"finite"}),
    "no skip connection": (M, swap(Mamba, NoSkip), {"gradients"}),
    "read backwards": (M, swap(Mamba, Backwards), GUARDED),
    "batch and time confused": (M, swap(Mamba, BatchFirstForgotten), MIXED),
}


def planted(name):
    module, change, _ = DEFECTS[name]

    def make_model(task, vocab_size, max_length):
        return change(module.make_model(task=task, vocab_size=vocab_size, max_length=max_length))

    return make_model


CONTRACTS = (*HARD, "state")
SHORT = make_setting(
    "selective-copying", {"vocab_size": 8, "seq_len": 8, "num_tokens_to_copy": 2, "num_test_examples": 9}
)


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_found_by_the_contracts_that_it_breaks(name):
    """And what changes nothing, or nothing that a contract is about, by none."""
    expected = DEFECTS[name][2]
    found = all_broken(planted(name), SHORT, expected or CONTRACTS)
    assert {name for name, verdict in found.items() if verdict.outcome == "fail"} == expected, found
