"""What a model does, measured closely enough to tell whether it is the one that a stored trial was trained with.

Neither a name nor a source text says that. A renamed variable changes the text and nothing else; a clamp that binds
only late in training changes no early step. So a model is asked twice: as it is built, and with the stored weights.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import math
import pickle
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytest_mad.architectures.source import is_users
from pytest_mad.common.determinism import one_thread, seeded
from pytest_mad.presets.recipe import Point
from pytest_mad.presets.setting import Setting
from pytest_mad.training.data import TaskData
from pytest_mad.training.trial import autocast, loss_of, to_device

#: Optimizer steps: what reaches only the gradient shows from the second on.
STEPS = 2
#: Sequences per step, at most; in double precision fewer, for it takes longer.
ROWS, PRECISE_ROWS = 32, 4
#: Sequences of test data that are answered in evaluation mode.
ANSWERED = 16
#: Entries kept of a tensor of logits; its mean and mean square speak for the others.
SAMPLE = 2048
#: Two formulas of one function differ by some 1e-13 in double precision. An epsilon of 1e-8 becomes visible above 1e-9.
TOLERANCE = 1e-9
#: As a part of the largest number, where rounding depends on the machine: in float32, and under autocast.
COARSE, COARSEST = 1e-3, 0.05
_LARGE = 10**6
_PRECISE = "precise."


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Losses and logits of a model over a few steps of one trial, as vectors by name."""

    #: in the model's own precision, and, where it runs there, in double: so a changed epsilon shows, and a faster
    #: formula does not. Neither sees what the other does: an overflow of float32 is none in double.
    values: dict[str, Tensor]
    #: nothing but trained parameters moved. A counter of steps would decide what no few steps can show.
    steady: bool
    coarse: float = COARSE

    @property
    def is_enough(self) -> bool:
        """Whether a model can be known by this alone."""
        is_finite = all(bool(value.isfinite().all()) for value in self.values.values())
        return self.steady and is_finite and self.coarse == COARSE and any(n.startswith(_PRECISE) for n in self.values)

    def agrees(self, values: dict[str, Tensor]) -> bool:
        """Whether other values show the same function."""
        return self.values.keys() == values.keys() and all(self._close(name, values[name]) for name in values)

    def _close(self, name: str, other: Tensor) -> bool:
        mine = self.values[name]
        if mine.shape != other.shape or mine.dtype != other.dtype:
            return False
        largest = max(1.0, float(mine.abs().nan_to_num().max())) if mine.numel() else 1.0
        tolerance = TOLERANCE if name.startswith(_PRECISE) else self.coarse * largest
        return torch.allclose(mine, other, rtol=0, atol=tolerance, equal_nan=True)


def gather(
    make: Callable[[], nn.Module], setting: Setting, point: Point, data: TaskData, device: torch.device
) -> Evidence:
    """Evidence of the models that ``make`` gives."""
    precision = autocast(device, setting.recipe)
    model, fine = make(), dict[str, Tensor]()
    with contextlib.suppress(Exception):  # a kernel or a cast that wants float32
        double = copy.deepcopy(model).double()  # sooner than built again
        fine, _ = _observe(double, setting, point, data, device, PRECISE_ROWS, contextlib.nullcontext())
    own, is_steady = _observe(model, setting, point, data, device, min(ROWS, setting.recipe.batch_size), precision)
    return Evidence(
        values=own | {f"{_PRECISE}{name}": value for name, value in fine.items()},
        steady=is_steady,
        coarse=COARSEST if isinstance(precision, torch.autocast) else COARSE,
    )


def _observe(
    model: nn.Module,
    setting: Setting,
    point: Point,
    data: TaskData,
    device: torch.device,
    rows: int,
    precision: contextlib.AbstractContextManager[Any],
) -> tuple[dict[str, Tensor], bool]:
    """Answers in evaluation mode, losses of a few steps, answers in training mode; and whether all else stood still."""
    inputs, targets = to_device(type(data.train)(*(part[: rows * STEPS] for part in data.train)), device)
    asked, _ = to_device(type(data.test)(*(part[:ANSWERED] for part in data.test)), device)
    with one_thread(device), seeded("evidence", setting.id), _eagerly(), precision:
        with torch.no_grad():
            answers = model.eval()(asked)  # what a model keeps of its first call is there from now on
            states = [hidden_state(model, buffers=True)]
            values = {"evaluation": _digest(model(asked)), "repeated": _digest(answers)}
        still = {name: _content(parameter) for name, parameter in model.named_parameters()}
        losses = []
        model.train()
        for part, expected in zip(torch.split(inputs, rows), torch.split(targets, rows), strict=True):
            losses.append(_descend(model, part, expected, point.lr))
            states.append(hidden_state(model, buffers=True))
        with torch.no_grad():
            values["training"] = _digest(model(inputs[:PRECISE_ROWS]))
            model.eval()(asked)
        states.append(hidden_state(model, buffers=True))
        values["losses"] = torch.stack(losses).cpu()
        moved = any(p.grad is None and _content(p) != still[name] for name, p in model.named_parameters())
    return values, None not in states and len(set(states)) == 1 and not moved


def _eagerly() -> contextlib.AbstractContextManager[Any]:
    """Without the compiler, for models that call it: it would take far longer than these few steps."""
    dynamo = sys.modules.get("torch._dynamo")  # whoever compiles has loaded it, and for others that takes a second
    set_stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return set_stance("force_eager") if dynamo and set_stance else contextlib.nullcontext()


def _descend(model: nn.Module, inputs_BT: Tensor, targets_BT: Tensor, lr: float) -> Tensor:
    """The loss, and one step against its gradient of about the size of Adam's.

    Not Adam's: that divides each gradient by its own size, and where the true one is zero only rounding would be left.
    """
    model.zero_grad()
    loss = loss_of(model, inputs_BT, targets_BT)
    loss.backward()  # type: ignore[no-untyped-call]
    reached = [(p, p.grad) for p in model.parameters() if p.grad is not None]
    with torch.no_grad():
        square = sum(float(gradient.double().square().sum()) for _, gradient in reached)
        scale = lr * math.sqrt(sum(p.numel() for p, _ in reached) / square) if square else 0.0
        for p, gradient in reached:
            p.sub_(gradient, alpha=scale)
    return loss.detach().double()


def _digest(logits: Tensor) -> Tensor:
    """Evenly spaced entries, and what all of them amount to."""
    flat = logits.detach().double().flatten().cpu()
    sample = flat[:: max(1, len(flat) // SAMPLE)]
    return torch.cat([sample, flat.mean()[None], flat.square().mean()[None]])


def hidden_state(model: nn.Module, *, buffers: bool) -> str | None:
    """A digest of what a model carries from step to step beside its parameters; None where that cannot be told.

    Attributes of its modules, and what the user's classes and files behind them hold. The same in every process.
    """
    own = [_attributes(module) for module in model.modules()]
    out = io.BytesIO()
    try:
        _Digester(out).dump((own, dict(model.named_buffers()) if buffers else {}))
    except Exception:  # an open file, a lock, a generator: it may hold a state
        return None
    return hashlib.sha256(out.getvalue() + _shared(model)).hexdigest()


_TORCHS_OWN = ("_parameters", "_buffers", "_modules", "training")


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Without what torch keeps, the numbers of hooks, and the order of sets: these are others in another process."""
    found: dict[str, Any] = {}
    for name, value in vars(module).items():
        if name.endswith("hooks") and isinstance(value, dict):
            found[name] = list(value.values())
        elif isinstance(value, set | frozenset):
            found[name] = sorted(map(repr, value))
        elif name not in _TORCHS_OWN:
            found[name] = value
    return found


def _shared(model: nn.Module) -> bytes:
    """What the user's classes and their files hold, as far as it can be told."""
    classes = {cls for module in model.modules() for cls in type(module).__mro__ if is_users(cls.__module__)}
    holders: list[Any] = [*classes, *(sys.modules[name] for name in {cls.__module__ for cls in classes})]
    digest = hashlib.sha256()
    for holder in sorted(holders, key=lambda h: (h.__name__, isinstance(h, type))):
        for name, value in sorted(vars(holder).items()):
            if not name.startswith("__") and _is_tellable(value):
                digest.update(f"{holder.__name__}.{name}".encode() + _told(value))
    return digest.digest()


def _is_tellable(value: object) -> bool:
    """Data, functions with attributes, and objects of the user's classes; others may be anything."""
    if isinstance(value, nn.Module | type | ModuleType):
        return False
    plain = (int, float, str, list, tuple, dict, Tensor, FunctionType, np.ndarray, np.random.Generator)
    return isinstance(value, plain) or is_users(type(value).__module__)


def _told(value: object) -> bytes:
    out = io.BytesIO()
    try:
        _Digester(out).dump(value)
    except Exception:  # what holds a lock or a file
        return b""
    return out.getvalue()


def _content(tensor: Tensor) -> str:
    """A digest of a tensor; of a large one only how often it was written."""
    if tensor.numel() > _LARGE:
        return f"{tensor.dtype} {tuple(tensor.shape)} {tensor._version}"
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(flat.numpy().tobytes()).hexdigest()}"


class _Digester(pickle.Pickler):
    """Writes what an object holds, for a digest: nothing reads it back."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.fast = True  # without a memo, equal content gives equal bytes

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, nn.Parameter) or type(value) is weakref.ref:
            return str, (f"parameter {getattr(value, 'shape', '')}",)  # watched on its own; nn.LSTM lists its weights
        if isinstance(value, Tensor):
            return str, (_content(value),)
        if isinstance(value, nn.Module):  # listed on its own
            return str, (f"module {type(value).__qualname__}",)
        if isinstance(value, FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            return tuple, ((value.__qualname__, value.__dict__, *cells),)
        if isinstance(value, type | ModuleType) and value is not str and value is not tuple:
            return str, (value.__name__,)
        return NotImplemented
