"""``--mad-compare``: two result files, without training."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_mad.common.files import FileError
from pytest_mad.report.comparison import lines
from pytest_mad.results.compare import compare
from pytest_mad.results.reading import read_results

from .suite import options


def print_comparison(config: pytest.Config) -> int:
    """Print what differs and return the exit code; ``pytest.UsageError`` is one line that names option and file."""
    refuse_others(config, "mad_compare", "compares two result files")
    files: tuple[str, str] = options.value(config, "mad_compare")
    comparison = compare(*(_content(config, file) for file in files))
    terminal = terminal_writer(config)
    for line in lines(comparison, files, terminal.fullwidth, config.get_verbosity()):
        markup = {line.colour: True} if line.colour else {}
        terminal.line(line.text, bold=line.bold, **markup)
    return comparison.exit_code


def refuse_others(config: pytest.Config, name: str, does: str, *, allowed: Iterable[str] = ()) -> None:
    """No other option would have its effect beside one that ``does`` something with files, least of all training."""
    for option in options.OPTIONS:
        if option.name not in (name, *allowed) and config.getoption(option.name) not in (None, False):
            raise pytest.UsageError(f"{options.flag(name)} only {does}: leave out {option.flag}")


def _content(config: pytest.Config, file: str) -> dict[str, Any]:
    """A result file, relative to the invocation directory."""
    try:
        content = read_results(Path(config.invocation_params.dir, file))
        if not any(found["settings"] or found["contracts"] for found in content["architectures"].values()):
            raise FileError("holds no results")
    except FileError as error:
        raise pytest.UsageError(f"--mad-compare={config.getoption('mad_compare')}: {file}: {error}") from None
    return content


def terminal_writer(config: pytest.Config) -> Any:
    """pytest's own, with its ``--color``; the reporter, which has one, is only made for a run of tests."""
    from _pytest._io import TerminalWriter
    from _pytest.config import create_terminal_writer

    has_options = hasattr(config.option, "color")  # not with -p no:terminal
    return create_terminal_writer(config, sys.stdout) if has_options else TerminalWriter(sys.stdout)
