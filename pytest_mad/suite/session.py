"""One pytest session: what was planned, what was found, and where it is reported.

Imported by every pytest run, so what is heavy is imported inside the functions that need it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from . import option_table
from .keys import RECORD, TRACE, TROUBLE

if TYPE_CHECKING:
    from pytest_mad.architectures.architecture import Architecture
    from pytest_mad.evaluation.setting import Measured
    from pytest_mad.presets.setting import Setting
    from pytest_mad.results.result import ContractResult, ItemResult, Run, SettingResult, Shards

    from .options import Options
    from .plan import Plan


ResultT = TypeVar("ResultT", bound="ItemResult")


class Session:
    """The plugin's state in one process. In an xdist run the controller's has all records, a worker's none."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.is_active = option_table.is_active(config)
        self.prefixes: list[str] = []
        self.records: list[SettingResult] = []
        self.contracts: list[ContractResult] = []
        #: node ids of all items of the suite that are to run, None until they are known; of them the settings; and of
        #: those that left a result or were skipped
        self._expected: set[str] | None = None
        self._settings: set[str] = set()
        self._reported: set[str] = set()
        self._recorded: list[str] = []
        self._troubles: list[str] = []
        self._cut_short = False
        #: names of the CUDA devices that this run may use
        self.devices: list[str] = []
        #: where the first failing item of an architecture stands
        self._failed: dict[str, tuple[str, int | None, str]] = {}
        self._measured: dict[tuple[int, Setting, tuple[str, ...]], tuple[Any, Measured]] = {}

    # -- before the run -----------------------------------------------------------------------------------------------

    @property
    def options(self) -> Options:
        """Parsed when they are first asked for, which most runs of pytest never do."""
        from .options import options_of

        return options_of(self.config)

    def configure(self) -> None:
        """Find every usage error now, before anything is trained."""
        self._check_report_paths()
        if TRACE in getattr(self.config, "workerinput", {}):
            from .watchdog import WorkerGuard

            self.config.pluginmanager.register(WorkerGuard(), "mad-guard")
        needs_place = not self.is_worker and (self.is_active or "gpus" in option_table.on_command_line(self.config))
        if needs_place and self.options.executor == "inline":
            self._place()
        if not self.is_active:
            self._check_other_options()
            return
        from .keys import PLAN
        from .plan import make_plan
        from .selection import check_selection, item_costs, suite_arguments

        plan = make_plan(self.config)
        self.config.stash[PLAN] = plan
        self.prefixes = suite_arguments(self.config)
        check_selection(list(item_costs(plan)), self.prefixes)

    def _place(self) -> None:
        """Which devices this run has; a single process takes the first of those that it is to use."""
        from .xdist import chosen_devices, use_first, worker_count

        self.devices = chosen_devices(self.config)
        if self.devices and self.options.gpus != "auto" and not worker_count(self.config):
            use_first(self.config, self.devices)

    def distribute(self, specs: Sequence[Any]) -> None:
        """Prepare xdist's workers, and this process for their deaths."""
        if self.is_active or self.devices:
            from .xdist import equip

            equip(specs, self.devices)
        if self.is_active or option_table.is_given(self.config, "timeout"):
            from .crashes import Crashes

            device = "cuda" if self.devices else "cpu"
            crashes = Crashes(self.config, self._plan() if self.is_active else None, device)
            self.config.pluginmanager.register(crashes, "mad-crashes")

    def extend_pytest_html(self) -> None:
        """Add verdict and score to the report of pytest-html, where that plugin writes one."""
        is_active = self.config.pluginmanager.hasplugin("html") and self.config.getoption("htmlpath", None)
        if self.is_worker or not is_active:
            return
        from pytest_mad.report.pytest_html import MadColumns, has_hooks

        if has_hooks():
            self.config.pluginmanager.register(MadColumns(RECORD), "mad-html")

    def _check_other_options(self) -> None:
        """What is wrong without an architecture, before a test with a mad fixture is collected."""
        for argument in self.config.args:
            if argument.startswith("mad::") or (argument == "mad" and not Path(argument).exists()):
                raise pytest.UsageError(f"{argument} is the MAD suite, which needs --mad-arch=module:factory")
        written = option_table.on_command_line(self.config)
        if "shard" in written:
            raise pytest.UsageError(
                f"{written['shard']}: is a part of the MAD suite, which needs --mad-arch=module:factory"
            )
        if any(option.attribute in written for option in option_table.OPTIONS if option.ini):
            from .plan import chosen_settings, run_options

            chosen_settings(self.config)
            run_options(self.config)

    def _check_report_paths(self) -> None:
        if not option_table.on_command_line(self.config).keys().isdisjoint(option_table.REPORTS):
            from .outputs import check_report_paths

            check_report_paths(self.config)

    def header(self) -> list[str]:
        """What will be measured, where, and what an earlier run died of."""
        if not self.is_active:
            return []
        from .header import header_lines
        from .watchdog import left_behind
        from .xdist import worker_count

        plan = self._plan()
        preset = next(iter(plan.settings.values())).preset
        names = ", ".join(a.name for a in plan.architectures)
        count = f"{len(plan.settings)} setting{'' if len(plan.settings) == 1 else 's'}"
        is_remote = self.options.executor != "inline"
        lines = [f"mad: {names}; preset {preset}, {count}; one thread per process on a CPU"]
        lines += plan.gate_lines()
        if plan.shard:
            lines.append(self._shard_line())
        if not self.prefixes:
            lines.append("mad: the suite is not among the arguments; add mad to run it beside them")
        share = self.options.trials_per_gpu
        if not is_remote:  # which says itself where it runs, once it does
            lines += header_lines(self.devices, worker_count(self.config), share)
        return lines + left_behind(self.config)

    def _shard_line(self) -> str:
        """How much of the suite this job runs."""
        from .selection import item_costs

        plan = self._plan()
        own, total = len(self._own_costs()), len(item_costs(plan))
        nothing = "" if own else ", which is no failure: there are fewer items than shards"
        return f"mad: shard {plan.shard}: {own} of {total} contracts and settings{nothing}"

    def _own_costs(self) -> dict[str, float]:
        from .selection import shard_costs

        return shard_costs(self._plan())

    def add_items(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add the suite's items to those that pytest collected."""
        if self.prefixes:
            from .items import add_items

            add_items(session, self.prefixes, items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Iterable[str]) -> None:
        self._expect(ids)  # the controller collects nothing itself, and every worker the same

    def _expect(self, ids: Iterable[str]) -> None:
        self._expected = {one for one in ids if one.startswith("mad::")}
        self._settings = {one for one in self._expected if "::contract[" not in one}

    def _plan(self) -> Plan:
        from .keys import PLAN

        return self.config.stash[PLAN]

    # -- while it runs ------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Keep the suite's workers for as long as its items run."""
        if not self.is_active or self.options.executor == "inline":
            return (yield)
        from .ray import executing

        with executing(session, self.keep):
            return (yield)

    def architectures(self) -> tuple[Architecture, ...]:
        """Those of the command line, none without its options."""
        return self._plan().architectures if self.is_active else ()

    def measure(
        self, model: Any, architecture: Architecture, setting: Setting, contracts: tuple[str, ...], progress: Any
    ) -> Measured:
        """Train a test's model on a setting, once per process for the same ``mad_model`` object and contracts."""
        from pytest_mad.evaluation.setting import run_and_judge

        from .plan import run_options
        from .watchdog import marked, watched

        key = id(model), setting, contracts
        if key not in self._measured:
            run = run_options(self.config, contracts=contracts)
            with watched(self.config), marked(self.config, f"{architecture.name}, {setting.id}"):
                outcome = run_and_judge(architecture, setting, run, progress)
            off = (f"contract {name} switched off: {why}" for name, why in run.contracts.off())
            outcome = outcome.with_note("; ".join(off))
            self._measured[key] = model, outcome  # the object is kept, so that its id stays its own
        return self._measured[key][1]

    def attach(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Put an item's result on its report: the full record, and short properties for JUnit."""
        result = find_result(item)
        if result is None:
            return
        import json

        from pytest_mad.common.records import plain
        from pytest_mad.report.junit import properties

        setattr(report, RECORD, json.dumps(plain(result)))
        setattr(report, TROUBLE, self._store_trouble())
        if self.options.junit:
            item.user_properties += properties(result)
            report.user_properties = list(item.user_properties)

    def keep(self, result: ItemResult) -> None:
        """Have this in the tables and files; several tests may look at one result."""
        from pytest_mad.results.result import ContractResult

        if isinstance(result, ContractResult):
            if result not in self.contracts:
                self.contracts.append(result)
        elif result not in self.records:
            self.records.append(result)

    def _store_trouble(self) -> str | None:
        """What went wrong with the store in this process."""
        from pytest_mad.store.folder import open_store

        from .plan import store_path

        folder = store_path(self.config)
        return open_store(folder).trouble if folder else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record of a finished item and say so in a line; runs in the controller, or the only process."""
        text = getattr(report, RECORD, None)
        if report.skipped:  # perhaps by somebody's conftest, which leaves no record
            self._reported.add(report.nodeid)
        if text is None or self.is_worker:
            return
        import json

        from pytest_mad.report.progress import count_text, finished_line
        from pytest_mad.results.result_file import item_result

        result = item_result(json.loads(text))
        self._reported.add(report.nodeid)
        trouble = getattr(report, TROUBLE, None)
        if trouble and trouble not in self._troubles:
            self._troubles.append(trouble)
        self.keep(result)
        if report.failed:
            self._failed.setdefault(result.architecture, report.location)
        terminal = self._terminal(report.nodeid)
        if terminal is not None:
            before = "\n" if terminal._tw.width_of_current_line else ""  # behind another test's dot
            place = count_text(len(self._reported & self._settings), len(self._settings))
            terminal.write(f"{before}{finished_line(result, place)}\n", flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Keep the terminal from naming a file, which the suite's items do not have."""
        terminal = self._terminal(nodeid)
        if terminal is not None:
            place = self.config.rootpath / "mad"
            if terminal.currentfspath != place:
                terminal.ensure_newline()
                terminal.currentfspath = place

    def _terminal(self, nodeid: str) -> Any:
        """pytest's terminal reporter, if it shows this item as a line of the suite's own."""
        terminal = self.config.pluginmanager.getplugin("terminalreporter")
        own_line = terminal is not None and terminal.verbosity == 0 and nodeid.startswith("mad::")
        return terminal if own_line else None

    def status(self, report: pytest.TestReport) -> Any:
        """No dot for the suite's items, which get a line each."""
        if getattr(report, RECORD, None) is None or self._terminal(report.nodeid) is None:
            return None
        return report.outcome, "", report.outcome.upper()

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def print_tables(self, terminal: Any) -> None:
        """The tables, at the end of the terminal's output."""
        if not (self.records or self.contracts) or terminal.verbosity < 0:
            return
        from pytest_mad.report.table import tables
        from pytest_mad.results.gaps import gaps

        terminal.currentfspath = None  # our lines end with the line; without this the table begins with an empty one
        terminal.section("MAD")
        missing = gaps(cut_short=self._cut_short, shards=self._shards())
        for line in tables(self._in_order(self.records), self._in_order(self.contracts), missing):
            markup = {line.colour: True} if line.colour else {}
            terminal.write_line(line.text, bold=line.bold, **markup)
        for text in self._recorded:
            terminal.write_line(text)
        for text in self._troubles:
            terminal.write_line(text, yellow=True)

    def print_annotations(self, terminal: Any) -> None:
        """The lines from which GitHub Actions makes annotations."""
        told = self.config.pluginmanager.hasplugin("pytest_github_actions_annotate_failures")  # of every failing item
        if not self._failed or told or os.environ.get("GITHUB_ACTIONS") != "true":
            return
        from .outputs import annotation_lines

        for line in annotation_lines(self.config, self._failed, self.architectures(), self.run()):
            terminal.write_line(line)

    def _in_order(self, results: list[ResultT]) -> list[ResultT]:
        """Results in the plan's order; workers finish in any. First those of a user's own tests."""
        if not self.is_active:
            return results
        plan = self._plan()
        items = (*plan.run.contracts.names(), *plan.settings)
        place = {one: i for i, one in enumerate((a.name, item) for a in plan.architectures for item in items)}
        return sorted(results, key=lambda r: place.get((r.architecture, r.name), -1))

    def write_files(self, session: pytest.Session) -> None:
        """Write the report files, also after Ctrl-C: with what had finished."""
        is_interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
        is_stopped = is_interrupted or session.shouldfail or session.shouldstop
        self._cut_short = bool(is_stopped or (self._expected or set()) - self._reported)
        if self.is_worker or self.config.option.collectonly:
            return
        has_no_items = self._has_no_items_of_its_shard()
        if has_no_items and not self._own_costs() and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK
        if not (self.records or self.contracts or has_no_items):  # older files stay as they are
            return
        from .outputs import close

        closing = close(self.config, self.records, self.run)
        self._recorded = closing.recorded
        for line in closing.warnings:
            sys.stderr.write(f"WARNING: {line}\n")
        for line in closing.errors:
            sys.stderr.write(f"ERROR: {line}\n")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _has_no_items_of_its_shard(self) -> bool:
        """Whether this is a job of a matrix that no item of the suite falls to: its files say so, for the merge."""
        return self.is_active and self._plan().shard is not None and bool(self.prefixes) and self._expected == set()

    def run(self) -> Run:
        """All results."""
        from pytest_mad.results.result_file import run_of

        command = shlex.join(("pytest", *map(str, self.config.invocation_params.args)))
        records, contracts = self._in_order(self.records), self._in_order(self.contracts)
        return run_of(records, self._preset(), contracts, command, cut_short=self._cut_short, shards=self._shards())

    def _shards(self) -> list[Shards]:
        """The part of the suite that this job ran, if it was a part."""
        if not self.is_active:
            return []
        from pytest_mad.results.merge import joined

        from .selection import item_identities

        plan = self._plan()
        return joined([plan.shard.of_suite(item_identities(plan))] if plan.shard else [])

    def _preset(self) -> str:
        """The name of the preset that was measured."""
        return self.records[0].preset if self.records else next(iter(self._plan().settings.values())).preset


SESSION = pytest.StashKey[Session]()


def find_result(item: pytest.Item) -> ItemResult | None:
    """The result that an item, or a test of the user's through ``mad_result``, left behind."""
    if "pytest_mad.suite.items" not in sys.modules:  # no mad item or fixture in this run
        return None
    from .keys import RESULT

    return item.stash.get(RESULT, None)
