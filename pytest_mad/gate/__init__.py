"""From scores to verdicts: pure functions, no pytest, no torch."""

from .judge import Floor, Verdict, draw_floor, judge_baseline, judge_recording, judge_threshold
from .rule import Gate, false_alarm_bound, gate_for

__all__ = [
    "Floor",
    "Gate",
    "Verdict",
    "draw_floor",
    "false_alarm_bound",
    "gate_for",
    "judge_baseline",
    "judge_recording",
    "judge_threshold",
]
