"""``pytest-mad merge A B``: one report, one exit code, and files that do not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from pytest_mad.results.result_file import environment
from tests.oracles.result_files import content, contract, measured

RECALL, NOISY = "in-context-recall[baseline]", "noisy-in-context-recall[baseline]"
HERE = asdict(environment(["cpu"]))


def shard(part, *records, of=2):
    return content(*records, shards=[{"suite": "00ff", "of": of, "parts": [part]}], **HERE)


FIRST = shard(1, measured(RECALL, 0.99, threshold=0.9), contract("causality"))
SECOND = shard(2, measured(NOISY, 0.95, threshold=0.9))
FAILING = shard(2, measured(NOISY, 0.4, verdict="fail", detail="normalised score 0.400 is below 0.9", threshold=0.9))
BOTH = ("merge", "first.json", "second.json")
LACKING = ("merge", "first.json")
BAD = ("merge", "first.json", "failing.json")


@pytest.fixture
def files(write, folder):
    """A job that passed, one that did too, and one that failed; a report of an earlier day."""
    write(first=FIRST, second=SECOND, failing=FAILING)
    (folder / "out.json").write_text("kept")


pytestmark = pytest.mark.usefixtures("files")


def read(path):
    return json.loads(path.read_text())


def test_the_tables_are_those_of_a_run(mad, folder):
    """Word for word, and nothing is written."""
    before = sorted(folder.iterdir())
    done = mad(*BOTH)
    assert done.out == [
        "mine (tiny, 1,000 parameters for in-context-recall)",
        "  1 contract holds",
        "                           verdict score needed accuracy trivial learned seconds",
        "  in-context-recall        pass    0.990  0.900    0.995   0.500       -     0.0",
        "  noisy-in-context-recall  pass    0.950  0.900    0.975   0.500       -     0.0",
        "  MAD score 0.985, normalised 0.970 (mean over 2 tasks)",
        "2 files, 3 results; none fails",
    ]
    assert done.code == 0 and not done.err and sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "code", "last"),
    [
        (BOTH, 0, "2 files, 3 results; none fails"),
        (LACKING, 1, "1 file, 2 results; missing: shard 2 of 2"),
        (BAD, 1, "2 files, 3 results; 1 fails"),
    ],
)
@pytest.mark.parametrize("more", [[], ["-q"]])
def test_the_last_line_says_what_the_exit_code_is_due_to(mad, arguments, code, last, more):
    """However it is shown; quietly it stands alone."""
    done = mad(*arguments, *more)
    assert (done.code, done.out[-1]) == (code, last) and not done.err
    assert len(done.out) == 1 or more != ["-q"]


def test_all_reports_are_written(mad, folder, monkeypatch):
    """As a run would: pages, charts, the job summary, and annotations."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    done = mad(*BAD, "--json=all.json", "--html=all.html", "--benchmark-json=bench.json")
    assert done.code == 1
    assert read(folder / "all.json")["architectures"]["mine"]["mad_score"] == pytest.approx(0.8475)
    assert "<h1>1 of 2 settings failed</h1>" in (folder / "all.html").read_text()
    assert "mine: MAD score" in (folder / "bench.json").read_text()
    assert (folder / "summary.md").read_text().startswith("## MAD: mine fails\n")
    assert any(line.startswith("::error title=MAD%3A mine::noisy-in-context-recall") for line in done.out)


def test_what_is_missing_is_said_everywhere(mad, folder, monkeypatch):
    """A page of half the results must not look like one of all."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    done = mad(*LACKING, "--json=all.json", "--html=all.html")
    said = "Shard 1 of 2 only: the rest of the suite is missing here."
    assert said in done.out and said in (folder / "summary.md").read_text()
    assert "<h1>Shard 1 of 2: " in (folder / "all.html").read_text()
    assert mad("merge", "all.json", "second.json").code == 0


@pytest.mark.parametrize("pattern", ["[fs]*.json", "./[fs]*.j*n", "*rst.json"])
def test_a_pattern_is_all_files_that_match(mad, folder, pattern):
    """Not every shell expands one."""
    (folder / "failing.json").unlink()
    count = 1 if pattern == "*rst.json" else 2
    assert mad("merge", pattern).out[-1].startswith(f"{count} file")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(mad, folder):
    (folder / "[fs].json").write_text(json.dumps(FIRST))
    assert mad("merge", "[fs].json").out[-1].startswith("1 file, ")


def test_another_torch_is_warned_of(mad, write):
    """Scores may differ for this alone; the verdicts stand."""
    other = json.loads(json.dumps(SECOND))
    other["environment"]["torch"] = "1.0.0"
    write(second=other)
    done = mad(*BOTH, "-q")
    assert done.code == 0 and done.out[0].startswith("warning: measured with torch 1.0, ")


def test_a_summary_that_cannot_be_written_is_a_warning(mad, folder, monkeypatch):
    """Nobody asked for it; what was asked for is there."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "missing" / "summary.md"))
    done = mad(*BOTH, "--json=all.json")
    assert done.code == 0 and (folder / "all.json").exists()
    (line,) = done.err
    assert line.startswith("pytest-mad merge: warning: GITHUB_STEP_SUMMARY=")


def test_a_report_that_cannot_be_made_takes_no_other_with_it(mad, folder, monkeypatch):
    """It is an error, and told in a line."""
    monkeypatch.setattr("pytest_mad.report.html.render.html_report", lambda run: 1 / 0)
    done = mad(*BOTH, "--html=all.html", "--json=all.json")
    assert done.code == 2 and (folder / "all.json").exists() and not (folder / "all.html").exists()
    assert done.err == ["pytest-mad merge: error: --html=all.html: writing raised ZeroDivisionError: division by zero"]


# -- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("missing.json", None, "cannot be read: No such file or directory"),
        ("no*.json", None, "no file has a name like this"),
        (".", None, "cannot be read: Is a directory"),
        ("bad.json", "", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("bad.json", '{"schema": 4}', "schema is 4, but must be 1 or 2 or 3"),
        ("bad.json", '{"schema": 3}', "the file has no 'preset'"),
        ("bad.json", json.dumps(FIRST | {"preset": None}), "preset is None, but must be text"),
        ("bad.json", json.dumps(FIRST | {"shards": [{"suite": "", "of": 2, "parts": [3]}]}), "shards[0].parts[0] is 3"),
        ("bad.json", json.dumps(FIRST | {"shards": [{"suite": "", "of": 2, "parts": []}]}), "shards[0].parts is []"),
        ("bad.json", json.dumps(FIRST | {"shards": [{"suite": "", "of": 2, "parts": [2, 1]}]}), "shards[0].parts is"),
        ("./first.json", None, "is named twice"),
        ("x" * 300 + "*", None, "no file has a name like this"),
        ("", None, "'': cannot be read: Is a directory"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_bad_file_is_refused_in_one_line(refused, folder, name, data, says, is_first):
    """Which names it, wherever it stands."""
    if data is not None:
        (folder / name).write_text(data)
    given = [name, "first.json"]
    line = refused("merge", *(given if is_first else given[::-1]), "--json=out.json")
    assert line.startswith("pytest-mad merge: error: ") and says in line and (name in line or says == "is named twice")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (SECOND | {"preset": "paper"}, "first.json has preset 'tiny', but other.json has 'paper'"),
        (
            shard(2, measured(RECALL, 0.5, threshold=0.9, verdict="fail")),
            f"mine, {RECALL} was measured twice, with normalized 0.99 in first.json, but normalized 0.5 in other.json",
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused_in_one_line(refused, write, other, says):
    write(other=other)
    line = refused("merge", "first.json", "other.json", "--json=out.json")
    assert line == f"pytest-mad merge: error: {says}"


@pytest.mark.parametrize("option", ["--html", "--benchmark-json"])
@pytest.mark.parametrize("written", ["second.json", "./second.json", "link.json"])
def test_no_report_takes_the_place_of_a_file_that_it_is_made_of(refused, folder, option, written):
    (folder / "link.json").symlink_to("second.json")
    line = refused(*BOTH, f"{option}={written}", "--json=out.json")
    shown = written.removeprefix("./")
    says = f"{option}={shown}: is one of the files, second.json; write another one"
    assert line == f"pytest-mad merge: error: {says}"
    assert read(folder / "second.json") == SECOND


def test_no_report_takes_the_place_of_another(refused):
    line = refused(*BOTH, "--html=out.json", "--json=out.json")
    assert line == "pytest-mad merge: error: --html=out.json: is the file of --json; write another one"


def test_a_report_that_cannot_be_written_is_refused(refused):
    """Before anything is read."""
    assert "missing does not exist" in refused(*BOTH, "--html=missing/all.html", "--json=out.json")


def test_it_takes_a_file(mad):
    """argparse says so."""
    done = mad("merge", "--json=out.json")
    assert done.code == 2 and "required: FILE" in done.err[-1]


def test_it_loads_neither_torch_nor_numpy():
    """Files are joined in the time that Python takes to start."""
    script = (
        "import sys\n"
        "from pytest_mad.cli import main\n"
        "code = main(['merge', 'first.json', '--json=all.json'])\n"
        "print(code, *[name for name in ('torch', 'numpy', 'hypothesis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1"


def test_texts_from_a_file_are_no_commands_to_a_ci_or_a_terminal(mad, write):
    """An artifact of an untrusted branch may hold anything."""
    evil = "x\n::add-mask::abc\n##[error]no\x1b[2J"
    found = shard(1, measured(RECALL, 0.1, verdict="fail", detail=evil, threshold=0.9), of=1)
    found["environment"]["torch"] = evil
    write(evil=found)
    done = mad("merge", "evil.json", "second.json")
    assert done.code == 1
    text = "\n".join(done.out)
    assert "::add-mask" not in text and "##[error]" not in text and "\x1b[2J" not in text


def test_annotations_that_a_terminal_cannot_show_are_escaped(write):
    """Windows runners write cp1252."""
    found = shard(1, measured(RECALL, 0.1, verdict="fail", detail="0.1 \u2013 too low", threshold=0.9), of=1)
    write(odd=found)
    script = [sys.executable, "-m", "pytest_mad", "merge", "odd.json", "--json=all.json"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "GITHUB_ACTIONS": "true"}
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=ascii_only)
    assert done.returncode == 1 and not done.stderr and "\\u2013 too low" in done.stdout


def test_two_warnings_of_one_contract_are_told_as_text(refused, write):
    write(a=content(contract("lengths", "pass", "slow")), b=content(contract("lengths", "pass", "late")))
    says = "mine, lengths was measured twice, with warned 'slow' in a.json, but warned 'late' in b.json"
    assert refused("merge", "a.json", "b.json") == f"pytest-mad merge: error: {says}"


def test_control_characters_in_a_name_are_shown_and_not_obeyed(refused):
    """One line, whatever the file is called."""
    says = "pytest-mad merge: error: no\\n\\x1bsuch.json: cannot be read: No such file or directory"
    assert refused("merge", "no\n\x1bsuch.json") == says
