"""A training's state as tensors and plain values, and back: its next step is then the one that it would have been."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytest_mad.training.trial import Training

from .folder import DamagedError
from .headers import CheckpointHeader


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers by name; one that has two names comes once."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in named}


@torch.no_grad()
def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """Put stored parameters and buffers into a model; :class:`DamagedError` if they are not this model's."""
    own = dict([*model.named_parameters(), *model.named_buffers()])
    if own.keys() != weights.keys():
        raise DamagedError("has other weights than this model")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape or tensor.dtype != weights[name].dtype:
            raise DamagedError(f"has another {name} than this model")
        tensor.copy_(weights[name])
    return model


def pack(training: Training, source: str | None, hidden: str | None) -> tuple[CheckpointHeader, dict[str, Tensor]]:
    """Header and tensors, with the states of the random generators that are in use now."""
    tensors = {f"weights.{name}": tensor for name, tensor in weights_of(training.model).items()}
    for number, state in training.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value.detach().cpu().clone() for name, value in state.items()}
    tensors["random.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    name, words, position, has_gauss, cached = np.random.get_state()
    tensors["random.numpy"] = torch.from_numpy(np.asarray(words).astype(np.int64))
    version, numbers, gauss = random.getstate()
    tensors["random.python"] = torch.tensor(numbers)
    header = CheckpointHeader(
        source=source,
        hidden=hidden,
        step=training.step,
        curve=tuple(training.curve),
        numpy=(str(name), int(position), int(has_gauss), float(cached)),
        python=(version, gauss),
    )
    return header, tensors


def unpack(training: Training, header: CheckpointHeader, tensors: dict[str, Tensor]) -> None:
    """Bring a training that has not begun to the state that was packed.

    Raises :class:`DamagedError` if that is no such state; the training is then as it was.
    """
    before = pack(training, None, None)
    try:
        _unpack(training, header, tensors)
    except DamagedError:
        _unpack(training, *before)
        raise
    except Exception as error:  # whatever a file says that this package did not write
        _unpack(training, *before)
        raise DamagedError(f"is no checkpoint: {type(error).__name__}") from None


def _unpack(training: Training, header: CheckpointHeader, tensors: dict[str, Tensor]) -> None:
    name, *rest = header.numpy
    version, gauss = header.python
    numpy_state = (name, _words(tensors, "numpy").astype(np.uint32), *rest)
    python_state = (version, tuple(_words(tensors, "python").tolist()), gauss)
    load_weights(training.model, below("weights.", tensors))
    training.optimizer.load_state_dict(_optimizer_state(training.optimizer, below("optimizer.", tensors)))
    np.random.set_state(numpy_state)
    random.setstate(python_state)
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    training.step, training.curve = header.step, list(header.curve)


def can_be_restored(model: nn.Module) -> bool:
    """Whether tensors can be put back into this model, tried with its own: some buffers cannot be written.

    And none of its parameters lies transposed in memory, in whose order the fused optimizer reads its state.
    """
    try:
        load_weights(model, weights_of(model))
    except Exception:
        return False
    return all(parameter.is_contiguous() for parameter in model.parameters())


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _words(tensors: dict[str, Tensor], name: str) -> Any:
    return tensors[f"random.{name}"].numpy()


def _optimizer_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The optimizer's own groups with the stored state of each parameter that had a gradient."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, what = name.partition(".")
        state.setdefault(int(number), {})[what] = tensor
    for index, parts in state.items():
        shapes = {what: tensor.shape for what, tensor in parts.items()}
        if shapes != {"step": (), "exp_avg": parameters[index].shape, "exp_avg_sq": parameters[index].shape}:
            raise DamagedError("has the state of another optimizer")
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
