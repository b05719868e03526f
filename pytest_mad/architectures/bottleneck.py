"""One vector of a language model, for a task that asks for a bottleneck."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pytest_mad.common.errors import SkippedError
from pytest_mad.presets.setting import Setting

from .backbones import Decoder
from .wrappers import LogitsModel


class NoBottleneckError(SkippedError):
    """A model that cannot be measured through one vector; the message is the reason."""


class Bottleneck(LogitsModel):
    """A language model whose hidden state at the last position is decoded by MAD's decoder: one vector holds it all."""

    def __init__(self, model: nn.Module, setting: Setting, tokens_BT: Tensor) -> None:
        super().__init__(model)
        self.read_vector = find_vector(model, setting.params.vocab_size, tokens_BT)
        with torch.no_grad():
            vector_BD = self.read_vector(model, tokens_BT)
        decoder = Decoder(vector_BD.shape[-1], setting.params.vocab_size, setting.params.seq_len)
        self.decoder = decoder.to(vector_BD.device, vector_BD.dtype)

    def _logits(self, tokens_BT: Tensor) -> Tensor:
        logits_BTV: Tensor = self.decoder(self.read_vector(self.model, tokens_BT.clone()))  # it may write into them
        return logits_BTV


ReadVector = Callable[[nn.Module, Tensor], Tensor]


def find_vector(model: nn.Module, vocab_size: int, tokens_BT: Tensor) -> ReadVector:
    """How to read the one vector of a language model; :class:`NoBottleneckError` when there is no way."""
    if callable(getattr(model, "encode", None)):
        return _encode
    if hasattr(model, "config") and "output_hidden_states" in inspect.signature(model.forward).parameters:
        return _last_hidden_state
    head = _final_head(model, vocab_size, tokens_BT)
    if head is not None:
        return _HeadInput(head)
    raise NoBottleneckError(
        "compression needs one vector to decode: give the model encode(tokens) -> (B, D), or end it with an nn.Linear "
        "to the vocabulary"
    )


@torch.no_grad()
def _final_head(model: nn.Module, vocab_size: int, tokens_BT: Tensor) -> str | None:
    """Name of the linear layer to the vocabulary that is called last; others may be inner or auxiliary ones."""
    called: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == vocab_size
    ]
    try:
        model(tokens_BT)
    finally:
        for handle in handles:
            handle.remove()
    return called[-1] if called else None


def _encode(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    encode: Callable[[Tensor], Tensor] = model.encode  # type: ignore[assignment]
    return _last_position(encode(tokens_BT))


def _last_hidden_state(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    states: tuple[Tensor, ...] = model(tokens_BT, output_hidden_states=True).hidden_states
    return _last_position(states[-1])


class _HeadInput:
    """Read what goes into the final linear layer."""

    def __init__(self, head: str) -> None:
        self.head = head

    def __call__(self, model: nn.Module, tokens_BT: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            seen.append(arguments[0])

        handle = model.get_submodule(self.head).register_forward_pre_hook(keep)
        try:
            model(tokens_BT)
        finally:
            handle.remove()
        return _last_position(seen[-1])


def _last_position(hidden: Tensor) -> Tensor:
    return hidden[:, -1] if hidden.dim() == 3 else hidden
