"""Reading result files: the form of schema 1 as one table of keys and checks.

What is read has the form of ``result_file`` and nothing besides, so that whatever is
made of it, a comparison, a merge or a report, meets no value that was not checked.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, get_args

from pytest_mad.common.files import FileError, read_json
from pytest_mad.common.text import NAME
from pytest_mad.gate.judge import Outcome

from .result_file import SCHEMA

#: Names in one object. The paper preset has 66 settings, and nobody reads a report of more architectures than this.
MOST_NAMES = 10_000
#: Entries of one list. The longest of ours is a curve: MAD's 20,000 steps, evaluated after each, make a fifth of this.
MOST_ENTRIES = 100_000
#: Levels of plain values in a task's parameters, which are ours only for MAD's own tasks.
MOST_LEVELS = 4
#: A task, and in brackets ``baseline`` or what differs from it.
_SETTING_ID = re.compile(r"[^\[\]]+\[[^\[\]]+\]")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict = 1, 3, 3
_SHORT.maxstring = _SHORT.maxother = 60

#: Returns the value, without what it does not know; raises `_WrongError`.
Check = Callable[[Any], Any]


def read_results(path: Path) -> dict[str, Any]:
    """The content of a result file, in the form of ``result_file``.

    Nothing in the file is run. Keys that are not known, of a later version with the same schema, are left out; keys
    that an earlier version did not write get the value that means nothing was said. Raises
    ``FileError`` with one line, without the file's name, that says what is wrong and where.
    """
    content = read_json(path)
    try:
        checked: dict[str, Any] = _FILE(content)
    except _WrongError as wrong:
        raise FileError(str(wrong)) from None
    return checked


class _WrongError(Exception):
    """A value that is wrong; the keys on the way to it are put in front while the checks are left."""

    def __init__(self, says: str) -> None:
        super().__init__(says)
        self.says = says
        self.keys: list[str | int] = []

    def __str__(self) -> str:
        where = "".join(map(_step, self.keys)).removeprefix(".") or "the file"
        return f"{where} {self.says}"


def _step(key: str | int) -> str:
    """``.key``, ``["odd key"]`` or ``[0]``."""
    if isinstance(key, str) and _PLAIN_KEY.fullmatch(key) and len(key) <= 60:
        return f".{key}"
    return f"[{json.dumps(key if isinstance(key, int) or len(key) <= 60 else key[:60] + '...')}]"


def _require(is_right: bool, value: Any, expected: str) -> None:
    if not is_right:
        raise _WrongError(f"is {_SHORT.repr(value)}, but must be {expected}")


def _at(key: str | int, check: Check, value: Any) -> Any:
    try:
        return check(value)
    except _WrongError as wrong:
        wrong.keys.insert(0, key)
        raise


def _limit(value: list[Any] | dict[str, Any], most: int) -> None:
    if len(value) > most:
        raise _WrongError(f"has {len(value):,} entries, but may have {most:,} at most")


# -- checks: of one value, and made of other checks -----------------------------------------------------------------


def _value(is_right: Callable[[Any], bool], expected: str) -> Check:
    def check(value: Any) -> Any:
        _require(is_right(value), value, expected)
        return value

    return check


def _number(low: float, high: float) -> Check:
    return _value(lambda it: type(it) in (int, float) and low <= it <= high, f"a number from {low:g} to {high:g}")


def _whole(low: int, high: float = inf) -> Check:
    """Of seeds there is no highest; a report may compute with the others."""
    upto = "" if high == inf else f" and at most {high:g}"
    return _value(lambda it: type(it) is int and low <= it <= high, f"a whole number of at least {low}{upto}")


def _one_of(*allowed: str | int) -> Check:
    """Equal and of the same type: true is no 1."""
    return _value(
        lambda it: any(type(it) is type(one) and it == one for one in allowed), " or ".join(map(repr, allowed))
    )


def _or_null(inner: Check) -> Check:
    return lambda value: None if value is None else inner(value)


def _list(inner: Check) -> Check:
    def check(value: Any) -> Any:
        _require(type(value) is list, value, "a list")
        _limit(value, MOST_ENTRIES)
        return [_at(i, inner, one) for i, one in enumerate(value)]

    return check


def _pair(first: Check, second: Check, expected: str) -> Check:
    def check(value: Any) -> Any:
        _require(type(value) is list and len(value) == 2, value, expected)
        return [_at(0, first, value[0]), _at(1, second, value[1])]

    return check


def _named(pattern: re.Pattern[str], rule: str, inner: Check) -> Check:
    """An object of any names that keep the rule."""

    def check(value: Any) -> Any:
        _object(value)
        _limit(value, MOST_NAMES)
        for name in value:
            if not (pattern.fullmatch(name) and name.isprintable()):
                raise _WrongError(f"has the name {_SHORT.repr(name)}, but {rule}")
        return {name: _at(name, inner, one) for name, one in value.items()}

    return check


def _record(fields: Mapping[str, Check], defaults: Mapping[str, Callable[[], Any]] | None = None) -> Check:
    """An object with these keys; ``defaults`` make the values of those that earlier versions did not write."""

    def check(value: Any) -> Any:
        _object(value)
        checked = {}
        for key, inner in fields.items():  # in this order: another schema is said first
            if key in value:
                checked[key] = _at(key, inner, value[key])
            elif defaults and key in defaults:
                checked[key] = defaults[key]()
            else:
                raise _WrongError(f"has no {key!r}")
        return checked

    return check


def _plain(value: Any, levels: int = MOST_LEVELS) -> Any:
    """Any plain value, not nested too deeply for whoever prints it."""
    if isinstance(value, list | dict):
        _require(levels > 0, value, f"nested less deeply: {MOST_LEVELS} levels at most")
        _limit(value, MOST_NAMES)
        for key, inner in enumerate(value) if isinstance(value, list) else value.items():
            _at(key, partial(_plain, levels=levels - 1), inner)
    return value


def _params(value: Any) -> Any:
    _object(value)
    return _plain(value)


def _measured(value: Any) -> Any:
    """A setting, whose keys must also agree with each other: no pass without a score."""
    setting = _SETTING(value)
    if setting["accuracy"] is None:
        _at("normalized", _value(lambda it: it is None, "null where accuracy is"), setting["normalized"])
        _at(
            "verdict",
            _value(lambda it: it in _SCORELESS, "error, fail or skipped where there is no score"),
            setting["verdict"],
        )
    else:
        _at("normalized", _value(lambda it: it is not None, "a number where accuracy is"), setting["normalized"])
    return setting


def _settings(value: Any) -> Any:
    settings = _SETTINGS(value)
    for name, setting in settings.items():
        task = name.partition("[")[0]
        _at(name, partial(_at, "task", _one_of(task)), setting["task"])
    return settings


def _shards(value: Any) -> Any:
    """Shards of one suite, which has no others than these."""
    shards = _SHARDS(value)
    _at("parts", _list(_whole(1, shards["of"])), shards["parts"])
    _at("parts", _value(lambda it: it and it == sorted(set(it)), "at least one number, ascending"), shards["parts"])
    return shards


# -- the table ------------------------------------------------------------------------------------------------------

_object = _value(lambda it: type(it) is dict, "an object")
_text = _value(lambda it: type(it) is str, "text")
_flag = _value(lambda it: type(it) is bool, "true or false")
_share = _number(0, 1)
#: Oracle and trivial level are at least 0.01 apart, so a normalised score is within 100.
_score = _number(-1000, 1000)
_positive = _number(0, 1e15)
_count = _whole(0, 1e15)
_seed = _whole(0)
_verdict = _one_of(*get_args(Outcome))
#: Verdicts of settings that were not trained to the end.
_SCORELESS = ("error", "fail", "skipped")
_PLAIN_NAMES = "names have letters, digits and _.- only"

_TRIAL = _record(
    {
        "lr": _positive,
        "weight_decay": _positive,
        "seed": _seed,
        "steps": _count,
        "stopped": _one_of("solved", "hopeless", "budget"),
        "curve": _list(_pair(_count, _share, "[step, accuracy]")),
    }
)
_SETTING = _record(
    {
        "task": _text,
        "task_version": _whole(0),
        "params": _params,
        "accuracy": _or_null(_share),
        "accuracy_compat": _or_null(_share),
        "sequence_accuracy": _or_null(_share),
        "normalized": _or_null(_score),
        "oracle": _share,
        "trivial": _share,
        "threshold": _or_null(_share),
        "baseline": _or_null(
            _record(
                {
                    "source": _text,
                    "architecture": _text,
                    "seeds": _whole(1),
                    "lowest": _score,
                    "margin": _share,
                    "line": _score,
                    "most_seeds": _whole(1),
                }
            )
        ),
        "scores": _list(_pair(_seed, _score, "[seed, score]")),
        "recipe": _text,
        "verdict": _verdict,
        "tolerant": _flag,
        "detail": _text,
        "note": _text,
        "best": _or_null(_record({"lr": _positive, "weight_decay": _positive, "seed": _seed})),
        "trials": _list(_TRIAL),
        "seconds": _positive,
        "stored": _flag,
        "device": _text,
        "engine": _text,
    },
    defaults={"scores": list, "recipe": str, "tolerant": bool, "note": str},
)
_SETTINGS = _named(_SETTING_ID, "settings are named task[baseline] or task[parameter=value]", _measured)
_ARCHITECTURE = _record(
    {
        "parameters": _or_null(_count),
        "state_size": _or_null(_count),
        "task_scores": _named(re.compile(r"[^\[\]]+"), "tasks have no brackets in their names", _share),
        "mad_score": _or_null(_share),
        "mad_score_normalized": _or_null(_score),
        "contracts": _named(NAME, _PLAIN_NAMES, _record({"verdict": _verdict, "detail": _text})),
        "settings": _settings,
    }
)
_SHARDS = _record({"suite": _text, "of": _whole(1, MOST_NAMES), "parts": _list(_whole(1))})
_FILE = _record(
    {
        "schema": _one_of(SCHEMA),
        "preset": _text,
        "command": _text,
        "cut_short": _flag,
        "shards": _list(_shards),
        "environment": _record({"torch": _or_null(_text), "python": _text, "device": _text, "plugin": _or_null(_text)}),
        "architectures": _named(NAME, _PLAIN_NAMES, _ARCHITECTURE),
    },
    defaults={"command": str, "cut_short": bool, "shards": list},
)
