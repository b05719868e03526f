"""How to train: plain, frozen data without torch."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeGuard

from pytest_mad.common.errors import check_keys, require


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a sweep."""

    lr: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        require(_is_number(self.lr) and self.lr > 0, "lr", self.lr, "a finite number above 0")
        weight_decay = self.weight_decay
        is_right = _is_number(weight_decay) and weight_decay >= 0
        require(is_right, "weight_decay", weight_decay, "a finite number of at least 0")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the trials of a setting are trained, and when one ends.

    A trial ends *solved* when its validation accuracy, normalised, reaches ``solved_at``; *hopeless* when after the
    share ``hopeless_after`` of its steps it has never exceeded ``hopeless_below``; otherwise when its *budget* of
    ``steps`` (or ``epochs``) is used up. A sweep tries ``points`` in their order; with ``race`` it ends as soon as
    the requirement is met, on validation and on test data. The best point is chosen on validation data, or on test
    data as MAD-Lab does (``compat``). The learning rate rises over the first ``warmup`` steps. `evaluation_after` says
    what ``evaluate_every`` and ``evaluate_growth`` do.

    A sweep that races and is about to fail a threshold, with no trial that ever left the trivial level, tries ``retry``
    too: a sound model may only want another learning rate.
    """

    points: tuple[Point, ...]
    retry: Point | None = None
    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 32
    warmup: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["float32", "bf16"] = "float32"
    betas: tuple[float, float] = (0.9, 0.999)
    evaluate_every: int = 50
    evaluate_growth: float = 1.0
    num_validation_examples: int = 256
    solved_at: float = 0.99
    hopeless_after: float = 1.0
    hopeless_below: float = 0.0
    race: bool = True
    selection: Literal["validation", "compat"] = "validation"
    metric: Literal["accuracy", "compat"] = "accuracy"

    def __post_init__(self) -> None:
        require(len(self.points) > 0, "points", [], _POINTS)
        require(self.steps is None or self.epochs is None, "steps", self.steps, "left out where epochs is given")
        require(self.steps is not None or self.epochs is not None, "steps", None, "given, or epochs")
        for names, is_right, expected in _CHECKS:
            for name in names:
                value = getattr(self, name)
                unset = name in ("steps", "epochs") and value is None
                require(unset or is_right(value), name, value, expected)
        require(self.retry not in self.points, "retry", self.retry and asdict(self.retry), "none of the points")
        below, top = self.hopeless_below, self.solved_at
        require(below < top, "hopeless_below", below, f"below solved_at, which is {top:g}")

    def total_steps(self, num_train_examples: int) -> int:
        """Optimizer steps of one trial; the last, smaller batch of an epoch counts as a step."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return self.epochs * math.ceil(num_train_examples / self.batch_size)

    def evaluation_after(self, step: int, total: int) -> int:
        """The steps at which a trial of so many is evaluated next; the last are the last evaluation in any case.

        Multiples of ``evaluate_every``, each at least ``evaluate_growth`` times the one before: with 10 and 1.1 the
        steps to a score are known within a tenth, be they 100 or 3,000, at a few evaluations.
        """
        every = self.evaluate_every
        grown = math.ceil(round(step * self.evaluate_growth / every, 6)) * every  # 100 * 1.1 is above 110
        return min(max(step + every, grown), total)

    def at_rates(self, rates: Sequence[float]) -> Recipe:
        """Points with these learning rates, and the first one's weight decay; nothing else is tried."""
        decay = self.points[0].weight_decay
        return replace(self, points=tuple(Point(lr=lr, weight_decay=decay) for lr in rates), retry=None)

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain values, lists included."""
        return asdict(self) | {"points": [asdict(p) for p in self.points], "betas": list(self.betas)}

    def identity(self) -> dict[str, Any]:
        """What recorded scores are compared under, as plain values.

        What was added to recipes later counts where it is used: baselines that were recorded before stay comparable.
        """
        unused = [name for name, value in _ADDED.items() if getattr(self, name) == value]
        unused.append("retry")  # no recording and no comparison makes use of it
        return {name: value for name, value in self.to_json().items() if name not in unused}

    def digest(self) -> str:
        """Sixteen hexadecimal digits that are another for another recipe."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recipe:
        """The recipe from plain values, e.g. a preset's table; a ``ValueError`` names a key that does not belong."""
        check_keys(data, [f.name for f in fields(cls)], "recipe key")
        points = data.get("points", [])
        require(isinstance(points, list) and all(isinstance(p, dict) for p in points), "points", points, _POINTS)
        found, betas = tuple(map(_point, points)), data.get("betas", [0.9, 0.999])
        require(len(set(found)) == len(found), "points", points, "a list without the same point twice")
        retry = data.get("retry")
        require(retry is None or isinstance(retry, dict), "retry", retry, "{lr = ..., weight_decay = ...}")
        parsed = {"points": found, "betas": _tuple(betas), "retry": None if retry is None else _point(retry)}
        return cls(**(data | parsed))


#: Later than the first baselines, and as it was before.
_ADDED = {"warmup": 0, "evaluate_growth": 1.0}
_POINTS = "a list with at least one {lr = ..., weight_decay = ...}"
#: Steps, epochs or examples: more is a slip of the pen.
_MOST = 10**9


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MOST


def _is_number(value: object) -> TypeGuard[float]:
    """Finite, also as a float: TOML's whole numbers may be larger than any."""
    largest = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= largest


def _are_betas(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_number(b) and 0 <= b < 1 for b in value)


def _one_of(*allowed: str) -> tuple[Callable[[object], bool], str]:
    return lambda value: value in allowed, " or ".join(map(repr, allowed))


#: names of fields, what they must satisfy, and how to say it
_CHECKS: tuple[tuple[tuple[str, ...], Callable[[object], bool], str], ...] = (
    (
        ("steps", "epochs", "batch_size", "evaluate_every", "num_validation_examples"),
        _is_count,
        f"a whole number from 1 to {_MOST:,}",
    ),
    (("warmup",), lambda value: type(value) is int and 0 <= value <= _MOST, f"a whole number from 0 to {_MOST:,}"),
    (("evaluate_growth",), lambda value: _is_number(value) and 1 <= value <= 10, "a number from 1 to 10"),
    (("solved_at",), lambda value: _is_number(value) and value > 0, "a number above 0"),
    (("hopeless_after",), lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    (("hopeless_below",), _is_number, "a number"),
    (("race",), lambda value: isinstance(value, bool), "true or false"),
    (("betas",), _are_betas, "two numbers from 0 up to, but not including, 1"),
    (("schedule",), *_one_of("constant", "cosine")),
    (("precision",), *_one_of("float32", "bf16")),
    (("selection",), *_one_of("validation", "compat")),
    (("metric",), *_one_of("accuracy", "compat")),
)


def _point(data: dict[str, Any]) -> Point:
    check_keys(data, ["lr", "weight_decay"], "key of a recipe point")
    require("lr" in data, "points", data, _POINTS)
    return Point(**data)


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
