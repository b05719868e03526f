"""The shape of the house: what stands at the package's root, and how long files and functions are."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest_mad

HERE = Path(pytest_mad.__file__).parent


def length(function):
    return function.end_lineno - function.lineno + 1


def functions():
    for file in HERE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{file.relative_to(HERE)}:{node.name}", length(node)


def test_no_module_stands_outside_of_a_room():
    """But the doors: the plugin, its hooks, Python's and the command's."""
    loose = {path.name for path in HERE.glob("*.py")}
    assert loose == {"__init__.py", "__main__.py", "api.py", "cli.py", "hookspecs.py", "plugin.py"}


def test_every_room_says_what_it_is_for():
    for package in HERE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))), package


def test_files_and_functions_are_short():
    long_files = {
        str(file.relative_to(HERE)): lines
        for file in HERE.rglob("*.py")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 400
    }
    lengths = dict(functions())
    assert long_files == {}
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}
    assert statistics.median(lengths.values()) <= 8
