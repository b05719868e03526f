"""What the suite leaves on pytest's objects for another of its files to find.

Imported by every pytest run: it loads pytest and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_mad.executors.inline import Executor
    from pytest_mad.report.progress import Course
    from pytest_mad.results.result import ItemResult

    from .plan import Plan

#: The record of a finished setting on its call-phase report: one JSON string, which any xdist version can carry.
RECORD = "mad_record"
#: Which model it is of, on the same report.
IDENTITY = "mad_identity"
#: What went wrong with the store where the item ran, on the same report.
TROUBLE = "mad_trouble"
#: In ``workerinput``: where a worker's watchdog writes the stack on which it ended the process.
TRACE = "mad_trace"

#: Of the suite's items alone: their node id, whatever a hook has made of ``nodeid``.
OWN_ID: pytest.StashKey[str] = pytest.StashKey()
#: Of an item: which model it measured, as it stands on the report.
MODEL: pytest.StashKey[str] = pytest.StashKey()
#: Of an item: what it left behind.
RESULT: pytest.StashKey[ItemResult] = pytest.StashKey()
#: Of the config, as are the others: settings that have trained in this process, for the time left.
COURSES: pytest.StashKey[list[Course]] = pytest.StashKey()
PLAN: pytest.StashKey[Plan] = pytest.StashKey()
EXECUTOR: pytest.StashKey[Executor] = pytest.StashKey()
