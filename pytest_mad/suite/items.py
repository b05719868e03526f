"""Virtual collection: the suite, one collector per architecture, one item per contract and setting.

The nodes hang below the session and have no file. Their ids are passed as strings: since pytest 9.2 an id made from a
bracketed name no longer equals its text, and ``--lf`` would lose it (pytest-dev/pytest#15045).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.evaluation.contract import FIRST, check
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.setting import broken_contract
from pytest_mad.executors.inline import Executor, Inline
from pytest_mad.executors.ray.units import most_seeds, most_trials
from pytest_mad.presets.setting import Setting
from pytest_mad.report.progress import Work, live_progress
from pytest_mad.results.result import ContractResult, ItemResult, SettingResult, after
from pytest_mad.results.verdicts import is_warning

from .arguments import ROOT
from .identity import identity
from .keys import COURSES, EXECUTOR, MODEL, OWN_ID, PLAN, RESULT
from .lookalike import InModule, LookAlike
from .marks import marked
from .selection import matches, shard_costs
from .watchdog import watched
from .xdist import order

if TYPE_CHECKING:
    from _pytest._code.code import ExceptionInfo, TerminalRepr


class SlowerWarning(UserWarning):
    """An architecture learns later than its baseline did, and that only warns."""


class ContractWarning(UserWarning):
    """A contract that is broken and does not fail the run."""


class VerdictError(Exception):
    """A verdict that is no pass; shown in the report instead of a traceback of ours."""

    def __init__(self, result: ItemResult, user_traceback: str = "") -> None:
        super().__init__(result.reason())
        self.user_traceback = user_traceback


class MadSuite(pytest.Collector):
    """All architectures of the plan."""

    def collect(self) -> Iterator[pytest.Collector]:
        plan = self.config.stash[PLAN]
        for architecture in plan.architectures:
            yield MadArchitecture.from_parent(
                self, name=architecture.name, nodeid=f"{self.nodeid}::{architecture.name}", architecture=architecture
            )


class MadArchitecture(InModule, pytest.Collector):
    """The contracts and settings of one architecture, all of them or its part of a shard."""

    def __init__(self, architecture: Architecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = architecture
        self.obj = self.module

    def collect(self) -> Iterator[pytest.Item]:
        own = shard_costs(self.config.stash[PLAN])
        return (item for item in self._all() if item.nodeid in own)

    def _all(self) -> Iterator[pytest.Item]:
        plan = self.config.stash[PLAN]
        for contract in plan.run.contracts.names():
            name = f"contract[{contract}]"
            yield MadContract.from_parent(
                self, name=name, nodeid=f"{self.nodeid}::{name}", architecture=self.architecture, contract=contract
            )
        for setting in plan.settings.values():
            yield MadItem.from_parent(
                self,
                name=setting.id,
                nodeid=f"{self.nodeid}::{setting.id}",
                architecture=self.architecture,
                setting=setting,
            )


class JudgedItem(LookAlike):
    """What settings and contracts have in common as items: a verdict."""

    def __init__(self, architecture: Architecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = architecture
        self.add_marker("mad")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """What runs inside may take the process with it, unless it only waits for another.

        An item that runs again, and had no score, asks its contracts anew: they are kept for the process.
        """
        before = self.stash.get(RESULT, None)
        if before is not None and getattr(before, "accuracy", None) is None:
            check.cache_clear()
        if not isinstance(executor(self.config), Inline):
            yield
            return
        with watched(self.config), marked(self.config, f"{self.architecture.name}, {self.name}"):
            yield

    def conclude(self, result: ItemResult, traceback: str) -> None:
        """Leave the result for the report, with the attempts before it, and end as it says."""
        self.stash[MODEL] = identity(self.config, self.architecture).text()
        self.stash[RESULT] = after(self.stash.get(RESULT, None), result)
        if result.verdict == "skipped":
            pytest.skip(result.detail)
        if not result.passed:
            raise VerdictError(result, traceback)

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """One line with the verdict; behind the user's own traceback, if their code raised, once more.

        pytest's short summary and JUnit's message show the first line only.
        """
        if isinstance(excinfo.value, VerdictError):
            verdict, user_traceback = str(excinfo.value), excinfo.value.user_traceback
            return f"{verdict}\n\n{user_traceback}\n{verdict}" if user_traceback else verdict
        return super().repr_failure(excinfo, style)


class MadItem(JudgedItem):
    """One setting of one architecture: its whole sweep."""

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        super().__init__(description=f"{kwargs['architecture'].name} learns {setting.id}", **kwargs)
        self.setting = setting

    def measure(self) -> None:
        items = [item for item in self.session.items if isinstance(item, MadItem)]
        run, courses = self.config.stash[PLAN].run, self.config.stash.setdefault(COURSES, [])
        works = [work(item.architecture, item.setting, run) for item in items]
        with self.guarded(), live_progress(self.config, works, items.index(self) + 1, courses) as progress:
            result, traceback = executor(self.config).setting(self.architecture, self.setting, progress)
        short = self._in_short(result)
        if result.verdict == "slower" and result.slower == "warn":
            try:
                warnings.warn(result.explain(), SlowerWarning, stacklevel=1)
            except SlowerWarning:  # the project makes errors of warnings
                short = replace(short, slower="fail")
        self.conclude(short, traceback if short is result else "")

    def _in_short(self, result: SettingResult) -> SettingResult:
        """The same object, or one without what a contract's own item says in full."""
        contract = broken_contract(result) or (FIRST if result.verdict == "error" else "")
        node_id = f"{ROOT}::{self.architecture.name}::contract[{contract}]"
        if not contract or all(item.nodeid != node_id for item in self.session.items):
            return result
        if result.verdict == "fail":
            return replace(result, detail=f"contract {contract} is broken, see {node_id}")
        first, _ = executor(self.config).contract(self.architecture, FIRST)
        return replace(result, detail=f"there is no model, see {node_id}") if is_same_error(first, result) else result


def is_same_error(first: ContractResult, result: SettingResult) -> bool:
    """Whether a setting could not be trained for the reason that the first contract gives."""
    return first.verdict == result.verdict == "error" and first.detail == result.detail


def work(architecture: Architecture, setting: Setting, run: RunOptions) -> Work:
    """What the time of a setting depends on: how many trials it may take, and whether it may take fewer steps."""
    recipe, most = setting.recipe, most_trials(setting, run)
    may_race = most > 1 and not run.record and (recipe.race or run.baseline is not None)
    return Work(
        architecture=architecture.name,
        name=setting.id.removesuffix("[baseline]"),
        cost=setting.cost,
        most_seeds=most_seeds(setting, run),
        most_trials=most,
        may_end_early=may_race or recipe.solved_at <= 1 or recipe.hopeless_after < 1,
    )


class MadContract(JudgedItem):
    """One contract of one architecture, checked without any training."""

    def __init__(self, contract: str, **kwargs: Any) -> None:
        super().__init__(description=f"{kwargs['architecture'].name} keeps contract {contract}", **kwargs)
        self.contract = contract

    def measure(self) -> None:
        with self.guarded():
            result, traceback = executor(self.config).contract(self.architecture, self.contract)
        if is_warning(result):
            try:
                warnings.warn(result.explain(), ContractWarning, stacklevel=1)
            except ContractWarning:  # the project makes errors of warnings
                result, traceback = replace(result, verdict="fail", detail=result.said, warned=()), ""
        self.conclude(result, traceback)


def executor(config: pytest.Config) -> Executor:
    """What gives the items their results."""
    plan = config.stash[PLAN]
    return config.stash.setdefault(EXECUTOR, Inline(plan.run, plan.sizes()))


def add_items(session: pytest.Session, prefixes: list[str], items: list[pytest.Item]) -> None:
    """Collect the suite and put its selected items behind the ordinary ones.

    This runs before other plugins select, so that ``-k``, ``-m``, ``--lf``, ``--sw`` and ``--deselect`` work on them.
    """
    if not prefixes:
        return
    suite, costs = MadSuite.from_parent(session, name=ROOT, nodeid=ROOT), shard_costs(session.config.stash[PLAN])
    own = [item for item in session.genitems(suite) if matches(item.stash[OWN_ID], prefixes)]
    workers = getattr(session.config, "workerinput", {}).get("workercount", 1)
    items.extend(own[i] for i in order([costs[item.stash[OWN_ID]] for item in own], workers))
