"""What a run reports: the terminal's lines and table, JUnit properties, the result file."""

from __future__ import annotations

import html
import itertools
import os
import re
import signal
import xml.etree.ElementTree as ET
from decimal import ROUND_FLOOR, Decimal

import pytest

MEMORIZATION, LARGER, RECALL = "memorization[baseline]", "memorization[vocab_size=24]", "in-context-recall[baseline]"

#: Every key of a setting in a result file and the types of its value: a promise to those who read the files.
SETTING_KEYS = {
    "task": str,
    "task_version": int,
    "params": dict,
    "accuracy": float,
    "accuracy_compat": float,
    "metric": str,
    "sequence_accuracy": float,
    "normalized": float,
    "oracle": float,
    "trivial": float,
    "threshold": float,
    "baseline": type(None),
    "scores": list,
    "mark": float,
    "steps": list,
    "pace": type(None),
    "slower": str,
    "recipe": str,
    "tolerant": bool,
    "note": str,
    "verdict": str,
    "detail": str,
    "parameters": int,
    "best": dict,
    "trials": list,
    "seconds": float,
    "seconds_per_step": float,
    "stored": bool,
    "device": str,
    "engine": str,
    "attempts": list,
}


def scores(content):
    """What must not depend on how a run was started: everything but durations."""
    return {
        (name, setting): {key: value for key, value in found.items() if not key.startswith("seconds")}
        for name, architecture in content["architectures"].items()
        for setting, found in architecture["settings"].items()
    }


def test_the_terminal_has_a_line_per_finished_setting(project):
    """Its number of all, verdict, score, how the trial ended and how long it took, as soon as the setting is done; and
    one per contract, without a number: what takes long are the settings.
    """
    result = project.models()
    result.stdout.re_match_lines(
        [
            r"mad: models; preset tiny, 3 settings",
            r"collected 14 items",
            r"mad::models::contract\[output\]  PASS  \d+\.\d s$",
            r"mad::models::contract\[state\]  SKIPPED  0\.0 s$",
            r"\[1/3\] mad::models::memorization\[baseline\]  PASS  1\.000  solved at step 10  \d+\.\d s$",
            r"\[2/3\] mad::models::memorization\[vocab_size=24\]  PASS  1\.000  solved at step 10  ",
            r"\[3/3\] mad::models::in-context-recall\[baseline\]  FAIL  -0\.\d{3}  budget at step 20  ",
            r"=+ FAILURES =+",
        ]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_failed_item_is_shown_with_one_line_and_no_traceback(project):
    """The heading says which setting of which architecture; then the score, what was needed, and the levels around it."""
    result = project.models("mad::models::in-context-recall")
    text = result.stdout.str()
    line = r"fail: normalised score -0.\d+ is below 1, trained to the end \(\d+ steps, lr [\d.e-]+\) \(accuracy 0\.\d+; trivial 0\.\d+, oracle 1\.000\)"
    result.stdout.re_match_lines([r"_+ mad::models::in-context-recall\[baseline\] _+", line])
    assert "Traceback" not in text and "VerdictError" not in text and "Error" not in text


def test_the_table_has_failing_settings_first_and_the_mad_score_last(project):
    """One table per architecture, behind a heading with its size; no score where nothing was measured."""
    result = project.models("-k", "not contract", "--mad-arch=broken=models:broken", "--mad-json=out.json")
    found = project.results()["architectures"]["models"]
    recall = found["settings"][RECALL]
    lines = result.outlines[next(i for i, line in enumerate(result.outlines) if "= MAD =" in line) :]
    heading, columns, first, reason, second, third, score, other, _, error = lines[1:11]
    assert heading == f"models (tiny, {found['parameters']} parameters for {LARGER})"
    assert columns.split()[:3] == ["verdict", "score", "needed"]
    shown = Decimal(recall["normalized"]).quantize(Decimal("0.001"), ROUND_FLOOR)
    assert first.split()[:4] == ["in-context-recall", "fail", str(shown), "1.000"]
    assert reason.strip() == recall["detail"]
    assert [second.split()[1], third.split()[1]] == ["pass", "pass"]
    assert score == (
        f"  MAD score {found['mad_score']:.3f}, normalised {found['mad_score_normalized']:.3f} (mean over 2 tasks)"
    )
    assert other == "broken (tiny)" and error.split()[1:3] == ["error", "-"]
    assert sum("MAD score" in line for line in lines) == 1


def test_under_the_metric_compat_the_mad_score_is_mad_lab_s_and_says_so(project, monkeypatch):
    """In every report, with plain accuracy's beside it. The 32 sequences of these test sets are one batch."""
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    preset = (project.path / "tiny.toml").read_text().replace("[recipe]", '[recipe]\nmetric = "compat"')
    (project.path / "compat.toml").write_text(preset)
    reports = ("--mad-json=out.json", "--mad-html=out.html", "--mad-benchmark-json=bench.json")
    names = ("--mad-arch=models:make_model", "--mad-arch=other=models:plain")
    result = project.bare("--mad-preset=compat.toml", *reports, *names, "-k", "not contract")
    found = project.results()["architectures"]["models"]
    settings = found["settings"]
    by_task = [[settings[MEMORIZATION], settings[LARGER]], [settings[RECALL]]]

    def by(key):
        return sum(sum(one[key] for one in own) / len(own) for own in by_task) / len(by_task)

    assert found["mad_score"] == found["mad_score_compat"] == pytest.approx(by("accuracy_compat"))
    assert found["mad_score_accuracy"] == pytest.approx(by("accuracy")) != found["mad_score"]
    assert {one["metric"] for one in settings.values()} == {"compat"}
    shown = f"{found['mad_score']:.3f} (compat; accuracy {found['mad_score_accuracy']:.3f})"
    assert f"  MAD score {shown}, normalised {found['mad_score_normalized']:.3f} (mean over 2 tasks)" in result.outlines
    assert f"**MAD score {shown}**, normalised " in summary.read_text()
    page = (project.path / "out.html").read_text()
    assert f"<dd>{shown}</dd>" in page and "Mean accuracy (compat) over" in page
    assert f"<b>{shown[:5]}</b><small>{shown[7:-1]}</small>" in page
    chart = next(entry for entry in project.results("bench.json") if entry["name"] == "models: MAD score")
    assert chart["unit"] == "compat" and chart["value"] == pytest.approx(found["mad_score"], abs=1e-6)


@pytest.mark.parametrize(
    ("chosen", "part"),
    [
        (["--mad-tasks=memorization"], "1 of 2 tasks"),
        (["mad::models::in-context-recall"], "1 of 2 tasks"),
        (["-k", "baseline"], "2 of 3 settings"),
    ],
)
@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_the_mad_score_of_a_part_of_the_preset_says_so_in_every_report(project, monkeypatch, chosen, part, workers):
    """However it was chosen, and from workers too. The JSON file has the number as ever, and what the preset has."""
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = project.models(*chosen, *workers, "--mad-json=out.json", "--mad-html=out.html")
    content = project.results()
    found = content["architectures"]["models"]
    assert content["preset_tasks"] == {"memorization": 2, "in-context-recall": 1}
    said = f"MAD score of {part}: {found['mad_score']:.3f}"
    assert f"  {said}, normalised {found['mad_score_normalized']:.3f}" in result.outlines
    assert f"**{said}**, normalised " in summary.read_text()
    assert f"<dt>MAD score of {part}</dt><dd>{found['mad_score']:.3f}</dd>" in (project.path / "out.html").read_text()


def test_reports_say_whose_parameters_are_counted(project, monkeypatch):
    """A model's embedding grows with the vocabulary: 24 tokens take more than 16, and these more than 8."""
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    names = ("--mad-arch=models:make_model", "--mad-arch=other=models:plain")
    result = project.run(*names, "-k", "not contract", "--mad-json=out.json", "--mad-html=out.html")
    assert f"models (tiny, 792 parameters for {LARGER})" in result.outlines
    assert f"; 792 parameters for {LARGER}" in html.unescape(summary.read_text())
    page = (project.path / "out.html").read_text()
    assert f"<dt>parameters</dt><dd>792 for {LARGER}</dd>" in page and f"792<small>for {LARGER}</small>" in page
    counts = {name: one["parameters"] for name, one in project.results()["architectures"]["models"]["settings"].items()}
    assert counts == {MEMORIZATION: 528, LARGER: 792, RECALL: 264}
    alone = project.models("-k", "not contract", "--mad-tasks=in-context-recall")
    assert "models (tiny, 264 parameters for in-context-recall)" in alone.outlines


def test_architectures_with_a_part_of_the_preset_say_so_where_they_are_compared(project):
    """One that cannot compress has a mean of fewer tasks than another."""
    tasks = (project.path / "compression.toml").read_text().partition("[tasks.")
    preset = (project.path / "tiny.toml").read_text()
    (project.path / "both.toml").write_text(f"{preset}\n{''.join(tasks[1:])}")
    names = ("--mad-arch=models:make_model", "--mad-arch=table=models:table")
    result = project.bare("--mad-preset=both.toml", *names, "-k", "not contract", "--mad-html=out.html")
    text = result.stdout.str()
    assert "MAD score of 2 of 3 tasks: " in text and "(mean over 3 tasks)" in text
    page = (project.path / "out.html").read_text()
    assert page.count("<small>of 2 of 3 tasks</small>") == 1
    assert "Not of the whole preset are the MAD scores of: table (2 of 3 tasks)." in page


def test_v_and_q_keep_pytests_own_lines(project):
    """``-v`` shows one line per item as for any test; ``-q`` shows no table."""
    verbose = project.models("-v", "-k", "not contract")
    verbose.stdout.re_match_lines([r"mad::models::memorization\[baseline\] PASSED +\[ 33%\]"])
    quiet = project.models("-q", "-r", "N")
    assert "MAD score" in verbose.stdout.str() and "MAD score" not in quiet.stdout.str()


def test_only_settings_that_will_run_are_counted(project):
    """Neither contracts nor what ``-k`` leaves out; and nothing where there is one setting."""
    two = project.models("-k", "output or memorization").outlines
    assert [line[:10] for line in two if "  PASS" in line] == ["mad::model", "[1/2] mad:", "[2/2] mad:"]
    one = project.models("mad::models::in-context-recall").outlines
    assert [line[:10] for line in one if "  FAIL" in line] == ["mad::model"]


def test_settings_that_workers_finish_are_counted_too(project):
    """In whatever order: how many of all have finished by then."""
    lines = project.models("-n", "2", "-k", "not contract").outlines
    assert [line[:6] for line in lines if "  solved at" in line or "  budget at" in line] == [
        "[1/3] ",
        "[2/3] ",
        "[3/3] ",
    ]


TERMINAL = """
    import pytest

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(session):
        session.config.pluginmanager.getplugin("terminalreporter").isatty = True
"""
LIVE = "\x1b7\x1b\\[K(.*?)\x1b8"


@pytest.mark.parametrize("arguments", [[], ["-v"], ["-s"]])
def test_a_terminal_shows_the_progress_of_training(project, arguments):
    """Behind the cursor, rewritten in place: without it the output is that of any other run. With ``-v`` pytest itself
    has written which test it is, and of how many.
    """
    plain = project.models(*arguments, "--mad-no-store")
    project.pytester.makeconftest(TERMINAL)
    live = project.models(*arguments, "--mad-no-store")
    shown = re.findall(LIVE, live.stdout.str())
    texts = [re.sub(r"\d\.\d{3}", "A", text) for text in shown if text]
    if "-v" in arguments:  # behind a long node id there is little room
        assert len(texts) == 4 and all(re.fullmatch(r"(step )?[12]0/20  .*accuracy A.*", text) for text in texts)
    else:
        assert texts == [
            "[1/3] memorization  step 10/20  validation accuracy A",
            "[2/3] memorization[vocab_size=24]  step 10/20  validation accuracy A",
            "[3/3] in-context-recall  step 10/20  validation accuracy A",
            "[3/3] in-context-recall  step 20/20  validation accuracy A",
        ]
    assert shown[-1] == ""
    bare = re.sub(LIVE, "", live.stdout.str())
    assert without_times(bare) == without_times(plain.stdout.str())


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_live_line_fits_the_terminal(project, monkeypatch, columns):
    """A line that wraps could not be rewritten. The time follows as soon as two evaluations of an architecture tell how
    fast it is; until then, what is left for others is not known.
    """
    monkeypatch.setenv("COLUMNS", str(columns))
    project.pytester.makeconftest(TERMINAL)
    preset = (
        (project.path / "tiny.toml").read_text().replace("evaluate_every = 10", "evaluate_every = 5\nsolved_at = 2")
    )
    (project.path / "slower.toml").write_text(preset)
    names = ["models:make_model", "other=models:plain"]
    result = project.bare("--mad-preset=slower.toml", "--mad-no-store", *(f"--mad-arch={name}" for name in names))
    shown = [text for text in re.findall(LIVE, result.stdout.str()) if text]
    assert len(shown) == 2 * 3 * 4 and max(map(len, shown)) < columns
    assert all(re.search(r"\b(5|10|15|20)/20\b", text) for text in shown)
    if columns == 200:
        found = [re.sub(r"^.*validation accuracy \d\.\d{3} *|\d:\d\d ", "", text) for text in shown]
        assert found == ["", *["for models"] * 10, "", "", *["left"] * 10, ""]


@pytest.fixture
def slow_preset(project, monkeypatch):
    """Four evaluations per setting, 20 s apart by the only clock that progress looks at."""
    times = itertools.count(0, 20)
    monkeypatch.setattr("pytest_mad.report.progress.clock", lambda: float(next(times)))
    preset = (
        (project.path / "tiny.toml").read_text().replace("evaluate_every = 10", "evaluate_every = 5\nsolved_at = 2")
    )
    (project.path / "slow.toml").write_text(preset)
    return "--mad-preset=slow.toml"


def in_the_log(result):
    """The lines that tell of a setting under way, without scores."""
    return [re.sub(r"\d\.\d{3}", "A", line) for line in result.outlines if "  validation accuracy " in line]


def test_a_log_has_a_line_every_30_seconds_while_a_setting_trains(project, slow_preset):
    """Where no line can be rewritten: which setting of how many, step of the budget, score, and for how long yet."""
    result = project.bare(slow_preset, "--mad-arch=models:make_model", "-k", "not contract")
    assert in_the_log(result) == [
        "[1/3] memorization  step 10/20  validation accuracy A  4:40 left",
        "[1/3] memorization  step 20/20  validation accuracy A  4:00 left",
        "[2/3] memorization[vocab_size=24]  step 10/20  validation accuracy A  3:20 left",
        "[2/3] memorization[vocab_size=24]  step 20/20  validation accuracy A  2:40 left",
        "[3/3] in-context-recall  step 10/20  validation accuracy A  0:40 left",
        "[3/3] in-context-recall  step 20/20  validation accuracy A",
    ]
    first, second = (next(i for i, line in enumerate(result.outlines) if line.startswith(f"[{n}/3] mad")) for n in "12")
    assert second == first + 3  # a line of its own each, and none is empty


def test_with_v_the_name_of_a_test_stands_in_front_of_its_outcome_again(project, slow_preset):
    """It was written before the first line of the log."""
    result = project.bare(slow_preset, "--mad-arch=models:make_model", "-v", "mad::models::in-context-recall")
    lines = result.outlines[next(i for i, line in enumerate(result.outlines) if line.startswith("mad::")) :]
    assert lines[0].split() == [f"mad::models::{RECALL}"]
    assert [line.split()[:4] for line in lines[1:3]] == [
        ["in-context-recall", "step", f"{n}/20", "validation"] for n in (10, 20)
    ]
    assert lines[3].split()[:2] == [f"mad::models::{RECALL}", "FAILED"]


OWN = """
    import pytest
    from models import make_model

    @pytest.fixture
    def mad_model():
        return make_model

    def test_before():
        pass

    @pytest.mark.mad(tasks=["in-context-recall"])
    def test_score(mad_result, capsys):
        print("printed")
        assert mad_result.normalized < 2
        assert capsys.readouterr().out == "printed\\n"
"""


def test_the_log_is_no_part_of_what_a_test_prints(project, slow_preset):
    """Neither captured nor in JUnit; a test of the user's own goes on behind it."""
    project.write(test_own=OWN)
    result = project.bare(slow_preset, "test_own.py", "--junitxml=junit.xml", "-o", "junit_logging=all")
    result.assert_outcomes(passed=2)
    assert len(in_the_log(result)) == 2 and "validation accuracy" not in (project.path / "junit.xml").read_text()
    lines = result.outlines
    place = next(i for i, line in enumerate(lines) if line.startswith("test_own.py"))
    assert lines[place] == "test_own.py ." and lines[place + 3].split()[0] == "."


@pytest.mark.parametrize("arguments", [["-q"], ["-n", "1"]])
def test_there_is_no_log_where_it_is_not_wanted_or_not_heard(project, slow_preset, arguments):
    """A worker of xdist shares reports and files with its controller, and nothing between them."""
    result = project.bare(slow_preset, "--mad-arch=models:make_model", *arguments, "-k", "not contract")
    assert in_the_log(result) == []


def without_times(text):
    return re.sub(r"\d+\.\d+ ?s\b|\d+\.\d$", "TIME", text, flags=re.MULTILINE)


def test_the_result_file_has_every_promised_key(project):
    """Schema 3 of the design, with plain values of the promised types."""
    project.models("--mad-json=out.json")
    content = project.results()
    keys = "architectures command cut_short environment preset preset_tasks schema shards"
    assert sorted(content) == keys.split()
    assert content["schema"] == 3 and content["preset"] == "tiny"
    assert content["preset_tasks"] == {"memorization": 2, "in-context-recall": 1}
    environment = content["environment"]
    assert sorted(environment) == ["device", "plugin", "python", "torch"]
    assert all(isinstance(value, str) and value for value in environment.values())

    assert list(content["architectures"]) == ["models"]
    found = content["architectures"]["models"]
    assert sorted(found) == [
        "contracts",
        "mad_score",
        "mad_score_accuracy",
        "mad_score_compat",
        "mad_score_normalized",
        "parameters",
        "settings",
        "state_size",
        "task_scores",
    ]
    assert found["parameters"] == 24 * 16 + 16 * 24 + 24 and found["state_size"] is None
    assert sorted(found["settings"]) == sorted([RECALL, MEMORIZATION, LARGER])
    for setting in found["settings"].values():
        assert {key: type(value) for key, value in setting.items()} == SETTING_KEYS
        assert sorted(setting["best"]) == ["lr", "seed", "weight_decay"]
        for trial in setting["trials"]:
            assert sorted(trial) == ["curve", "lr", "seed", "steps", "stopped", "weight_decay"]
            assert trial["stopped"] in ("solved", "hopeless", "budget")
            assert [type(x) for point in trial["curve"] for x in point] == [int, float] * len(trial["curve"])
            assert trial["curve"][-1][0] == trial["steps"]


def test_scores_of_the_result_file_fit_together(project):
    """Normalised scores, means over settings and over tasks, verdicts against thresholds."""
    project.models("--mad-json=out.json")
    found = project.results()["architectures"]["models"]
    for s in found["settings"].values():
        assert s["normalized"] == pytest.approx((s["accuracy"] - s["trivial"]) / (s["oracle"] - s["trivial"]))
        assert s["verdict"] == ("pass" if s["normalized"] >= s["threshold"] else "fail")
    settings = found["settings"]
    memorization = (settings[MEMORIZATION]["accuracy"] + settings[LARGER]["accuracy"]) / 2
    recall = settings[RECALL]["accuracy"]
    assert found["task_scores"] == pytest.approx({"memorization": memorization, "in-context-recall": recall})
    assert found["mad_score"] == pytest.approx((memorization + recall) / 2)
    assert settings[MEMORIZATION]["params"]["vocab_size"] == 16 and settings[LARGER]["params"]["vocab_size"] == 24


def test_the_result_file_is_written_sorted_and_alone(project):
    """Sorted keys, a final newline, no temporary file left behind, an older file replaced."""
    (project.path / "out.json").write_text("old")
    before = project.files()
    project.models("--mad-json=out.json")
    text = (project.path / "out.json").read_text()
    keys = list(project.results()["architectures"]["models"]["settings"])
    assert keys == sorted(keys) and text.endswith("}\n")
    assert project.files() == before


def test_without_the_option_nothing_is_written(project):
    """No folder, no file; pytest's own cache apart."""
    before = project.files()
    project.models()
    assert project.files() == before


def properties(path):
    """Properties of each test case in a JUnit file."""
    cases = ET.parse(path).iter("testcase")
    return {
        f"{case.get('classname')}.{case.get('name')}": {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in cases
    }


def test_junit_has_short_scalar_properties(project):
    """``mad.*`` names, scalars, and the same numbers as the result file."""
    project.models("--junitxml=junit.xml", "--mad-json=out.json")
    found = properties(project.path / "junit.xml")
    architecture = project.results()["architectures"]["models"]
    settings, contracts = architecture["settings"], architecture["contracts"]
    names = [*settings, *(f"contract[{name}]" for name in contracts)]
    assert sorted(found) == sorted(f"mad.models.{name}" for name in names)
    for name, setting in settings.items():
        own = found[f"mad.models.{name}"]
        assert set(own) == {
            *("mad.verdict", "mad.score", "mad.accuracy", "mad.accuracy_compat", "mad.sequence_accuracy"),
            *("mad.threshold", "mad.oracle", "mad.trivial", "mad.steps", "mad.lr", "mad.weight_decay", "mad.seed"),
            *("mad.seconds", "mad.device", "mad.seeds"),
            *(["mad.learned"] if setting["steps"][0][1] else []),
        }
        assert own["mad.verdict"] == setting["verdict"] and own["mad.device"] == "cpu"
        assert float(own["mad.score"]) == pytest.approx(setting["normalized"], abs=1e-4)
        assert int(own["mad.steps"]) == setting["trials"][0]["steps"]
        assert all(len(value) < 20 for value in own.values())
    for name, contract in contracts.items():
        own = found[f"mad.models.contract[{name}]"]
        assert set(own) == {"mad.verdict", "mad.seconds"} and own["mad.verdict"] == contract["verdict"]


def test_mad_junit_false_leaves_junit_alone(project):
    """For consumers that reject properties on test cases."""
    project.pytester.makeini("[pytest]\nmad_junit = false")
    project.models("--junitxml=junit.xml")
    assert list(properties(project.path / "junit.xml").values()) == [{}] * 14


def test_the_same_command_gives_the_same_scores_in_any_order_and_with_workers(project):
    """Twice the same; settings in another order and alone; after other random draws; in workers. The model draws its
    initialisation from torch, NumPy and ``random``.
    """

    def run(*args, file="out.json"):
        result = project.run("--mad-arch=models=models:drawn", f"--mad-json={file}", *args)
        return result, scores(project.results(file))

    _, everything = run(file="first.json")
    assert len(everything) == 3
    assert run()[1] == everything

    reversing = """
        import random, numpy, torch

        def pytest_collection_modifyitems(items):
            items.reverse()

        def pytest_runtest_setup(item):
            torch.rand(3), numpy.random.rand(3), random.random()
    """
    project.pytester.makeconftest(reversing)
    result, found = run()
    assert next(iter(project.outcomes(result))) == f"mad::models::{LARGER}"
    assert found == everything
    (project.path / "conftest.py").unlink()

    assert run(f"mad::models::{RECALL}")[1] == {("models", RECALL): everything["models", RECALL]}

    parallel, found = run("--junitxml=junit.xml", "-n", "2", file="parallel.json")
    assert found == everything
    assert len(properties(project.path / "junit.xml")[f"mad.models.{RECALL}"]) == 15
    assert sum("baseline]  PASS  " in line or "24]  PASS  " in line for line in parallel.outlines) == 2
    assert "MAD score" in parallel.stdout.str()


def test_an_interrupted_run_reports_what_had_finished(project):
    """Ctrl-C during the second setting: the first one's result is in the table and in the files."""
    result = project.run(
        "--mad-arch=models:interrupted", "--mad-json=out.json", "--junitxml=junit.xml", no_reraise_ctrlc=True
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    found = project.results()["architectures"]["models.interrupted"]
    assert list(found["settings"]) == [MEMORIZATION]
    assert found["mad_score"] is None and found["task_scores"] == {"memorization": 1.0}
    assert f"mad.models.interrupted.{MEMORIZATION}" in properties(project.path / "junit.xml")
    result.stdout.fnmatch_lines(["*memorization* pass *", "*MAD score*"])


def test_ctrl_c_in_a_terminal_reports_what_had_finished(project, monkeypatch):
    """To the controller and its worker, once the first setting's line can be read while the second one trains."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with project.started("--mad-arch=models:slow", "--mad-json=out.json", "-n", "1") as process:
        while "memorization[baseline]  PASS  " not in (line := process.stdout.readline()):
            assert line, "the run ended before it was interrupted"
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert list(project.results()["architectures"]["models.slow"]["settings"]) == [MEMORIZATION]
    assert "MAD score" in rest and "INTERNALERROR" not in rest


def test_ctrl_c_before_anything_has_finished_leaves_no_older_file_for_this_run_s(project):
    """It would be taken for what this run found."""
    first = ("--mad-arch=models:interrupted", "--mad-json=out.json", "--mad-html=out.html")
    project.models("--mad-json=out.json", "--mad-html=out.html", "-k", "memorization and baseline")
    assert project.results()["cut_short"] is False
    result = project.run(*first, "-k", "memorization and 24", no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    content = project.results()
    assert content["cut_short"] is True and not content["architectures"]
    assert "<h1>Cut short: " in (project.path / "out.html").read_text()


def test_tables_come_in_the_order_of_the_command_line_whatever_finished_first(project):
    project.pytester.makeconftest("def pytest_collection_modifyitems(items): items.reverse()")
    names = ["second=models:make_model", "first=models:make_model"]
    result = project.run(*(f"--mad-arch={name}" for name in names), f"--mad-tasks={MEMORIZATION.partition('[')[0]}")
    tables = [line.partition(" ")[0] for line in result.outlines if "(tiny" in line]
    assert tables == ["second", "first"]
    rows = [line.split()[0] for line in result.outlines if line.startswith("  memorization")]
    assert rows[:2] == ["memorization", LARGER]


@pytest.mark.parametrize("how", ["-x", "--maxfail=1"])
def test_a_run_that_was_cut_short_says_so_everywhere(project, monkeypatch, how):
    """What is missing would otherwise look as if it had never been asked for; and there is no MAD score."""
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    reports = ("--mad-json=out.json", "--mad-html=out.html")
    result = project.models(
        how, *reports, "--mad-threshold=memorization=1", "-k", "not contract", "--mad-arch=b=models:broken"
    )
    content = project.results()
    assert content["cut_short"] is True and content["architectures"]["models"]["mad_score"] is None
    said = "The run was cut short: what had not finished is missing here."
    assert said in result.outlines and said in summary.read_text()
    assert "<h1>Cut short: " in (project.path / "out.html").read_text()
    project.models(*reports, "-k", "not contract")
    assert project.results()["cut_short"] is False and "Cut short" not in (project.path / "out.html").read_text()
