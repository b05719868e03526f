"""What is said while settings train: a live line on a terminal, one line per finished setting elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def live_progress(config: Any, label: str) -> Iterator[Callable[[int, int, float], None] | None]:
    """A function that rewrites one line of the terminal; None where there is no terminal to rewrite.

    ``config`` is pytest's. An xdist worker has no terminal reporter, and the line of a log file cannot be rewritten.
    """
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or not reporter.isatty or reporter.verbosity < 0:
        yield None
        return

    def show(step: int, total: int, accuracy: float) -> None:
        reporter.rewrite(f"{label}  step {step}/{total}  validation accuracy {accuracy:.3f}", erase=True)

    try:
        yield show
    finally:
        reporter.rewrite("", erase=True)
        reporter.currentfspath = None


def finished_line(record: dict[str, Any]) -> str:
    """One line about a finished setting."""
    score = "" if record["normalized"] is None else f"  {record['normalized']:.3f}"
    steps = "".join(f"  {t['stopped']} at step {t['steps']}" for t in record["trials"][-1:])
    item = f"mad::{record['architecture']}::{record['setting']}"
    return f"{item}  {record['verdict'].upper()}{score}{steps}  {record['seconds']:.1f} s"
