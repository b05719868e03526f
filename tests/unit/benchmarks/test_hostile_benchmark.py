"""``benchmarks.scale.hostile``: a few inputs of every kind, and that it sees what it is there to see."""

from __future__ import annotations

import subprocess
import time
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st

from benchmarks.scale.hostile import __main__ as hostile
from benchmarks.scale.hostile import commands, judging
from benchmarks.scale.hostile.__main__ import KINDS, counts, in_process, row
from benchmarks.scale.hostile.judging import DefectError, Kind, drawn, meet


@pytest.fixture(scope="module", autouse=True)
def _prepared():
    """What torch leaves in the environment at first is not an input's doing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hostile.prepare()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_input_is_a_defect(kind):
    """Thirty of each kind, the same in every run."""
    found = row(in_process(kind, 33, 7), 0.0)
    assert found["defects"] == []
    assert found["count"] == 33 == found["valid"] + found["refused"] + found["judged"]


def test_inputs_are_different_and_the_same_for_a_seed():
    texts = st.text(max_size=3)
    first = drawn(texts, 50, 1)
    assert len(set(first)) == 50 and drawn(texts, 50, 1) == first != drawn(texts, 50, 2)


def test_every_kind_has_its_least_in_a_large_run():
    assert min(counts(10_000, KINDS).values()) >= hostile.LEAST
    assert sum(counts(10_000, KINDS).values()) >= 10_000


def raising(error):
    def attempt(given, folder):
        raise error

    return attempt


def changing(given, folder):
    torch.set_default_dtype(torch.float64)
    return "valid"


def hanging(given, folder):
    while True:
        time.sleep(1)


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        (raising(KeyError("x")), "'KeyError'"),
        (raising(SystemExit(0)), "'SystemExit'"),
        (raising(ValueError("a\nb")), "several lines"),
        (raising(ValueError("a\x1bb")), "control characters"),
        (raising(ValueError("")), "without a word"),
        (raising(ValueError("one line")), ""),
        (raising(DefectError("half written")), "half written"),
        (changing, "left changed: torch's default dtype"),
        (hanging, "hangs"),
    ],
)
def test_what_counts_as_a_defect(attempt, says, tmp_path, monkeypatch):
    """And a global that was changed is put back for the inputs that come."""
    monkeypatch.setattr(judging, "LONGEST", 0.2)
    kind = Kind(name="x", inputs=st.none(), attempt=attempt, documented=(ValueError,), share=1)
    met = meet(kind, None, tmp_path)
    assert says in met.defect and bool(says) == bool(met.defect)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("code", "out", "err", "says"),
    [
        (4, "", "ERROR: --mad-seeds=x: wrong\n", ""),
        (3, "INTERNALERROR> x", "", "INTERNALERROR"),
        (1, f'  File "{Path(commands.HERE)}/cli.py", line 3, in main', "", "a traceback of ours"),
        (3, "", "", "exit code 3"),
        (0, "1 passed", "", "exit code 0"),
        (4, "", "ERROR: a\nERROR: b\n", "several ERROR: lines"),
        (4, "", "ERROR: a\x1b[31m\n", "control characters"),
    ],
)
def test_what_counts_as_a_defect_of_a_command(tmp_path, code, out, err, says):
    done = subprocess.CompletedProcess([], code, out, err)
    wrong = commands.wrong(done, tmp_path, must_fail=True)
    assert says in wrong and bool(says) == bool(wrong)


def test_a_report_that_is_cut_off_is_a_defect_of_a_command(tmp_path):
    done = subprocess.CompletedProcess([], 1, "", "")
    (tmp_path / ".out.json.a1b2c3d4").touch()
    assert "left over" in commands.wrong(done, tmp_path, must_fail=False)
    (tmp_path / "out.json").write_text('{"schema": 2')
    assert "out.json is not JSON" in commands.wrong(done, tmp_path, must_fail=False)
