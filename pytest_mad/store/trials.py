"""Trials that are found again instead of being computed, and trials that go on where they stopped."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.architectures.source import code_digest
from pytest_mad.common.records import plain
from pytest_mad.presets.recipe import Point
from pytest_mad.presets.setting import Setting
from pytest_mad.training.compiled import compiled_from
from pytest_mad.training.data import TaskData
from pytest_mad.training.trial import Training, Trial, evaluate, to_device

from .checkpoint import below, can_be_restored, load_weights, pack, unpack, weights_of
from .evidence import Evidence, gather, hidden_state
from .folder import DamagedError, Store, Stored, key_of
from .headers import CheckpointHeader, TrialHeader, header_of
from .identity import Identity, identify, surroundings

#: What a trial computes with, beside the model.
_CODE = ("store", "training", "presets", "tasks", "architectures", "common")
#: Parts of a recipe that choose among trials and change none.
_OF_SWEEPS = ("points", "retry", "race", "selection", "metric")
#: At least so long between two checkpoints of a trial, and before the first.
CHECKPOINT_SECONDS = 5.0
#: How far apart the scores of two formulas of one function may lie: an answer on the edge may tip over.
_OF_TIES = 0.005


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a trial is, beside its model."""

    setting: Setting
    point: Point
    seed: int
    data: TaskData
    device: torch.device
    engine: str

    def key(self, identity: Identity) -> str:
        recipe = {name: value for name, value in self.setting.recipe.to_json().items() if name not in _OF_SWEEPS}
        return key_of(
            {
                "task": self.setting.task_name,
                "version": self.setting.task.version,
                "params": self.setting.params.to_json(),
                "data": _content(self.data),
                "recipe": recipe,
                "point": asdict(self.point),
                "seed": self.seed,
                "engine": self.engine,
                "threads": 1,
                "compiled": self._compiled_from(identity.parameters),
                "shapes": identity.shapes,
                "code": code_digest(*_CODE),
                **surroundings(self.device),
            }
        )

    def _compiled_from(self, parameters: int) -> int | None:
        """Rounding is another from this step on; and without a compiler it stays what it was."""
        is_compiled = self.device.type == "cpu" and self.engine == "loop"
        return compiled_from(parameters, self.setting, self.point) if is_compiled else None


def stored_trial(
    store: Store | None, architecture: Architecture, data_dir: Path | None, spec: Spec
) -> StoredTrial | None:
    """Where a trial is, or will be, stored; None without a store, or for a model that cannot be trained."""
    if store is None:
        return None
    try:
        identity = identify(architecture, spec.setting, spec.point, spec.seed, data_dir, spec.device)
    except Exception as error:
        store.note(f"a model that fails in its first steps is not kept ({type(error).__name__})")
        return None
    return StoredTrial(store, identity, spec)


class StoredTrial:
    """One trial's place in the store. It is also where the trial is kept while it is under way."""

    def __init__(self, store: Store, identity: Identity, spec: Spec) -> None:
        self._store, self._identity, self._spec = store, identity, spec
        self._key, self._which = spec.key(identity), identity.which()
        #: what checkpoints must share with the start; None where there can be none
        self._hidden: str | None = None
        #: when the training was kept last, or began
        self._kept = time.monotonic()

    def find(self) -> tuple[Trial, nn.Module] | None:
        """The trial and its trained model, if today's model is the one that was trained."""
        candidates = (self._read_safely(stored) for stored in self._store.find("trial", self._key))
        return next(filter(None, candidates), None)

    def _read_safely(self, stored: Stored) -> tuple[Trial, nn.Module] | None:
        try:
            found = self._read(stored)
        except DamagedError as error:
            self._store.note(f"{stored.path.name} {error} and is not used; delete it")
        except Exception:  # today's model does not bear those weights: it is another
            return None
        else:
            if found:
                self._store.used(stored)
            return found
        return None

    def _read(self, stored: Stored) -> tuple[Trial, nn.Module] | None:
        mine, tensors, spec = self._identity, stored.tensors(), self._spec
        header = header_of(TrialHeader, stored)
        trial = header.trial
        if (trial.point, trial.seed) != (spec.point, spec.seed) or not trial.curve:
            raise DamagedError("is another trial")
        by_evidence = mine.start.is_enough and header.by_evidence
        if not (by_evidence or mine.is_marked(header)) or not mine.start.agrees(below("start.", tensors)):
            return None
        weights = below("weights.", tensors)
        if not self._end(weights).agrees(below("end.", tensors)):
            return None
        model = load_weights(mine.make(), weights).eval()
        test = evaluate(model, to_device(spec.data.test, spec.device), spec.setting.recipe)
        return (trial, model) if abs(test.accuracy - trial.test.accuracy) <= _OF_TIES else None

    def _end(self, weights: dict[str, Tensor]) -> Evidence:
        """Evidence of today's model with trained weights."""
        spec = self._spec
        return gather(
            lambda: load_weights(self._identity.make(), weights), spec.setting, spec.point, spec.data, spec.device
        )

    def keep(self, trial: Trial, model: nn.Module) -> None:
        """Store a finished trial; what was kept of it on the way is no longer needed."""
        mine = self._identity
        try:
            weights = weights_of(model)
            end = self._end(weights)
        except Exception as error:  # the trial is as good as without a store
            self._store.note(f"a model that does not bear its own weights anew is not kept ({type(error).__name__})")
        else:
            if mine.source and not mine.is_as_loaded():
                self._store.note("a source file was edited while it ran, so what it trained is not kept")
            else:
                tensors = {f"weights.{name}": tensor for name, tensor in weights.items()}
                tensors |= {f"start.{name}": value for name, value in mine.start.values.items()}
                tensors |= {f"end.{name}": value for name, value in end.values.items()}
                by_evidence = mine.start.is_enough and end.is_enough
                header = TrialHeader(source=mine.source, hidden=mine.hidden, by_evidence=by_evidence, trial=trial)
                self._store.write("trial", self._key, mine.which(end), plain(header), tensors)
        self._store.remove("checkpoint", self._key, self._which)

    def resume(self, training: Training) -> None:
        """Bring the training to where it was kept last in a run that was cut off."""
        self._kept = time.monotonic()
        if self._identity.source is None or not can_be_restored(training.model):
            return
        self._hidden = hidden_state(training.model, buffers=False)
        for stored in self._store.find("checkpoint", self._key, self._which):
            self._go_on_from(stored, training)

    def _go_on_from(self, stored: Stored, training: Training) -> None:
        try:
            header = header_of(CheckpointHeader, stored)
            if self._identity.is_marked(header):
                unpack(training, header, stored.tensors())
        except DamagedError as error:
            self._store.note(f"{stored.path.name} {error} and is not used; delete it")

    def save(self, training: Training, *, is_last: bool = False) -> None:
        """Keep the training as it is now, unless its model carries a state beside its tensors.

        No more often than a training of that time is worth keeping, unless it is the last time.
        """
        if not is_last and time.monotonic() - self._kept < CHECKPOINT_SECONDS:
            return
        self._kept = time.monotonic()
        if self._hidden is None or hidden_state(training.model, buffers=False) != self._hidden:
            return
        try:
            header, tensors = pack(training, self._identity.source, self._identity.hidden)
        except Exception:  # tensors of a kind that no file holds
            self._hidden = None
            return
        if self._identity.is_as_loaded():
            self._store.write("checkpoint", self._key, self._which, plain(header), tensors)


def _content(data: TaskData) -> str:
    """A digest of the data itself: a task of the user's may change without another version."""
    digest = hashlib.sha256()
    for batch in data:
        for array in batch:
            digest.update(array.tobytes())
    return digest.hexdigest()[:32]
