"""Records as plain values, and plain values as records: the one place where JSON becomes typed.

A record is a frozen dataclass. Its annotations say what JSON may stand for it: ``Annotated[float, Between(0, 1)]`` is
a number from 0 to 1, ``Mapping[Annotated[str, Named(...)], Setting]`` an object of named records. Reading is strict:
every key must be there and none besides, nothing is converted but a whole number to a float, and what is wrong is one
line with the keys that lead to it.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import suggestion

#: Names in one object. The paper preset has 66 settings, and nobody reads a report of more architectures than this.
MOST_NAMES = 10_000
#: Entries of one list. The longest of ours is a curve: MAD's 20,000 steps, evaluated after each, make a fifth of this.
MOST_ENTRIES = 100_000
#: Levels of plain values in a task's parameters, which are ours only for MAD's own tasks.
MOST_LEVELS = 4
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict = 1, 3, 3
_SHORT.maxstring = _SHORT.maxother = 60

#: What JSON holds.
Plain = Any
#: Returns what the record holds; raises :class:`WrongError`.
Check = Callable[[Plain], Any]
R = TypeVar("R")


@dataclass(frozen=True)
class Between:
    """Of a number: both ends are allowed."""

    low: float
    high: float = inf


@dataclass(frozen=True)
class Named:
    """Of a text: how names look, and how to say it."""

    pattern: re.Pattern[str]
    rule: str


@dataclass(frozen=True)
class Said:
    """Of any value: how it is called where another stands in its place."""

    text: str


Share = Annotated[float, Between(0, 1)]
#: Normalised. Oracle and trivial level are at least 0.01 apart, so it is within 100.
Score = Annotated[float, Between(-1000, 1000)]
Positive = Annotated[float, Between(0, 1e15)]
Count = Annotated[int, Between(0, 1e15)]
#: Of seeds there is no highest; a report may compute with the others.
Seed = Annotated[int, Between(0)]
SeedScore = Annotated[tuple[Seed, Score], Said("[seed, score]")]
SeedSteps = Annotated[tuple[Seed, Count | None], Said("[seed, steps or null]")]
CurvePoint = Annotated[tuple[Count, Share], Said("[step, accuracy]")]


class WrongError(ValueError):
    """A value that is wrong: what is said of it, and the keys that lead to it."""

    def __init__(self, says: str, *keys: str | int) -> None:
        super().__init__(says)
        self.says = says
        self.keys = list(keys)

    def __str__(self) -> str:
        where = "".join(map(_step, self.keys)).removeprefix(".") or "the file"
        return f"{where} {self.says}"


def _step(key: str | int) -> str:
    """``.key``, ``["odd key"]`` or ``[0]``."""
    if isinstance(key, str) and _PLAIN_KEY.fullmatch(key) and len(key) <= 60:
        return f".{key}"
    return f"[{json.dumps(key if isinstance(key, int) or len(key) <= 60 else key[:60] + '...')}]"


def plain(value: Any) -> Plain:
    """A record as JSON has it: objects, lists, numbers, texts. They are the caller's own, down to the last."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def record(cls: type[R], value: Plain) -> R:
    """The record that a plain value stands for. Raises :class:`WrongError`."""
    found: R = _record(cls, value)
    return found


def require(is_right: bool, value: Plain, expected: str, *keys: str | int) -> None:
    """Raise :class:`WrongError` for a value that must be something else."""
    if not is_right:
        raise WrongError(f"is {_SHORT.repr(value)}, but must be {expected}", *keys)


def at(key: str | int, check: Check, value: Plain) -> Any:
    """Check what stands below a key."""
    try:
        return check(value)
    except WrongError as wrong:
        wrong.keys.insert(0, key)
        raise


# -- from annotations to checks ---------------------------------------------------------------------------------------


@cache
def check_of(hint: Any) -> Check:
    """What a value must be to stand for this annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        (inner,) = (one for one in arguments if one is not NoneType)
        return partial(_or_null, check_of(inner))
    if origin is Literal:
        return partial(_one_of, arguments)
    if origin is tuple:
        return partial(_list, check_of(arguments[0])) if arguments[-1] is ... else _pair(arguments, "a list")
    if origin is Mapping:
        return _named(arguments[0], check_of(arguments[1]))
    if is_dataclass(hint):
        return partial(_record, hint)
    return _SIMPLE[hint]


def _annotated(hint: Any, marks: tuple[Any, ...]) -> Check:
    for mark in marks:
        if isinstance(mark, Between):
            return partial(_number, hint is int, mark.low, mark.high)
        if isinstance(mark, Said):
            return _pair(get_args(hint), mark.text)
    return check_of(hint)


def _number(is_whole: bool, low: float, high: float, value: Plain) -> Any:
    kinds = (int,) if is_whole else (int, float)
    if type(value) not in kinds or not low <= value <= high:
        require(False, value, _expected(is_whole, low, high))
    try:
        return value if is_whole else float(value)
    except OverflowError:
        raise WrongError(f"is {_SHORT.repr(value)}, which is too large") from None


def _expected(is_whole: bool, low: float, high: float) -> str:
    if low == -inf:
        return "a whole number" if is_whole else "a number"
    if not is_whole:
        return f"a number from {low:g} to {high:g}"
    return f"a whole number of at least {low:g}" + ("" if high == inf else f" and at most {high:g}")


def _or_null(inner: Check, value: Plain) -> Any:
    return None if value is None else inner(value)


def _one_of(allowed: tuple[Any, ...], value: Plain) -> Any:
    """Equal and of the same type: true is no 1."""
    is_allowed = any(type(value) is type(one) and value == one for one in allowed)
    require(is_allowed, value, " or ".join(map(repr, allowed)))
    return value


def _list(inner: Check, value: Plain) -> tuple[Any, ...]:
    require(type(value) is list, value, "a list")
    _limit(value, MOST_ENTRIES)
    return tuple(at(i, inner, one) for i, one in enumerate(value))


def _pair(hints: tuple[Any, ...], expected: str) -> Check:
    checks = tuple(map(check_of, hints))

    def check(value: Plain) -> tuple[Any, ...]:
        require(type(value) is list and len(value) == len(checks), value, expected)
        return tuple(at(i, inner, one) for i, (inner, one) in enumerate(zip(checks, value, strict=True)))

    return check


def _named(key: Any, inner: Check) -> Check:
    """An object of any names that keep the rule."""
    rule = next((mark for mark in getattr(key, "__metadata__", ()) if isinstance(mark, Named)), None)

    def check(value: Plain) -> dict[str, Any]:
        _object(value)
        _limit(value, MOST_NAMES)
        for name in value:
            if rule and not (rule.pattern.fullmatch(name) and name.isprintable()):
                raise WrongError(f"has the name {_SHORT.repr(name)}, but {rule.rule}")
        return {name: at(name, inner, one) for name, one in value.items()}

    return check


def _record(cls: Any, value: Plain) -> Any:
    """An object with the keys of a record, and no others. What its fields must be to each other, it says itself."""
    checks = _fields(cls)
    _object(value)
    for key in value:
        if key not in checks:
            raise WrongError(f"has an unknown key {_SHORT.repr(key)}; {suggestion(key[:60], checks)}")
    for key in checks:
        if key not in value:
            raise WrongError(f"has no {key!r}")
    return cls(**{key: at(key, inner, value[key]) for key, inner in checks.items()})


@cache
def _fields(cls: Any) -> dict[str, Check]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: check_of(hints[field.name]) for field in fields(cls)}


def _object(value: Plain) -> None:
    require(type(value) is dict, value, "an object")


def _limit(value: list[Any] | dict[str, Any], most: int) -> None:
    if len(value) > most:
        raise WrongError(f"has {len(value):,} entries, but may have {most:,} at most")


def _is(kind: type, expected: str, value: Plain) -> Any:
    require(type(value) is kind, value, expected)
    return value


def _anything(value: Plain, levels: int = MOST_LEVELS) -> Any:
    """Any plain value, not nested too deeply for whoever prints it."""
    if isinstance(value, list | dict):
        require(levels > 0, value, f"nested less deeply: {MOST_LEVELS} levels at most")
        _limit(value, MOST_NAMES)
        for key, inner in enumerate(value) if isinstance(value, list) else value.items():
            at(key, partial(_anything, levels=levels - 1), inner)
    return value


def _any_object(value: Plain) -> Any:
    """An object of any keys."""
    _object(value)
    return _anything(value)


_SIMPLE: dict[Any, Check] = {
    str: partial(_is, str, "text"),
    bool: partial(_is, bool, "true or false"),
    int: partial(_number, True, -inf, inf),
    float: partial(_number, False, -inf, inf),
    Any: _anything,
    dict[str, Any]: _any_object,
}
