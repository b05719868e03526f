"""``pytest-mad compare A B``: the table, the exit code, and files that cannot be compared."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.oracles.result_files import content, contract, measured

OLD = content(
    measured("in-context-recall[baseline]", 0.99, threshold=0.9),
    measured("noisy-in-context-recall[baseline]", 0.95, threshold=0.9),
    contract("causality"),
)
DETAIL = "normalised score 0.400 is below 0.9, trained to the end (3300 steps, lr 0.001); the curve was flat throughout"
NEW = content(
    measured("in-context-recall[baseline]", 0.4, verdict="fail", detail=DETAIL, threshold=0.9),
    measured("noisy-in-context-recall[baseline]", 0.96, threshold=0.9),
    contract("causality", "fail", "the logits at 3 depend on token 5"),
)


@pytest.fixture
def files(write):
    """Two result files."""
    write(old=OLD, new=NEW)


pytestmark = pytest.mark.usefixtures("files")


def test_the_table_shows_what_is_worse_and_the_exit_code_is_1(mad, folder):
    """Word for word, at 80 columns."""
    done = mad("compare", "old.json", "new.json")
    environment = OLD["environment"]
    where = f"(tiny, torch {environment['torch']}, {environment['device']})"
    assert done.out == [
        f"A: old.json {where}",
        f"B: new.json {where}",
        "mine (1,000 parameters)",
        "  contract causality: pass -> fail",
        "    B: the logits at 3 depend on token 5",
        "                               A      B    diff  seeds  verdict",
        "  in-context-recall        0.990  0.400  -0.590   1, 1  pass -> fail  worse",
        "    B: normalised score 0.400 is below 0.9, trained to the end (3300 steps, lr",
        "      0.001); the curve was flat throughout",
        "  noisy-in-context-recall  0.950  0.960  +0.010   1, 1  pass          same",
        "  MAD score 0.985 -> 0.840 (-0.145); normalised 0.970 -> 0.680 (-0.290)",
        "of 3 settings and contracts that passed in A: 2 worse",
    ]
    assert done.code == 1 and not done.err
    assert sorted(path.name for path in folder.iterdir()) == ["new.json", "old.json"]


def test_a_wide_terminal_takes_a_reason_in_one_line(mad, monkeypatch):
    """At 200 columns."""
    monkeypatch.setenv("COLUMNS", "200")
    assert f"    B: {DETAIL}" in mad("compare", "old.json", "new.json").out


@pytest.mark.parametrize(
    ("a", "b", "code"), [("old", "new", 1), ("new", "old", 0), ("old", "old", 0), ("new", "new", 1)]
)
@pytest.mark.parametrize("arguments", [[], ["-q"], ["-v"], ["--color=yes"]])
def test_the_exit_code_goes_by_verdicts(mad, a, b, code, arguments):
    """However it is shown."""
    done = mad("compare", f"{a}.json", f"{b}.json", *arguments)
    assert done.code == code
    assert done.out and not done.err


def test_q_and_v_say_less_and_more(mad):
    """What the exit code is due to; the reason of every verdict."""
    quiet = mad("compare", "-q", "old.json", "new.json").out
    assert quiet[0] == "mine (1,000 parameters)" and not any("noisy" in line for line in quiet)
    assert mad("compare", "-q", "old.json", "old.json").out == [
        "all 3 settings and contracts that passed in A pass in B"
    ]
    verbose = mad("compare", "-v", "new.json", "old.json").out
    assert "    A: normalised score 0.400 is below 0.9, trained to the end (3300 steps, lr" in verbose


@pytest.mark.parametrize(("arguments", "coloured"), [(["--color=yes"], True), (["--color=no"], False), ([], False)])
def test_colour_is_for_terminals(mad, arguments, coloured):
    """As pytest has it: red for what is worse, bold for headings."""
    text = "\n".join(mad("compare", "old.json", "new.json", *arguments).out)
    assert ("\x1b[31m  in-context-recall" in text) == ("\x1b[1mmine" in text) == coloured
    assert ("\x1b" in text) == coloured


def test_an_ini_file_of_pytest_s_does_not_disturb_it(mad, folder, monkeypatch):
    """Paths are relative to the current folder, not to pytest's root."""
    (folder / "pytest.ini").write_text("[pytest]\nmad_preset = none\naddopts = -n 2\n")
    (folder / "folder").mkdir()
    monkeypatch.chdir(folder / "folder")
    done = mad("compare", "../old.json", "../old.json")
    assert done.code == 0 and done.out[0].startswith("A: ../old.json (")


# -- what cannot be compared ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [[], ["old.json"], ["old.json", "new.json", "old.json"]])
def test_it_takes_two_files(mad, files):
    """No more, no fewer: argparse says so."""
    done = mad("compare", *files)
    assert done.code == 2 and not done.out and "error: " in done.err[-1]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("missing.json", None, "cannot be read: No such file or directory"),
        (".", None, "cannot be read: Is a directory"),
        ("bad.json", b"", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("bad.json", json.dumps(OLD)[:200].encode(), "is not JSON: "),
        ("bad.json", b"\x80\x04\x95", "is not JSON: 'utf-8' codec can't decode byte 0x80"),
        ("bad.json", b'{"schema": 4}', "schema is 4, but must be 1 or 2 or 3"),
        ("bad.json", json.dumps(OLD | {"preset": None}).encode(), "preset is None, but must be text"),
        ("bad.json", json.dumps(OLD | {"more": None}).encode(), "the file has an unknown key 'more'"),
        ("bad.json", json.dumps(OLD | {"architectures": {}}).encode(), "holds no results"),
        ("bad.json", b"[" * 100_000, "is nested too deeply"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_bad_file_is_refused_in_one_line(refused, folder, name, data, says, first):
    """Which names it, whichever of the two it is."""
    if data is not None:
        (folder / name).write_bytes(data)
    given = [name, "old.json"] if first else ["old.json", name]
    assert refused("compare", *given).startswith(f"pytest-mad compare: error: {name}: {says}")


def test_it_loads_neither_torch_nor_numpy():
    """Two files are compared in the time that Python takes to start."""
    script = (
        "import sys\n"
        "from pytest_mad.cli import main\n"
        "code = main(['compare', 'old.json', 'new.json'])\n"
        "print(code, *[name for name in ('torch', 'numpy', 'hypothesis', 'pytest') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1"
