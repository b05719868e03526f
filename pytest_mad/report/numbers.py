"""How numbers read in reports."""

from __future__ import annotations

from pytest_mad.results.result import round_down

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
