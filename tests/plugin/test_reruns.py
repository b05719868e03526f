"""Items that run again: by pytest-rerunfailures, by a plugin that repeats within one report, and by ``--lf``."""

from __future__ import annotations

import textwrap
import xml.etree.ElementTree as ET

import pytest

MEMORIZATION, RECALL = "memorization[baseline]", "in-context-recall[baseline]"
#: Raises in as many attempts at an item as the file says.
FLAKY = """
    import pathlib
    from models import Tiny

    here = pathlib.Path(__file__).parent

    def make_model(vocab_size):
        attempt, failures = (int((here / name).read_text()) for name in ("attempt.txt", "failures.txt"))
        if attempt <= failures:
            raise OSError(f"no space left at attempt {attempt}")
        return Tiny(vocab_size)
"""
COUNTING = """
    import collections, pathlib
    import pytest

    counts = collections.Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(item):
        counts[item.nodeid] += 1
        pathlib.Path(__file__).with_name("attempt.txt").write_text(str(counts[item.nodeid]))
"""
#: As pytest-retry does: one report, which takes the outcome of a later attempt.
REPEATING = """
    import pytest

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(item, call):
        outcome = yield
        report = outcome.get_result()
        while report.when == "call" and report.failed and not hasattr(item, "again"):
            item.again = True
            report.outcome = "retried"
            item.ihook.pytest_runtest_logreport(report=report)
            item._initrequest()
            item.ihook.pytest_runtest_setup(item=item)
            call = pytest.CallInfo.from_call(lambda: item.ihook.pytest_runtest_call(item=item), when="call")
            later = pytest.TestReport.from_item_and_call(item, call)
            report.outcome, report.longrepr = later.outcome, later.longrepr

    def pytest_report_teststatus(report):
        return ("retried", "R", "RETRY") if report.outcome == "retried" else None
"""


@pytest.fixture
def rerun(project):
    """Run the flaky model, which fails so many times; the result file's contents of it."""
    pytest.importorskip("pytest_rerunfailures")
    project.write(flaky=FLAKY, conftest=COUNTING)
    project.pytester.syspathinsert()

    def run(failures, *args, **kwargs):
        (project.path / "failures.txt").write_text(str(failures))
        reports = ("--mad-json=out.json", "--mad-html=out.html", "--junitxml=out.xml")
        result = project.run("--mad-arch=flaky:make_model", *reports, *args, **kwargs)
        return result, project.results()["architectures"]["flaky"]

    return run


def add(project, source):
    """More hooks in the project's conftest.py."""
    with (project.path / "conftest.py").open("a") as file:
        file.write("\n" + textwrap.dedent(source))


def rows(result, setting):
    """The rows of the terminal's table that a setting has."""
    name = setting.removesuffix("[baseline]")
    return [line for line in result.outlines if line.startswith(f"  {name} ")]


def cases(project, name):
    return [case for case in ET.parse(project.path / "out.xml").iter("testcase") if case.get("name") == name]


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_the_last_attempt_counts(rerun, project, workers):
    """In the file, the table, the HTML report and the exit code alike; the earlier ones are told beside it."""
    result, found = rerun(2, f"mad::flaky::{MEMORIZATION}", "--reruns=3", *workers)
    one = found["settings"][MEMORIZATION]
    assert result.ret == pytest.ExitCode.OK and one["verdict"] == "pass" and found["mad_score"] == 1.0
    assert [(attempt["verdict"], attempt["detail"]) for attempt in one["attempts"]] == [
        ("error", f"flaky:make_model raised OSError: no space left at attempt {number}") for number in (1, 2)
    ]
    assert len(rows(result, MEMORIZATION)) == 1
    assert sum("passed at attempt 3; attempt 1: error: " in line for line in result.outlines) == 1
    assert "passed at attempt 3" in (project.path / "out.html").read_text()
    said = [line for line in result.outlines if line.startswith("mad::flaky::memorization")]
    assert ["runs again" in line for line in said] == [True, True, False]
    assert "PASS at attempt 3" in said[-1]


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_what_fails_in_every_attempt_is_one_failure(rerun, project, workers):
    result, found = rerun(0, f"mad::flaky::{RECALL}", "--reruns=1", *workers)
    one = found["settings"][RECALL]
    assert result.ret == pytest.ExitCode.TESTS_FAILED and one["verdict"] == "fail"
    assert [attempt["verdict"] for attempt in one["attempts"]] == ["fail"]
    assert len(rows(result, RECALL)) == 1 and "1 failed" in result.outlines[-1]
    failing = [case for case in cases(project, RECALL) if case.find("failure") is not None]
    assert len(failing) == 1
    names = [one.get("name") for one in failing[0].iter("property")]
    assert len(names) == len(set(names))
    assert failing[0].find("properties/property[@name='mad.attempts']").get("value") == "2"


@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_contracts_have_attempts_too(rerun, workers):
    result, found = rerun(1, "mad::flaky::contract[output]", "--reruns=1", *workers)
    assert result.ret == pytest.ExitCode.OK
    tried = {name: [one["verdict"] for one in contract["attempts"]] for name, contract in found["contracts"].items()}
    assert tried == {"output": ["error"]}
    assert sum("passed at attempt 2; attempt 1: " in line for line in result.outlines) == 1


def test_what_passes_at_once_has_no_attempts(rerun, project):
    result, found = rerun(0, f"mad::flaky::{MEMORIZATION}", "--reruns=2")
    assert found["settings"][MEMORIZATION]["attempts"] == []
    assert "at attempt" not in result.stdout.str() and "runs again" not in result.stdout.str()
    assert "mad.attempts" not in (project.path / "out.xml").read_text()


@pytest.mark.parametrize("failures, verdict", [(1, "pass"), (2, "error")])
@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_a_plugin_that_repeats_within_one_report(rerun, project, failures, verdict, workers):
    add(project, REPEATING)
    result, found = rerun(failures, f"mad::flaky::{MEMORIZATION}", "-p", "no:rerunfailures", *workers)
    one = found["settings"][MEMORIZATION]
    assert one["verdict"] == verdict and [attempt["verdict"] for attempt in one["attempts"]] == ["error"]
    assert (result.ret == pytest.ExitCode.OK) is (verdict == "pass")
    assert len(rows(result, MEMORIZATION)) == 1


def test_a_second_run_of_what_failed_has_its_own_result(rerun, project):
    """``--lf`` is another run: what it finds is all that its file knows."""
    _, found = rerun(1, f"mad::flaky::{MEMORIZATION}")
    assert found["settings"][MEMORIZATION]["verdict"] == "error"
    result, found = rerun(0, "--lf")
    assert result.ret == pytest.ExitCode.OK
    assert {name: (one["verdict"], one["attempts"]) for name, one in found["settings"].items()} == {
        MEMORIZATION: ("pass", [])
    }


def test_a_run_that_ends_between_two_attempts_keeps_the_first(rerun, project):
    add(
        project,
        """
        import pytest

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logreport(report):
            if report.outcome == "rerun":
                raise KeyboardInterrupt
        """,
    )
    _, found = rerun(1, f"mad::flaky::{MEMORIZATION}", "--reruns=1", no_reraise_ctrlc=True)
    assert found["settings"][MEMORIZATION]["verdict"] == "error" and project.results()["cut_short"] is True


def test_hooks_hear_of_a_setting_once(rerun, project):
    add(
        project,
        """
        def pytest_mad_setting(result):
            print("heard", result.name, result.verdict, len(result.attempts))
        """,
    )
    result, _ = rerun(1, f"mad::flaky::{MEMORIZATION}", "--reruns=1", "-s")
    assert [line.partition("heard ")[2] for line in result.outlines if "heard " in line] == [f"{MEMORIZATION} pass 1"]


OWN = """
    import pytest
    from flaky import make_model

    @pytest.fixture
    def mad_model():
        return make_model

    @pytest.mark.mad(tasks=["memorization"])
    def test_own(mad_result):
        assert mad_result.passed, mad_result.explain()
"""


@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_a_test_of_the_users_own_measures_again(rerun, project, workers):
    """Not what failed before, once more."""
    project.write(test_own=OWN)
    (project.path / "failures.txt").write_text("1")
    result = project.run("test_own.py", "--reruns=1", "--mad-json=out.json", *workers)
    assert result.ret == pytest.ExitCode.OK
    found = project.results()["architectures"]["flaky"]["settings"]
    assert {one["verdict"] for one in found.values()} == {"pass"}
    assert [len(one["attempts"]) for one in found.values()] == [1, 1]
    assert len(rows(result, MEMORIZATION)) == 1


def test_result_files_with_and_without_attempts_are_one_measurement(rerun, project):
    """A merge compares what was measured, not how often it was tried."""
    rerun(1, f"mad::flaky::{MEMORIZATION}", "--reruns=1")
    (project.path / "out.json").rename(project.path / "first.json")
    rerun(0, f"mad::flaky::{MEMORIZATION}")
    result = project.command("merge", "first.json", "out.json")
    assert result.ret == 0
