"""What a model does, measured closely enough to tell whether it is the one that a stored trial was trained with.

Neither a name nor a source text says that. A renamed variable changes the text and nothing else; a clamp that binds
only late in training changes no early step. So a model is asked twice: as it is built, and with the stored weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pytest_mad.determinism import one_thread, seeded
from pytest_mad.grid import Setting

from .data import TaskData
from .recipe import Point
from .trial import loss_of, to_device

#: Optimizer steps: what reaches only the gradient shows from the second on.
STEPS = 3
ROWS = 4
#: Sequences of test data that are answered in evaluation mode.
ANSWERED = 16
#: Entries kept of a tensor of logits; its mean and mean square speak for the others.
SAMPLE = 2048
#: Two formulas of one function differ by some 1e-13 in double precision. An epsilon of 1e-8 becomes visible above 1e-9.
TOLERANCE = 1e-9
#: For models that only run in their own precision, whose rounding depends on the machine.
COARSE = 1e-4
_SMALL = 1000


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Losses and logits of a model over a few steps of one trial, as vectors by name."""

    values: dict[str, Tensor]
    #: computed in double precision, so that a changed epsilon shows and a faster formula does not
    precise: bool
    #: nothing but parameters moved. A counter of steps would decide what no few steps can show.
    steady: bool

    def agrees(self, other: Evidence) -> bool:
        """Whether both show the same function."""
        tolerance = TOLERANCE if self.precise else COARSE
        return (
            self.precise == other.precise
            and self.values.keys() == other.values.keys()
            and all(_close(mine, other.values[name], tolerance) for name, mine in self.values.items())
        )


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=0, atol=tolerance, equal_nan=True)


def gather(
    make: Callable[[], nn.Module], setting: Setting, point: Point, data: TaskData, device: torch.device
) -> Evidence:
    """Evidence of the models that ``make`` gives: in double precision, or in their own if they run in no other."""
    try:
        return _observe(make().double(), setting, point, data, device, precise=True)
    except Exception:  # a kernel or a cast that wants float32; what is really wrong is raised by the second try
        return _observe(make(), setting, point, data, device, precise=False)


def _observe(
    model: nn.Module, setting: Setting, point: Point, data: TaskData, device: torch.device, *, precise: bool
) -> Evidence:
    """Answers in evaluation mode, then a few optimizer steps and the answers in training mode behind them."""
    inputs, targets = to_device(type(data.train)(*(part[: ROWS * STEPS] for part in data.train)), device)
    asked, _ = to_device(type(data.test)(*(part[:ANSWERED] for part in data.test)), device)
    with one_thread(device), seeded("evidence", setting.id), _eagerly():
        with torch.no_grad():
            values = {"evaluation": _digest(model.eval()(asked))}
        losses, states = [], []
        model.train()
        for rows, answers in zip(torch.split(inputs, ROWS), torch.split(targets, ROWS), strict=True):
            losses.append(_descend(model, rows, answers, point.lr))
            states.append(hidden_state(model, buffers=True))
        with torch.no_grad():
            values["training"] = _digest(model(inputs[:ROWS]))
        values["losses"] = torch.stack(losses).cpu()
    return Evidence(values=values, precise=precise, steady=None not in states and len(set(states)) == 1)


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

    Attributes of its modules and their classes, and plain globals of the files that these are written in.
    """
    own = [
        {name: value for name, value in vars(module).items() if name not in _TORCHS_OWN} for module in model.modules()
    ]
    out = io.BytesIO()
    try:
        _Digester(out).dump((own, dict(model.named_buffers()) if buffers else {}, list(_shared(model))))
    except Exception:  # an open file, a lock, a generator: it may hold a state
        return None
    return hashlib.sha256(out.getvalue()).hexdigest()


_TORCHS_OWN = ("_parameters", "_buffers", "_modules", "training")


def _shared(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Plain values that the model's classes and their files hold."""
    classes = {cls for module in model.modules() for cls in type(module).__mro__ if not _is_torchs(cls)}
    holders: list[Any] = [*classes, *filter(None, (sys.modules.get(name) for name in {c.__module__ for c in classes}))]
    for holder in sorted(holders, key=lambda h: (h.__name__, isinstance(h, type))):
        for name, value in sorted(vars(holder).items()):
            if _is_plain(value) and not name.startswith("__"):
                yield f"{holder.__name__}.{name}", value


def _is_torchs(cls: type) -> bool:
    return cls is object or cls.__module__.partition(".")[0] == "torch"


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple | set | dict):
        parts = list(value.values()) if isinstance(value, dict) else list(value)
        return len(parts) <= _SMALL and all(isinstance(part, int | float | str) for part in parts)
    return isinstance(value, int | float | str)


class _Digester(pickle.Pickler):
    """Writes what an object holds, for a digest: nothing reads it back."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.fast = True  # without a memo, equal content gives equal bytes

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            text = hashlib.sha256(content.numpy().tobytes()).hexdigest()
            return str, (f"tensor {value.dtype} {tuple(value.shape)} {text}",)
        if isinstance(value, nn.Module):  # listed on its own
            return str, (f"module {type(value).__qualname__}",)
        if isinstance(value, FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            return tuple, ((value.__qualname__, value.__dict__, *cells),)
        if isinstance(value, type | ModuleType) and value is not str and value is not tuple:
            return str, (value.__name__,)
        return NotImplemented
