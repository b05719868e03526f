"""From what a factory returned to ``tokens (B,T) -> logits (B,T,V)``, with the bottleneck where a task asks for one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pytest_mad.common.errors import first_line, is_out_of_memory
from pytest_mad.common.seeds import generator
from pytest_mad.contracts.causality import jittered
from pytest_mad.presets.reading import Setting

from .backbones import Decoder
from .targets import Architecture


class ModelError(RuntimeError):
    """A factory that raised, or a model that does not do what it must; the message is one line."""


class NoBottleneckError(Exception):
    """A model that cannot be measured through one vector; the message is the reason."""


def build_model(architecture: Architecture, setting: Setting, device: torch.device) -> nn.Module:
    """The architecture's model for a setting on the device, ready to train: ``tokens (B,T) int64 -> logits (B,T,V)``.

    For a task with a bottleneck it is the factory's own autoencoder, or one vector of its language model with the
    plugin's decoder behind it. Raises :class:`ModelError`, or :class:`NoBottleneckError` for a model that offers no
    such vector.
    """
    try:
        made = architecture.build(setting)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(f"{architecture.source} raised {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"{architecture.source} returned {type(made).__name__}, but must return a torch.nn.Module")
    if not any(True for _ in made.parameters()):
        raise ModelError(f"the model of {architecture.source} has no parameters to train")
    model: nn.Module = LogitsModel(made.to(device))
    tokens = _tokens(setting).to(device)
    check_logits(model, tokens, setting, architecture.source)
    if setting.family.bottleneck and not _is_autoencoder(architecture, model, tokens, setting):
        model = Bottleneck(made, setting, tokens).to(device)
        check_logits(model, tokens, setting, architecture.source)
    return model


class LogitsModel(nn.Module):
    """A model as it is, or the ``.logits`` of its output object (Hugging Face)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens_BT: Tensor) -> Tensor:
        output = self.model(tokens_BT)
        logits: Tensor = getattr(output, "logits", output)
        return logits


class BareMixer(nn.Module):
    """A user's sequence mixer as a layer; of a tuple, as fla's layers return it, the first entry."""

    def __init__(self, mixer: nn.Module, source: str) -> None:
        super().__init__()
        self.mixer = mixer
        self.source = source

    def forward(self, x_BTD: Tensor) -> Tensor:
        output = self.mixer(x_BTD)
        y_BTD: Tensor = output[0] if isinstance(output, tuple) else output
        if y_BTD.shape != x_BTD.shape:
            raise ModelError(
                f"mixer {self.source} turned {tuple(x_BTD.shape)} into {tuple(y_BTD.shape)}, but must keep the shape"
            )
        return y_BTD


class Bottleneck(nn.Module):
    """A language model whose hidden state at the last position is decoded by MAD's decoder: one vector holds it all."""

    def __init__(self, model: nn.Module, setting: Setting, tokens_BT: Tensor) -> None:
        super().__init__()
        self.model = model
        self.read_vector = find_vector(model, setting.params.vocab_size, tokens_BT)
        with torch.no_grad():
            vector_BD = self.read_vector(model, tokens_BT)
        self.decoder = Decoder(vector_BD.shape[-1], setting.params.vocab_size, setting.params.seq_len)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        logits_BTV: Tensor = self.decoder(self.read_vector(self.model, tokens_BT))
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


def _tokens(setting: Setting) -> Tensor:
    """Two random sequences of the setting's length, (2, T)."""
    length = setting.family.input_length(setting.params)
    tokens = generator("probe", setting.id).integers(0, setting.params.vocab_size, size=(2, length))
    return torch.from_numpy(tokens)


def _is_autoencoder(architecture: Architecture, model: nn.Module, tokens_BT: Tensor, setting: Setting) -> bool:
    """Whether the factory built this model for the task: only then may the model answer with all it has seen."""
    if not architecture.knows_task or not _sees_last_token(model, tokens_BT, setting):
        return False
    # A language model that looks ahead passes that test, and would copy its input. It is the same for every task.
    try:
        other = architecture.build(replace(setting, task="in-context-recall"))
    except Exception:  # a factory of autoencoders only
        return True
    return not isinstance(other, nn.Module) or _shapes(other) != _shapes(model.get_submodule("model"))


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in model.named_parameters()}


@torch.no_grad()
def _sees_last_token(model: nn.Module, tokens_BT: Tensor, setting: Setting) -> bool:
    """Whether the logits at position 0 depend on the last token, as an autoencoder's do."""
    moved = jittered(model, 0).eval()
    changed_BT = tokens_BT.clone()
    changed_BT[:, -1] = (changed_BT[:, -1] + 1) % setting.params.vocab_size
    return not torch.allclose(moved(tokens_BT)[:, 0], moved(changed_BT)[:, 0], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def check_logits(model: nn.Module, tokens_BT: Tensor, setting: Setting, source: str) -> None:
    """Raise :class:`ModelError` unless the model gives logits of shape (B, T, V)."""
    expected = (*tokens_BT.shape, setting.params.vocab_size)
    model.eval()
    try:
        logits = model(tokens_BT)
    except (ModelError, NoBottleneckError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        shape = tuple(tokens_BT.shape)
        raise ModelError(
            f"the model of {source} raised {type(error).__name__} for tokens {shape}: {first_line(error)}"
        ) from error
    finally:
        model.train()
    if not isinstance(logits, Tensor):
        raise ModelError(
            f"the model of {source} returned {type(logits).__name__}, but must return logits {expected} or an object "
            "with .logits"
        )
    for axis, name in enumerate(("batch", "length", "vocabulary")):
        if logits.dim() != 3 or logits.shape[axis] != expected[axis]:
            what = "rank" if logits.dim() != 3 else name
            raise ModelError(
                f"wrong {what}: the model of {source} gives {tuple(logits.shape)}, but must give {expected}"
            )
