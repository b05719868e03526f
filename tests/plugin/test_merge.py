"""``--mad-merge=A --mad-merge=B`` on the command line: one report, one exit code, and files that do not fit."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pytest_mad.results.result_file import environment
from tests.oracles.result_files import content, contract, measured

RECALL, NOISY = "in-context-recall[baseline]", "noisy-in-context-recall[baseline]"
HERE = environment(["cpu"])


def shard(part, *records, of=2):
    return content(*records, shards=[{"suite": "00ff", "of": of, "parts": [part]}], **HERE)


FIRST = shard(1, measured(RECALL, 0.99, threshold=0.9), contract("causality"))
SECOND = shard(2, measured(NOISY, 0.95, threshold=0.9))
FAILING = shard(2, measured(NOISY, 0.4, verdict="fail", detail="normalised score 0.400 is below 0.9", threshold=0.9))
BOTH = ("--mad-merge=first.json", "--mad-merge=second.json")
LACKING = ("--mad-merge=first.json",)
BAD = ("--mad-merge=first.json", "--mad-merge=failing.json")


@pytest.fixture
def files(project):
    for name, found in (("first", FIRST), ("second", SECOND), ("failing", FAILING)):
        (project.path / f"{name}.json").write_text(json.dumps(found))
    return project


def test_the_tables_are_those_of_a_run(files):
    """Word for word, and nothing is written."""
    before = files.files()
    result = files.bare(*BOTH)
    assert result.outlines == [
        "mine (tiny, 1,000 parameters)",
        "  1 contract holds",
        "                           verdict score needed accuracy trivial steps seconds",
        "  in-context-recall        pass    0.990  0.900    0.995   0.500    20     0.0",
        "  noisy-in-context-recall  pass    0.950  0.900    0.975   0.500    20     0.0",
        "  MAD score 0.985, normalised 0.970 (mean over 2 tasks)",
        "2 files, 3 results; none fails",
    ]
    assert result.ret == 0 and not result.errlines and files.files() == before


@pytest.mark.parametrize(
    ("arguments", "code", "last"),
    [
        (BOTH, 0, "2 files, 3 results; none fails"),
        (LACKING, 1, "1 file, 2 results; missing: shard 2 of 2"),
        (BAD, 1, "2 files, 3 results; 1 fails"),
    ],
)
@pytest.mark.parametrize("more", [[], ["-q"], ["-n", "2"], ["-p", "no:terminal"]])
def test_the_last_line_says_what_the_exit_code_is_due_to(files, arguments, code, last, more):
    """However it is shown; quietly it stands alone."""
    result = files.bare(*arguments, *more)
    assert (result.ret, result.outlines[-1]) == (code, last) and not result.errlines
    assert len(result.outlines) == 1 or more != ["-q"]


def test_all_reports_are_written(files, monkeypatch):
    """As a run would: pages, charts, the job summary, and annotations."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(files.path / "summary.md"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = files.bare(*BAD, "--mad-json=all.json", "--mad-html=all.html", "--mad-benchmark-json=bench.json")
    assert result.ret == 1
    assert files.results("all.json")["architectures"]["mine"]["mad_score"] == pytest.approx(0.8475)
    assert "<h1>1 of 2 settings failed</h1>" in (files.path / "all.html").read_text()
    assert "mine: MAD score" in (files.path / "bench.json").read_text()
    assert (files.path / "summary.md").read_text().startswith("## MAD: mine fails\n")
    assert any(line.startswith("::error title=MAD%3A mine::noisy-in-context-recall") for line in result.outlines)


def test_what_is_missing_is_said_everywhere(files, monkeypatch):
    """A page of half the results must not look like one of all."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(files.path / "summary.md"))
    result = files.bare(*LACKING, "--mad-json=all.json", "--mad-html=all.html")
    said = "Shard 1 of 2 only: the rest of the suite is missing here."
    assert said in result.outlines and said in (files.path / "summary.md").read_text()
    assert "<h1>Shard 1 of 2: " in (files.path / "all.html").read_text()
    assert files.bare("--mad-merge=all.json", "--mad-merge=second.json").ret == 0


@pytest.mark.parametrize("pattern", ["[fs]*.json", "./[fs]*.j*n", "*rst.json"])
def test_a_pattern_is_all_files_that_match(files, pattern):
    """A shell does not expand it behind the `=`."""
    (files.path / "failing.json").unlink()
    count = 1 if pattern == "*rst.json" else 2
    assert files.bare(f"--mad-merge={pattern}").outlines[-1].startswith(f"{count} file")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(files):
    (files.path / "[fs].json").write_text(json.dumps(FIRST))
    assert files.bare("--mad-merge=[fs].json").outlines[-1].startswith("1 file, ")


def test_paths_are_relative_to_where_pytest_was_started(files, monkeypatch):
    (files.path / "pytest.ini").write_text("[pytest]\n")
    folder = files.path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert files.bare("--mad-merge=../first.json", "--mad-merge=../sec*.json", "--mad-json=all.json").ret == 0
    assert (folder / "all.json").exists()


def test_another_torch_is_warned_of(files):
    """Scores may differ for this alone; the verdicts stand."""
    other = json.loads(json.dumps(SECOND))
    other["environment"]["torch"] = "1.0.0"
    (files.path / "second.json").write_text(json.dumps(other))
    result = files.bare(*BOTH, "-q")
    assert result.ret == 0 and result.outlines[0].startswith("warning: measured with torch 1.0, ")


# -- what does not fit ------------------------------------------------------------------------------------------------


def usage_error(project, *arguments):
    """The one line of a refusal; nothing else is shown, and nothing written or overwritten."""
    (project.path / "out.json").write_text("kept")
    before = project.files()
    result = project.bare(*arguments, "--mad-json=out.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR and not result.outlines
    (line,) = (line for line in result.errlines if line)
    assert project.files() == before and (project.path / "out.json").read_text() == "kept"
    return line.removeprefix("ERROR: ")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("missing.json", None, "cannot be read: No such file or directory"),
        ("no*.json", None, "no file has a name like this"),
        (".", None, "cannot be read: Is a directory"),
        ("bad.json", "", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("bad.json", '{"schema": 2}', "schema is 2, but must be 1"),
        ("bad.json", json.dumps(FIRST | {"preset": None}), "preset is None, but must be text"),
        ("bad.json", json.dumps(FIRST | {"shards": [{"suite": "", "of": 2, "parts": [3]}]}), "shards[0].parts[0] is 3"),
        ("bad.json", json.dumps(FIRST | {"shards": [{"suite": "", "of": 2, "parts": []}]}), "shards[0].parts is []"),
        ("bad.json", json.dumps(FIRST | {"shards": [{"suite": "", "of": 2, "parts": [2, 1]}]}), "shards[0].parts is"),
        ("./first.json", None, "is named twice"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_bad_file_is_refused_in_one_line(files, name, data, says, is_first):
    """Which names it, wherever it stands."""
    if data is not None:
        (files.path / name).write_text(data)
    given = [f"--mad-merge={name}", "--mad-merge=first.json"]
    line = usage_error(files, *(given if is_first else given[::-1]))
    assert line.startswith("--mad-merge=") and says in line and (name in line or says == "is named twice")


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
def test_files_that_contradict_each_other_are_refused_in_one_line(files, other, says):
    (files.path / "other.json").write_text(json.dumps(other))
    assert usage_error(files, "--mad-merge=first.json", "--mad-merge=other.json") == f"--mad-merge: {says}"


@pytest.mark.parametrize("option", ["--mad-html", "--mad-benchmark-json"])
@pytest.mark.parametrize("written", ["second.json", "./second.json", "link.json"])
def test_no_report_takes_the_place_of_a_file_that_it_is_made_of(files, option, written):
    (files.path / "link.json").symlink_to("second.json")
    line = usage_error(files, *BOTH, f"{option}={written}")
    assert line == f"{option}={written}: is a file of --mad-merge, second.json; write another one"
    assert files.results("second.json") == SECOND


@pytest.mark.parametrize(
    "option", ["--mad-arch=models:make_model", "--mad-list", "--mad-preset=tiny.toml", "--mad-shard=1/2"]
)
def test_it_trains_nothing(files, option):
    """Reports apart it stands alone: one line names both options."""
    line = usage_error(files, *BOTH, option)
    assert line == f"--mad-merge only joins result files: leave out {option.partition('=')[0]}"


def test_it_is_no_comparison(files):
    line = usage_error(files, *BOTH, "--mad-compare=first.json,second.json")
    assert line.startswith("--mad-compare only compares two result files: leave out --mad-")


def test_a_report_that_cannot_be_written_is_an_error(files):
    """Found before anything is read."""
    line = usage_error(files, *BOTH, "--mad-html=missing/all.html")
    assert "missing does not exist" in line


def test_it_loads_neither_torch_nor_numpy(files):
    """Files are joined in the time that pytest takes to start."""
    script = (
        "import sys, pytest\n"
        "code = pytest.main(['-p', 'no:hypothesispytest', '-p', 'no:anyio', '--mad-merge=first.json',"
        " '--mad-json=all.json'])\n"
        "print(int(code), *[name for name in ('torch', 'numpy', 'hypothesis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1"


def test_texts_from_a_file_are_no_commands_to_a_ci_or_a_terminal(project):
    """An artifact of an untrusted branch may hold anything."""
    evil = "x\n::add-mask::abc\n##[error]no\x1b[2J"
    found = shard(1, measured(RECALL, 0.1, verdict="fail", detail=evil, threshold=0.9), of=1)
    found["environment"]["torch"] = evil
    (project.path / "evil.json").write_text(json.dumps(found))
    (project.path / "other.json").write_text(json.dumps(SECOND))
    result = project.bare("--mad-merge=evil.json", "--mad-merge=other.json")
    assert result.ret == 1
    text = result.stdout.str()
    assert "::add-mask" not in text and "##[error]" not in text and "\x1b[2J" not in text
