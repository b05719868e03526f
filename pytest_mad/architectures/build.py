"""From what a factory returned to ``tokens (B,T) -> logits (B,T,V)``, with the bottleneck where a task asks for one."""

from __future__ import annotations

import functools
import weakref
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pytest_mad.common.errors import LeftError, SkippedError, first_line, is_out_of_memory, kept_inside, type_name
from pytest_mad.common.globals import put_back
from pytest_mad.common.seeds import generator
from pytest_mad.presets.setting import Setting

from .architecture import Architecture
from .bottleneck import Bottleneck
from .jitter import jittered
from .wrappers import LogitsModel, ModelError

#: What trains one model in several processes. It needs a process group, and cannot be copied.
_PARALLEL = ("DistributedDataParallel", "FullyShardedDataParallel", "DataParallel")
#: Models that factories made, and their trained weights, by ``id``, for as long as they live.
_MADE: dict[int, weakref.ref[Any]] = {}


def build_model(architecture: Architecture, setting: Setting, device: torch.device) -> nn.Module:
    """The architecture's model for a setting on the device, ready to train: ``tokens (B,T) int64 -> logits (B,T,V)``.

    For a task with a bottleneck it is the factory's own autoencoder, or one vector of its language model with the
    plugin's decoder behind it. Raises :class:`ModelError`, `SkippedError` where the factory asks for it, or
    :class:`NoBottleneckError` for a model that offers no such vector.
    """
    made = placed(run_factory(architecture, setting)[0], device, architecture.source)
    check_new(made, architecture.source)
    model: nn.Module = LogitsModel(made)
    tokens = _tokens(setting).to(device)
    check_logits(model, tokens, setting, architecture.source)  # lazy layers get their sizes here
    check_weights(made, architecture.source)
    if setting.task.bottleneck and not _is_autoencoder(architecture, model, tokens, setting, device):
        model = Bottleneck(made, setting, tokens).to(device)
        check_logits(model, tokens, setting, architecture.source)
    return model


def run_factory(architecture: Architecture, setting: Setting) -> tuple[nn.Module, list[str]]:
    """What the factory makes, and what it changed of the process, which is put back. Raises as :func:`build_model`."""
    source = architecture.source
    try:
        with put_back() as changed, kept_inside():
            made = architecture.build(setting)
    except (SkippedError, ModelError):
        raise
    except LeftError as error:
        raise ModelError(f"{source} {error}") from error.__cause__
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(f"{source} raised {type_name(error)}: {first_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"{source} returned {type_name(made)}, but must return a torch.nn.Module")
    return made, changed


def placed(model: nn.Module, device: torch.device, source: str) -> nn.Module:
    """The model on the device: one that refuses to be moved may be there already. Raises :class:`ModelError`."""
    wrapped = [type(module).__name__ for module in model.modules() if type(module).__name__ in _PARALLEL]
    if wrapped:
        raise ModelError(f"the model of {source} is wrapped by {wrapped[0]}: return the model itself")
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.is_meta for tensor in tensors):
        raise ModelError(f"the weights of {source} are on the device meta and hold no numbers: build it on {device}")
    try:
        moved = model.to(device)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if not all(tensor.device.type == device.type for tensor in tensors):
            raise ModelError(
                f"the model of {source} cannot be moved to {device}: {type_name(error)}: {first_line(error)}"
            ) from error
        return model
    return moved if isinstance(moved, nn.Module) else model  # a to() of its own, which returns nothing


def check_new(model: nn.Module, source: str) -> None:
    """Raise :class:`ModelError` for a model that the factory has returned before, or that has weights of such a one."""
    mine = {id(one): one for one in (model, *(p for p in model.parameters() if p.requires_grad))}
    for number, one in mine.items():
        known = _MADE.get(number)
        if known is not None and known() is one:
            what = "the same model" if one is model else "a model with weights of an earlier one"
            raise ModelError(
                f"{source} returned {what} again: each call must build a new model, or the second training begins "
                "where the first ended; is there a cache, or a model at the top of the module?"
            )
    for number, one in mine.items():
        _MADE[number] = weakref.ref(one, functools.partial(_forget, number))


def _forget(number: int, _: object) -> None:
    _MADE.pop(number, None)


def check_weights(model: nn.Module, source: str) -> None:
    """Raise :class:`ModelError` for a model that cannot be trained by the recipe's optimizer."""
    if not any(p.requires_grad for p in model.parameters()):
        frozen = any(True for _ in model.parameters())
        why = ": all have requires_grad=False" if frozen else ""
        raise ModelError(f"the model of {source} has no parameters to train{why}")
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse and module.weight.requires_grad:
            raise ModelError(
                f"the gradient of {'.'.join(filter(None, (name, 'weight')))} of {source} is sparse, and AdamW takes no "
                "sparse gradients: build it with sparse=False"
            )


def _tokens(setting: Setting) -> Tensor:
    """Two random sequences of the setting's length, (2, T)."""
    length = setting.task.input_length(setting.params)
    tokens = generator("probe", setting.id).integers(0, setting.params.vocab_size, size=(2, length))
    return torch.from_numpy(tokens)


def _is_autoencoder(
    architecture: Architecture, model: nn.Module, tokens_BT: Tensor, setting: Setting, device: torch.device
) -> bool:
    """Whether the factory built this model for the task: only then may the model answer with all it has seen."""
    if not architecture.knows_task or not _sees_last_token(model, tokens_BT, setting):
        return False
    # A language model that looks ahead passes that test, and would copy its input. It is the same for every task.
    try:
        other = placed(run_factory(architecture, replace(setting, task_name="in-context-recall"))[0], device, "")
        with torch.no_grad():
            other.eval()(tokens_BT.clone())  # for lazy layers
    except Exception:  # a factory of autoencoders only
        return True
    return _shapes(other) != _shapes(model.get_submodule("model"))


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in model.named_parameters()}


@torch.no_grad()
def _sees_last_token(model: nn.Module, tokens_BT: Tensor, setting: Setting) -> bool:
    """Whether the logits at position 0 depend on the last token, as an autoencoder's do."""
    changed_BT = tokens_BT.clone()
    changed_BT[:, -1] = (changed_BT[:, -1] + 1) % setting.params.vocab_size
    was_training = model.training
    with jittered(model.eval(), 0) as moved:
        first, other = moved(tokens_BT)[:, 0], moved(changed_BT)[:, 0]
    model.train(was_training)
    return not torch.allclose(first, other, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def check_logits(model: nn.Module, tokens_BT: Tensor, setting: Setting, source: str) -> None:
    """Raise :class:`ModelError` unless the model gives logits (B, T, V); guard one that changes the process."""
    expected = (*tokens_BT.shape, setting.params.vocab_size)
    model.eval()
    try:
        with put_back() as changed, kept_inside():
            logits = model(tokens_BT)
        model.puts_back = bool(changed)  # type: ignore[assignment]
    except (ModelError, SkippedError):
        raise
    except LeftError as error:
        raise ModelError(f"the model of {source} {error}") from error.__cause__
    except Exception as error:
        if is_out_of_memory(error):
            raise
        shape = tuple(tokens_BT.shape)
        raise ModelError(
            f"the model of {source} raised {type_name(error)} for tokens {shape}: {first_line(error)}"
        ) from error
    finally:
        model.train()
    if not isinstance(logits, Tensor):
        raise ModelError(
            f"the model of {source} returned {type_name(logits)}, but must return logits {expected} or an object "
            "with .logits"
        )
    for axis, name in enumerate(("batch", "length", "vocabulary")):
        if logits.dim() != 3 or logits.shape[axis] != expected[axis]:
            what = "rank" if logits.dim() != 3 else name
            is_wider = what == "vocabulary" and logits.shape[axis] > expected[axis]
            hint = f": return the first {expected[axis]} of them, logits[..., :{expected[axis]}]" if is_wider else ""
            raise ModelError(
                f"wrong {what}: the model of {source} gives {tuple(logits.shape)}, but must give {expected}{hint}"
            )
