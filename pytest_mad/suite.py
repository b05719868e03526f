"""Virtual collection: the suite, one collector per architecture, one item per contract and setting.

The nodes hang below the session and have no file. Their ids are passed as strings: since pytest 9.2 an id made from a
bracketed name no longer equals its text, and ``--lf`` would lose it (pytest-dev/pytest#15045).
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from .architecture import Architecture
from .executors.contracts import ContractResult, run_contract
from .executors.inline import RunOptions, choose_device, run_and_judge
from .faults import marked, watched
from .grid import Setting
from .plan import Plan, matches
from .report.progress import Course, Work, live_progress
from .result import Result
from .sharding import order

if TYPE_CHECKING:
    from _pytest._code.code import ExceptionInfo, TerminalRepr

ROOT = "mad"
RESULT = pytest.StashKey["Result | ContractResult"]()
#: Settings that have trained in this process, for the time left.
COURSES = pytest.StashKey[list[Course]]()
#: Rough seconds of one contract, beside the settings' costs: short work fills the gaps between long work.
CONTRACT_COST = 0.5


class ContractWarning(UserWarning):
    """A contract that is broken and does not fail the run."""


class VerdictError(Exception):
    """A verdict that is no pass; shown in the report instead of a traceback of ours."""

    def __init__(self, result: Result | ContractResult, user_traceback: str = "") -> None:
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


class MadArchitecture(pytest.Collector):
    """The contracts and settings of one architecture, all of them or its part of a shard."""

    def __init__(self, architecture: Architecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = architecture

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


class JudgedItem(pytest.Item):
    """What settings and contracts have in common as items: a verdict."""

    def __init__(self, architecture: Architecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = architecture
        self.add_marker("mad")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """What runs inside may take the process with it."""
        with watched(self.config), marked(self.config, f"{self.architecture.name}, {self.name}"):
            yield

    def conclude(self, result: Result | ContractResult, traceback: str) -> None:
        """Leave the result for the report, and end as it says."""
        self.stash[RESULT] = result
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

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return ROOT, None, self.nodeid


class MadItem(JudgedItem):
    """One setting of one architecture: its whole sweep."""

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.setting = setting

    def runtest(self) -> None:
        items = [item for item in self.session.items if isinstance(item, MadItem)]
        run, courses = self.config.stash[PLAN].run, self.config.stash.setdefault(COURSES, [])
        works = [work(item.architecture, item.setting, run) for item in items]
        with self.guarded(), live_progress(self.config, works, items.index(self) + 1, courses) as progress:
            outcome = run_and_judge(self.architecture, self.setting, run, progress)
        self.conclude(*outcome)


def work(architecture: Architecture, setting: Setting, run: RunOptions) -> Work:
    """What the time of a setting depends on: how many trials it may take, and whether it may take fewer steps."""
    gate, recipe = setting.gate, setting.recipe
    seeds = run.seeds or (gate.baseline_seeds if run.record else gate.seeds if run.baseline else 1)
    most_trials = seeds * (1 if run.engine == "vmap" else len(recipe.points))  # a stack counts as one
    may_race = most_trials > 1 and not run.record and (recipe.race or run.baseline is not None)
    return Work(
        architecture=architecture.name,
        name=setting.id.removesuffix("[baseline]"),
        cost=setting.cost,
        most_trials=most_trials,
        may_end_early=may_race or recipe.solved_at <= 1 or recipe.hopeless_after < 1,
    )


class MadContract(JudgedItem):
    """One contract of one architecture, checked without any training."""

    def __init__(self, contract: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.contract = contract

    def runtest(self) -> None:
        plan = self.config.stash[PLAN]
        device = choose_device(plan.run.device)
        setting = next(iter(plan.settings.values()))  # unless the options name another
        with self.guarded():
            result, traceback = run_contract(self.architecture, setting, self.contract, plan.run.contracts, device)
        if result.is_warning:
            try:
                warnings.warn(result.explain(), ContractWarning, stacklevel=1)
            except ContractWarning:  # the project makes errors of warnings
                result, traceback = replace(result, verdict="fail"), ""
        self.conclude(result, traceback)


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


def item_costs(plan: Plan) -> dict[str, float]:
    """Committed estimates of all items by node id, in order."""
    contracts = {f"contract[{name}]": CONTRACT_COST for name in plan.run.contracts.names()}
    own = contracts | {setting.id: setting.cost for setting in plan.settings.values()}
    return {f"{ROOT}::{a.name}::{item}": cost for a in plan.architectures for item, cost in own.items()}


def shard_costs(plan: Plan) -> dict[str, float]:
    """The same of the items that this job runs: all, or its shard's."""
    costs = item_costs(plan)
    own = plan.shard.own(costs) if plan.shard else costs
    return {item: cost for item, cost in costs.items() if item in own}


def add_items(session: pytest.Session, prefixes: list[str], items: list[pytest.Item]) -> None:
    """Collect the suite and put its selected items behind the ordinary ones.

    This runs before other plugins select, so that ``-k``, ``-m``, ``--lf``, ``--sw`` and ``--deselect`` work on them.
    """
    if not prefixes:
        return
    suite, costs = MadSuite.from_parent(session, name=ROOT, nodeid=ROOT), shard_costs(session.config.stash[PLAN])
    own = [item for item in session.genitems(suite) if matches(item.nodeid, prefixes)]
    workers = getattr(session.config, "workerinput", {}).get("workercount", 1)
    items.extend(own[i] for i in order([costs[item.nodeid] for item in own], workers))
