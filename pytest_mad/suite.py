"""Virtual collection: the suite, one collector per architecture, one item per setting.

The nodes hang below the session and have no file. Their ids are passed as strings: since pytest 9.2 an id made from a
bracketed name no longer equals its text, and ``--lf`` would lose it (pytest-dev/pytest#15045).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .architecture import Architecture
from .executors.inline import run_and_judge
from .grid import Setting
from .plan import Plan, matches
from .report.progress import live_progress
from .result import Result
from .sharding import order

if TYPE_CHECKING:
    from _pytest._code.code import ExceptionInfo, TerminalRepr

ROOT = "mad"
RESULT = pytest.StashKey[Result]()


class VerdictError(Exception):
    """A verdict that is no pass; shown in the report instead of a traceback of ours."""

    def __init__(self, result: Result, user_traceback: str = "") -> None:
        super().__init__(result.explain())
        self.user_traceback = user_traceback


class MadSuite(pytest.Collector):
    """All architectures of the plan."""

    def collect(self) -> Iterator[pytest.Collector]:
        plan = self.config.stash[PLAN]
        for architecture in plan.architectures:
            yield MadArchitecture.from_parent(
                self, name=architecture.name, nodeid=f"{self.nodeid}::{architecture.name}", architecture=architecture
            )


class MadArchitecture(pytest.Collector):
    """All settings of one architecture."""

    def __init__(self, architecture: Architecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = architecture

    def collect(self) -> Iterator[pytest.Item]:
        for setting in self.config.stash[PLAN].settings.values():
            yield MadItem.from_parent(
                self,
                name=setting.id,
                nodeid=f"{self.nodeid}::{setting.id}",
                architecture=self.architecture,
                setting=setting,
            )


class MadItem(pytest.Item):
    """One setting of one architecture: its whole sweep."""

    def __init__(self, architecture: Architecture, setting: Setting, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = architecture
        self.setting = setting
        self.add_marker("mad")

    def runtest(self) -> None:
        with live_progress(self.config, self.nodeid) as progress:
            outcome = run_and_judge(self.architecture, self.setting, self.config.stash[PLAN].run, progress)
        self.stash[RESULT] = outcome.result
        if outcome.result.verdict == "skipped":
            pytest.skip(outcome.result.detail)
        if not outcome.result.passed:
            raise VerdictError(outcome.result, outcome.traceback)

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """One line with the verdict; behind the user's own traceback, if their code raised, once more.

        pytest's short summary and JUnit's message show the first line only.
        """
        if isinstance(excinfo.value, VerdictError):
            verdict, user_traceback = str(excinfo.value), excinfo.value.user_traceback
            return f"{verdict}\n\n{user_traceback}\n{verdict}" if user_traceback else verdict
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return ROOT, None, self.nodeid


PLAN = pytest.StashKey[Plan]()


def suite_arguments(config: pytest.Config) -> list[str]:
    """Take the suite's own arguments out of ``config.args`` and return them as node-id prefixes.

    ``mad::...`` is always the suite's, a bare ``mad`` unless there is such a directory. Without any argument on the
    command line the suite is all that runs.
    """
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []
        return [ROOT]
    bare = {ROOT} if not (config.invocation_params.dir / ROOT).exists() else set()
    own = [a for a in config.args if a in bare or a.startswith(f"{ROOT}::")]
    config.args = [a for a in config.args if a not in own]
    return own


def item_ids(plan: Plan) -> list[str]:
    """Node ids of all items, in order."""
    return [f"{ROOT}::{a.name}::{s}" for a in plan.architectures for s in plan.settings]


def add_items(session: pytest.Session, prefixes: list[str], items: list[pytest.Item]) -> None:
    """Collect the suite and put its selected items behind the ordinary ones.

    This runs before other plugins select, so that ``-k``, ``-m``, ``--lf``, ``--sw`` and ``--deselect`` work on them.
    """
    if not prefixes:
        return
    suite = MadSuite.from_parent(session, name=ROOT, nodeid=ROOT)
    selected = [item for item in session.genitems(suite) if matches(item.nodeid, prefixes)]
    workers = getattr(session.config, "workerinput", {}).get("workercount", 1)
    costs = [item.setting.cost if isinstance(item, MadItem) else 0.0 for item in selected]
    items.extend(selected[i] for i in order(costs, workers))
