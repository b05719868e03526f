"""``--mad-compare=A,B`` on the command line: the table, the exit code, and files that cannot be compared."""

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
def files(project, monkeypatch):
    """Two result files, in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    for name, found in (("old.json", OLD), ("new.json", NEW)):
        (project.path / name).write_text(json.dumps(found))
    return project


def test_the_table_shows_what_is_worse_and_the_exit_code_is_1(files):
    """Word for word, at 80 columns."""
    before = files.files()
    result = files.bare("--mad-compare=old.json,new.json")
    environment = OLD["environment"]
    where = f"(tiny, torch {environment['torch']}, {environment['device']})"
    assert result.outlines == [
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
    assert result.ret == pytest.ExitCode.TESTS_FAILED and not result.errlines
    assert files.files() == before


def test_a_wide_terminal_takes_a_reason_in_one_line(files, monkeypatch):
    """At 200 columns."""
    monkeypatch.setenv("COLUMNS", "200")
    assert f"    B: {DETAIL}" in files.bare("--mad-compare=old.json,new.json").outlines


@pytest.mark.parametrize(
    ("a", "b", "code"), [("old", "new", 1), ("new", "old", 0), ("old", "old", 0), ("new", "new", 1)]
)
@pytest.mark.parametrize(
    "arguments", [[], ["-q"], ["-v"], ["-n", "2"], ["-p", "no:terminal"], ["-p", "no:cacheprovider"]]
)
def test_the_exit_code_goes_by_verdicts(files, a, b, code, arguments):
    """However it is shown."""
    result = files.bare(f"--mad-compare={a}.json,{b}.json", *arguments)
    assert result.ret == code
    assert result.outlines and not result.errlines


def test_q_and_v_say_less_and_more(files):
    """What the exit code is due to; the reason of every verdict."""
    quiet = files.bare("-q", "--mad-compare=old.json,new.json").outlines
    assert quiet[0] == "mine (1,000 parameters)" and not any("noisy" in line for line in quiet)
    assert files.bare("-q", "--mad-compare=old.json,old.json").outlines == [
        "all 3 settings and contracts that passed in A pass in B"
    ]
    verbose = files.bare("-v", "--mad-compare=new.json,old.json").outlines
    assert "    A: normalised score 0.400 is below 0.9, trained to the end (3300 steps, lr" in verbose


@pytest.mark.parametrize(("arguments", "coloured"), [(["--color=yes"], True), (["--color=no"], False), ([], False)])
def test_colour_is_for_terminals(files, arguments, coloured):
    """As pytest has it: red for what is worse, bold for headings."""
    text = files.bare("--mad-compare=old.json,new.json", *arguments).stdout.str()
    assert ("\x1b[31m  in-context-recall" in text) == ("\x1b[1mmine" in text) == coloured
    assert ("\x1b" in text) == coloured


def test_paths_are_relative_to_where_pytest_was_started(files, monkeypatch):
    """Not to the root, where the ini file is."""
    (files.path / "pytest.ini").write_text("[pytest]\n")
    folder = files.path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    result = files.bare("--mad-compare=../old.json,../old.json")
    assert result.ret == 0 and result.outlines[0].startswith("A: ../old.json (")


def test_files_of_a_run_can_be_compared(project):
    """What ``--mad-json`` writes: whole, and of a part of the suite, which lacks what the whole one has."""
    project.models("--mad-json=whole.json")
    project.models("--mad-json=part.json", "-k", "memorization")
    whole = project.bare("--mad-compare=whole.json,whole.json")
    assert whole.ret == 1 and whole.outlines[-1] == "1 fails in both"
    assert project.bare("--mad-compare=part.json,part.json").ret == 0
    lacking = project.bare("--mad-compare=whole.json,part.json")
    assert lacking.ret == 1
    assert lacking.outlines[-1].endswith("that passed in A: 8 only in A")
    more = project.bare("--mad-compare=part.json,whole.json")
    assert more.outlines[-1] == "1 fails in B"


# -- what cannot be compared ----------------------------------------------------------------------------------------


def usage_error(project, *arguments):
    """The one line of a refusal; nothing else is shown, and nothing written."""
    before = project.files()
    result = project.bare(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR and not result.outlines
    (line,) = (line for line in result.errlines if line)
    assert project.files() == before
    return line


@pytest.mark.parametrize("text", ["", "old.json", "old.json,", ",", "old.json,new.json,old.json", "old.json new.json"])
def test_it_takes_two_files(files, text):
    """No more, no fewer."""
    line = usage_error(files, f"--mad-compare={text}")
    assert line == f"ERROR: --mad-compare={text}: must be two result files with a comma between them"


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("missing.json", None, "cannot be read: No such file or directory"),
        (".", None, "cannot be read: Is a directory"),
        ("bad.json", b"", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("bad.json", json.dumps(OLD)[:200].encode(), "is not JSON: "),
        ("bad.json", b"\x80\x04\x95", "is not JSON: 'utf-8' codec can't decode byte 0x80"),
        ("bad.json", b'{"schema": 2}', "schema is 2, but must be 1"),
        ("bad.json", json.dumps(OLD | {"preset": None}).encode(), "preset is None, but must be text"),
        ("bad.json", json.dumps(OLD | {"architectures": {}}).encode(), "holds no results"),
        ("bad.json", b"[" * 100_000, "is nested too deeply"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_bad_file_is_refused_in_one_line(files, name, data, says, first):
    """Which names it, whichever of the two it is."""
    if data is not None:
        (files.path / name).write_bytes(data)
    given = f"{name},old.json" if first else f"old.json,{name}"
    assert usage_error(files, f"--mad-compare={given}").startswith(f"ERROR: --mad-compare={given}: {name}: {says}")


@pytest.mark.parametrize(
    "option",
    [
        "--mad-arch=models:make_model",
        "--mad-layers=swiglu",
        "--mad-list",
        "--mad-json=out.json",
        "--mad-preset=tiny.toml",
    ],
)
def test_it_stands_alone(files, option):
    """Nothing is trained beside it, and no report written: one line names both options."""
    line = usage_error(files, "--mad-compare=old.json,new.json", option)
    flag = option.partition("=")[0]
    assert line == f"ERROR: --mad-compare only compares two result files: leave out {flag}"


def test_other_settings_of_a_project_do_not_disturb_it(files):
    """Ini twins are there for runs; so is ``-n`` in ``addopts``."""
    (files.path / "pytest.ini").write_text("[pytest]\nmad_preset = tiny.toml\nmad_seeds = 2\naddopts = -n 2\n")
    assert files.bare("--mad-compare=old.json,old.json").ret == 0


def test_it_loads_neither_torch_nor_numpy(files):
    """Two files are compared in the time that pytest takes to start."""
    script = (
        "import sys, pytest\n"
        "code = pytest.main(['-p', 'no:hypothesispytest', '-p', 'no:anyio', '--mad-compare=old.json,new.json'])\n"
        "print(int(code), *[name for name in ('torch', 'numpy', 'hypothesis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1"
