"""Verdict and score as columns of pytest-html's report, detail and learning curves in its rows.

Registered only where that plugin writes a report: pytest refuses hooks that nobody has specified.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

import pytest

from pytest_mad.common.packages import version
from pytest_mad.common.records import WrongError
from pytest_mad.common.text import NOTHING, accuracy_text, number_text, score_text, seconds_text
from pytest_mad.report.html.figures import Curves, learning_curves
from pytest_mad.results.result import ContractResult, ItemResult, SettingResult
from pytest_mad.results.result_file import item_result
from pytest_mad.results.verdicts import history, is_warning

from .keys import RECORD

#: The class of a cell names its column, which the report sorts by.
_HEADS = [
    '<th class="sortable" data-column-type="mad_verdict">MAD verdict</th>',
    '<th class="sortable" data-column-type="mad_score">MAD score</th>',
]
#: Behind the outcome and the test's name.
_AT = slice(2, 2)


def has_hooks() -> bool:
    """Whether pytest-html is of its fourth version, whose cells are text, or a later one."""
    return int((version("pytest-html") or "0").partition(".")[0]) >= 4


class MadColumns:
    """Hooks of pytest-html."""

    def __init__(self) -> None:
        self._report: Any = None
        self._is_shown = False

    def pytest_html_report_title(self, report: Any) -> None:
        self._report = report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = self._read(report)
        if record is None or self._report is None:
            return
        from pytest_html import extras

        self._show()
        if text := details(record):
            report.extras = [*getattr(report, "extras", ()), extras.html(text)]  # type: ignore[attr-defined]

    def _show(self) -> None:
        """Add the columns with the first record: pytest-html asks for columns before anything is collected, when nobody
        knows whether a test will have a record. Rows that are there already get empty cells.
        """
        if not self._is_shown:
            self._is_shown = True
            self._report.table_header[_AT] = _HEADS
            for rows in self._report.data["tests"].values():
                for row in rows:
                    row["resultsTableRow"][_AT] = _cells("", "")
                    row |= {"mad_verdict": "", "mad_score": ""}  # what it is sorted by

    @pytest.hookimpl(trylast=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        """Rows are also made of set-up, teardown and collection, and of tests without a record."""
        if not self._is_shown or not cells:  # a project's own hook may have emptied the row, which removes it
            return
        record = self._read(report)
        cells[_AT] = _cells("", "") if record is None else _cells(_verdict(record), _score(record))

    def _read(self, report: Any) -> ItemResult | None:
        text = getattr(report, RECORD, None)
        try:
            return None if text is None else item_result(json.loads(text))
        except WrongError:  # which the run's own tables tell of
            return None


def _cells(verdict: str, score: str) -> list[str]:
    return [f'<td class="col-mad_verdict">{escape(verdict)}</td>', f'<td class="col-mad_score">{escape(score)}</td>']


def _verdict(result: ItemResult) -> str:
    return "warning" if is_warning(result) else result.verdict


def _score(result: ItemResult) -> str:
    score = result.normalized if isinstance(result, SettingResult) else None
    return "" if score is None else score_text(score)


def details(result: ItemResult) -> str:
    """What a row unfolds to: why, the numbers, and the learning curves."""
    if isinstance(result, ContractResult):
        return _paragraph(result.said) + _paragraph(history(result))
    numbers = {
        "normalised score": score_text(result.normalized),
        "needed": NOTHING if result.needed is None else number_text(result.needed),
        "accuracy": accuracy_text(result.accuracy),
        "trivial": accuracy_text(result.trivial),
        "oracle": accuracy_text(result.oracle),
        "trained for": seconds_text(result.seconds),
    }
    told = ", ".join(f"{name} {value}" for name, value in numbers.items())
    curves = learning_curves(result, f"Validation accuracy of {result.setting} by step")
    why = _paragraph(result.detail) + _paragraph(history(result))
    return f"{why}{_paragraph(told)}{picture(curves) if curves else ''}"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def picture(curves: Curves) -> str:
    """The learning curves as SVG, in the text's colour: pytest-html has no styles for them."""
    frame = curves.frame
    right, bottom = frame.right, frame.bottom
    levels = "".join(
        f'<path d="M{frame.left} {level.y}H{right}" stroke-dasharray="6 6" opacity=".5"/>'
        f'<text x="{right + 8}" y="{level.text_y}" stroke="none" fill="currentColor">{level.name} {level.text}</text>'
        for level in curves.levels
    )
    traces = "".join(
        f'<polyline points="{trace.points}" stroke-width="{3 if trace.is_best else 1}">'
        f"<title>{escape(trace.title)}</title></polyline>"
        for trace in curves.traces
    )
    steps = f'<text x="{right}" y="{bottom + 20}" stroke="none" fill="currentColor">step {curves.steps}</text>'
    axes = f'<path d="M{frame.left} {frame.top}V{bottom}H{right}"/>'
    return (
        f'<svg viewBox="0 0 {frame.width} {frame.height}" width="{frame.width}" role="img" fill="none" '
        f'stroke="currentColor" font-size="16"><title>{escape(curves.label)}</title>{axes}{levels}{traces}{steps}</svg>'
    )
