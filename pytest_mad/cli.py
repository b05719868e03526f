"""The command ``pytest-mad``: what trains nothing is no option of a test run.

``pytest-mad COMMAND --help`` says what each takes. Wrong input is one line on stderr and exit code 2, argparse's own;
exit code 1 is a verdict. Only what a command needs is imported: none of them loads torch.
"""

from __future__ import annotations

import argparse
import glob
import importlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from pytest_mad.report.table import Line
    from pytest_mad.results.merge import Merged
    from pytest_mad.results.result import Run

#: argparse's, for what is wrong on the command line.
USAGE_ERROR = 2
#: The reports that a merge can write, by their options.
REPORTS = ("json", "html", "benchmark_json")
#: Where a run keeps its results, in pytest's root.
FOLDER = ".pytest_mad"
T = TypeVar("T")


class CommandError(ValueError):
    """Wrong input; the message is one line that names it."""


class Command(Protocol):
    """What a command does: prints, and returns the exit code."""

    def __call__(self, arguments: argparse.Namespace) -> int: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; without one, the process's own. Returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = make_parser().parse_args(given, argparse.Namespace(given=given))
    command: Command = parsed.command
    try:
        code = command(parsed)
        sys.stdout.flush()
    except BrokenPipeError:  # of `| head`; Python flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except CommandError as error:
        from pytest_mad.common.text import printable

        sys.stderr.write(f"pytest-mad {parsed.name}: error: {printable(str(error))}\n")
        return USAGE_ERROR
    return code


# -- what it takes ----------------------------------------------------------------------------------------------------


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="pytest-mad", description="What pytest-mad does without training.")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    _add_list(commands)
    _add_merge(commands)
    _add_compare(commands)
    _add_store(commands)
    _add_plan(commands)
    return parser


def _add(commands: Any, name: str, command: Command, text: str, more: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text} {more}".strip(), allow_abbrev=False
    )
    parser.set_defaults(command=command)
    return parser


def _add_list(commands: Any) -> None:
    text = "Print the settings of a preset with oracle, trivial level and threshold."
    parser = _add(commands, "list", list_settings, text)
    parser.add_argument("--preset", default="smoke", metavar="NAME|FILE.toml", help="Default: smoke.")
    parser.add_argument("--tasks", metavar="A,B", help="Only these tasks.")
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="[TASK[SETTING]=]X",
        help="Normalised score to reach, over the preset's. Repeatable.",
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="Import this first: a module, here or installed, that registers tasks. Repeatable.",
    )
    parser.add_argument("--compat", action="store_true", help="The levels of MAD-Lab's published data.")


def _add_merge(commands: Any) -> None:
    text = "Join result files, those of shards for example, into one report."
    more = "Exit code 1 if anything in them fails, or a shard is missing."
    parser = _add(commands, "merge", merge_files, text, more)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="A file of --mad-json, or a pattern such as 's-*.json'."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write all results to this file.")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="Write a report to read: one self-contained HTML file."
    )
    parser.add_argument(
        "--benchmark-json",
        type=Path,
        metavar="FILE",
        help="Write scores for github-action-benchmark, as customBiggerIsBetter.",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="Say only what the exit code is due to.")
    _add_color(parser)


def _add_compare(commands: Any) -> None:
    text = "Compare two result files."
    more = "Exit code 1 if B fails, or lacks what passed in A."
    parser = _add(commands, "compare", compare_files, text, more)
    for name in "ab":
        parser.add_argument(name, metavar=name.upper(), help="A file of --mad-json.")
    parser.add_argument("-v", "--verbose", action="store_true", help="The reason of every verdict.")
    parser.add_argument("-q", "--quiet", action="store_true", help="Say only what the exit code is due to.")
    _add_color(parser)


def _add_store(commands: Any) -> None:
    text = "Say where the store is and how large, or clear it."
    parser = _add(commands, "store", show_store, text)
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="Default: .pytest_mad here, or in the nearest folder above."
    )
    parser.add_argument("--clear", action="store_true", help="Delete all that is kept in it.")


def _add_plan(commands: Any) -> None:
    parser = _add(commands, "plan", plan_power, "Say in what share of runs a slowdown would be called slower.")
    parser.add_argument("--power", action="store_true", required=True, help="Of a comparison with a baseline.")
    parser.add_argument("--baseline", required=True, metavar="FILE|SHIPPED", help="As for --mad-baseline.")
    parser.add_argument("--preset", default="smoke", metavar="NAME|FILE.toml", help="Default: smoke.")


def _add_color(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--color", choices=("auto", "yes", "no"), default="auto", help="Default: auto, on a terminal.")


# -- list -------------------------------------------------------------------------------------------------------------


def list_settings(arguments: argparse.Namespace) -> int:
    """One id per line with its levels. An error where there is no room for a score."""
    from pytest_mad.presets.reading import settings
    from pytest_mad.presets.setting import as_published, select, with_threshold
    from pytest_mad.report.table import Line
    from pytest_mad.suite.option_values import names, threshold

    for module in arguments.imports:
        _import(module)
    chosen = _checked("--preset", settings, arguments.preset)
    for text in arguments.threshold:
        where, number = _checked(f"--threshold={text}", threshold, text)
        chosen = _checked("--threshold", with_threshold, chosen, where, number)
    if arguments.tasks is not None:
        chosen = _checked("--tasks", select, chosen, _checked(f"--tasks={arguments.tasks}", names, arguments.tasks))
    if arguments.compat:
        chosen = {name: as_published(setting) for name, setting in chosen.items()}
    for setting in chosen.values():
        _checked(f"--preset={arguments.preset}", setting.normalized, 0.0)
    width = max(map(len, chosen))
    lines = [f"{'setting':{width}}  oracle  trivial  threshold"]
    for name, setting in chosen.items():
        needed = "-" if setting.threshold is None else f"{setting.threshold:.2f}"
        lines.append(f"{name:{width}}  {setting.oracle:6.4f}  {setting.trivial:7.4f}  {needed:>9}")
    _print(map(Line, lines), "no")
    return 0


def _import(module: str) -> None:
    """From here too, as a run would: there pytest imports the conftest.py that registers a task."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever the module does
        raise CommandError(f"--import={module}: {type(error).__name__}: {error}") from None


# -- plan -------------------------------------------------------------------------------------------------------------


def plan_power(arguments: argparse.Namespace) -> int:
    """A row per setting, and one for all together."""
    from pytest_mad.presets.reading import settings
    from pytest_mad.report.table import Line
    from pytest_mad.suite.power import power_lines

    chosen = _checked("--preset", settings, arguments.preset)
    lines = _checked(f"--baseline={arguments.baseline}", power_lines, arguments.baseline, Path.cwd(), chosen)
    _print(map(Line, lines), "no")
    return 0


# -- merge ------------------------------------------------------------------------------------------------------------


def merge_files(arguments: argparse.Namespace) -> int:
    """Print and write the joint report. Where anything is wrong with a file, nothing is written."""
    from pytest_mad.results.merge import merge
    from pytest_mad.suite.outputs import write_reports

    files = _named(arguments.files)
    reports = {name: path for name in REPORTS if (path := getattr(arguments, name)) is not None}
    _check_reports(reports, files)
    runs = {name: _read(name) for name in files}
    merged = _checked(None, merge, runs, shlex.join(("pytest-mad", *arguments.given)))
    _print_merged(merged, len(files), arguments)
    troubles = write_reports(reports, merged.run)
    for name, trouble in troubles.items():
        said = f"error: {_flag(name)}={reports[name]}: {trouble}" if name in reports else f"warning: {trouble}"
        sys.stderr.write(f"pytest-mad merge: {said}\n")
    return merged.exit_code if reports.keys().isdisjoint(troubles) else USAGE_ERROR


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _named(texts: Iterable[str]) -> list[str]:
    """All names, with a pattern's matches in its place: not every shell expands one."""
    from pytest_mad.common.files import is_there

    found: list[str] = []
    for text in texts:
        is_pattern = glob.has_magic(text) and not is_there(Path(text))
        matches = sorted(glob.glob(text)) if is_pattern else [text]
        if not matches:
            raise CommandError(f"{text}: no file has a name like this")
        found += matches
    paths = [os.path.realpath(name) for name in found]
    for name, path in zip(found, paths, strict=True):
        if paths.count(path) > 1:
            raise CommandError(f"{name}: is named twice")
    return found


def _check_reports(reports: dict[str, Path], files: Iterable[str]) -> None:
    """Each can be written, and none takes the place of another, or of a file that it is made of."""
    from pytest_mad.common.files import refuse_unwritable

    taken = {os.path.realpath(name): f"one of the files, {name}" for name in files}
    for flag, path in ((_flag(name), path) for name, path in reports.items()):
        other = taken.setdefault(os.path.realpath(path), f"the file of {flag}")
        if other != f"the file of {flag}":
            raise CommandError(f"{flag}={path}: is {other}; write another one")
        _checked(f"{flag}={path}", refuse_unwritable, path)


def _print_merged(merged: Merged, files: int, arguments: argparse.Namespace) -> None:
    """Tables, what is missing, annotations, and last what the exit code is due to."""
    from pytest_mad.report.comparison import printable
    from pytest_mad.report.github import error_commands
    from pytest_mad.report.table import Line, tables
    from pytest_mad.results.gaps import gaps

    lines = [Line(f"warning: {warning}", "yellow") for warning in merged.warnings]
    if not arguments.quiet:
        missing = gaps(cut_short=merged.run.cut_short, shards=merged.run.shards)
        lines += tables(merged.settings, merged.contracts, missing)
    lines.append(_conclusion(merged, files))
    _print((line._replace(text=printable(line.text)) for line in lines), arguments.color)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        _print((Line(command) for command in error_commands(merged.run, {})), "no")


def _conclusion(merged: Merged, files: int) -> Line:
    from pytest_mad.report.table import Line

    said = [f"{_counted(files, 'file')}, {_counted(len(merged.settings) + len(merged.contracts), 'result')}"]
    said += [f"{merged.failing} fail{'s' if merged.failing == 1 else ''}"] if merged.failing else []
    said += ["cut short"] if merged.run.cut_short else []
    said += [f"missing: {one}" for one in merged.missing]
    if not merged.exit_code:
        said.append("none fails")
    return Line("; ".join(said), "red" if merged.exit_code else "green", bold=True)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# -- compare ----------------------------------------------------------------------------------------------------------


def compare_files(arguments: argparse.Namespace) -> int:
    """Print what differs."""
    from pytest_mad.report.comparison import lines
    from pytest_mad.results.compare import compare

    files = arguments.a, arguments.b
    comparison = compare(*map(_read_with_results, files))
    verbosity = arguments.verbose - arguments.quiet
    _print(lines(comparison, files, _writer(arguments.color).fullwidth, verbosity), arguments.color)
    return comparison.exit_code


def _read_with_results(name: str) -> Run:
    run = _read(name)
    if not any(found.settings or found.contracts for found in run.architectures.values()):
        raise CommandError(f"{name}: holds no results")
    return run


# -- store ------------------------------------------------------------------------------------------------------------


def show_store(arguments: argparse.Namespace) -> int:
    """Where it is, and what is in it; or what was deleted."""
    from pytest_mad.common.files import is_there
    from pytest_mad.report.table import Line
    from pytest_mad.store.upkeep import check_store, clear

    here, nearest = Path.cwd() / FOLDER, _nearest_store()
    folder = arguments.store or nearest
    if not is_there(folder):
        if arguments.store:
            raise CommandError(f"--store={folder}: there is no such folder")
        _print([Line(f"there is no store at {folder}: nothing has been kept yet")], "no")
        return 0
    if arguments.clear and folder == nearest != here and not arguments.store:
        raise CommandError(f"--clear: the nearest store is that of a folder above; add --store={nearest} to clear it")
    _checked(f"store {folder}", check_store, folder)
    said = [Line(f"store {folder.resolve()}: {_content_of(folder)}")]
    if arguments.clear:
        _checked(f"store {folder}", clear, folder)
        said.append(Line("cleared"))
    _print(said, "no")
    return 0


def _nearest_store() -> Path:
    """Where a run in this folder keeps results: in pytest's root, which is here or above."""
    here = Path.cwd()
    return next((one for place in (here, *here.parents) if (one := place / FOLDER).is_dir()), here / FOLDER)


def _content_of(folder: Path) -> str:
    """``3 trials, 9 contracts, 1.2 MB``."""
    from pytest_mad.store.upkeep import sizes

    by_kind = sizes(folder)
    kinds = [_counted(len(own), kind) for kind, own in by_kind.items() if own]
    size = sum(map(sum, by_kind.values()))
    unit, name = (1e6, "MB") if size >= 1e6 else (1e3, "kB")
    return f"{', '.join(kinds)}, {size / unit:.1f} {name}" if kinds else "empty"


# -- what they share --------------------------------------------------------------------------------------------------


def _read(name: str) -> Run:
    from pytest_mad.results.result_file import read_results

    return _checked(name, read_results, Path(name))


def _checked(what: str | None, function: Callable[..., T], *arguments: Any) -> T:
    """Call, and turn a ``ValueError`` into one line about this option or file."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise CommandError(str(error) if what is None else f"{what or repr(what)}: {error}") from None


def _print(lines: Iterable[Line], color: str) -> None:
    writer = _writer(color)
    for line in lines:
        writer.line(line.text, bold=line.bold, **({line.colour: True} if line.colour else {}))


def _writer(color: str) -> Any:
    """pytest's own: it knows the terminal's width, and whether it shows colours."""
    from _pytest._io import TerminalWriter

    writer = TerminalWriter(sys.stdout)
    if color != "auto":
        writer.hasmarkup = color == "yes"
    return writer
