"""One pytest session before it runs: what was asked for, where it will run, and which items there are.

Imported by every pytest run, so what is heavy is imported inside the functions that need it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import option_table
from .keys import PLAN, TRACE
from .records import Records

if TYPE_CHECKING:
    from pytest_mad.architectures.architecture import Architecture
    from pytest_mad.evaluation.setting import Measured
    from pytest_mad.presets.setting import Setting
    from pytest_mad.results.result import ItemResult

    from .options import Options
    from .presence import Presence


class Session:
    """The plugin's state in one process."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.is_active = option_table.is_active(config)
        #: the suite's own arguments
        self.prefixes: list[str] = []
        #: what second words did to the rootdir
        self.moved: str | None = None
        self._presence: Presence | None = None
        #: names of the CUDA devices that this run may use
        self.devices: list[str] = []
        self.records = Records(config)
        self._measured: dict[tuple[int, str, Setting, tuple[str, ...]], tuple[Any, Measured]] = {}

    @property
    def options(self) -> Options:
        """Parsed when they are first asked for, which most runs of pytest never do."""
        from .options import options_of

        return options_of(self.config)

    # -- configure -----------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Find every usage error now, before anything is trained; each is one line, whatever the user has written."""
        try:
            self._configure()
        except pytest.UsageError as error:
            from pytest_mad.common.text import printable

            raise pytest.UsageError(*(printable(str(text)) for text in error.args)) from None

    def _configure(self) -> None:
        option_table.refuse_commands(self.config)
        self._look_at_second_words()
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
        from .arguments import suite_arguments
        from .plan import make_plan
        from .presence import Presence
        from .selection import check_selection, item_costs, selected

        plan = make_plan(self.config)
        self.config.stash[PLAN] = plan
        self.prefixes = suite_arguments(self.config)
        check_selection(list(item_costs(plan)), self.prefixes)
        self._presence = Presence(self.config, self.prefixes, len(selected(plan, self.prefixes)))
        self.config.pluginmanager.register(self._presence, "mad-presence")

    def _look_at_second_words(self) -> None:
        if option_table.on_command_line(self.config) and not self.is_worker:
            from .arguments import moved_by_second_words

            self.moved = moved_by_second_words(self.config)

    def _check_report_paths(self) -> None:
        if not option_table.on_command_line(self.config).keys().isdisjoint(option_table.REPORTS):
            from .outputs import check_report_paths

            check_report_paths(self.config)

    def _place(self) -> None:
        """Which devices this run has; a single process takes the first of those that it is to use."""
        from .xdist import chosen_devices, use_first, worker_count

        self.devices = chosen_devices(self.config)
        if self.devices and self.options.gpus != "auto" and not worker_count(self.config):
            use_first(self.config, self.devices)

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

    def extend_pytest_html(self) -> None:
        """Add verdict and score to the report of pytest-html, where that plugin writes one."""
        is_active = self.config.pluginmanager.hasplugin("html") and self.config.getoption("htmlpath", None)
        if self.is_worker or not is_active:
            return
        from .pytest_html import MadColumns, has_hooks

        if has_hooks():
            self.config.pluginmanager.register(MadColumns(), "mad-html")

    def distribute(self, specs: Sequence[Any]) -> None:
        """Prepare xdist's workers, and this process for their deaths."""
        if self.is_active or self.devices:
            from .xdist import equip

            equip(specs, self.devices)
        if self.is_active or option_table.is_given(self.config, "timeout"):
            from .crashes import Crashes

            device = "cuda" if self.devices else "cpu"
            crashes = Crashes(self.config, self.config.stash.get(PLAN, None), device)
            self.config.pluginmanager.register(crashes, "mad-crashes")

    def header(self) -> list[str]:
        """The lines of pytest's header."""
        if not self.is_active:
            return []
        from .header import header

        return header(self.config, self.devices) + self._alone()

    def _alone(self) -> list[str]:
        """A line where the ini file names tests that the suite runs without."""
        if self.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
            return []
        import shlex

        from .arguments import ROOT

        paths = shlex.join(self.config.getini("testpaths"))
        return [f"mad: the suite runs without the tests of testpaths; for both: pytest {paths} {ROOT}"]

    # -- collection ----------------------------------------------------------------------------------------------------

    def add_items(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add the suite's items to those that pytest collected."""
        if self.prefixes:
            from .items import add_items

            add_items(session, self.prefixes, items)

    # -- run -----------------------------------------------------------------------------------------------------------

    def running(self, session: pytest.Session) -> Generator[None, object, object]:
        """Keep the suite's workers for as long as its items run; then judge what shows in all of them together."""
        if not self.is_active or self.options.executor == "inline":
            result = yield
        else:
            from .ray import executing

            with executing(session, self.records.keep):
                result = yield
        self._judge_together(session)
        return result

    def _judge_together(self, session: pytest.Session) -> None:
        """In the controller alone; not in a shard, each of which would flag at the level of the whole."""
        plan = self.config.stash.get(PLAN, None)
        is_shard = plan is not None and plan.shard is not None
        if self.is_worker or is_shard or not any(one.pace for one in self.records.settings):
            return
        from .pooled import report_late

        report_late(session, self.records.settings)

    def architectures(self) -> tuple[Architecture, ...]:
        """Those of the command line, none without its options."""
        return self.config.stash[PLAN].architectures if self.is_active else ()

    def measure(
        self,
        model: Any,
        architecture: Architecture,
        setting: Setting,
        contracts: tuple[str, ...],
        progress: Any,
        before: ItemResult | None,
    ) -> Measured:
        """Train a test's model on a setting, once per process for the same ``mad_model`` object and contracts.

        What did not pass ``before``, in this test, is trained anew.
        """
        from pytest_mad.evaluation.setting import run_and_judge
        from pytest_mad.results.result import after

        from .marks import marked
        from .plan import run_options
        from .watchdog import watched

        key = id(model), architecture.name, setting, contracts
        is_again = before is not None and not before.passed
        if is_again or key not in self._measured:
            run = run_options(self.config, contracts=contracts)
            with watched(self.config), marked(self.config, f"{architecture.name}, {setting.id}"):
                outcome = run_and_judge(architecture, setting, run, progress)
            off = (f"contract {name} switched off: {why}" for name, why in run.contracts.off())
            outcome = outcome.with_note("; ".join(off))
            outcome = outcome._replace(result=after(before if is_again else None, outcome.result))
            self._measured[key] = model, outcome  # the object is kept, so that its id stays its own
        return self._measured[key][1]

    # -- finish --------------------------------------------------------------------------------------------------------

    def finish(self, session: pytest.Session) -> None:
        """Write what was asked for, also after Ctrl-C: with what had finished."""
        is_interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
        is_stopped = is_interrupted or bool(session.shouldfail or session.shouldstop)
        self.records.is_cut_short = is_stopped or not self.records.are_complete
        if self.is_worker or self.config.option.collectonly:
            return
        self._refuse_absence(session)
        is_empty_shard = self._is_empty_shard()
        if is_empty_shard and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = self._of_nothing(session.exitstatus)
        is_void = is_stopped and self.records.lack_all  # an older file would be taken for what this run found
        if self.records or is_empty_shard or is_void:  # or else older files stay as they are
            from .outputs import write_all

            if not write_all(self.config, self.records):
                session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _refuse_absence(self, session: pytest.Session) -> None:
        """No success where the suite was to run and did not."""
        if self._presence is None:
            return
        if session.exitstatus == pytest.ExitCode.OK and self.records.lack_all:
            self._presence.note_silence()
        ends = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
        if self._presence.error and session.exitstatus in ends:  # not where pytest itself tells, or Ctrl-C came
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
            sys.stderr.write(f"ERROR: {self._presence.error}\n")

    def remarks(self) -> list[str]:
        """What must be seen at any verbosity: lines for the end of the terminal's output."""
        absence = self._presence.remark() if self._presence else ""
        return [line for line in (absence, self.moved) if line]

    def _is_empty_shard(self) -> bool:
        """Whether this is a job of a matrix that no item of the suite falls to: its files say so, for the merge."""
        plan = self.config.stash.get(PLAN, None)
        is_shard = plan is not None and plan.shard is not None
        return is_shard and bool(self.prefixes) and self.records.expects_nothing

    def _of_nothing(self, exitstatus: int | pytest.ExitCode) -> int | pytest.ExitCode:
        """There may be fewer items than shards; but that ``-k`` selected none is pytest's own exit code."""
        from .selection import shard_costs

        return exitstatus if shard_costs(self.config.stash[PLAN]) else pytest.ExitCode.OK


SESSION = pytest.StashKey[Session]()
