"""How an architecture's MAD score and its size read, in every report alike."""

from __future__ import annotations

from pytest_mad.common.text import accuracy_text, count_text
from pytest_mad.results.gaps import part
from pytest_mad.results.result import ArchitectureResult


def mad_score_name(found: ArchitectureResult) -> str:
    """``MAD score``, or ``MAD score of 2 of 6 tasks``: that of a part is no architecture's."""
    own = part(found)
    return f"MAD score of {own}" if own else "MAD score"


def mad_score_text(found: ArchitectureResult) -> str:
    """``0.914``, or ``0.887 (compat; accuracy 0.914)``."""
    metric = _metric_note(found)
    return accuracy_text(found.mad_score) + (f" ({metric})" if metric else "")


def mad_score_line(found: ArchitectureResult) -> str:
    """Name and number."""
    return f"{mad_score_name(found)}{':' if part(found) else ''} {mad_score_text(found)}"


def mad_score_notes(found: ArchitectureResult) -> list[str]:
    """What must stand beside the bare number, in a column of such."""
    own = "" if found.mad_score is None else part(found)
    return list(filter(None, (own and f"of {own}", _metric_note(found))))


def _metric_note(found: ArchitectureResult) -> str:
    """Which metric the score is made of, and what plain accuracy gives; nothing where it is that."""
    if found.metric == "accuracy" or found.mad_score is None:
        return ""
    return f"{found.metric}; accuracy {accuracy_text(found.mad_score_accuracy)}"


def parameters_text(found: ArchitectureResult) -> str:
    """``84,096 for memorization``: a setting's vocabulary is part of its model, so the count is one setting's."""
    return f"{count_text(found.parameters)} {counted_for(found)}".rstrip()


def counted_for(found: ArchitectureResult) -> str:
    """``for memorization``: whose parameters are counted, if that is known."""
    return f"for {found.largest.removesuffix('[baseline]')}" if found.largest else ""
