"""How results reach a CI: GitHub's job summary and annotations, charts, pytest-html, strict readers of JUnit files."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

RECALL = "in-context-recall[baseline]"
PASSING = ("-k", "memorization or output")
OWN = """
    import models
    import pytest

    @pytest.fixture
    def mad_model():
        return models.make_model

    def test_before():
        print("no end of line", end="")
"""


@pytest.fixture
def github(project, monkeypatch):
    """The project in a step of GitHub Actions, whose summary file it returns."""
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


def errors(result):
    """The workflow commands in the output, each of which begins a line."""
    text = result.stdout.str() + result.stderr.str()
    found = [line for line in text.splitlines() if line.startswith("::")]
    assert len(found) == text.count("::error ")
    return found


def line_of(name, file="models.py"):
    source = Path(__file__).with_name("project").joinpath(file).read_text().splitlines()
    return 1 + next(i for i, line in enumerate(source) if line.startswith(f"def {name}("))


# -- the job summary --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["-q"], ["-s"]])
def test_the_summary_is_appended_once(project, github, arguments):
    """By the process that has all results."""
    github.write_text("earlier\n")
    project.models("--mad-arch=second=models:plain", *arguments)
    text = github.read_text()
    assert text.startswith("earlier\n\n\n## MAD: 2 of 2 architectures fail\n")
    assert text.count("## MAD:") == text.count("### models\n") == text.count("### second\n") == 1
    assert text.count(f"| models | {RECALL.removesuffix('[baseline]')} | **fail** |") == 1
    assert "--mad-arch=models:make_model" in text


def test_without_the_variable_or_with_an_empty_one_nothing_is_written(project, github, monkeypatch):
    before = project.files()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "")
    project.models(*PASSING)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    project.models(*PASSING)
    assert project.files() == before


@pytest.mark.parametrize("arguments", [["--collect-only"], ["-k", "nothing"], ["--help"], ["test_own.py::test_before"]])
def test_where_no_mad_item_ran_github_is_told_nothing(project, github, arguments):
    project.write(test_own=OWN + "\n    def test_failing():\n        assert False\n")
    assert errors(project.models(*arguments)) == []
    assert errors(project.bare("test_own.py")) == []
    assert not github.exists()


@pytest.mark.parametrize("place", [".", "missing/summary.md", "/dev/full"])
def test_a_summary_that_cannot_be_written_is_one_line_and_changes_nothing(project, github, monkeypatch, place):
    """Not the exit code, not the table, not the other files."""
    if place == "/dev/full" and not Path(place).exists():
        pytest.skip("there is no device that is always full")
    path = str(project.path / place)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", path)
    result = project.models(*PASSING, "--mad-json=out.json")
    assert result.ret == pytest.ExitCode.OK and "MAD score" in result.stdout.str() and project.results()
    told = [line for line in result.errlines if line]
    assert len(told) == 1 and told[0].startswith(f"WARNING: GITHUB_STEP_SUMMARY={path}: cannot be written: ")
    assert project.models("mad::models::in-context-recall").ret == pytest.ExitCode.TESTS_FAILED


# -- annotations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["-q"], ["-qq"], ["-v"], ["-s"], ["-q", "-s", "-rN"], ["--color=yes"]])
def test_an_architecture_that_fails_is_annotated_at_its_factory(project, github, arguments):
    """At the start of a line, whatever was printed before; in one line, though two settings and a contract fail."""
    project.write(test_own=OWN)
    options = ("--mad-threshold=memorization=1", "--mad-contract=lengths=off:not here", "--mad-max-params=1")
    result = project.models("test_own.py", "mad", *options, *arguments)
    (error,) = errors(result)
    place = f"file=models.py,line={line_of('make_model')},title=MAD%3A models"
    assert error.startswith(f"::error {place}::contract budget: fail: ")
    assert f"%0A{RECALL}: fail: contract budget is broken, see mad::models::contract[budget]" in error


def test_each_failing_architecture_has_its_own_and_a_passing_one_none(project, github):
    """A stack of layers has no factory to point at."""
    layers = "--mad-layers=stack=swiglu"
    architectures = (
        "--mad-arch=models:make_model",
        "--mad-arch=bad=models:broken",
        "--mad-arch=good=models:plain",
        layers,
    )
    project.write(
        conftest="""
        def pytest_collection_modifyitems(items):
            items[:] = [i for i in items if "::good::" not in i.nodeid or "memorization" in i.nodeid]
        """
    )
    found = errors(project.run(*architectures, "-k", "not contract"))
    assert [line.partition("::")[2].partition("::")[0] for line in found] == [
        f"error file=models.py,line={line_of('broken')},title=MAD%3A bad",
        f"error file=models.py,line={line_of('make_model')},title=MAD%3A models",
        "error title=MAD%3A stack",
    ]


@pytest.mark.parametrize("value", [None, "", "false"])
def test_only_github_actions_gets_annotations(project, github, monkeypatch, value):
    if value is None:
        monkeypatch.delenv("GITHUB_ACTIONS")
    else:
        monkeypatch.setenv("GITHUB_ACTIONS", value)
    assert errors(project.models()) == []


def test_a_factory_outside_the_workspace_has_no_file(project, github, monkeypatch, tmp_path_factory):
    """GitHub could not show it."""
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path_factory.mktemp("elsewhere")))
    (error,) = errors(project.models())
    assert error.startswith("::error title=MAD%3A models::")
    monkeypatch.delenv("GITHUB_WORKSPACE")
    assert errors(project.models()) == [error]


def test_a_users_own_test_is_annotated_where_it_stands(project, github):
    project.write(test_own=OWN + "\n    def test_mine(mad_result):\n        assert mad_result.passed\n")
    (error,) = errors(project.run("test_own.py"))
    assert error.startswith(f"::error file=test_own.py,line=11,title=MAD%3A models::{RECALL}: fail: ")
    assert "## MAD: models fails" in github.read_text()


def test_a_test_that_is_glad_of_a_failing_verdict_has_no_annotation(project, github):
    """A negative control passes when its architecture does not."""
    control = """
    @pytest.mark.mad(tasks=["in-context-recall"])
    def test_control(mad_result):
        assert not mad_result.passed
    """
    project.write(test_own=OWN + control)
    result = project.run("test_own.py")
    assert result.ret == pytest.ExitCode.OK and errors(result) == []


def test_beside_the_plugin_that_annotates_every_failing_item_ours_is_silent(project, github, monkeypatch):
    """pytest-github-actions-annotate-failures has told already, and GitHub shows ten in all."""
    monkeypatch.syspath_prepend(project.path)
    project.write(pytest_github_actions_annotate_failures="")
    result = project.models("-p", "pytest_github_actions_annotate_failures")
    assert errors(result) == [] and "## MAD: models fails" in github.read_text()


# -- charts -----------------------------------------------------------------------------------------------------------


def test_the_option_writes_entries_for_charts(project):
    project.models("--mad-benchmark-json=bench.json")
    found = {entry["name"]: entry for entry in project.results("bench.json")}
    assert list(found) == [
        "models: MAD score",
        "models: MAD score, normalised",
        "models: memorization[baseline]",
        "models: memorization[vocab_size=24]",
        f"models: {RECALL}",
    ]
    assert found["models: memorization[baseline]"]["value"] == 1 and found[f"models: {RECALL}"]["value"] == 0


# -- pytest-html ------------------------------------------------------------------------------------------------------

HTML = ("-p", "no:hypothesispytest", "-p", "no:anyio", "--mad-preset=tiny.toml", "--html=report.html")


@pytest.fixture
def page(project):
    """Run with pytest-html; heads of its table, and for each row the cells by column and what it unfolds to."""
    pytest.importorskip("pytest_html")

    def run(*arguments):
        run.result = result = project.pytester.runpytest_inprocess(*HTML, *arguments)
        assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
        text = (project.path / "report.html").read_text()
        heads = re.findall(r'data-column-type="(\w+)"', text)
        tests = json.loads(html.unescape(re.search(r'data-jsonblob="(.*?)"', text, re.DOTALL)[1]))["tests"]
        rows = [
            (dict(re.findall(r'<td class="col-(\w+)">(.*?)</td>', "".join(row["resultsTableRow"]))), row)
            for several in tests.values()
            for row in several
        ]
        return heads, {cells["testId"]: (cells, row) for cells, row in rows}

    return run


@pytest.mark.parametrize("arguments", [[], ["--self-contained-html"]])
def test_pytest_html_has_verdict_and_score_as_columns(page, arguments):
    """With what they are sorted by; the curves are in the row."""
    heads, rows = page("--mad-arch=models:make_model", "--mad-contract=lengths=fail", *arguments)
    assert heads == ["result", "testId", "mad_verdict", "mad_score", "duration"]
    assert len(rows) == 14
    cells, row = rows[f"mad::models::{RECALL}"]
    assert cells["result"] == "Failed" and cells["mad_verdict"] == row["mad_verdict"] == "fail"
    assert re.fullmatch(r"-?0\.\d{3}", cells["mad_score"]) and row["mad_score"] == cells["mad_score"]
    (extra,) = row["extras"]
    assert extra["content"].count("<polyline") == 1 and "<p>normalised score -0." in extra["content"]
    ET.fromstring(f"<div>{extra['content']}</div>")
    cells, row = rows["mad::models::contract[state]"]
    assert (cells["result"], cells["mad_verdict"], cells["mad_score"]) == ("Skipped", "skipped", "")
    assert "init_state" in row["extras"][0]["content"]
    assert rows["mad::models::contract[output]"][0]["mad_verdict"] == "pass"


def test_rows_of_other_tests_and_of_errors_have_empty_cells(project, page):
    """Set-up, teardown and collection errors, a skipped test, and a user's own test with a result, without options."""
    project.write(
        test_own=OWN
        + """
    @pytest.fixture
    def broken():
        raise ValueError

    @pytest.fixture
    def breaking():
        yield
        raise ValueError

    def test_setup(broken): pass
    def test_teardown(breaking): pass
    @pytest.mark.skip
    def test_skipped(): pass
    def test_mine(mad_result): assert mad_result.passed
    def test_after(): pass
    """,
        test_uncollectable="import nothing_there",
    )
    heads, rows = page("test_uncollectable.py", "test_own.py", "--continue-on-collection-errors")
    assert heads == ["result", "testId", "mad_verdict", "mad_score", "duration"]
    mine = [name for name in rows if "test_mine" in name]
    assert [rows[name][0]["mad_verdict"] for name in mine] == ["pass", "pass", "fail"]
    others = {name: cells for name, (cells, _) in rows.items() if name not in mine}
    assert {name.partition("::")[2]: cells["result"] for name, cells in others.items()} == {
        "collect": "Error",
        "test_before": "Passed",
        "test_setup::setup": "Error",
        "test_teardown": "Passed",
        "test_teardown::teardown": "Error",
        "test_skipped::setup": "Skipped",
        "test_after": "Passed",
    }
    for cells, row in rows.values():
        assert list(cells) == [*heads, "links"] and {"mad_verdict", "mad_score"} <= set(row)
    assert all(cells["mad_verdict"] == cells["mad_score"] == "" for cells in others.values())


def test_a_report_without_mad_items_is_as_without_the_plugin(project, page):
    project.write(test_own=OWN)
    with_plugin = page("test_own.py")
    assert with_plugin[0] == ["result", "testId", "duration"]
    assert list(with_plugin[1]) == ["test_own.py::test_before"]


def test_a_projects_own_columns_and_removed_rows_stay_in_place(project, page):
    """Its hooks run as its conftest.py has them; a row that it empties is not in the report."""
    project.write(
        conftest="""
        def pytest_html_results_table_header(cells):
            cells.insert(1, '<th class="sortable" data-column-type="mine">Mine</th>')

        def pytest_html_results_table_row(report, cells):
            cells.insert(1, '<td class="col-mine">own</td>')
            if "output" in report.nodeid:
                del cells[:]
        """
    )
    heads, rows = page("--mad-arch=models:make_model")
    assert "mad::models::contract[output]" not in rows and len(rows) == 13
    assert all(list(cells) == [*heads, "links"] for cells, _ in rows.values())


def test_what_a_user_wrote_is_escaped_in_the_page(project, page):
    """An exception's message is text there, not HTML."""
    project.write(mine="def make_model(vocab_size):\n    raise ValueError('<b>bold</b> & more')")
    _, rows = page("--mad-arch=mine:make_model", "-k", RECALL.partition("[")[0])
    (extra,) = rows[f"mad::mine::{RECALL}"][1]["extras"]
    assert "<b>" not in extra["content"] and "&lt;b&gt;bold&lt;/b&gt; &amp; more" in extra["content"]


def test_all_of_it_comes_from_workers_too(project, github, page):
    """Once, from the process that has all results: summary, annotations for suite and tests, charts, columns, JUnit."""
    project.pytester.makeini("[pytest]\nmad_junit = false")
    project.write(
        test_own=OWN.replace("make_model", "plain") + "\n    def test_mine(mad_result): assert mad_result.passed\n"
    )
    reports = ("--mad-benchmark-json=bench.json", "--junitxml=junit.xml")
    heads, rows = page("test_own.py", "mad", "--mad-arch=models:make_model", "-n", "1", *reports)
    assert [line.partition("::")[2].partition("::")[0] for line in errors(page.result)] == [
        f"error file=models.py,line={line_of('make_model')},title=MAD%3A models",
        "error file=test_own.py,line=11,title=MAD%3A plain",
    ]
    assert github.read_text().count("## MAD: 2 of 2 architectures fail\n") == 1
    assert len(project.results("bench.json")) == 10
    assert (
        rows[f"mad::models::{RECALL}"][0]["mad_verdict"] == rows[f"test_own.py::test_mine[{RECALL}]"][0]["mad_verdict"]
    )
    assert rows["test_own.py::test_before"][0]["mad_verdict"] == ""
    assert all(list(cells) == [*heads, "links"] for cells, _ in rows.values())
    assert list(violations(ET.parse(project.path / "junit.xml").getroot())) == []


# -- JUnit ------------------------------------------------------------------------------------------------------------

#: The strict schema of Jenkins for xunit2 files: by element its attributes, those that it must have, and its children.
MESSAGE = ({"type", "message"}, set(), set())
TEXT = (set(), set(), set())
SCHEMA = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "group", "time", "skipped", "timestamp", "hostname", "id", "package"},
        {"name", "tests", "failures", "errors"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name", "time", "classname", "group"},
        {"name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": MESSAGE,
    "error": MESSAGE,
    "skipped": MESSAGE,
    "system-out": TEXT,
    "system-err": TEXT,
}
SECONDS = re.compile(r"\d*(\.\d{0,3})?")


def violations(element):
    """What the schema does not allow, anywhere below an element."""
    attributes, needed, children = SCHEMA.get(element.tag, TEXT)
    if element.tag not in SCHEMA:
        yield f"element {element.tag}"
    yield from (f"{element.tag} has {name}" for name in set(element.attrib) - attributes)
    yield from (f"{element.tag} has no {name}" for name in needed - set(element.attrib))
    if element.tag != "testcase" and not SECONDS.fullmatch(element.get("time", "")):
        yield f"time {element.get('time')}"
    for child in element:
        if child.tag not in children:
            yield f"{element.tag} holds {child.tag}"
        yield from violations(child)


def test_junit_without_properties_keeps_the_strict_schema(project):
    """Passing, failing, erring and skipped settings and contracts, captured output, and a user's own tests."""
    project.pytester.makeini("[pytest]\nmad_junit = false")
    project.write(
        test_own=OWN
        + """
    def test_mine(mad_result):
        assert mad_result.passed

    def test_without(mad_result, missing_fixture):
        pass
    """
    )
    architectures = ("--mad-arch=models:make_model", "--mad-arch=bad=models:broken", "--mad-arch=models:table")
    preset = ("--mad-preset=forms.toml", "--mad-contract=gradients=off:a\x01 <reason> & more")
    result = project.run(
        "test_own.py", "mad", *architectures, *preset, "--junitxml=junit.xml", "-o", "junit_family=xunit2"
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    root = ET.parse(project.path / "junit.xml").getroot()
    assert list(violations(root)) == []
    kinds = [child.tag for case in root.iter("testcase") for child in case]
    assert {"failure", "error", "skipped"} <= set(kinds)
    assert sum(not len(case) for case in root.iter("testcase")) > 5


def test_the_check_of_the_schema_sees_the_properties(project):
    """They are why the ini option is there."""
    project.models("--junitxml=junit.xml", *PASSING)
    assert "testcase holds properties" in set(violations(ET.parse(project.path / "junit.xml").getroot()))
