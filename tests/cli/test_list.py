"""``pytest-mad list``: the settings of a preset."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "plugin" / "project" / "tiny.toml"
MEMORIZATION, LARGER, RECALL = "memorization[baseline]", "memorization[vocab_size=24]", "in-context-recall[baseline]"


def rows(done):
    """The numbers behind each setting."""
    assert done.code == 0 and not done.err
    return {line.split()[0]: line.split()[1:] for line in done.out if "[" in line}


def test_it_prints_a_setting_per_line_with_its_levels(mad, folder):
    """Oracle, trivial level, threshold; of memorization a guess is right once in 7 or 11 answers."""
    found = rows(mad("list", f"--preset={TINY}"))
    assert found[MEMORIZATION] == ["1.0000", "0.1429", "0.50"] and found[LARGER] == ["1.0000", "0.0909", "0.50"]
    assert list(found) == [MEMORIZATION, LARGER, RECALL] and 0.25 < float(found[RECALL][1]) < 1
    assert not list(folder.iterdir())


def test_tasks_and_thresholds_narrow_it_down(mad):
    """As in a run: a task, several, one setting."""
    done = mad("list", f"--preset={TINY}", "--tasks=memorization", f"--threshold={LARGER}=0.25")
    assert {name: row[-1] for name, row in rows(done).items()} == {MEMORIZATION: "0.50", LARGER: "0.25"}
    both = mad("list", f"--preset={TINY}", "--threshold=0.1", "--threshold=memorization=0.2")
    assert {name: row[-1] for name, row in rows(both).items()} == {MEMORIZATION: "0.20", LARGER: "0.20", RECALL: "0.10"}


def test_the_shipped_presets(mad):
    """``smoke`` is the default: all six tasks, each with a threshold; ``paper`` has MAD's 66 settings and none."""
    smoke = rows(mad("list"))
    assert sorted(name.partition("[")[0] for name in smoke) == [
        "compression",
        "fuzzy-in-context-recall",
        "in-context-recall",
        "memorization",
        "noisy-in-context-recall",
        "selective-copying",
    ]
    assert all(row[-1] == "0.90" for row in smoke.values())
    paper = rows(mad("list", "--preset=paper"))
    assert len(paper) == 66 and all(row[-1] == "-" for row in paper.values())


def test_levels_of_published_data_are_others(mad):
    """MAD-Lab's fuzzy recall asks for keys that it never showed."""
    fuzzy = "fuzzy-in-context-recall[baseline]"
    oracle = [float(rows(mad("list", "--preset=paper", *more))[fuzzy][0]) for more in ([], ["--compat"])]
    assert oracle[1] < oracle[0] == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset=smok"], "--preset: unknown preset 'smok'; did you mean 'smoke'?"),
        (["--preset=missing.toml"], "--preset: preset file missing.toml does not exist"),
        (["--tasks=memory"], "did you mean 'memorization'?"),
        (["--tasks=,"], "--tasks=,: must be names with commas between them"),
        (["--threshold=2"], "--threshold=2: must be from 0 to 1"),
        (["--threshold=memory=0.5"], "no task or setting 'memory' here"),
    ],
)
def test_what_is_wrong_is_one_line(refused, arguments, says):
    line = refused("list", *arguments)
    assert line.startswith("pytest-mad list: error: ") and says in line


def test_it_does_not_load_torch():
    """A preset needs NumPy at most."""
    script = (
        "import sys\n"
        "from pytest_mad.cli import main\n"
        "main(['list'])\n"
        "print(*[name for name in ('torch', 'hypothesis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_python_m_is_the_same_command(folder):
    """Where the script is not on the path."""
    done = subprocess.run([sys.executable, "-m", "pytest_mad", "list"], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 7
    assert json.dumps(done.stderr) == '""'


@pytest.mark.parametrize("command", [[], ["list"], ["merge"], ["compare"], ["store"]])
def test_each_has_help(mad, command):
    done = mad(*command, "--help")
    assert done.code == 0 and done.out[0].startswith(" ".join(["usage: pytest-mad", *command])) and not done.err


@pytest.mark.parametrize("arguments", [[], ["lst"], ["list", "--presets=x"]])
def test_an_unknown_command_or_option_is_argparse_s_error(mad, arguments):
    done = mad(*arguments)
    assert done.code == 2 and not done.out and "error: " in done.err[-1]


def test_tasks_of_a_module_that_is_imported_first(mad, folder, monkeypatch):
    """A run of pytest would import the project's conftest.py; this does not."""
    (folder / "mine.toml").write_text(
        "schema = 1\n[recipe]\npoints = [{ lr = 1 }]\nsteps = 1\n[tasks.echo-of-a-list]\nthreshold = 0.5\n"
    )
    (folder / "own_tasks_of_a_test.py").write_text(
        "from pytest_mad import Task, TaskParams, register_task\n"
        "@register_task\nclass Echo(Task):\n    name, Params = 'echo-of-a-list', TaskParams\n"
        "    def generate(self, params, n, rng, split): ...\n    def players(self, params): ...\n"
        "    def oracle(self, params): return 1.0\n    def trivial(self, params): return 0.25\n"
    )
    command = [sys.executable, "-m", "pytest_mad", "list", "--preset=mine.toml"]
    done = subprocess.run([*command, "--import=own_tasks_of_a_test"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].split() == ["echo-of-a-list[baseline]", "1.0000", "0.2500", "0.50"]
    missing = mad("list", "--import=no_such_module")
    assert missing.code == 2 and missing.err[0].startswith("pytest-mad list: error: --import=no_such_module: Module")


def test_a_pipe_that_is_closed_ends_it_quietly(folder):
    """``pytest-mad list | head -1``."""
    command = f"{sys.executable} -m pytest_mad list --preset=paper | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("setting ") and not done.stderr
