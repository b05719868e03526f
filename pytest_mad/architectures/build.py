"""From what a factory returned to ``tokens (B,T) -> logits (B,T,V)``, with the bottleneck where a task asks for one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from pytest_mad.common.errors import first_line, is_out_of_memory
from pytest_mad.common.seeds import generator
from pytest_mad.presets.setting import Setting

from .architecture import Architecture
from .bottleneck import Bottleneck, NoBottleneckError
from .jitter import jittered
from .wrappers import LogitsModel, ModelError


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
    if setting.task.bottleneck and not _is_autoencoder(architecture, model, tokens, setting):
        model = Bottleneck(made, setting, tokens).to(device)
        check_logits(model, tokens, setting, architecture.source)
    return model


def _tokens(setting: Setting) -> Tensor:
    """Two random sequences of the setting's length, (2, T)."""
    length = setting.task.input_length(setting.params)
    tokens = generator("probe", setting.id).integers(0, setting.params.vocab_size, size=(2, length))
    return torch.from_numpy(tokens)


def _is_autoencoder(architecture: Architecture, model: nn.Module, tokens_BT: Tensor, setting: Setting) -> bool:
    """Whether the factory built this model for the task: only then may the model answer with all it has seen."""
    if not architecture.knows_task or not _sees_last_token(model, tokens_BT, setting):
        return False
    # A language model that looks ahead passes that test, and would copy its input. It is the same for every task.
    try:
        other = architecture.build(replace(setting, task_name="in-context-recall"))
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
