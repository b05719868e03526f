"""How names and numbers read, in files and in reports."""

from __future__ import annotations

import math
import re

#: A name enters node ids, JSON keys and HTML.
NAME = re.compile(r"[A-Za-z0-9_.-]+")
#: Control characters, separators of lines, marks that turn the direction of writing, halves of surrogate pairs.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


def printable(text: str, keep: str = "") -> str:
    r"""A text from outside with what a terminal obeys, or a file cannot hold, escaped: ``\x1b``, ``\ud800``."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


#: What stands where there is no number.
NOTHING = "–"


def score_text(value: float | None) -> str:
    """Three digits, rounded down: what is below a threshold does not read as if it reached it."""
    return NOTHING if value is None else f"{round_down(value):.3f}"


def accuracy_text(value: float | None) -> str:
    """Three digits: accuracies, levels and means, which are compared with nothing."""
    return NOTHING if value is None else f"{value:.3f}"


def difference_text(value: float | None) -> str:
    """Like a score, with its sign. 1.0 - 0.9 is a little below 0.1 in binary, which is no reason to say 0.099."""
    return NOTHING if value is None else f"{round_down(value + 1e-9):+.3f}"


def count_text(value: int | None) -> str:
    """A whole number with commas between thousands."""
    return NOTHING if value is None else f"{value:,}"


def seconds_text(seconds: float) -> str:
    """Seconds below two minutes, then minutes, then hours."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def number_text(value: float) -> str:
    """A learning rate, a threshold: as it was written."""
    return f"{value:g}"


def round_down(score: float) -> float:
    """To three digits, so that a score just below a threshold does not read as if it reached it."""
    return math.floor(score * 1000) / 1000 if math.isfinite(score) else score
