"""From scores to verdicts: pure functions, no pytest, no torch."""

from .judge import Line, Verdict, draw_line, judge_baseline, judge_recording, judge_threshold
from .rule import Gate, false_alarm_bound, gate_for

__all__ = [
    "Gate",
    "Line",
    "Verdict",
    "draw_line",
    "false_alarm_bound",
    "gate_for",
    "judge_baseline",
    "judge_recording",
    "judge_threshold",
]
