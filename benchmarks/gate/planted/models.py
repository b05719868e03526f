"""Changes to whole models: to their channel mixers, norms, residuals, embeddings and weights.

A change takes the reference architecture's freshly built model and returns it, or what stands in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.layers.attention import Attention
from pytest_mad.layers.mixer import State
from pytest_mad.layers.mlp import SwiGLU
from pytest_mad.layers.ops.operator import Backend

from .attention import Unfused

#: Any, because parts of a model are replaced that it did not foresee
Change = Callable[[Any], Any]
#: ``(x, norm, layer, number) -> x``: what a layer does to the residual stream
Residual = Callable[[Tensor, nn.Module, nn.Module, int], Tensor]


class NegativeSwiGLU(SwiGLU):
    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        return self.down(F.silu(-self.gate(x_BTD)) * self.up(x_BTD)), state


class TimesZero(SwiGLU):
    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        return 0.0 * super()._mix(x_BTD, state, backend)[0], state


class NotActivated(SwiGLU):
    """A product of two linear maps."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        return self.down(self.gate(x_BTD) * self.up(x_BTD)), state


class OneMap(SwiGLU):
    """Gate and values from one multiplication."""

    def _mix(self, x_BTD: Tensor, state: State, backend: Backend) -> tuple[Tensor, State]:
        gate_BTI, up_BTI = F.linear(x_BTD, torch.cat([self.gate.weight, self.up.weight])).chunk(2, -1)
        return self.down(F.silu(gate_BTI) * up_BTI), state


class OverTime(nn.Module):
    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.weight = nn.Parameter(torch.ones(64))

    def forward(self, x: Tensor) -> Tensor:
        size = x.square().mean(self.axis, keepdim=True) if x.dim() == 3 else x.square()
        return x * (size + 1e-5).rsqrt() * self.weight


class WrittenOut(nn.Module):
    """RMS norm in plain operations, of another strength."""

    def __init__(self, norm: Any, eps: float = 1e-5, power: float = -0.5) -> None:
        super().__init__()
        self.weight, self.eps, self.power = norm.weight, eps, power

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.weight * (x * (x.square().mean(-1, keepdim=True) + self.eps) ** self.power)
        return scaled


class Tokens(nn.Module):
    """The embedding of another token than the one that came."""

    def __init__(self, embeds: nn.Module, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.embeds, self.read = embeds, read

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embeds(self.read(tokens))
        return x


def swap(old: type[nn.Module], new: type[nn.Module], only: int | None = None) -> Change:
    """Every layer of one class, or one of them, becomes one of another, with the same weights."""

    def change(model: Any) -> Any:
        found = [module for module in model.modules() if type(module) is old]
        for module in found if only is None else [found[only]]:
            module.__class__ = new
        return model

    return change


def norms(make: Callable[[nn.Module], nn.Module]) -> Change:
    """Another norm before every layer."""

    def change(model: Any) -> Any:
        model.trunk.norms = nn.ModuleList(make(norm) for norm in model.trunk.norms)
        return model

    return change


def no_norms(model: Any) -> Any:
    model.trunk.norms = nn.ModuleList(nn.Identity() for _ in model.trunk.norms)
    model.norm = nn.Identity()
    return model


def detached_norms(model: Any) -> Any:
    for norm in model.trunk.norms:
        norm.register_forward_hook(lambda module, given, found: found.detach())
    return model


def detached_embedding(model: Any) -> Any:
    model.trunk.token_embeds.register_forward_hook(lambda module, given, found: found.detach())
    return model


def frozen(*names: str) -> Change:
    """Parameters whose names end so are not trained."""

    def change(model: Any) -> Any:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and not name.endswith(names))
        return model

    return change


def drawn(scale: float, *names: str) -> Change:
    """Weights whose names end so begin at another scale."""

    @torch.no_grad()
    def change(model: Any) -> Any:
        for name, parameter in model.named_parameters():
            if name.endswith(names):
                parameter.mul_(scale)
        return model

    return change


def tied_layers(model: Any) -> Any:
    model.trunk.layers[2] = model.trunk.layers[0]
    return model


def tied_everywhere(model: Any) -> Any:
    """The second block is the first."""
    model.trunk.layers[2], model.trunk.layers[3] = model.trunk.layers[0], model.trunk.layers[1]
    return model


def residual(step: Residual) -> Change:
    """Another way from layer to layer; token by token there is none, so that nothing contradicts it."""

    def change(model: Any) -> Any:
        def mix(x: Tensor) -> Tensor:
            for number, (norm, layer) in enumerate(zip(model.trunk.norms, model.trunk.layers, strict=True)):
                x = step(x, norm, layer, number)
            return x

        model.trunk.mix, model.step = mix, None
        return model

    return change


def second_reads_the_embedding(model: Any) -> Any:
    """The second attention is given what the first was given."""

    def mix(x: Tensor) -> Tensor:
        first = x
        for number, (norm, layer) in enumerate(zip(model.trunk.norms, model.trunk.layers, strict=True)):
            x = x + layer(norm(first if number == 2 else x))
        return x

    model.trunk.mix, model.step = mix, None
    return model


def one_late(model: Any) -> Any:
    """The output is shifted: each position answers with what the one before it knew."""
    inner = model.trunk.mix

    def mix(x: Tensor) -> Tensor:
        y: Tensor = inner(x)
        return torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)

    model.trunk.mix, model.step = mix, None
    return model


def reading(read: Callable[[Tensor], Tensor]) -> Change:
    """Token ids go through ``read`` first."""

    def change(model: Any) -> Any:
        model.trunk.token_embeds = Tokens(model.trunk.token_embeds, read)
        return model

    return change


def noise(size: float) -> Change:
    """Noise on the embeddings in training that was meant to be small."""

    def add(module: nn.Module, given: object, found: Tensor) -> Tensor:
        return found + size * torch.randn_like(found) if module.training else found

    def change(model: Any) -> Any:
        model.trunk.token_embeds.register_forward_hook(add)
        return model

    return change


def unfused(model: Any) -> Any:
    for module in model.modules():
        if isinstance(module, Attention):
            replaced: Any = module
            replaced.qkv = Unfused(module.qkv)
    return model


@torch.no_grad()
def fold_scale(model: Any) -> Any:
    """The quarter that divides scores of heads of 16 is multiplied to the queries' weights once."""
    for module in model.modules():
        if isinstance(module, Attention):
            queries = slice(0, module.out.in_features)
            module.qkv.weight[queries] *= 0.25
            module.qkv.bias[queries] *= 0.25
    return model


@torch.no_grad()
def heads_reversed(model: Any) -> Any:
    """The heads change places in every weight."""
    for module in model.modules():
        if isinstance(module, Attention):
            heads, dim = module.num_heads, module.out.in_features
            qkv_3HKD, out_DHK = module.qkv.weight.view(3, heads, -1, dim), module.out.weight.view(dim, heads, -1)
            module.qkv.weight.copy_(qkv_3HKD.flip(1).reshape(-1, dim))
            module.out.weight.copy_(out_DHK.flip(1).reshape(dim, -1))
    return model


def half_by_half(model: Any) -> Any:
    """The batch goes through the layers in two halves."""
    inner = model.trunk.mix

    def mix(x: Tensor) -> Tensor:
        return torch.cat([inner(part) for part in x.chunk(2)])

    model.trunk.mix = mix
    return model


def then(*changes: Change) -> Change:
    """One change after the other."""

    def change(model: Any) -> Any:
        for each in changes:
            model = each(model)
        return model

    return change
