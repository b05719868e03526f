"""What a session leaves behind: report files, the baseline, and what GitHub Actions shows."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.common.errors import what_happened
from pytest_mad.common.files import FileError, json_text, refuse_unwritable, write_text
from pytest_mad.gate.recording import update_baseline
from pytest_mad.report.github import append_summary, error_commands, place
from pytest_mad.results.result import Run, SettingResult
from pytest_mad.results.result_file import to_json

from .option_table import flag, on_command_line
from .options import options_of


class Closing(NamedTuple):
    """How writing went."""

    #: lines about a recorded baseline
    recorded: list[str]
    #: one line per file that was asked for and could not be written
    errors: list[str]
    #: the same for a file that nobody asked for
    warnings: list[str]


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
        with _as_usage_error(written[name]):
            check_packages(name)
            refuse_unwritable(path)


def report_paths(config: pytest.Config) -> dict[str, Path]:
    """The report files that were asked for, by their options; relative to the invocation directory."""
    directory = config.invocation_params.dir
    return {name: Path(directory, path) for name, path in options_of(config).reports.items()}


def close(config: pytest.Config, settings: Sequence[SettingResult], run: Callable[[], Run]) -> Closing:
    """Write everything that was asked for; what cannot be written keeps nothing else from being written."""
    lines, errors, warnings = list[str](), list[str](), list[str]()
    update = options_of(config).update_baseline
    if update is not None:
        path = Path(config.invocation_params.dir, update)
        with _noted(errors, f"--mad-update-baseline={path}"):
            lines = update_baseline(path, settings)
    paths, summary = report_paths(config), os.environ.get("GITHUB_STEP_SUMMARY")
    if not (paths or summary):
        return Closing(lines, errors, warnings)
    found = run()
    for name, path in paths.items():
        with _noted(errors, f"{flag(name)}={path}"):
            write_text(path, rendered(name, found))
    if summary:
        with _noted(warnings, f"GITHUB_STEP_SUMMARY={summary}"):
            append_summary(summary, found)
    return Closing(lines, errors, warnings)


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
def _as_usage_error(what: str) -> Iterator[None]:
    try:
        yield
    except (FileError, MissingPackageError) as error:
        raise pytest.UsageError(f"{what}: {error}") from None


@contextlib.contextmanager
def _noted(lines: list[str], what: str) -> Iterator[None]:
    """Go on behind a file that cannot be written, with a line about it."""
    try:
        yield
    except OSError as error:
        lines.append(f"{what}: cannot be written: {error.strerror}")
    except FileError as error:
        lines.append(f"{what}: {error}")
    except Exception as error:  # a report that cannot be made must not take the others with it
        lines.append(f"{what}: {what_happened(error, 'writing')}")


#: Packages that a report needs beyond the core.
_NEEDS = {"html": "jinja2"}


class MissingPackageError(ValueError):
    """A report needs a package that is not installed; the message is the line that installs it."""


def check_packages(option: str) -> None:
    """Raise :class:`MissingPackageError` before anything is trained for a report that could not be written."""
    package = _NEEDS.get(option)
    if package and importlib.util.find_spec(package) is None:
        raise MissingPackageError(f"needs {package}: pip install 'pytest-mad[report]'")


def rendered(option: str, run: Run) -> str:
    """The text of the report that an option asks for."""
    if option == "html":
        from pytest_mad.report.html.render import html_report

        return html_report(run)
    if option == "benchmark_json":
        from pytest_mad.report.benchmark_json import benchmark_entries

        return json_text(benchmark_entries(run))
    return json_text(to_json(run))
