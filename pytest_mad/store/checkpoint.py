"""A training's state as tensors and plain values, and back: its next step is then the one that it would have been."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytest_mad.training.trial import Training

from .folder import DamagedError


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


def pack(training: Training) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Plain values and tensors, with the states of the random generators that are in use now."""
    tensors = {f"weights.{name}": tensor for name, tensor in weights_of(training.model).items()}
    for number, state in training.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value.detach().cpu().clone() for name, value in state.items()}
    tensors["random.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    name, words, *rest = np.random.get_state()
    tensors["random.numpy"] = torch.from_numpy(np.asarray(words).astype(np.int64))
    version, numbers, gauss = random.getstate()
    tensors["random.python"] = torch.tensor(numbers)
    plain = {"step": training.step, "curve": training.curve, "numpy": [name, *rest], "python": [version, gauss]}
    return plain, tensors


def unpack(training: Training, plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Bring a training that has not begun to the state that was packed.

    Raises :class:`DamagedError` if that is no such state; the training is then as it was.
    """
    before = pack(training)
    try:
        _unpack(training, plain, tensors)
    except DamagedError:
        _unpack(training, *before)
        raise
    except Exception as error:  # whatever a file says that this package did not write
        _unpack(training, *before)
        raise DamagedError(f"is no checkpoint: {type(error).__name__}") from None


def _unpack(training: Training, plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    step, curve = int(plain["step"]), [(int(at), float(accuracy)) for at, accuracy in plain["curve"]]
    if step < 0:
        raise DamagedError(f"is at step {step}")
    (name, position, has_gauss, cached), (version, gauss) = plain["numpy"], plain["python"]
    numpy_state = (str(name), _words(tensors, "numpy").astype(np.uint32), int(position), int(has_gauss), float(cached))
    python_state = (int(version), tuple(_words(tensors, "python").tolist()), gauss)
    load_weights(training.model, below("weights.", tensors))
    training.optimizer.load_state_dict(_optimizer_state(training.optimizer, below("optimizer.", tensors)))
    np.random.set_state(numpy_state)
    random.setstate(python_state)
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    training.step, training.curve = step, curve


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
