"""What is said while settings train: a live line on a terminal, one line per finished setting elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pytest_mad.result import round_down


@contextlib.contextmanager
def live_progress(config: Any, label: str) -> Iterator[Callable[[int, int, float], None] | None]:
    """A function that rewrites one line of the terminal; None where there is no terminal to rewrite.

    ``config`` is pytest's. An xdist worker has no terminal reporter, and the line of a log file cannot be rewritten.
    """
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or not reporter.isatty or reporter.verbosity < 0:
        yield None
        return
    column = reporter._tw.width_of_current_line
    prefix = "" if column else f"{label}  "

    def show(step: int, total: int, accuracy: float) -> None:
        text = f"{prefix}step {step}/{total}  validation accuracy {accuracy:.3f}"
        _show_behind_cursor(config, text[: max(0, reporter._tw.fullwidth - column - 1)])

    try:
        yield show
    finally:
        _show_behind_cursor(config, "")


def _show_behind_cursor(config: Any, text: str) -> None:
    """Replace what stands behind the cursor and leave the cursor where it is.

    This goes past pytest's capture, and past its own count of what is on the line.
    """
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        sys.stdout.write(f"\x1b7\x1b[K{text}\x1b8")
        sys.stdout.flush()


def finished_line(record: dict[str, Any]) -> str:
    """One line about a finished setting or contract."""
    if "contract" in record:
        item = f"mad::{record['architecture']}::contract[{record['contract']}]"
        warning = "  warning" if record["verdict"] == "pass" and record["detail"] else ""
        return f"{item}  {record['verdict'].upper()}{warning}  {record['seconds']:.1f} s"
    score = "" if record["normalized"] is None else f"  {round_down(record['normalized']):.3f}"
    steps = "".join(f"  {t['stopped']} at step {t['steps']}" for t in record["trials"][-1:])
    item = f"mad::{record['architecture']}::{record['setting']}"
    return f"{item}  {record['verdict'].upper()}{score}{steps}  {record['seconds']:.1f} s"
