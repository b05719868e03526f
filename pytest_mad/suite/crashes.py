"""Faults that end a process: a signal, code that never returns, a broken CUDA context.

Under xdist the worker ends in place of the run. What it ran gets verdict ``error`` with the cause, what it had not
begun goes to another worker, and xdist replaces it. A single process leaves a mark in the store, for the next run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mad.common.packages import HERE
from pytest_mad.common.records import plain
from pytest_mad.report.junit import properties

from .keys import RECORD, TRACE
from .options import options_of

if TYPE_CHECKING:
    from pytest_mad.results.result import ItemResult

    from .plan import Plan

#: Frames of the stack on which a worker hung that a report has.
_SHOWN = 20
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')


# -- in the controller ------------------------------------------------------------------------------------------------


class Crashes:
    """The controller's plugin: what becomes of the items of a worker that died."""

    def __init__(self, config: pytest.Config, plan: Plan | None, device: str) -> None:
        self._config, self._plan, self._device = config, plan, device
        #: by node id: when it began
        self._begun: dict[str, float] = {}
        self._ended: set[str] = set()
        #: what another worker shall run
        self._resent: set[str] = set()
        #: what follows the report of a crash: the end of an item that had none
        self._closings: list[pytest.TestReport] = []
        self._folder: Path | None = None
        with contextlib.suppress(OSError):  # a full disk costs the stack of a worker that hangs, and nothing else
            self._folder = folder = Path(tempfile.mkdtemp(prefix="pytest-mad-"))
            config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))

    def pytest_configure_node(self, node: Any) -> None:
        if node.gateway.spec.popen:  # it shares this machine's files
            node.workerinput[TRACE] = str(self._trace(node))

    def _trace(self, node: Any) -> Path:
        return self._folder / f"{node.gateway.id}.txt" if self._folder else Path(os.devnull)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._begun[nodeid] = time.monotonic()

    def pytest_runtest_logreport(self, report: Any) -> None:
        is_last = report.when == "teardown" or getattr(report, RECORD, None) is not None
        if is_last and report.outcome != "rerun":  # pytest-rerunfailures' word
            self._ended.add(report.nodeid)

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take a dead worker's items before xdist does, which would blame the first whether or not it ran."""
        dsession: Any = self._config.pluginmanager.getplugin("dsession")
        is_at_work = error is not None and node in dsession.sched.nodes
        if is_at_work and error == "keyboard-interrupt":  # as in one process: what was interrupted has no report
            dsession.sched.remove_node(node)
            return
        if not is_at_work or self._config.getoption("dist") == "each":  # the same items in every worker
            return
        item = dsession.sched.remove_node(node)  # xdist then finds no such worker, and goes on to replace it
        if item is None or item in self._ended or (item not in self._begun and self._resend(dsession.sched, item)):
            return
        dsession.handle_crashitem(item, node)
        while self._closings:
            self._config.hook.pytest_runtest_logreport(report=self._closings.pop())
        session: Any = self._config.pluginmanager.getplugin("session")
        dsession.shouldstop = dsession.shouldstop or session.shouldfail  # -x: xdist does not count crashes

    def _resend(self, sched: Any, item: str) -> bool:
        try:
            sched.mark_test_pending(item)
        except NotImplementedError:  # --dist=loadscope and its kin
            return False
        self._resent.add(item)
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_handlecrashitem(self, crashitem: str, report: Any) -> None:
        """Say why in the report that xdist makes up, and give a setting or contract its verdict."""
        if report.outcome != "failed":  # another plugin runs it again
            return
        seconds = time.monotonic() - self._begun.get(crashitem, time.monotonic())
        why, stack = self._death(report.node, seconds)
        result = None if self._plan is None else lost(self._plan, crashitem, why, seconds, self._device)
        verdict = f"{report.longrepr}: {why}" if result is None else result.reason()
        report.longrepr = f"{verdict}\n\n{stack}\n{verdict}" if stack else verdict
        if result is not None:
            report.when, report.location = "call", (report.location[0], None, crashitem)
            setattr(report, RECORD, json.dumps(plain(result)))
            self._closings.append(self._torn_down(report, properties(result)))

    def _torn_down(self, report: Any, found: list[tuple[str, str | float | int]]) -> pytest.TestReport:
        """The report of a tear-down that never came, behind which JUnit writes an item's properties."""
        closing: Any = pytest.TestReport(
            report.nodeid,
            report.location,
            keywords={},
            outcome="passed",
            longrepr=None,
            when="teardown",
            user_properties=found if options_of(self._config).junit else (),
        )
        closing.node = report.node  # as which xdist's reports are told apart
        return closing  # type: ignore[no-any-return]

    def _death(self, node: Any, seconds: float) -> tuple[str, str]:
        """Why a worker died, in a line, and the stack on which it hung, if it did."""
        trace = self._trace(node)
        text = trace.read_text() if trace.exists() else ""
        if not text:
            return ending(node.gateway.id, exit_status(node)), ""
        stack, budget = user_stack(text), options_of(self._config).timeout
        why = f"hung: still running after {seconds:.0f} s with --mad-timeout={budget:g}, so its worker was ended"
        return f"{why}{place(stack)}", "\n".join(stack[:_SHOWN]) + "\n"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """No success without what was to run elsewhere and never did, because xdist gave up on workers."""
        if self._resent - self._ended and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def lost(plan: Plan, nodeid: str, why: str, seconds: float, device: str) -> ItemResult | None:
    """What becomes of one of the suite's items whose worker died; None for other tests."""
    from pytest_mad.evaluation.setting import ended
    from pytest_mad.gate import Verdict
    from pytest_mad.results.result import ContractResult

    _, _, own = nodeid.partition("mad::")
    name, _, item = own.partition("::")
    architecture = next((one for one in plan.architectures if one.name == name), None)
    if architecture is None:
        return None
    if item in plan.settings:
        verdict = Verdict("error", why)
        return ended(architecture, plan.settings[item], plan.run, verdict, seconds, device=device).result
    contract = re.fullmatch(r"contract\[(.+)\]", item)
    return contract and ContractResult(
        architecture=name, contract=contract[1], verdict="error", detail=why, seconds=round(seconds, 3)
    )


def ending(worker: str, status: int | None) -> str:
    """How a worker's process ended, by its exit status; None where nobody knows."""
    if status is None or status >= 0:
        return f"its worker {worker} ended" + ("" if status is None else f" with exit code {status}")
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    hint = "; the system does that where memory runs out" if name == "SIGKILL" else ""
    return f"its worker {worker} was killed by {name}{hint}"


def exit_status(node: Any) -> int | None:
    """Of a worker's process, as ``subprocess`` gives it; execnet has no public way to ask."""
    process = getattr(getattr(node.gateway, "_io", None), "popen", None)
    try:
        return None if process is None else int(process.wait(timeout=5))
    except subprocess.TimeoutExpired:
        return None


def user_stack(trace: str) -> list[str]:
    """Of the threads in faulthandler's text the one that ran our item: frames from the innermost down to our code."""
    ours = next((block for block in trace.split("\n\n") if str(HERE) in block), "")
    frames = [line for line in ours.splitlines() if _FRAME.match(line)]
    return list(itertools.takewhile(lambda line: str(HERE) not in line, frames))


def place(stack: list[str]) -> str:
    """Where that is, in the user's code if it passes through it."""
    others = ("/site-packages/", "<frozen ", sysconfig.get_path("stdlib"))
    users = [line for line in stack if not any(other in line for other in others)]
    frame = next(filter(None, map(_FRAME.match, users or stack)), None)
    return f" (in {Path(frame[1]).name}, line {frame[2]}, {frame[3]})" if frame else ""
