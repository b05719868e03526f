"""The command, run in this process in a folder of its own."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from pytest_mad import cli


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: list[str]
    err: list[str]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the command is called; a terminal of 80 columns, and no CI around it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "PY_COLORS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def mad(folder, capsys):
    """Call ``pytest-mad`` with these arguments."""

    def call(*arguments):
        try:
            code = cli.main(list(map(str, arguments)))
        except SystemExit as ended:  # argparse's
            code = ended.code
        out, err = capsys.readouterr()
        return Done(code, out.splitlines(), err.splitlines())

    return call


@pytest.fixture
def refused(mad, folder):
    """The one line of a refusal; nothing else is shown, and nothing written or overwritten."""

    def call(*arguments):
        before = contents(folder)
        done = mad(*arguments)
        assert done.code == 2 and not done.out
        (line,) = done.err
        assert contents(folder) == before
        return line

    return call


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def write(folder):
    """Write files of these contents: ``write(old={...})`` is ``old.json``."""

    def call(**files):
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))

    return call
