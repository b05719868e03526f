"""What the HTML report is made of, from the page down to a trial's row, and how its parts are called and found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .figures import Curves, Scatter

#: How verdicts look without colour, the worst first. A contract that holds with a warning has one of its own.
SIGNS = {
    "error": "!",
    "fail": "✗",
    "regress": "↓",
    "slower": "↘",
    "inconclusive": "?",
    "warning": "△",
    "skipped": "–",
    "pass": "✓",
}
WORST_FIRST = list(SIGNS)
Facts = list[tuple[str, str]]


class Check(NamedTuple):
    """A contract of an architecture."""

    name: str
    verdict: str
    detail: str
    is_failing: bool


class TrialRow(NamedTuple):
    """A trial in the table behind a setting."""

    point: Facts
    steps: str
    stopped: str
    last: str
    is_best: bool


class Case(NamedTuple):
    """A setting of an architecture: a cell of the map, and what it leads to."""

    id: str
    task: str
    name: str
    knob: str
    value: str
    verdict: str
    note: str
    is_failing: bool
    detail: str
    score: str
    shade: int | None
    facts: Facts
    curves: Curves | None
    trials: list[TrialRow]
    params: Facts
    run: str


class Row(NamedTuple):
    """A task in the map: a list of settings per column, from easy to hard."""

    task: str
    cells: list[list[Case]]
    accuracy: str


class Architecture(NamedTuple):
    """Everything about one architecture."""

    id: str
    name: str
    facts: Facts
    score: str
    #: of which part of the preset the score is, and of which metric, where that is not the usual
    score_notes: list[str]
    normalized: str
    metric: str
    columns: list[str]
    rows: list[Row]
    cases: list[Case]
    checks: list[Check]
    checks_id: str

    @property
    def failing_cases(self) -> list[Case]:
        """The worst verdicts first, otherwise in order."""
        return sorted((case for case in self.cases if case.is_failing), key=lambda c: WORST_FIRST.index(c.verdict))

    @property
    def failing_checks(self) -> list[Check]:
        return [check for check in self.checks if check.is_failing]

    @property
    def warnings(self) -> list[Check]:
        return [check for check in self.checks if check.verdict == "warning"]

    @property
    def outcome(self) -> str:
        """How many of its items failed, in words."""
        return outcome(self.cases, self.checks)

    @property
    def has_failed(self) -> bool:
        return bool(self.failing_cases or self.failing_checks)


class Mean(NamedTuple):
    """A task of an architecture in the comparison."""

    task: str
    accuracy: str
    shade: int | None
    verdict: str | None
    note: str


class Compared(NamedTuple):
    """An architecture in the comparison."""

    architecture: Architecture
    means: list[Mean]
    parameters: str
    #: of which setting's model
    counted_for: str
    state_size: str


class Page(NamedTuple):
    """The whole report."""

    preset: str
    headline: str
    has_failed: bool
    tallies: list[tuple[str, list[tuple[str, int]]]]
    architectures: list[Architecture]
    tasks: list[str]
    metric: str
    compared: list[Compared]
    scatter: Scatter | None
    of_a_part: list[str]
    without_state_size: list[str]
    no_score: list[str]
    environment: Facts
    command: str


class Ids:
    """Anchors that can be read, and that no two things share."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def new(self, *parts: str) -> str:
        """An id of letters, digits and hyphens, for a thing with these names."""
        words = re.findall(r"[A-Za-z0-9_.]+", " ".join(parts))
        plain = "-".join(("arch", *words))  # the page's own ids begin differently
        own, count = plain, 1
        while own in self._given:
            count += 1
            own = f"{plain}-{count}"
        self._given.add(own)
        return own


def outcome(cases: Sequence[Case], checks: Sequence[Check]) -> str:
    """``3 of 24 settings and 1 of 9 contracts failed``, or that all is well."""
    counts: list[tuple[str, Sequence[Case | Check]]] = [("setting", cases), ("contract", checks)]
    failed = [
        f"{n} of {counted(len(items), kind)}" for kind, items in counts if (n := sum(i.is_failing for i in items))
    ]
    if failed:
        return " and ".join(failed) + " failed"
    judged = [(kind, sum(item.verdict != "skipped" for item in items)) for kind, items in counts]
    passed = [counted(n, kind) for kind, n in judged if n]
    return " and ".join(passed) + " passed" if passed else "Nothing was measured"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
