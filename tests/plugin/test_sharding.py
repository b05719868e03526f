"""xdist: which worker has which device, and what becomes of a run whose workers die."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ET

import pytest

RECALL, MEMORIZATION, LARGER = "in-context-recall[baseline]", "memorization[baseline]", "memorization[vocab_size=24]"
WITHOUT_CONTRACTS = ("-k", "not contract")

#: Every worker writes down what it found when pytest started in it: before torch could look at it.
CONFTEST = """
import json, os
from pathlib import Path

def pytest_configure(config):
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        Path(f"{worker}.json").write_text(json.dumps({name: os.environ.get(name) for name in names}))
"""


@pytest.fixture
def project(project, monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTEST_XDIST_AUTO_NUM_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    (project.path / "conftest.py").write_text(CONFTEST)
    return project


@pytest.fixture
def devices(monkeypatch):
    """The caller's list, and how many of its devices torch sees: all, unless a test says otherwise."""

    def install(text, seen=100):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        monkeypatch.setattr("torch.cuda.device_count", lambda: seen)

    return install


def header(result):
    """The lines of ours behind the first."""
    return [line.removeprefix("mad: ") for line in result.outlines if line.startswith("mad: ")][1:]


def found_by(project, worker):
    return json.loads((project.path / f"{worker}.json").read_text())


def settings(project, name="out.json"):
    """Per architecture and setting what the result file says, without times."""
    architectures = project.results(name)["architectures"]
    return {
        architecture: {
            setting: {k: v for k, v in one.items() if not k.startswith("seconds")}
            for setting, one in found["settings"].items()
        }
        for architecture, found in architectures.items()
    }


# -- devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visible", "arguments", "lines"),
    [
        ("GPU-b,MIG-a/1/0", ["-n3"], ["gw0, gw2 on GPU-b", "gw1 on MIG-a/1/0"]),
        ("GPU-b,7", ["-nauto"], ["gw0, gw2 on GPU-b", "gw1, gw3 on 7"]),
        ("GPU-b,7", ["-nauto", "--mad-trials-per-gpu=1"], ["gw0 on GPU-b", "gw1 on 7"]),
        ("GPU-b,7,8", ["-nauto", "--mad-gpus=8,0", "--mad-trials-per-gpu=1"], None),
        ("GPU-b,7,8", ["-nauto", "--mad-gpus=2,0", "--mad-trials-per-gpu=1"], ["gw0 on 8", "gw1 on GPU-b"]),
        (
            "GPU-b",
            ["-n2", "--mad-trials-per-gpu=1"],
            ["gw0, gw1 on GPU-b", "up to 2 workers share a device, more than --mad-trials-per-gpu=1"],
        ),
        ("GPU-b,7", ["-nauto", "--mad-device=cpu"], []),
        ("", ["-nauto"], []),
        ("GPU-b,7", [], ["this process trains on GPU-b", "add -n auto to train 4 settings at a time on 2 GPUs"]),
        (
            "GPU-b,7",
            ["--mad-gpus=1", "-n0"],
            ["this process trains on 7", "add -n auto to train 2 settings at a time on 1 GPU"],
        ),
        ("GPU-b,7", ["--mad-device=cpu"], ["add -n auto to train on 3 cores at a time"]),
    ],
)
def test_the_header_says_which_worker_has_which_device(project, devices, monkeypatch, visible, arguments, lines):
    """Collecting starts no worker, so this is the plan alone."""
    devices(visible)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    result = project.models("--collect-only", *arguments)
    if lines is None:
        assert result.ret == pytest.ExitCode.USAGE_ERROR
    else:
        assert header(result) == lines
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


def test_the_ini_file_may_say_it(project, devices):
    devices("4,5,6")
    (project.path / "pytest.ini").write_text("[pytest]\nmad_gpus = 2,1\nmad_trials_per_gpu = 1\n")
    assert header(project.models("--collect-only", "-nauto")) == ["gw0 on 6", "gw1 on 5"]


@pytest.mark.parametrize(
    ("visible", "seen", "arguments", "lines"),
    [
        (
            "0,1,2",
            0,
            ["-nauto"],
            ["CUDA_VISIBLE_DEVICES names 3 CUDA devices, but torch sees none, so this runs on the CPU"],
        ),
        ("7", 0, ["-n2"], ["CUDA_VISIBLE_DEVICES names 1 CUDA device, but torch sees none, so this runs on the CPU"]),
        ("0,1", 1, ["-n2"], ["gw0, gw1 on 0", "CUDA_VISIBLE_DEVICES names 2 CUDA devices, but torch sees 1"]),
        ("0,1", 0, ["-n2", "--mad-device=cpu"], []),
    ],
)
def test_devices_that_are_not_there_train_nothing(project, devices, monkeypatch, visible, seen, arguments, lines):
    """The variable is another machine's: workers are as many as without it, and the header says so."""
    devices(visible, seen)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    result = project.models("--collect-only", *arguments)
    assert result.ret == 0 and header(result) == lines


def test_as_many_workers_as_cores_where_no_device_is_there(project, devices, monkeypatch):
    devices("0,1,2", 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    result = project.models("-nauto", "mad::models::contract[output]")
    result.assert_outcomes(passed=1)
    assert "1 worker [1 item]" in result.outlines


def test_nvidia_smi_is_asked_where_the_caller_has_no_list(project, monkeypatch):
    """A stand-in on the PATH."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    program = project.path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA H100 (UUID: GPU-2)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{project.path}{os.pathsep}{os.environ['PATH']}")
    result = project.models("--collect-only", "-nauto", "--mad-trials-per-gpu=1")
    assert header(result) == ["gw0 on GPU-1", "gw1 on GPU-2"]


@pytest.mark.parametrize("workers", [[], ["-n2"], ["-nauto"]])
@pytest.mark.parametrize(
    ("visible", "option", "says"),
    [
        ("GPU-b,7", "--mad-gpus=7", "must be of the devices here: 0 (GPU-b), 1 (7)"),
        ("", "--mad-gpus=0", "there is no CUDA device here"),
        ("0", "--mad-gpus=a", "must be auto, or numbers or UUIDs of devices with commas between them"),
        ("0", "--mad-trials-per-gpu=0", "must be a whole number of at least 1"),
    ],
)
def test_devices_that_cannot_be_meant_are_refused(project, devices, workers, visible, option, says):
    devices(visible)
    before = project.files()
    result = project.models(option, *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [f"ERROR: {option}: {says}"]
    assert project.files() == before


def test_a_single_process_sees_the_first_of_the_devices_it_is_given(project, devices):
    devices("GPU-b,7")
    project.write(
        test_seen="""
        import os
        def test_seen():
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
        """
    )
    project.models("--mad-gpus=1", "test_seen.py").assert_outcomes(passed=1)


# -- workers that die -------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_costs_one_setting(project, devices, monkeypatch):
    """The verdict is everywhere, the rest is as in one process, and the replacement has the dead worker's device."""
    devices("GPU-b,MIG-a/1/0")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    arguments = ["--mad-arch=models:make_model", *WITHOUT_CONTRACTS]
    project.run(*arguments, "--mad-json=alone.json", "--mad-device=cpu")
    reports = ("--mad-json=out.json", "--mad-html=out.html", "--junitxml=j.xml")
    result = project.run(*arguments, "--mad-arch=dying:killed", "-n2", *reports)

    assert header(result) == ["gw0 on GPU-b", "gw1 on MIG-a/1/0"]
    worker = re.search(r"replacing crashed worker (gw[01])", result.stdout.str())[1]
    assert found_by(project, "gw0") | {"CUDA_VISIBLE_DEVICES": "MIG-a/1/0"} == found_by(project, "gw1")
    assert found_by(project, "gw2") == found_by(project, worker)
    assert (found_by(project, "gw0")["OMP_NUM_THREADS"], found_by(project, "gw0")["MKL_NUM_THREADS"]) == ("1", "3")

    found, alone = settings(project), settings(project, "alone.json")
    assert found["models"] == alone["models"]
    assert {name: one["verdict"] for name, one in found["dying.killed"].items()} == {
        MEMORIZATION: "pass",
        LARGER: "error",
        RECALL: "fail",
    }
    cause = f"its worker {worker} was killed by SIGKILL; the system does that where memory runs out"
    assert found["dying.killed"][LARGER]["detail"] == cause
    assert not project.results()["cut_short"]
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [f"[[]?/6] mad::dying.killed::{LARGER.replace('[', '[[]')}  ERROR *", f"error: {cause}"]
    )
    assert all(cause in (project.path / name).read_text() for name in ("out.html", "summary.md"))
    cases = [c for c in ET.parse(project.path / "j.xml").iter("testcase") if c.get("classname") == "mad.dying.killed"]
    assert len(cases) == 3
    (case,) = (case for case in cases if case.get("name") == LARGER)
    assert case.find("failure").get("message") == f"error: {cause}"
    assert case.find("properties/property[@name='mad.verdict']").get("value") == "error"


OWN = """
import dying, pytest

@pytest.fixture
def mad_model():
    return dying.hangs

@pytest.mark.mad(tasks=["memorization"])
def test_own(mad_result):
    assert mad_result.passed
"""


def test_a_hang_and_a_broken_cuda_context_cost_one_setting_each(project):
    """The watchdog ends a process that holds Python's lock; a worker that can use CUDA no more ends itself.

    Beside them a test of the user's that hangs: whose setting that was only its worker knew, so xdist's line is kept.
    """
    (project.path / "conftest.py").write_text(
        "import pytest_mad.suite.watchdog, torch._dynamo\npytest_mad.suite.watchdog.GRACE = 1.0\n"  # slow to import
    )
    project.write(test_own=OWN)
    names = [f"--mad-arch={name}=dying:{name}" for name in ("hangs", "broken_cuda")]
    arguments = ("--mad-json=out.json", "--mad-timeout=2", "--max-worker-restart=3", "-n1")
    result = project.run(*names, *arguments, *WITHOUT_CONTRACTS, "test_own.py", "mad")

    found, output = settings(project), result.stdout.str()
    for name in ("hangs", "broken_cuda"):
        verdicts = {setting: one["verdict"] for setting, one in found[name].items()}
        assert verdicts == {MEMORIZATION: "pass", LARGER: "error", RECALL: "fail"}
    place = r"\(in dying\.py, line \d+, die\)"
    hung = rf"hung: still running after [3-9] s with --mad-timeout=2, so its worker was ended {place}"
    assert re.fullmatch(hung, found["hangs"][LARGER]["detail"])
    assert re.search(r'^  File ".*dying.py", line \d+ in forward$', output, re.MULTILINE)
    assert "CUDA error: device-side assert" in found["broken_cuda"][LARGER]["detail"]
    assert re.findall(r"replacing crashed worker (\w+)", output) == ["gw0", "gw1", "gw2"]
    line = rf"worker 'gw0' crashed while running '{re.escape(f'test_own.py::test_own[{LARGER}]')}': {hung}"
    assert re.search(line, output)
    assert "5 failed, 3 passed" in result.outlines[-1]


KILLER = """
import os, signal
from pathlib import Path
import pytest

is_worker = False

def pytest_configure(config):
    # not by an environment variable: these tests may run in a worker themselves, and this file's controller within it
    global is_worker
    is_worker = hasattr(config, "workerinput")

def once(name):
    if is_worker and not Path(name).exists():
        Path(name).touch()
        os.kill(os.getpid(), signal.SIGKILL)

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    if "vocab_size=24" in item.nodeid:
        once("before")

@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    if report.when == "call" and "recall" in report.nodeid:
        once("behind")
"""


def test_a_worker_that_dies_between_two_items_costs_nothing(project):
    """What it had not begun is trained by another, what it had reported stays."""
    (project.path / "conftest.py").write_text(KILLER)
    result = project.models("--mad-json=out.json", "-n1", *WITHOUT_CONTRACTS)
    assert (project.path / "before").exists() and (project.path / "behind").exists()
    assert result.stdout.str().count("replacing crashed worker") == 2
    assert "crashed while" not in result.stdout.str()
    assert {name: one["verdict"] for name, one in settings(project)["models"].items()} == {
        MEMORIZATION: "pass",
        LARGER: "pass",
        RECALL: "fail",
    }
    assert "1 failed, 2 passed" in result.outlines[-1]


def test_a_run_without_workers_left_says_that_it_was_cut_short(project):
    """And fails, although nothing that was run failed."""
    (project.path / "conftest.py").write_text(KILLER)
    arguments = ("--mad-json=out.json", "-n1", "--max-worker-restart=0", "--mad-tasks=memorization")
    result = project.models(*arguments, *WITHOUT_CONTRACTS)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.results()["cut_short"] is True
    assert list(settings(project)["models"]) == [MEMORIZATION]


def test_x_stops_at_a_worker_that_dies(project):
    """As at any other failure."""
    names = [f"--mad-arch={name}=dying:killed" for name in "ab"]
    result = project.run(*names, "-n1", "-x", "--mad-json=out.json", "--mad-tasks=memorization", *WITHOUT_CONTRACTS)
    verdicts = [one["verdict"] for found in settings(project).values() for one in found.values()]
    assert result.ret != 0
    assert verdicts.count("error") == 1
    assert project.results()["cut_short"] is True


# -- a single process that dies ---------------------------------------------------------------------------------------


def test_the_next_run_names_what_a_process_died_of_once(project):
    project.has_store = True
    with project.started("--mad-arch=dying:leaves", *WITHOUT_CONTRACTS) as process:
        process.communicate(timeout=100)
    assert process.returncode == 3
    line = f"the last run ended while it ran dying.leaves, {LARGER}; what had finished is in the store"
    with project.started("--mad-arch=dying:leaves", "--collect-only") as process:
        assert f"mad: {line}\n" in process.communicate(timeout=100)[0]
    assert line not in header(project.models("--collect-only"))
    assert not list((project.path / ".pytest_mad").glob("running-*"))
