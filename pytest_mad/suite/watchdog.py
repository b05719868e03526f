"""Faults that end a process, where items run: code that never returns, a broken CUDA context."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
from collections.abc import Generator, Iterator
from typing import Any, TextIO

import pytest

from .keys import RECORD, TRACE
from .options import options_of

#: At least so many seconds behind its budget an item still gets: for contracts, for compiling, and to reach the
#: evaluation that notices.
GRACE = 180.0

#: Behind these, every later call fails in the same process.
_STICKY = re.compile(
    r"CUDA error: .*(device-side assert|illegal (memory access|instruction|address)|unspecified launch failure"
    r"|misaligned address|invalid (program counter|address space)|hardware stack error|uncorrectable)"
)


@contextlib.contextmanager
def watched(config: pytest.Config) -> Iterator[None]:
    """In an xdist worker: end the process if what runs inside does not return long after its budget.

    The timer is a thread in C that needs no GIL, so it also fires while a C extension hangs.
    """
    path, budget = getattr(config, "workerinput", {}).get(TRACE), options_of(config).timeout
    if not path or budget is None:
        yield
        return
    with _trace_file(path) as trace:
        faulthandler.dump_traceback_later(budget + max(GRACE, budget / 10), file=trace, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _trace_file(path: str) -> TextIO:
    """Where the stack goes; a folder for temporary files that is full or gone costs the stack alone."""
    try:
        return open(path, "w")
    except OSError:
        return open(os.devnull, "w")


def is_sticky(text: str) -> bool:
    """Whether an error's text is one behind which a process can use CUDA no more."""
    return _STICKY.search(text) is not None


class WorkerGuard:
    """An xdist worker's plugin: ends the process between two items once its CUDA context is broken."""

    def __init__(self) -> None:
        self._is_broken = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, Any]:
        if self._is_broken:  # all reports are sent, and the start of this item is not: it goes to another worker
            os._exit(1)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        text = getattr(report, RECORD, None)
        if text is not None:
            record = json.loads(text)
            self._is_broken |= is_sticky(" ".join((record["detail"], *record.get("warned", ()))))
