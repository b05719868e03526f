"""A folder with tiny models and a tiny preset, in which tests run pytest."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import re
import shutil
import signal
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT

import pytest

import pytest_mad
import reference_archs.transformer

#: No other plugins than pytest's own, xdist and ours: theirs would cost more time than ours.
BARE = tuple(f"-pno:{name}" for name in ("hypothesispytest", "anyio", "html", "html_fixtures", "metadata"))
PROJECT = Path(__file__).with_name("project")


@pytest.fixture(scope="session", autouse=True)
def _preload():
    """Import what runs in this process would import: pytester forgets modules that a run adds, and torch bears no
    second import. Then let the garbage collector, which pytest calls at the end of every run, leave them alone.
    """
    for module in pkgutil.walk_packages(pytest_mad.__path__, "pytest_mad."):
        if module.name != "pytest_mad.__main__":  # which is a command: it would end this process
            importlib.import_module(module.name)
    setting = next(iter(pytest_mad.settings(str(PROJECT / "tiny.toml")).values()))
    pytest_mad.evaluate(reference_archs.transformer.make_model, setting)
    importlib.import_module("torch._dynamo")  # as torch does for some models, and for deterministic algorithms
    gc.freeze()
    yield
    gc.unfreeze()


class Project:
    """The folder, and how to run pytest in it."""

    def __init__(self, pytester):
        self.pytester = pytester
        self.path = pytester.path
        #: whether a run keeps results for the next one
        self.has_store = False

    def write(self, **files):
        """Python files by their names without ``.py``."""
        self.pytester.makepyfile(**files)

    def run(self, *args, **kwargs):
        """Run in this process with the tiny preset, unless ``args`` say otherwise."""
        return self.bare("--mad-preset=tiny.toml", "-rA", *args, **kwargs)

    def bare(self, *args, **kwargs):
        """Run in this process with these arguments only."""
        return self.pytester.runpytest_inprocess(*BARE, *self._store(args), *args, **kwargs)

    def command(self, *args):
        """``pytest-mad`` with these arguments, in a process of its own."""
        return self.pytester.run(sys.executable, "-m", "pytest_mad", *args)

    def _store(self, args):
        return () if self.has_store else ("--mad-no-store",)

    @contextlib.contextmanager
    def started(self, *args):
        """``run`` as a process of its own, the leader of its group, with its output in a pipe."""
        command = [sys.executable, "-m", "pytest", *BARE, *self._store(args), "--mad-preset=tiny.toml", *args]
        process = self.pytester.popen(
            command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def models(self, *args, **kwargs):
        """Run the suite on ``models:make_model``."""
        return self.run("--mad-arch=models:make_model", *args, **kwargs)

    def collected(self, *args):
        """Node ids of what would run, in order."""
        result = self.models("--collect-only", "-q", *args)
        assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        return [line for line in result.outlines if "::" in line]

    @staticmethod
    def outcomes(result):
        """Outcome by node id, from the summary at the end, in its order: passed, failed, ... ones."""
        found = (re.match(r"(PASSED|FAILED|ERROR) (\S+)", line) for line in result.outlines)
        return {m[2]: m[1].lower() for m in found if m}

    def results(self, name="out.json"):
        """The content of a result file."""
        return json.loads((self.path / name).read_text())

    def files(self):
        """What a run could have written, but for Python's and pytest's own caches."""
        paths = (p.relative_to(self.path).as_posix() for p in self.path.rglob("*"))
        return sorted(p for p in paths if "__pycache__" not in p and ".pytest_cache" not in p)


#: What a CI sets and pytest, or the plugin, heeds: longer summaries, files of the job's own.
OF_A_CI = ("CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE")


@pytest.fixture
def project(pytester, monkeypatch):
    for name in OF_A_CI:
        monkeypatch.delenv(name, raising=False)
    for file in PROJECT.iterdir():
        if file.is_file():
            shutil.copy(file, pytester.path)
    return Project(pytester)
