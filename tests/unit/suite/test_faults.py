"""What is said of a process that ended: why, and where it hung."""

from __future__ import annotations

import contextlib
import json
import signal
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest

import pytest_mad
from pytest_mad.architectures.architecture import from_factory
from pytest_mad.common.records import plain
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.presets.reading import settings
from pytest_mad.results.result import ContractResult, SettingResult
from pytest_mad.suite.crashes import Crashes, ending, lost, place, user_stack
from pytest_mad.suite.keys import TRACE as TRACE_KEY
from pytest_mad.suite.plan import Plan
from pytest_mad.suite.watchdog import WorkerGuard, is_sticky

OURS = Path(pytest_mad.__file__).parent
TRACE = f"""\
Timeout (0:00:02)!
Thread 0x00007f01 (most recent call first):
  File "/usr/lib/python3/threading.py", line 320 in wait
  File "/home/me/other.py", line 1 in watch

Thread 0x00007f02 (most recent call first):
  File "{sysconfig.get_path("stdlib")}/re/__init__.py", line 3 in match
  File "/venv/lib/python3.11/site-packages/torch/functional.py", line 7 in einsum
  File "/home/me/scan.py", line 41 in forward
  File "/home/me/models.py", line 12 in forward
  File "{OURS}/training/trial.py", line 200 in loss_of
  File "/venv/lib/python3.11/site-packages/_pytest/runner.py", line 5 in call
"""


def test_the_stack_is_that_of_the_thread_that_trained_down_to_our_code():
    assert [line.rpartition(" in ")[2] for line in user_stack(TRACE)] == ["match", "einsum", "forward", "forward"]
    assert user_stack("Timeout (0:00:02)!\n") == []


def test_the_place_is_the_users_where_there_is_one():
    assert place(user_stack(TRACE)) == " (in scan.py, line 41, forward)"
    assert place(user_stack(TRACE)[:2]) == " (in __init__.py, line 3, match)"
    assert place([]) == ""


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (-signal.SIGKILL, "its worker gw3 was killed by SIGKILL; the system does that where memory runs out"),
        (-signal.SIGSEGV, "its worker gw3 was killed by SIGSEGV"),
        (-250, "its worker gw3 was killed by signal 250"),
        (7, "its worker gw3 ended with exit code 7"),
        (0, "its worker gw3 ended with exit code 0"),
        (None, "its worker gw3 ended"),
    ],
)
def test_how_a_worker_ended(status, says):
    assert ending("gw3", status) == says


@pytest.mark.parametrize(
    ("text", "sticky"),
    [
        ("training raised AcceleratorError: CUDA error: device-side assert triggered", True),
        ("training raised RuntimeError: CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: unspecified launch failure", True),
        ("CUDA error: an illegal instruction was encountered", True),
        ("CUDA error: misaligned address", True),
        ("CUDA error: uncorrectable ECC error encountered", True),
        ("CUDA out of memory. Tried to allocate 20.00 GiB.", False),
        ("CUDA error: out of memory", False),
        ("training raised IndexError: index out of range", False),
        ("", False),
    ],
)
def test_which_cuda_errors_outlive_their_item(text, sticky):
    assert is_sticky(text) == sticky


@pytest.fixture(scope="module")
def plan():
    architecture = from_factory(lambda vocab_size: None, name="mine")
    return Plan(architectures=(architecture,), settings=settings("smoke"), run=RunOptions())


def test_a_lost_setting_has_its_verdict_and_its_identity(plan):
    name, setting = next(iter(plan.settings.items()))
    found = lost(plan, f"mad::mine::{name}", "its worker ended", 1.23456, "cuda")
    assert isinstance(found, SettingResult)
    assert (found.verdict, found.detail, found.seconds, found.device) == ("error", "its worker ended", 1.235, "cuda")
    assert (found.threshold, found.recipe) == (setting.threshold, setting.identity()["recipe"])
    assert found.normalized is None and found.trials == ()


def test_a_lost_contract_too(plan):
    found = lost(plan, "mad::mine::contract[causality]", "gone", 1.0, "cpu")
    assert found == ContractResult(
        architecture="mine", contract="causality", verdict="error", detail="gone", seconds=1.0
    )


@pytest.mark.parametrize(
    "nodeid", ["test_own.py::test_own", "mad::other::contract[output]", "mad::mine::unknown", "mad"]
)
def test_other_items_are_not_the_suites(nodeid, plan):
    assert lost(plan, nodeid, "gone", 1.0, "cpu") is None


def test_a_full_disk_costs_the_stack_of_a_hang_and_nothing_else(monkeypatch):
    """Workers are watched all the same."""

    def mkdtemp(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", mkdtemp)
    crashes = Crashes(SimpleNamespace(add_cleanup=lambda _: None), None, "cpu")
    spec = SimpleNamespace(popen=True)
    node = SimpleNamespace(gateway=SimpleNamespace(id="gw0", spec=spec), workerinput={})
    crashes.pytest_configure_node(node)
    assert Path(node.workerinput[TRACE_KEY]).read_text() == ""
    assert crashes._death(node, 3.0) == ("its worker gw0 ended", "")


@pytest.mark.parametrize(
    ("verdict", "text"), [("error", {"detail": "CUDA error: device-side assert triggered"}),
                          ("pass", {"warned": ("a batch raises RuntimeError: CUDA error: device-side assert triggered",)})]
)  # fmt: skip
def test_a_worker_sees_its_broken_context_in_a_failure_and_in_a_warning(monkeypatch, verdict, text):
    """It ends before the next item."""
    result = ContractResult(architecture="a", contract="autocast", verdict=verdict, **text)
    guard, ended = WorkerGuard(), []
    monkeypatch.setattr("os._exit", ended.append)
    guard.pytest_runtest_logreport(SimpleNamespace(mad_record=json.dumps(plain(result))))
    with contextlib.suppress(StopIteration):
        next(guard.pytest_runtest_protocol())
    assert ended == [1]
