"""What a session leaves behind: report files, the baseline, and what GitHub Actions shows."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.common.errors import what_happened
from pytest_mad.common.files import FileError, json_text, refuse_unwritable, write_text
from pytest_mad.gate.recording import update_baseline
from pytest_mad.report.github import append_summary, error_commands, place
from pytest_mad.report.table import tables
from pytest_mad.results.gaps import gaps
from pytest_mad.results.result import Run
from pytest_mad.results.result_file import to_json

from .keys import PLAN
from .option_table import flag, on_command_line
from .options import options_of
from .records import Records

#: In the environment: where GitHub wants its job summary.
SUMMARY = "GITHUB_STEP_SUMMARY"


def check_report_paths(config: pytest.Config) -> None:
    """Raise ``pytest.UsageError`` now for a report that could not be written at the end, or replace another file."""
    taken, options, written = {}, options_of(config), on_command_line(config)
    for name, given in (("baseline", options.baseline), ("update_baseline", options.update_baseline)):
        if given is not None:
            taken[Path(config.invocation_params.dir, given).resolve()] = flag(name)
    for name, path in report_paths(config).items():
        other = taken.setdefault(path.resolve(), flag(name))
        if other != flag(name):
            raise pytest.UsageError(f"{written[name]}: is the file of {other}; write another one")
        try:
            refuse_unwritable(path)
        except FileError as error:
            raise pytest.UsageError(f"{written[name]}: {error}") from None


def report_paths(config: pytest.Config) -> dict[str, Path]:
    """The report files that were asked for, by their options; relative to the invocation directory."""
    directory = config.invocation_params.dir
    return {name: Path(directory, path) for name, path in options_of(config).reports.items()}


def write_all(config: pytest.Config, records: Records) -> bool:
    """Write everything that was asked for; whether it could be written. Nothing keeps the others from being written."""
    errors = list[str]()
    update = options_of(config).update_baseline
    if update is not None:
        path = Path(config.invocation_params.dir, update)
        with _noted(errors, f"--mad-update-baseline={path}"):
            records.recorded = update_baseline(path, records.in_order(records.settings))
    run = records.run()
    paths = report_paths(config)
    troubles = write_reports(paths, run)
    errors += [f"{flag(name)}={paths[name]}: {trouble}" for name, trouble in troubles.items() if name in paths]
    if SUMMARY in troubles:
        sys.stderr.write(f"WARNING: {troubles[SUMMARY]}\n")
    for line in errors:
        sys.stderr.write(f"ERROR: {line}\n")
    if records:  # an empty shard has files, but nothing to tell
        records.call_hook("pytest_mad_finish", run=run)
    return not errors


def write_reports(paths: Mapping[str, Path], run: Run) -> dict[str, str]:
    """Write a run's reports, and GitHub's job summary where there is one; what could not be written, and why.

    By ``json``, ``html`` or ``benchmark_json``, and ``SUMMARY``.
    """
    troubles: dict[str, str] = {}
    for name, path in paths.items():
        with _noted_as(troubles, name):
            write_text(path, rendered(name, run))
    summary = os.environ.get(SUMMARY)
    if summary:
        with _noted_as(troubles, SUMMARY, f"{SUMMARY}={summary}: "):
            append_summary(summary, run)
    return troubles


def print_tables(config: pytest.Config, records: Records, terminal: Any) -> None:
    """The tables, at the end of the terminal's output."""
    terminal.currentfspath = None  # our lines end with the line; without this the table begins with an empty one
    terminal.section("MAD")
    missing = gaps(cut_short=records.is_cut_short, shards=records.shards())
    for line in tables(records.in_order(records.settings), records.in_order(records.contracts), missing):
        markup = {line.colour: True} if line.colour else {}
        terminal.write_line(line.text, bold=line.bold, **markup)
    for text in records.troubles:
        terminal.write_line(text, yellow=True)


def print_recorded(records: Records, terminal: Any) -> None:
    """What a recording left, however little else is said: a file was written, which people will review."""
    for text in records.recorded:
        terminal.write_line(text)


def print_annotations(config: pytest.Config, records: Records, terminal: Any) -> None:
    """The lines from which GitHub Actions makes annotations."""
    told = config.pluginmanager.hasplugin("pytest_github_actions_annotate_failures")  # of every failing item
    if not records.failed or told or os.environ.get("GITHUB_ACTIONS") != "true":
        return
    plan = config.stash.get(PLAN, None)
    architectures = plan.architectures if plan else ()
    for line in annotation_lines(config, records.failed, architectures, records.run()):
        terminal.write_line(line)


def annotation_lines(
    config: pytest.Config,
    failed: dict[str, tuple[str, int | None, str]],
    architectures: tuple[Architecture, ...],
    run: Run,
) -> list[str]:
    """For GitHub Actions: an error per failing architecture, at its factory or else at the user's test.

    ``failed`` has where the first failing item of an architecture stands. A test may be glad of a verdict that is no
    pass, so an architecture whose items all passed gets none.
    """
    workspace = os.environ.get("GITHUB_WORKSPACE")
    places = {
        name: place(str(config.rootpath / file), line + 1, workspace)
        for name, (file, line, _) in failed.items()
        if line is not None
    }
    places |= {a.name: place(a.file, a.line, workspace) for a in architectures if a.file}
    failing = {name: found for name, found in run.architectures.items() if name in failed}
    return error_commands(replace(run, architectures=failing), places)


@contextlib.contextmanager
def _noted(lines: list[str], what: str) -> Iterator[None]:
    """Go on after a file that cannot be written, with a line about it."""
    troubles: dict[str, str] = {}
    with _noted_as(troubles, what, f"{what}: "):
        yield
    lines += troubles.values()


@contextlib.contextmanager
def _noted_as(troubles: dict[str, str], name: str, before: str = "") -> Iterator[None]:
    """The same, with what went wrong under a name."""
    try:
        yield
    except OSError as error:
        troubles[name] = f"{before}cannot be written: {error.strerror}"
    except FileError as error:
        troubles[name] = f"{before}{error}"
    except Exception as error:  # a report that cannot be made must not take the others with it
        troubles[name] = f"{before}{what_happened(error, 'writing')}"


def rendered(option: str, run: Run) -> str:
    """The text of the report that an option asks for."""
    if option == "html":
        from pytest_mad.report.html.render import html_report

        return html_report(run)
    if option == "benchmark_json":
        from pytest_mad.report.benchmark_json import benchmark_entries

        return json_text(benchmark_entries(run))
    return json_text(to_json(run))
