"""From the text of an option to its value; ``ValueError`` says what would be right."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Literal, cast

#: No CI has matrices with more jobs.
MOST_SHARDS = 1_000


#: Name, and mode with its reason.
ContractMode = tuple[str, tuple[Literal["fail", "warn", "off"], str]]


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {', '.join(choices[:-1])} or {choices[-1]}")
        return text

    return parse


def whole_number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ValueError(f"must be a whole number of at least {least}")
        return int(text)

    return parse


def names(text: str) -> tuple[str, ...]:
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise ValueError("must be names with commas between them")
    return found


def threshold(text: str) -> tuple[str | None, float]:
    """For which task or setting, None for all, and how much."""
    where, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        raise ValueError("must be a number, or TASK=number, or TASK[SETTING]=number") from None
    if not 0 <= value <= 1:
        raise ValueError("must be from 0 to 1")
    return where or None, value


def rates(text: str) -> tuple[str | None, tuple[float, ...]]:
    """For which task or setting, None for all, and which learning rates."""
    where, _, numbers = text.rpartition("=")
    found = tuple(map(_number, numbers.split(",")))
    if not all(0 < rate < math.inf for rate in found) or len(set(found)) < len(found):
        raise ValueError("must be numbers above 0 with commas between them, or TASK=..., or TASK[SETTING]=...")
    return where or None, found


def contract(text: str) -> ContractMode:
    """``NAME=fail``, ``NAME=warn`` or ``NAME=off:REASON``."""
    name, _, mode = text.partition("=")
    what, _, reason = mode.partition(":")
    is_off = what == "off" and reason.strip()
    if not name or not (is_off or mode in ("fail", "warn")):
        raise ValueError("must be NAME=fail, NAME=warn or NAME=off:REASON")
    return name, (cast("Any", what), reason.strip())


def seconds(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise ValueError("must be a number of seconds above 0")
    return value


def margin(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise ValueError("must be a number from 0 to below 1")
    return value


def _number(text: str) -> float:
    """NaN, which is in no range, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def gpus(text: str) -> str | tuple[str, ...]:
    found = tuple(name.strip() for name in text.split(","))
    if found == ("auto",):
        return "auto"
    if not all(re.fullmatch(r"[0-9]+|(GPU|MIG)-\S+", name) for name in found):
        raise ValueError("must be auto, or numbers or UUIDs of devices with commas between them")
    return found


def shard(text: str) -> tuple[int, int]:
    """Which part, from 1 on, and of how many."""
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    part, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= part <= of <= MOST_SHARDS:
        raise ValueError(f"must be I/N, such as 2/4: part I of N, counted from 1, and N at most {MOST_SHARDS:,}")
    return part, of
