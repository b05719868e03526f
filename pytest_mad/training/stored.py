"""Trials and contracts that are found again instead of being computed, and trials that go on where they stopped."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pytest_mad.adapters import build_model
from pytest_mad.architecture import Architecture
from pytest_mad.grid import Setting
from pytest_mad.packages import version
from pytest_mad.sources import code_digest, source_digest
from pytest_mad.store import DamagedError, Store, Stored, key_of

from .checkpoint import load_weights, pack, unpack, weights_of
from .data import TaskData, load_data
from .evidence import Evidence, gather, hidden_state
from .metrics import Accuracies
from .recipe import Point
from .trial import Training, Trial, autocast, initial_model

#: What a trial computes with, beside the model.
_CODE = ("training", "tasks", "adapters.py", "backbones.py", "determinism.py", "seeds.py")
_KERNELS = ("triton", "flash-linear-attention", "mamba-ssm", "causal-conv1d", "flash-attn")
#: Parts of a recipe that choose among trials and change none.
_OF_SWEEPS = ("points", "race", "selection", "metric")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which model a trial begins with: its shapes, its source, and what it does in its first steps."""

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    #: None where it cannot be read
    source: str | None
    start: Evidence
    #: whether evidence of both ends is enough to know a model by; if not, its source must be the same as well
    by_evidence: bool

    @property
    def which(self) -> str:
        """Another one for another model, so that none takes the place of another's file."""
        digest = hashlib.sha256(
            b"".join(self.start.values[name].numpy().tobytes() for name in sorted(self.start.values))
        )
        if not self.by_evidence:
            digest.update(str(self.source).encode())
        return digest.hexdigest()[:16]

    def is_source(self, source: object) -> bool:
        """Whether the source is known, and is this one."""
        return self.source is not None and self.source == source


@functools.lru_cache(maxsize=64)
def identify(
    architecture: Architecture, setting: Setting, point: Point, seed: int, data_dir: Path | None, device: torch.device
) -> Identity:
    """The identity of one trial's model. Kept: contracts ask for the same one again and again."""

    def make() -> nn.Module:
        return initial_model(lambda: build_model(architecture, setting, device), setting, point, seed, device)

    model = make()
    start = gather(make, setting, point, load_data(setting, seed, data_dir), device)
    has_autocast = type(autocast(device, setting.recipe)) is torch.autocast
    classes = {type(module).__module__ for module in model.modules()}
    return Identity(
        make=make,
        shapes=tuple((name, tuple(p.shape)) for name, p in model.named_parameters()),
        source=source_digest(sorted({*classes, *([architecture.module] if architecture.module else [])})),
        start=start,
        by_evidence=start.precise and start.steady and not has_autocast,
    )


def surroundings(device: torch.device) -> dict[str, Any]:
    """What the numbers of any computation depend on, beside what is computed."""
    is_cuda = device.type == "cuda"
    return {
        "torch": version("torch"),
        "numpy": version("numpy"),
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "matmul": torch.get_float32_matmul_precision(),
        "kernels": {name: version(name) for name in _KERNELS} if is_cuda else {},
    }


def stored_trial(
    store: Store | None,
    architecture: Architecture,
    setting: Setting,
    point: Point,
    seed: int,
    data: TaskData,
    data_dir: Path | None,
    device: torch.device,
    engine: str,
) -> StoredTrial | None:
    """Where a trial is, or will be, stored; None without a store, or for a model that cannot be trained."""
    if store is None:
        return None
    try:
        identity = identify(architecture, setting, point, seed, data_dir, device)
    except Exception as error:
        store.note(f"a model that fails in its first steps is not kept ({type(error).__name__})")
        return None
    is_published = data_dir is not None
    return StoredTrial(store, identity, setting, point, seed, data, device, engine, is_published=is_published)


class StoredTrial:
    """One trial's place in the store. It is also where the trial is kept while it is under way."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        setting: Setting,
        point: Point,
        seed: int,
        data: TaskData,
        device: torch.device,
        engine: str,
        *,
        is_published: bool = False,
    ) -> None:
        self._store, self._identity = store, identity
        self._gather = functools.partial(gather, setting=setting, point=point, data=data, device=device)
        recipe = {name: value for name, value in setting.recipe.to_json().items() if name not in _OF_SWEEPS}
        self._point, self._seed, self._which = point, seed, identity.which
        self._state: str | None = None
        self._key = key_of(
            {
                "task": setting.task,
                "version": setting.family.version,
                "params": setting.params.to_json(),
                "data": _content(data) if is_published else None,
                "recipe": recipe,
                "point": asdict(point),
                "seed": seed,
                "engine": engine,
                "threads": 1,
                "shapes": identity.shapes,
                "code": code_digest(*_CODE),
                **surroundings(device),
            }
        )

    def find(self) -> tuple[Trial, nn.Module] | None:
        """The trial and its trained model, if today's model is the one that was trained."""
        for stored in self._store.find("trial", self._key):
            try:
                found = self._read(stored)
            except DamagedError as error:
                self._store.note(f"{stored.path.name} {error} and is not used; delete it")
                continue
            if found:
                self._store.used(stored)
                return found
        return None

    def _read(self, stored: Stored) -> tuple[Trial, nn.Module] | None:
        header, mine = stored.header, self._identity
        trial = trial_from(header.get("trial"), self._point, self._seed)
        then_by_evidence = header.get("by_evidence") is True
        if not (mine.by_evidence and then_by_evidence) and not mine.is_source(header.get("source")):
            return None
        if not mine.start.agrees(replace(mine.start, values=stored.tensors("start."))):
            return None
        weights = stored.tensors("weights.")
        end = self._gather(lambda: load_weights(mine.make(), weights))
        if not end.agrees(replace(end, values=stored.tensors("end."))):
            return None
        return trial, load_weights(mine.make(), weights).eval()

    def keep(self, trial: Trial, model: nn.Module) -> None:
        """Store a finished trial; what was kept of it on the way is no longer needed."""
        mine, weights = self._identity, weights_of(model)
        try:
            end = self._gather(lambda: load_weights(mine.make(), weights))
        except Exception as error:  # the trial is as good as without a store
            self._store.note(f"a model that cannot be built twice is not kept ({type(error).__name__})")
            return
        tensors = {f"weights.{name}": tensor for name, tensor in weights.items()}
        tensors |= {f"start.{name}": value for name, value in mine.start.values.items()}
        tensors |= {f"end.{name}": value for name, value in end.values.items()}
        header = {
            "source": mine.source,
            "by_evidence": mine.by_evidence and end.precise and end.steady,
            "trial": asdict(trial),
        }
        self._store.write("trial", self._key, self._which, header, tensors)
        self._store.remove("checkpoint", self._key, self._which)

    def resume(self, training: Training) -> None:
        """Bring the training to the last evaluation that it reached in a run that was cut off."""
        self._state = hidden_state(training.model, buffers=False)
        for stored in self._store.find("checkpoint", self._key, self._which):
            if self._identity.is_source(stored.header.get("source")):
                try:
                    unpack(training, stored.header, stored.tensors())
                except DamagedError as error:
                    self._store.note(f"{stored.path.name} {error} and is not used; delete it")

    def save(self, training: Training) -> None:
        """Keep the training as it is now. One whose model counts its steps somewhere else cannot go on from tensors."""
        state = hidden_state(training.model, buffers=False)
        if state is not None and state == self._state and self._identity.source:
            plain, tensors = pack(training)
            self._store.write("checkpoint", self._key, self._which, {"source": self._identity.source, **plain}, tensors)
        self._state = state


def trial_from(data: Any, point: Point, seed: int) -> Trial:
    """A trial from the plain values of a file; :class:`DamagedError` for what no trial can have found."""
    try:
        trial = Trial(
            point=point,
            seed=seed,
            steps=_whole(data["steps"]),
            stopped=data["stopped"],
            curve=tuple((_whole(step), _share(accuracy)) for step, accuracy in data["curve"]),
            validation=_accuracies(data["validation"]),
            test=_accuracies(data["test"]),
            seconds=_number(data["seconds"]),
        )
        is_right = data["point"] == asdict(point) and data["seed"] == seed
        is_right = is_right and trial.stopped in ("solved", "hopeless", "budget") and len(trial.curve) > 0
    except Exception as error:  # whatever the file says
        raise DamagedError(f"is no trial: {type(error).__name__}") from None
    if not is_right:
        raise DamagedError("is another trial")
    return trial


def _accuracies(data: dict[str, Any]) -> Accuracies:
    return Accuracies(**{name: _share(value) for name, value in data.items()})


def _share(value: object) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError
    return float(value)  # type: ignore[arg-type]


def _whole(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError
    return value


def _content(data: TaskData) -> str:
    """A digest of published data, which no parameter names."""
    digest = hashlib.sha256()
    for batch in data:
        for array in batch:
            digest.update(array.tobytes())
    return digest.hexdigest()[:32]
