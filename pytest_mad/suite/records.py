"""What has finished, as it is reported: kept for tables and files, and told in a line.

Imported by every pytest run, so what is heavy is imported inside the functions that need it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from .keys import IDENTITY, MODEL, OWN_ID, PLAN, RECORD, RESULT, TROUBLE

if TYPE_CHECKING:
    from pytest_mad.results.result import ContractResult, ItemResult, Run, SettingResult, Shards

ResultT = TypeVar("ResultT", bound="ItemResult")
#: Outcomes of reports that nothing comes behind; plugins that run items again have words of their own for the others.
_LAST = ("passed", "failed", "skipped")


class Records:
    """The results of one process. In an xdist run the controller's has all of them, a worker's none."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.settings: list[SettingResult] = []
        self.contracts: list[ContractResult] = []
        #: where the first failing item of an architecture stands
        self.failed: dict[str, tuple[str, int | None, str]] = {}
        #: what went wrong with the store or with a record, a line each
        self.troubles: list[str] = []
        #: what hooks of other plugins raised
        self.hook_troubles: list[str] = []
        #: what was recorded in a baseline, in lines
        self.recorded: list[str] = []
        #: whether the run ended before all of its items had
        self.is_cut_short = False
        #: node ids of all items of the suite that are to run, None until they are known; of them the settings; and of
        #: those that left a result or were skipped
        self._expected: set[str] | None = None
        self._counted: set[str] = set()
        self._reported: set[str] = set()
        #: what every item left last, by node id
        self._of_items: dict[str, ItemResult] = {}
        #: which model has a name: its identity, where it is written, and by which item it was seen first
        self._models: dict[str, tuple[str, str, str]] = {}
        #: the item that ran last in this process
        self._item: pytest.Item | None = None

    def __bool__(self) -> bool:
        return bool(self.settings or self.contracts)

    @property
    def are_complete(self) -> bool:
        """Whether every item of the suite left a result, or was skipped."""
        return not (self._expected or set()) - self._reported

    @property
    def lack_all(self) -> bool:
        """Whether items of the suite were to run, and none left a result or was skipped."""
        return bool(self._expected) and self._reported.isdisjoint(self._expected or ())

    @property
    def expects_nothing(self) -> bool:
        """Whether it is known that no item of the suite is to run."""
        return self._expected == set()

    # -- which items there are -----------------------------------------------------------------------------------------

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Iterable[str]) -> None:
        self._expect(ids)  # the controller collects nothing itself, and every worker the same

    def _expect(self, ids: Iterable[str]) -> None:
        self._expected = {one for one in ids if one.startswith("mad::")}
        self._counted = {one for one in self._expected if "::contract[" not in one}

    # -- from an item to its report, and from there to the lists -------------------------------------------------------

    def complete(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Put on an item's report what it left. The suite's items stand in no line of a file that one could open."""
        if OWN_ID in item.stash:
            file, _, name = report.location
            report.location = file, None, name
        if report.when == "call" or report.skipped:  # mad_result skips at set-up
            self._item = item
            self._attach(item, report)

    def _attach(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """The full record, and short properties for JUnit."""
        result = item.stash.get(RESULT, None)
        if result is None:
            return
        from pytest_mad.common.records import plain
        from pytest_mad.report.junit import properties

        from .options import options_of
        from .storing import store_trouble

        setattr(report, RECORD, json.dumps(plain(result)))
        setattr(report, IDENTITY, item.stash.get(MODEL, None))
        setattr(report, TROUBLE, store_trouble(self._config))
        if options_of(self._config).junit:
            others = [one for one in item.user_properties if not one[0].startswith("mad.")]  # of an earlier attempt
            item.user_properties[:] = [*others, *properties(result)]
            report.user_properties = list(item.user_properties)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Keep the result of a finished item and say so in a line; runs in the controller, or the only process."""
        if getattr(report, RECORD, None) is not None and self._item and self._item.nodeid == report.nodeid:
            self._attach(self._item, report)  # a plugin may have run the item again since, for the same report
        if not hasattr(self._config, "workerinput"):
            self._refuse_namesake(report)
        try:
            return (yield)
        finally:
            self._take(report)

    def _refuse_namesake(self, report: pytest.TestReport) -> None:
        """Make a failure of the report of a model whose name another one has already, and leave its result out."""
        text, model = getattr(report, RECORD, None), getattr(report, IDENTITY, None)
        if text is None or model is None:
            return
        name, (digest, place) = json.loads(text)["architecture"], json.loads(model)
        known, other, first = self._models.setdefault(name, (digest, place, report.nodeid))
        if known != digest:
            line = (
                f"two models are called {name!r}: {other} in {first} and {place} in {report.nodeid}; give one of them "
                "another name: a function or class of its own, or an id where mad_model is parametrized"
            )
            report.longrepr = f"{line}\n\n{report.longreprtext}" if report.failed else line
            report.outcome = "failed"
            setattr(report, RECORD, None)
            self._reported.add(report.nodeid)

    def _take(self, report: pytest.TestReport) -> None:
        text, is_last = getattr(report, RECORD, None), report.outcome in _LAST
        if report.skipped:  # perhaps by somebody's conftest, which leaves no record
            self._reported.add(report.nodeid)
        if text is None or hasattr(self._config, "workerinput"):
            return
        from pytest_mad.common.records import WrongError
        from pytest_mad.results.result_file import item_result

        if is_last:
            self._reported.add(report.nodeid)
        try:
            result = item_result(json.loads(text))
        except WrongError as wrong:  # a task of the user's, whose parameters no file could hold
            self._note(f"{report.nodeid}: its result is left out: {wrong}")
            return
        self._note(getattr(report, TROUBLE, None))
        self._replace(report.nodeid, result)
        self.keep(result, is_last=is_last)
        if report.failed:
            self.failed.setdefault(result.architecture, report.location)
        self._tell(report.nodeid, result, is_last=is_last)

    def _replace(self, nodeid: str, result: ItemResult) -> None:
        """Forget what an item left at an earlier attempt, unless another item looks at that as well."""
        before = self._of_items.pop(nodeid, None)
        if before is not None and before != result and before not in self._of_items.values():
            self._known(before).remove(before)
        self._of_items[nodeid] = result

    def keep(self, result: ItemResult, *, is_last: bool = True) -> None:
        """Have this in the tables and files, and tell whoever listens; several tests may look at one result."""
        known = self._known(result)
        if result not in known:
            known.append(result)
            if is_last:
                self.call_hook("pytest_mad_setting", result=result)

    def _known(self, result: ItemResult) -> list[Any]:
        from pytest_mad.results.result import ContractResult

        return self.contracts if isinstance(result, ContractResult) else self.settings

    def call_hook(self, name: str, **arguments: Any) -> None:
        """Call a hook of :mod:`pytest_mad.hookspecs`. What another plugin raises there must not lose the run."""
        try:
            getattr(self._config.hook, name)(config=self._config, **arguments)
        except pytest.exit.Exception:  # which ends a run on purpose
            raise
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
            from pytest_mad.common.errors import first_line

            line = f"hook {name}: a plugin or conftest.py raised {type(error).__name__}: {first_line(error)}"
            if line not in self.hook_troubles:
                self.hook_troubles.append(line)

    def _note(self, trouble: str | None) -> None:
        if trouble and trouble not in self.troubles:
            self.troubles.append(trouble)

    # -- on the terminal -----------------------------------------------------------------------------------------------

    def _tell(self, nodeid: str, result: ItemResult, *, is_last: bool) -> None:
        from pytest_mad.report.progress import count_text, finished_line

        terminal = self._terminal(nodeid)
        if terminal is not None:
            before = "\n" if terminal._tw.width_of_current_line else ""  # behind another test's dot
            place = count_text(len(self._reported & self._counted), len(self._counted))
            again = "" if is_last else "  runs again"
            terminal.write(f"{before}{finished_line(result, place)}{again}\n", flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Keep the terminal from naming a file, which the suite's items do not have."""
        terminal = self._terminal(nodeid)
        if terminal is not None:
            place = self._config.rootpath / "mad"
            if terminal.currentfspath != place:
                terminal.ensure_newline()
                terminal.currentfspath = place

    def pytest_report_teststatus(self, report: pytest.TestReport) -> Any:
        """No dot for the suite's items, which get a line each."""
        if getattr(report, RECORD, None) is None or self._terminal(report.nodeid) is None:
            return None
        return report.outcome, "", report.outcome.upper()

    def _terminal(self, nodeid: str) -> Any:
        """pytest's terminal reporter, if it shows this item as a line of the suite's own."""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        own_line = terminal is not None and terminal.verbosity == 0 and nodeid.startswith("mad::")
        return terminal if own_line else None

    # -- all of them ---------------------------------------------------------------------------------------------------

    def in_order(self, results: list[ResultT]) -> list[ResultT]:
        """Results in the plan's order; workers finish in any. First those of a user's own tests."""
        plan = self._config.stash.get(PLAN, None)
        if plan is None:
            return results
        items = (*plan.run.contracts.names(), *plan.settings)
        place = {one: i for i, one in enumerate((a.name, item) for a in plan.architectures for item in items)}
        return sorted(results, key=lambda r: place.get((r.architecture, r.name), -1))

    def run(self) -> Run:
        """All results, as a file holds them."""
        from pytest_mad.results.result_file import run_of

        plan = self._config.stash.get(PLAN, None)
        preset = self.settings[0].preset if self.settings else plan.preset if plan else ""
        return run_of(
            self.in_order(self.settings),
            preset,
            self.in_order(self.contracts),
            shlex.join(("pytest", *map(str, self._config.invocation_params.args))),
            cut_short=self.is_cut_short,
            shards=self.shards(),
        )

    def shards(self) -> list[Shards]:
        """The part of the suite that this job ran, if it was a part."""
        plan = self._config.stash.get(PLAN, None)
        if plan is None or plan.shard is None:
            return []
        from pytest_mad.results.merge import joined

        from .selection import item_identities

        return joined([plan.shard.of_suite(item_identities(plan))])
