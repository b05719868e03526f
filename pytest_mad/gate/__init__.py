"""From scores to verdicts: pure functions, no pytest, no torch."""

from .judge import Verdict, judge_threshold

__all__ = ["Verdict", "judge_threshold"]
