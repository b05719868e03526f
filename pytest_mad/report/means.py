"""How an architecture's MAD score reads, in every report alike."""

from __future__ import annotations

from pytest_mad.common.text import accuracy_text
from pytest_mad.results.result import ArchitectureResult


def score_name(found: ArchitectureResult) -> str:
    """``MAD score``; with the metric in brackets where that is not plain accuracy."""
    return "MAD score" if found.metric == "accuracy" else f"MAD score ({found.metric})"


def score_note(found: ArchitectureResult) -> str:
    """Which metric the MAD score is made of, and what plain accuracy would give; nothing where that is what it is."""
    if found.metric == "accuracy" or found.mad_score is None:
        return ""
    return f"{found.metric}; accuracy {accuracy_text(found.mad_score_accuracy)}"


def mad_score_text(found: ArchitectureResult) -> str:
    """``0.914``, or ``0.887 (compat; accuracy 0.914)``."""
    note = score_note(found)
    return accuracy_text(found.mad_score) + (f" ({note})" if note else "")
