"""How to train: plain, frozen data without torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a sweep."""

    lr: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _require(self.lr > 0, "lr", self.lr, "above 0")
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the trials of a setting are trained, and when one ends.

    A trial ends *solved* when its validation accuracy, normalised, reaches ``solved_at``; *hopeless* when after the
    share ``hopeless_after`` of its steps it has never exceeded ``hopeless_below``; otherwise when its *budget* of
    ``steps`` (or ``epochs``) is used up. A sweep tries ``points`` in their order; with ``race`` it ends as soon as
    the requirement is met. The best point is chosen on validation data, or on test data as MAD-Lab does (``compat``).
    """

    points: tuple[Point, ...]
    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 32
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["float32", "bf16"] = "float32"
    betas: tuple[float, float] = (0.9, 0.999)
    evaluate_every: int = 50
    num_validation_examples: int = 256
    solved_at: float = 0.99
    hopeless_after: float = 1.0
    hopeless_below: float = 0.0
    race: bool = True
    selection: Literal["validation", "compat"] = "validation"
    metric: Literal["accuracy", "compat"] = "accuracy"

    def __post_init__(self) -> None:
        _require(len(self.points) > 0, "points", [], "a list with at least one {lr = ..., weight_decay = ...}")
        _require((self.steps is None) != (self.epochs is None), "steps", self.steps, "given, or epochs, not both")
        for name in ("steps", "epochs", "batch_size", "evaluate_every", "num_validation_examples"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "at least 1")
        for name, allowed in _CHOICES.items():
            _require(getattr(self, name) in allowed, name, getattr(self, name), " or ".join(map(repr, allowed)))

    def total_steps(self, num_train_examples: int) -> int:
        """Optimizer steps of one trial; the last, smaller batch of an epoch counts as a step."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return self.epochs * math.ceil(num_train_examples / self.batch_size)

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recipe:
        """The recipe from plain values, e.g. a preset's table; a ``ValueError`` names a key that does not belong."""
        check_keys(data, [f.name for f in fields(cls)], "recipe key")
        data = dict(data)
        for name in ("points", "betas"):
            if name in data:
                data[name] = tuple(data[name])
        data["points"] = tuple(p if isinstance(p, Point) else _point(p) for p in data.get("points", ()))
        return cls(**data)


_CHOICES = {
    "schedule": ("constant", "cosine"),
    "precision": ("float32", "bf16"),
    "selection": ("validation", "compat"),
    "metric": ("accuracy", "compat"),
}


def check_keys(data: dict[str, Any], known: list[str], what: str) -> None:
    """Raise a one-line ``ValueError`` that suggests the nearest known key for one that is not known."""
    import difflib

    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"unknown {what} {key!r}; {hint}")


def _point(data: dict[str, Any]) -> Point:
    check_keys(data, ["lr", "weight_decay"], "key of a recipe point")
    _require("lr" in data, "points", data, "a list of {lr = ..., weight_decay = ...}")
    return Point(**data)


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise ValueError(f"recipe: {name} is {value!r}, but must be {expected}")
