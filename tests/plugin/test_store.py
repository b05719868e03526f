"""The store at the command line: what an unchanged architecture costs, where results are kept, and who may not."""

from __future__ import annotations

import os
import random
import re
import signal
import time

import pytest

#: Long enough to be killed in: some tenths of a second per setting.
SLOW = """
import time
from models import Tiny

class Slow(Tiny):
    def forward(self, tokens_BT):
        time.sleep(0.003 * self.training)
        return super().forward(tokens_BT)

def make_model(vocab_size):
    return Slow(vocab_size)
"""


@pytest.fixture
def project(project):
    """One whose runs keep results."""
    project.has_store = True
    return project


def scores(project):
    """What the result file says of every setting, apart from times."""
    (found,) = project.results("r.json")["architectures"].values()
    return {
        name: {k: v for k, v in one.items() if k not in ("seconds", "seconds_per_step", "stored")}
        for name, one in found["settings"].items()
    }


def stored(project):
    (found,) = project.results("r.json")["architectures"].values()
    return {name: one["stored"] for name, one in found["settings"].items()}


def test_an_unchanged_architecture_is_not_trained_again(project):
    """Its scores, curves and verdicts are the same; the report says that they are old."""
    first = project.models("--mad-json=r.json")
    fresh = scores(project)
    assert not any(stored(project).values())
    assert (project.path / ".pytest_mad" / ".gitignore").read_text() == "*\n"
    again = project.models("--mad-json=r.json", "--junitxml=j.xml")
    assert (first.ret, again.ret) == (1, 1)
    assert all(stored(project).values())
    assert scores(project) == fresh
    again.stdout.fnmatch_lines(
        [
            "*contract[[]causality]*PASS*stored",
            "*memorization[[]baseline]*PASS*stored",
            "*  memorization  *pass*stored",
            "*measured by an earlier run*--mad-no-store*",
        ]
    )
    assert 'name="mad.stored" value="true"' in (project.path / "j.xml").read_text()


def test_workers_share_the_store(project):
    """What one of two workers trained, a single process finds, and the other way round."""
    project.models("--mad-json=r.json", "-n2")
    fresh = scores(project)
    project.models("--mad-json=r.json")
    assert all(stored(project).values())
    project.models("--mad-json=r.json", "-n2")
    assert all(stored(project).values())
    assert scores(project) == fresh


def test_without_a_store_nothing_is_kept(project):
    for _ in range(2):
        project.models("--mad-json=r.json", "--mad-no-store")
        assert not any(stored(project).values())
    assert not (project.path / ".pytest_mad").exists()


@pytest.mark.parametrize("ini", [False, True])
def test_the_folder_may_be_another(project, ini):
    """From the command line it is relative to where pytest was started, from the ini file to that file."""
    if ini:
        project.pytester.makeini("[pytest]\nmad_store = kept/here\n")
    option = () if ini else ("--mad-store=kept/here",)
    project.models("--mad-json=r.json", *option)
    assert list((project.path / "kept" / "here").glob("trial-*"))
    assert not (project.path / ".pytest_mad").exists()
    project.models("--mad-json=r.json", *option)
    assert all(stored(project).values())


def test_the_ini_file_may_switch_it_off(project):
    project.pytester.makeini("[pytest]\nmad_no_store = true\n")
    project.models()
    assert not (project.path / ".pytest_mad").exists()


def test_a_test_of_the_users_own_finds_what_the_suite_trained(project):
    """And the other way round: it is the same trial."""
    project.models("--mad-tasks=memorization")
    project.write(
        test_own="""
        import pytest, models

        @pytest.fixture
        def mad_model():
            return models.make_model

        @pytest.mark.mad(tasks=["memorization"])
        def test_it(mad_result):
            assert mad_result.stored
        """
    )
    project.run("test_own.py").assert_outcomes(passed=2)


def test_a_changed_architecture_is_trained_again(project):
    project.models("--mad-json=r.json")
    fresh = scores(project)
    model = project.path / "models.py"
    model.write_text(
        model.read_text()
        .replace("nn.Embedding(vocab_size, ", "nn.Embedding(vocab_size, 2 * ")
        .replace("nn.Linear(", "nn.Linear(2 * ", 1)
    )
    result = project.pytester.runpytest_subprocess(
        "--mad-preset=tiny.toml", "--mad-arch=models:make_model", "--mad-json=r.json"
    )
    assert result.ret == 1
    assert not any(stored(project).values())
    assert scores(project) != fresh


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--mad-store=models.py",), "--mad-store=*models.py: is no folder"),
        (("--mad-store=kept", "--mad-no-store"), "--mad-store=kept: and --mad-no-store: leave one of them out"),
    ],
)
def test_a_store_that_cannot_be_meant_is_refused(project, options, says):
    result = project.models(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {says}"])


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_trouble_with_the_store_is_said_once_and_costs_no_verdict(project, workers):
    """A file that is damaged, and a store that a newer version wrote."""
    first = project.models()
    for path in (project.path / ".pytest_mad").glob("trial-*"):
        path.write_bytes(b"damaged")
    damaged = project.models(*workers)
    assert damaged.ret == first.ret
    assert 1 <= len(re.findall("is damaged", damaged.stdout.str())) <= 2  # each worker has its own
    (project.path / ".pytest_mad" / "store.json").write_text('{"schema": 2}')
    newer = project.bare(
        "--mad-preset=tiny.toml", "--mad-arch=models:make_model", "--mad-store=.pytest_mad/../.pytest_mad", *workers
    )
    assert newer.ret == first.ret
    newer.stdout.fnmatch_lines(
        ["store *: has schema 2, but this version of pytest-mad writes 1; the run goes on without it"]
    )


def test_a_run_that_is_killed_loses_nothing_that_had_finished(project):
    """Killed a moment after each file that it keeps, until it comes through: the scores are those of a quiet run."""
    project.write(slow=SLOW)
    arguments = ("--mad-arch=slow:make_model", "--mad-json=r.json", "-knot contract", "-q")
    project.run(*arguments, "--mad-store=other")
    whole = scores(project)
    draw, kills, folder = random.Random(0), 0, project.path / ".pytest_mad"
    kept: dict[str, int] = {}
    while kills < 5:
        with project.started(*arguments) as process:
            while process.poll() is None and files(folder) == kept:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.05))
            if process.poll() is not None:
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        after = files(folder)
        assert trials(kept).items() <= trials(after).items()  # a trial that is written anew is another file
        kept, kills = after, kills + 1
    assert kills >= 2 and kept
    (project.path / "r.json").unlink(missing_ok=True)
    result = project.run(*arguments)
    assert scores(project) == whole
    assert "damaged" not in result.stdout.str()
    assert sum(stored(project).values()) >= len(trials(kept))
    assert not list(folder.glob("checkpoint-*"))


def files(folder):
    """What a store keeps, by name; a file that is replaced is another one."""
    return {path.name: path.stat().st_ino for path in folder.glob("*.safetensors")}


def trials(kept):
    return {name: number for name, number in kept.items() if name.startswith("trial-")}
