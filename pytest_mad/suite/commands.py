"""``--mad-list``: the settings of the preset, without training."""

from __future__ import annotations

import glob
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_mad.common.files import FileError
from pytest_mad.presets.setting import PresetError
from pytest_mad.report.comparison import lines, printable
from pytest_mad.report.github import error_commands
from pytest_mad.report.table import Line, tables
from pytest_mad.results.compare import compare
from pytest_mad.results.gaps import gaps
from pytest_mad.results.merge import Merged, merge
from pytest_mad.results.reading import read_results

from .option_table import REPORTS, flag, on_command_line
from .options import options_of
from .outputs import check_report_paths, close, report_paths
from .plan import chosen_settings


def print_settings(config: pytest.Config) -> int:
    """One id per line with its levels; returns the exit code. A usage error where there is no room for a score."""
    chosen = chosen_settings(config)
    try:
        for setting in chosen.values():
            setting.normalized(0.0)
    except PresetError as error:
        raise pytest.UsageError(f"--mad-preset={options_of(config).preset}: {error}") from None
    width = max(map(len, chosen))
    print(f"{'setting':{width}}  oracle  trivial  threshold")
    for name, setting in chosen.items():
        threshold = "-" if setting.threshold is None else f"{setting.threshold:.2f}"
        print(f"{name:{width}}  {setting.oracle:6.4f}  {setting.trivial:7.4f}  {threshold:>9}")
    return 0


def print_comparison(config: pytest.Config) -> int:
    """Print what differs and return the exit code; ``pytest.UsageError`` is one line that names option and file."""
    refuse_others(config, "compare", "compares two result files")
    files = options_of(config).compare
    assert files is not None
    comparison = compare(*(_compared(config, file) for file in files))
    terminal = terminal_writer(config)
    for line in lines(comparison, files, terminal.fullwidth, config.get_verbosity()):
        markup = {line.colour: True} if line.colour else {}
        terminal.line(line.text, bold=line.bold, **markup)
    return comparison.exit_code


def refuse_others(config: pytest.Config, name: str, does: str, *, allowed: Iterable[str] = ()) -> None:
    """No other option would have its effect beside one that ``does`` something with files, least of all training."""
    for other in on_command_line(config):
        if other not in (name, *allowed):
            raise pytest.UsageError(f"{flag(name)} only {does}: leave out {flag(other)}")


def _compared(config: pytest.Config, file: str) -> dict[str, Any]:
    """A result file, relative to the invocation directory."""
    try:
        content = read_results(Path(config.invocation_params.dir, file))
        if not any(found["settings"] or found["contracts"] for found in content["architectures"].values()):
            raise FileError("holds no results")
    except FileError as error:
        raise pytest.UsageError(f"{on_command_line(config)['compare']}: {file}: {error}") from None
    return content


def terminal_writer(config: pytest.Config) -> Any:
    """pytest's own, with its ``--color``; the reporter, which has one, is only made for a run of tests."""
    from _pytest._io import TerminalWriter
    from _pytest.config import create_terminal_writer

    has_options = hasattr(config.option, "color")  # not with -p no:terminal
    return create_terminal_writer(config, sys.stdout) if has_options else TerminalWriter(sys.stdout)


def print_merged(config: pytest.Config) -> int:
    """Print and write the joint report and return the exit code.

    ``pytest.UsageError`` is one line that names the files; then nothing is written.
    """
    refuse_others(config, "merge", "joins result files", allowed=REPORTS)
    check_report_paths(config)
    files = _files(config)
    _refuse_inputs(config, files)
    merged = _merged(config, files)
    _print(config, merged, len(files))
    closing = close(config, [], lambda: merged.content)
    for line in closing.warnings:
        sys.stderr.write(f"WARNING: {line}\n")
    for line in closing.errors:
        sys.stderr.write(f"ERROR: {line}\n")
    return int(pytest.ExitCode.USAGE_ERROR) if closing.errors else merged.exit_code


def _files(config: pytest.Config) -> list[str]:
    """All names, with a pattern's matches in its place; relative to the invocation directory."""
    directory, found = config.invocation_params.dir, list[str]()
    for text in options_of(config).merge:
        is_pattern = glob.has_magic(text) and not Path(directory, text).exists()
        matches = sorted(glob.glob(text, root_dir=directory)) if is_pattern else [text]
        if not matches:
            raise pytest.UsageError(f"--mad-merge={text}: no file has a name like this")
        found += matches
    paths = [Path(directory, name).resolve() for name in found]
    for name, path in zip(found, paths, strict=True):
        if paths.count(path) > 1:
            raise pytest.UsageError(f"--mad-merge={name}: is named twice")
    return found


def _refuse_inputs(config: pytest.Config, files: list[str]) -> None:
    """No report takes the place of a file that it is made of."""
    directory = config.invocation_params.dir
    inputs = {Path(directory, name).resolve(): name for name in files}
    for option, path in report_paths(config).items():
        if path.resolve() in inputs:
            given = on_command_line(config)[option]
            raise pytest.UsageError(f"{given}: is a file of --mad-merge, {inputs[path.resolve()]}; write another one")


def _merged(config: pytest.Config, files: list[str]) -> Merged:
    contents = {name: _content(config, name) for name in files}
    command = shlex.join(("pytest", *map(str, config.invocation_params.args)))
    try:
        return merge(contents, command)
    except FileError as error:
        raise pytest.UsageError(f"--mad-merge: {error}") from None


def _content(config: pytest.Config, name: str) -> dict[str, Any]:
    try:
        return read_results(Path(config.invocation_params.dir, name))
    except FileError as error:
        raise pytest.UsageError(f"--mad-merge={name}: {error}") from None


def _print(config: pytest.Config, merged: Merged, files: int) -> None:
    """Tables, what is missing, annotations, and last what the exit code is due to."""
    terminal, verbosity = terminal_writer(config), config.get_verbosity()
    lines = [Line(f"warning: {warning}", "yellow") for warning in merged.warnings]
    if verbosity >= 0:
        lines += tables(merged.settings, merged.contracts, gaps(merged.content))
    for line in (*lines, _conclusion(merged, files)):
        terminal.line(printable(line.text), bold=line.bold, **({line.colour: True} if line.colour else {}))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for command in error_commands(merged.content, {}):
            terminal.line(command)


def _conclusion(merged: Merged, files: int) -> Line:
    said = [f"{_counted(files, 'file')}, {_counted(len(merged.settings) + len(merged.contracts), 'result')}"]
    said += [f"{merged.failing} fail{'s' if merged.failing == 1 else ''}"] if merged.failing else []
    said += ["cut short"] if merged.content["cut_short"] else []
    said += [f"missing: {one}" for one in merged.missing]
    if not merged.exit_code:
        said.append("none fails")
    return Line("; ".join(said), "red" if merged.exit_code else "green", bold=True)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
