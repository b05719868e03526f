"""The command line and the ini file, through pytest's own parser and all that is checked before collection."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from _pytest.config import _prepareconfig
from hypothesis import strategies as st

from pytest_mad.suite.option_table import OPTIONS
from pytest_mad.suite.session import Session

from .damage import Strategy, arguments, texts, toml, values
from .judging import DefectError, Kind

#: What switches the suite on and imports a TARGET has a kind of its own, but for stacks of layers.
FLAGS = [option.flag for option in OPTIONS if option.flag not in ("--mad-arch", "--mad-mixer") and not option.switch]
INI = [option.name for option in OPTIONS if option.ini] + ["mad_junit"]
given: Strategy = st.tuples(st.sampled_from(FLAGS), arguments).map("=".join)
command_lines: Strategy = st.lists(given, min_size=1, max_size=3)
#: Without pytest's plugins but those that its parser needs.
AUTOLOAD = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
BARE = ["-p", "pytest_mad.plugin", "-p", "no:cacheprovider", "--rootdir=."]


def settle(arguments: list[str]) -> bool:
    """What pytest does with a command line before it collects; whether its own parser bears it."""
    known = os.environ.get(AUTOLOAD)
    os.environ[AUTOLOAD] = "1"  # of others, which would cost more time than ours
    try:
        config = _prepareconfig([*BARE, *arguments])
    except (Exception, SystemExit) as error:
        if any("pytest_mad" in frame.filename for frame in traceback.extract_tb(error.__traceback__)):
            raise
        return False
    finally:
        os.environ.pop(AUTOLOAD)
        os.environ |= {} if known is None else {AUTOLOAD: known}
    try:
        Session(config).configure()
    finally:
        config._ensure_unconfigure()
        sys.path[:] = [one for one in sys.path if one != os.getcwd()]  # which the suite puts there, as it says
    return True


def attempt_command_line(given: list[str], folder: Path) -> str:
    is_bearable = settle(given)
    _check_nothing_written(folder)
    return "valid" if is_bearable else "refused"


def _check_nothing_written(folder: Path) -> None:
    found = sorted(path.name for path in folder.iterdir() if path.name != "tests.ini")
    if found:
        raise DefectError(f"written although nothing ran: {', '.join(found)[:100]}")


# -- ini --------------------------------------------------------------------------------------------------------------

#: Name of the file, its head, and whether values are TOML's.
FORMS = {
    "pytest.ini": ("[pytest]\n", False),
    "setup.cfg": ("[tool:pytest]\n", False),
    "pyproject.toml": ("[tool.pytest.ini_options]\n", True),
    "pytest.toml": ("[pytest]\n", True),
}
_lists: Strategy = st.lists(st.one_of(texts, values), max_size=3)
ini_lines: Strategy = st.lists(
    st.tuples(st.sampled_from(INI), st.one_of(texts, texts, values, _lists)),
    min_size=1,
    max_size=2,
    unique_by=lambda p: p[0],
)
ini_files: Strategy = st.tuples(st.sampled_from(sorted(FORMS)), ini_lines)


def ini_text(form: str, lines: list[tuple[str, Any]]) -> str:
    head, is_toml = FORMS[form]
    return head + "".join(f"{name} = {toml(value) if is_toml else _ini(value)}\n" for name, value in lines)


def _ini(value: Any) -> str:
    """Quoted or not, and over several lines, as people write it."""
    if isinstance(value, list):
        return "".join(f"\n    {one}" for one in value)
    return str(value).replace("\n", "\n    ")


def attempt_ini(given: tuple[str, list[tuple[str, Any]]], folder: Path) -> str:
    form, lines = given
    path = folder / form
    path.write_bytes(ini_text(form, lines).encode("utf-8", "surrogatepass"))
    try:
        is_bearable = settle([f"-c{path}", "--mad-layers=swiglu"])
    finally:
        path.unlink()
    _check_nothing_written(folder)
    return "valid" if is_bearable else "refused"


KINDS = (
    Kind(
        name="command line",
        inputs=command_lines,
        attempt=attempt_command_line,
        documented=(pytest.UsageError,),
        share=170,
    ),
    Kind(name="ini file", inputs=ini_files, attempt=attempt_ini, documented=(pytest.UsageError,), share=120),
)
