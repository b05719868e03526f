"""The planted changes: what is changed, in which reference architecture, and of what kind it is.

Mistakes that happen, planted one at a time, and refactorings that change nothing. Which of the former are defects is
measured (``benchmarks.gate``): a change that breaks no contract and costs no capability is none.

A change that is altered gets another name: what is recorded of it is found by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from benchmarks.gate.planted.models import Change
from pytest_mad.architectures.architecture import Architecture, from_factory
from pytest_mad.layers.attention import Attention
from pytest_mad.layers.deltanet import DeltaNet, GatedDeltaNet
from pytest_mad.layers.hyena import Hyena
from pytest_mad.layers.mamba import Mamba
from pytest_mad.layers.mlp import SwiGLU
from pytest_mad.layers.modules.implicit_filter import ImplicitFilter
from pytest_mad.layers.moe import MoeMLP
from reference_archs import deltanet, gated_deltanet, hyena, mamba, transformer

from .planted import attention as a
from .planted import experts as e
from .planted import grouped as g
from .planted import long_convolution as c
from .planted import models as m
from .planted import recurrent as r
from .planted.bases import GroupedAttention, experts, grouped_queries

BASES: dict[str, Callable[..., nn.Module]] = {
    "transformer": transformer.make_model,
    "deltanet": deltanet.make_model,
    "gated_deltanet": gated_deltanet.make_model,
    "mamba": mamba.make_model,
    "hyena": hyena.make_model,
    "grouped_queries": grouped_queries,
    "experts": experts,
}
REFACTORING = "refactoring"


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One change, planted in a copy of a reference architecture."""

    name: str
    kind: str
    #: a key of `BASES`
    base: str
    change: Change

    @property
    def is_refactoring(self) -> bool:
        """Whether it changes nothing by construction, relabelled parts apart."""
        return self.kind == REFACTORING

    def make_model(self, task: str, vocab_size: int, max_length: int) -> nn.Module:
        """The base's model, changed."""
        model: nn.Module = self.change(BASES[self.base](task=task, vocab_size=vocab_size, max_length=max_length))
        return model

    def architecture(self) -> Architecture:
        """As the suite takes it."""
        return from_factory(self.make_model, name=re.sub(r"[^A-Za-z0-9]+", "_", self.name), source=self.name)


def _attention(new: type[nn.Module]) -> Change:
    return m.swap(Attention, new)


def _gated(new: type[nn.Module]) -> Change:
    return m.swap(GatedDeltaNet, new)


def _delta(new: type[nn.Module]) -> Change:
    return m.swap(DeltaNet, new)


def _mamba(new: type[nn.Module]) -> Change:
    return m.swap(Mamba, new)


def _hyena(new: type[nn.Module]) -> Change:
    return m.swap(Hyena, new)


def _filter(new: type[nn.Module]) -> Change:
    return m.swap(ImplicitFilter, new)


def _grouped(new: type[nn.Module]) -> Change:
    return m.swap(GroupedAttention, new)


def _moe(new: type[nn.Module]) -> Change:
    return m.swap(MoeMLP, new)


def _scaled(layer_by: float, stream_by: float = 1.0) -> Change:
    def step(x: Tensor, norm: nn.Module, layer: nn.Module, number: int) -> Tensor:
        y: Tensor = stream_by * x + layer_by * layer(norm(x))
        return y

    return m.residual(step)


def _no_residual(x: Tensor, norm: nn.Module, layer: nn.Module, number: int) -> Tensor:
    y: Tensor = layer(norm(x))
    return y


def _without_last(x: Tensor, norm: nn.Module, layer: nn.Module, number: int) -> Tensor:
    y: Tensor = x if number == 3 else x + layer(norm(x))
    return y


def _of_the_norm(x: Tensor, norm: nn.Module, layer: nn.Module, number: int) -> Tensor:
    normed: Tensor = norm(x)
    y: Tensor = normed + layer(normed)
    return y


def _norm_behind(x: Tensor, norm: nn.Module, layer: nn.Module, number: int) -> Tensor:
    y: Tensor = norm(x + layer(x))
    return y


def _axis(axis: int) -> Callable[[Any], nn.Module]:
    return lambda norm: m.OverTime(axis)


#: name, kind and change, by base
_TABLE: dict[str, tuple[tuple[str, str, Change], ...]] = {
    "transformer": (
        ("mask one ahead", "mask", _attention(a.OneAhead)),
        ("mask one behind", "mask", _attention(a.OneBehind)),
        ("masked after the softmax", "mask", _attention(a.MaskedAfterwards)),
        ("mask of ones instead of infinity", "mask", _attention(a.AddedMask)),
        ("first token masked as padding", "mask", _attention(a.FirstKeyLost)),
        ("truncated window", "window", _attention(a.Window)),
        ("window of twelve", "window", _attention(a.Window12)),
        ("window of four in the second block", "window", m.swap(Attention, a.Window, only=1)),
        ("blocks of four", "window", _attention(a.Blocks)),
        ("softmax over queries", "softmax", _attention(a.OverQueries)),
        ("softmax over heads", "softmax", _attention(a.OverHeads)),
        ("softmax over the batch", "softmax", _attention(a.OverBatch)),
        ("sigmoid instead of softmax", "softmax", _attention(a.Unnormalised)),
        ("scores left out", "softmax", _attention(a.Averaged)),
        ("heads made of time", "axes", _attention(a.HeadsBeforeTime)),
        ("rotary on queries only", "position", _attention(a.QueriesOnly)),
        ("no rotary", "position", _attention(a.NotRotated)),
        ("keys rotated the other way", "position", _attention(a.Conjugated)),
        ("keys one position late", "position", _attention(a.KeysOneLate)),
        ("eight neighbours share a position", "position", _attention(a.InEights)),
        ("positions anew every four tokens", "position", _attention(a.AnewEveryFour)),
        ("no scale", "scale", _attention(a.Unscaled)),
        ("scaled twice", "scale", _attention(a.ScaledTwice)),
        ("scores saturated", "scale", _attention(a.Saturated)),
        ("scores with the wrong sign", "sign", _attention(a.WrongSign)),
        ("all heads read the first group", "heads", _attention(a.OneGroup)),
        ("mean over the heads", "heads", _attention(a.MeanOfHeads)),
        ("detached values", "gradients", _attention(a.DetachedValues)),
        ("dropout left on", "dropout", _attention(a.LeftOn)),
        ("dropout of 0.9", "dropout", _attention(a.NinetyPercent)),
        ("noise on the embeddings", "dropout", m.noise(1.0)),
        ("norm over time", "norm", m.norms(_axis(1))),
        ("norm over the batch", "norm", m.norms(_axis(0))),
        ("no norm", "norm", m.no_norms),
        ("norm with an epsilon of 1", "norm", m.norms(lambda norm: m.WrittenOut(norm, eps=1.0))),
        ("norm multiplies instead of divides", "norm", m.norms(lambda norm: m.WrittenOut(norm, power=0.5))),
        ("norm behind the residual", "norm", m.residual(_norm_behind)),
        ("detached norms", "gradients", m.detached_norms),
        ("frozen attention", "gradients", m.frozen("trunk.layers.0.qkv.weight")),
        ("frozen embedding", "gradients", m.frozen("trunk.token_embeds.weight")),
        ("detached embedding", "gradients", m.detached_embedding),
        ("frozen norms", "gradients", m.frozen(*(f"norms.{i}.weight" for i in range(4)))),
        ("tied layers", "tied", m.tied_layers),
        ("all layers tied", "tied", m.tied_everywhere),
        ("no residual", "residual", m.residual(_no_residual)),
        ("residual of the norm", "residual", m.residual(_of_the_norm)),
        ("layers scaled by a hundredth", "residual", _scaled(0.01)),
        ("stream scaled by a tenth", "residual", _scaled(1.0, 0.1)),
        ("last layer skipped", "residual", m.residual(_without_last)),
        ("second block reads the embedding", "residual", m.second_reads_the_embedding),
        ("output one late", "shift", m.one_late),
        ("token ids halved", "tokens", m.reading(lambda tokens: tokens // 2)),
        ("token ids clipped at 5", "tokens", m.reading(lambda tokens: tokens.clamp(max=5))),
        ("weights drawn thirty times too large", "initialisation", m.drawn(30.0, "qkv.weight", "up.weight")),
        ("SwiGLU with the wrong sign", "sign", m.swap(SwiGLU, m.NegativeSwiGLU)),
        ("SwiGLU times zero", "scale", m.swap(SwiGLU, m.TimesZero)),
        ("SwiGLU without its activation", "gate", m.swap(SwiGLU, m.NotActivated)),
        ("nothing in attention as it is written", REFACTORING, _attention(a.Softmax)),
        ("torch's attention", REFACTORING, _attention(a.Fused)),
        ("attention in float64", REFACTORING, _attention(a.InDouble)),
        ("scale folded into weights", REFACTORING, m.then(_attention(a.ScaleInWeights), m.fold_scale)),
        ("three maps instead of one", REFACTORING, m.unfused),
        ("one map instead of two in SwiGLU", REFACTORING, m.swap(SwiGLU, m.OneMap)),
        ("counting from minus five", REFACTORING, _attention(a.FromFive)),
        ("heads in another order", REFACTORING, m.heads_reversed),
        ("heads joined in another order", REFACTORING, _attention(a.OtherOrder)),
        ("keys and values of the next head", REFACTORING, _attention(a.OtherPairing)),
        ("batch in two halves", REFACTORING, m.half_by_half),
    ),
    "deltanet": (
        ("state reset between chunks", "state", _delta(r.ForgottenBetweenPieces)),
        ("state detached between chunks", "gradients", _delta(r.DetachedBetweenPieces)),
        ("old value not taken out", "delta rule", _delta(r.NotTakenOut)),
        ("state carried between chunks", REFACTORING, _delta(r.CarriedOver)),
        ("keys and queries trade places", REFACTORING, _delta(r.KeysForQueries)),
        ("token by token", REFACTORING, _delta(r.OneByOne)),
    ),
    "gated_deltanet": (
        ("decay with the wrong sign", "decay", _gated(r.GrowsInsteadOfDecays)),
        ("decay that never decays", "decay", _gated(r.NeverDecays)),
        ("decay a hundred times too fast", "decay", _gated(r.DecaysAtOnce)),
        ("decay in the step only", "decay", _gated(r.OnlyTheStepDecays)),
        ("delta rule with the wrong sign", "delta rule", _gated(r.DeltaWithTheWrongSign)),
        ("no norm of queries and keys", "delta rule", _gated(r.NoUnit)),
        ("detached beta", "gradients", _gated(r.DetachedBeta)),
        ("no beta", "delta rule", _gated(r.NoBeta)),
        ("convolution one ahead", "convolution", _gated(r.ConvolutionAhead)),
        ("convolution one late", "convolution", _gated(r.ConvolutionLate)),
        ("state not reset", "state", _gated(r.KeepsItsState)),
        ("nothing in the delta rule as it is written", REFACTORING, _gated(r.Delta)),
    ),
    "mamba": (
        ("rates with the wrong sign", "decay", _mamba(r.PositiveRates)),
        ("no rates", "decay", _mamba(r.NoRates)),
        ("gate with the wrong sign", "gate", _mamba(r.NegativeGate)),
        ("no gate", "gate", _mamba(r.NoGate)),
        ("detached steps", "gradients", _mamba(r.DetachedSteps)),
        ("steps without softplus", "scale", _mamba(r.LinearSteps)),
        ("no skip connection", "residual", _mamba(r.NoSkip)),
        ("read backwards", "axes", _mamba(r.Backwards)),
        ("batch and time confused", "axes", _mamba(r.BatchFirstForgotten)),
        ("nothing in the scan as it is written", REFACTORING, _mamba(r.Scan)),
    ),
    "hyena": (
        ("convolution that wraps around", "convolution", _hyena(c.WrapsAround)),
        ("filters read backwards", "filter", _hyena(c.ReadBackwards)),
        ("filters one late", "filter", _hyena(c.FilterOneLate)),
        ("filters cut after eight lags", "filter", _hyena(c.FirstLagsOnly)),
        ("detached filters", "gradients", _hyena(c.DetachedFilters)),
        ("one filter for all channels", "filter", _hyena(c.OneFilter)),
        ("filters divided by the length", "scale", _hyena(c.DividedByLength)),
        ("filters without the skip", "residual", _hyena(c.WithoutSkip)),
        ("skip at every lag", "residual", _hyena(c.SkipAtEveryLag)),
        ("filters without decay", "decay", _filter(c.NoDecay)),
        ("filters without sines", "filter", _filter(c.NoSines)),
        ("inner gate left out", "gate", _hyena(c.InnerGateLeftOut)),
        ("inner gate added", "gate", _hyena(c.InnerGateAdded)),
        ("outer gate added", "gate", _hyena(c.OuterGateAdded)),
        ("no short convolution", "convolution", _hyena(c.NoShortConvolution)),
        ("convolution token by token", REFACTORING, _hyena(c.TokenByToken)),
        ("branches trade places", REFACTORING, _hyena(c.BranchesTradePlaces)),
    ),
    "grouped_queries": (
        ("all queries read the first group", "groups", _grouped(g.FirstGroup)),
        ("keys averaged over the groups", "groups", _grouped(g.MeanKeys)),
        ("queries averaged in each group", "groups", _grouped(g.MeanQueries)),
        ("detached keys of the groups", "gradients", _grouped(g.DetachedKeys)),
        ("keys of length one", "scale", _grouped(g.UnitKeys)),
        ("scale a sixteenth of what it was", "scale", _grouped(g.SmallScale)),
        ("turned by the head", "position", _grouped(g.TurnedByHead)),
        ("keys not turned", "position", _grouped(g.KeysNotTurned)),
        ("values one position late", "shift", _grouped(g.ValuesOfKeys)),
        ("second group near", "window", _grouped(g.SecondGroupNear)),
        ("groups made of time", "axes", _grouped(g.GroupsOfTime)),
        ("keys and values of the other group", REFACTORING, _grouped(g.OtherGroup)),
        ("groups tiled", REFACTORING, _grouped(g.Tiled)),
    ),
    "experts": (
        ("worst experts", "router", _moe(e.WorstExperts)),
        ("the same experts for all", "router", _moe(e.SameExperts)),
        ("sigmoid router", "router", _moe(e.Sigmoids)),
        ("router over time", "axes", _moe(e.OverTime)),
        ("router over the batch", "axes", _moe(e.OverBatch)),
        ("routed one late", "shift", _moe(e.RoutedOneLate)),
        ("weighted twice", "router", _moe(e.WeightedTwice)),
        ("detached router", "gradients", _moe(e.DetachedRouter)),
        ("hard choice of one expert", "gradients", _moe(e.HardChoice)),
        ("noise on the router left on", "dropout", _moe(e.NoisyScores)),
        ("tokens dropped from a full expert", "router", _moe(e.Overfull)),
        ("experts divided twice", "scale", _moe(e.DividedTwice)),
        ("experts chosen blindly", "router", _moe(e.ChosenBlindly)),
        ("experts without activation", "gate", _moe(e.NotActivated)),
        ("channels read as experts", REFACTORING, _moe(e.ChannelsOfExperts)),
        ("experts one by one", REFACTORING, _moe(e.OneByOne)),
        ("experts in another order", REFACTORING, _moe(e.OtherExperts)),
    ),
}

PLANTED: dict[str, Planted] = {
    name: Planted(name=name, kind=kind, base=base, change=change)
    for base, rows in _TABLE.items()
    for name, kind, change in rows
}
