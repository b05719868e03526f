"""Baselines at the command line: recording, comparing, refusing, and keeping what a run did not measure."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest

from pytest_mad.evaluation import sweep
from pytest_mad.gate import baseline as module
from pytest_mad.gate.baseline import Entry, read_entries
from pytest_mad.gate.recording import said, write_entries

MEMORIZATION, LARGER, RECALL = "memorization[baseline]", "memorization[vocab_size=24]", "in-context-recall[baseline]"
SETTINGS = [RECALL, MEMORIZATION, LARGER]
NO_CONTRACTS = ("-k", "not contract")
WARNED = "default::pytest_mad.evaluation.requirement.BaselineWarning"

#: A model of the same name that has lost a capability: its own answer to every question.
LOST = """
import torch
from torch import nn
from models import Tiny

class Lost(Tiny):
    def forward(self, tokens_BT):
        return 0.001 * super().forward(tokens_BT) + (torch.arange(self.head.out_features) == 0)

def make_model(vocab_size):
    return Lost(vocab_size)
"""


@pytest.fixture
def recorded(project):
    """A baseline of three seeds."""
    result = project.models("--mad-update-baseline=b.json", "--mad-seeds=3", *NO_CONTRACTS)
    assert result.ret == 0
    return read_entries(project.path / "b.json")


def usage_error(result):
    """The one line of a usage error."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.errlines if line]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_recording_has_every_seed_of_every_setting(project, recorded):
    """Without thresholds: the recall that tiny models fail passes."""
    assert sorted(recorded) == ["models"] and sorted(recorded["models"]) == SETTINGS
    for entry in recorded["models"].values():
        assert (len(entry.scores), entry.first_seed, entry.device, entry.preset) == (3, 0, "cpu", "tiny")
    assert max(recorded["models"][RECALL].scores) < 0.9


def test_a_recording_says_what_it_does(project):
    result = project.models("--mad-update-baseline=b.json", "-k", "baseline and not contract", "-n", "2")
    result.stdout.fnmatch_lines(
        [
            "mad: recording 16 seeds per setting, without thresholds",
            "*in-context-recall*",
            f"2 of 2 settings recorded in {project.path / 'b.json'}: models, seeds 0 to 15: memorization, in-context-recall",
        ]
    )
    entries = read_entries(project.path / "b.json")["models"]
    assert sorted(entries) == [RECALL, MEMORIZATION]
    assert all(len(entry.scores) == 16 for entry in entries.values())


@pytest.mark.parametrize("quiet", ["-q", "-qq"])
def test_a_recording_says_what_it_wrote_at_any_verbosity(project, quiet):
    """The file, and of which architectures which settings with which seeds it has scores now; or that it has none."""
    names = ("--mad-arch=models:make_model", "--mad-arch=other=models:plain")
    update = ("--mad-update-baseline=b.json", "--mad-seeds=2", "--mad-first-seed=3", quiet)
    result = project.bare("--mad-preset=tiny.toml", *names, *update, "-k", "memorization or (other and recall)")
    own = "memorization, memorization[vocab_size=24]"
    said = f"5 of 5 settings recorded in {project.path / 'b.json'}: models, seeds 3 to 4: {own}; other, seeds 3 to 4: {own}, in-context-recall"
    assert said in result.outlines
    none = project.bare("--mad-preset=tiny.toml", "--mad-arch=models:broken", *update, "-k", MEMORIZATION)
    assert f"nothing was recorded in {project.path / 'b.json'}" in none.outlines


def test_a_recording_names_its_settings_in_the_order_of_the_suite(project):
    """Workers finish in any order, and the line is the same."""
    reverse = "def pytest_collection_modifyitems(items):\n    items.reverse()\n"
    project.pytester.makeconftest(reverse)
    result = project.models("--mad-update-baseline=b.json", "--mad-seeds=2", *NO_CONTRACTS)
    result.stdout.fnmatch_lines(["[[]1/3]*in-context-recall*", "[[]3/3]*memorization[[]baseline]*"])
    result.stdout.fnmatch_lines(
        ["3 of 3 settings recorded in *: memorization, memorization[[]vocab_size=24], in-context-recall"]
    )


def test_many_settings_are_not_all_named():
    entry = Entry(
        preset="p", params={}, task_version=1, recipe="", torch="2.13", device="cpu", first_seed=5, scores=(1.0,),
        mark=None, steps=(), seconds_per_step=None, first=None,
    )  # fmt: skip
    entries = {"mine": {f"t[x={i}]": entry for i in range(12)}}
    text = "12 of 14 settings recorded in b.json: mine, seed 5: t[x=0], t[x=1], t[x=2], t[x=3], t[x=4], t[x=5], t[x=6], t[x=7] and 4 more"
    assert said(Path("b.json"), entries, 14) == text


def test_the_line_of_a_setting_under_way_tells_the_seed(project, monkeypatch):
    """In a log as on a terminal: a recording trains all of its seeds, where one setting would seem to stand still."""
    monkeypatch.setattr("pytest_mad.report.progress.LOG_EVERY", 0.0)
    result = project.models("--mad-update-baseline=b.json", "--mad-seeds=3", "-k", RECALL)
    lines = [line for line in result.outlines if "  validation accuracy " in line]
    told = [f"in-context-recall  seed {seed}/3  step {step}/20" for seed in (1, 2, 3) for step in (10, 20)]
    assert [line.partition("  validation")[0] for line in lines] == told


def test_workers_and_order_do_not_change_a_recording(project, recorded):
    project.models("--mad-update-baseline=again.json", "--mad-seeds=3", "-n", "2", *NO_CONTRACTS)
    again, first = (
        re.sub(r'"seconds_per_step": [^,]+,', "", (project.path / name).read_text())
        for name in ("again.json", "b.json")
    )
    assert again == first


def test_an_unchanged_architecture_passes_on_new_seeds(project, recorded):
    """They begin behind the recorded ones, and one is enough; recall has no threshold to fail."""
    result = project.models("--mad-baseline=b.json", "--mad-json=out.json", *NO_CONTRACTS)
    assert result.ret == 0
    for setting, found in project.results()["architectures"]["models"]["settings"].items():
        scores, entry = recorded["models"][setting].scores, found["baseline"]
        assert [seed for seed, _ in found["scores"]] == list(range(3, 3 + len(found["scores"])))
        assert found["normalized"] == found["scores"][-1][1] >= entry["floor"]
        assert entry == {
            "source": "b.json",
            "architecture": "models",
            "seeds": 3,
            "lowest": min(scores),
            "margin": 0.03,
            "floor": pytest.approx(min(*scores, 0.99) - 0.03),
            "most_seeds": 4,
        }
        assert (found["verdict"], found["threshold"]) == ("pass", None)


def test_a_lost_capability_regresses_under_all_seeds(project, recorded):
    """The reason names scores, line and how sure that is; the exit code says so, and so does JUnit."""
    project.write(models=(project.path / "models.py").read_text() + LOST)
    result = project.models("--mad-baseline=b.json", "--mad-json=out.json", "--junitxml=j.xml", *NO_CONTRACTS)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = project.results()["architectures"]["models"]["settings"][MEMORIZATION]
    assert found["verdict"] == "regress"
    assert [seed for seed, _ in found["scores"]] == [3, 4, 5, 6]
    assert max(score for _, score in found["scores"]) == found["normalized"] < found["baseline"]["floor"]
    assert re.fullmatch(
        r"normalised score -?\d\.\d{3}, the highest of 4 new seeds, is below 0\.9\d*, the floor of baseline models in b\.json "
        r"\(3 seeds from \d\.\d{3}\); an unchanged architecture would do this in 1 of 35 runs at most, trained to the end "
        r"\(20 steps, lr 0\.05\)",
        found["detail"],
    ), found["detail"]
    result.stdout.re_match_lines(
        [r"\[1/3\] mad::models::memorization\[baseline\]  REGRESS  -?\d\.\d{3}  budget at step 20  .*"]
    )
    junit = (project.path / "j.xml").read_text()
    assert 'name="mad.baseline" value="0.9' in junit and 'name="mad.verdict" value="regress"' in junit


def test_the_header_says_how_often_the_comparison_is_wrong(project, recorded):
    result = project.models("--mad-baseline=b.json", "--mad-margin=0.1", "--mad-seeds=2", "-k", "nothing")
    result.stdout.fnmatch_lines(
        [
            "mad: baseline b.json, margin 0.1; up to 2 new seeds per setting; flags an unchanged architecture in at most *",
        ]
    )
    assert "in at most 30.00% of runs, speed in 0 of 3 settings" in result.stdout.str()


def test_a_margin_lowers_the_floor(project, recorded):
    project.models("--mad-baseline=b.json", "--mad-margin=0.5", "--mad-json=out.json", "-k", MEMORIZATION)
    (found,) = project.results()["architectures"]["models"]["settings"].values()
    assert found["baseline"]["floor"] == pytest.approx(min(*recorded["models"][MEMORIZATION].scores, 0.99) - 0.5)


def test_what_the_baseline_lacks_fails_with_the_command_that_adds_it(project):
    """Nothing is trained for it, and the command works."""
    project.models("--mad-update-baseline=b.json", "--mad-seeds=2", "-k", "24")
    result = project.models("--mad-baseline=b.json", "--mad-json=out.json", "-k", "memorization")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = project.results()["architectures"]["models"]["settings"]
    assert found[LARGER]["verdict"] == "pass"
    missing = found[MEMORIZATION]
    assert (missing["verdict"], missing["trials"]) == ("fail", [])
    said, _, command = missing["detail"].partition("; ")
    assert said == f"baseline b.json has no models, {MEMORIZATION}"
    assert command.startswith("add it: pytest ")
    before = read_entries(project.path / "b.json")["models"][LARGER]
    assert project.bare(*shlex.split(command)[3:]).ret == 0
    assert read_entries(project.path / "b.json")["models"][LARGER] == before
    assert sorted(read_entries(project.path / "b.json")["models"]) == [MEMORIZATION, LARGER]


def test_a_recording_keeps_what_it_does_not_measure(project, recorded):
    """Other settings, other architectures; and an entry of a setting that ends in an error."""
    other = {"other": recorded["models"]}
    write_entries(project.path / "b.json", recorded | other)
    project.models("--mad-update-baseline=b.json", "--mad-seeds=1", "-k", MEMORIZATION)
    after = read_entries(project.path / "b.json")
    assert after["other"] == other["other"]
    assert len(after["models"][MEMORIZATION].scores) == 1
    assert {s: after["models"][s] for s in (RECALL, LARGER)} == {s: recorded["models"][s] for s in (RECALL, LARGER)}


@pytest.mark.parametrize("options", [("--mad-timeout=0.000001",), ("--mad-contract=lengths=fail",)])
def test_a_setting_without_a_full_recording_keeps_its_entry(project, recorded, options):
    """Out of time, or a broken contract."""
    before = (project.path / "b.json").read_bytes()
    if "lengths" in options[0]:
        short = "\n\ndef make_model(vocab_size):\n    return Short(vocab_size)\n\n\nclass Short(Tiny):\n"
        body = "    def forward(self, tokens_BT):\n        assert tokens_BT.shape[1] > 1\n        return super().forward(tokens_BT)\n"  # fmt: skip
        project.write(models=(project.path / "models.py").read_text() + short + body)
    result = project.models("--mad-update-baseline=b.json", "--mad-seeds=2", "-k", MEMORIZATION, *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (project.path / "b.json").read_bytes() == before


def test_ctrl_c_keeps_what_had_finished(project, recorded):
    """And what had not keeps its old entry."""
    before = recorded["models"]
    text = (project.path / "b.json").read_text().replace('"models"', '"models.interrupted"')
    (project.path / "b.json").write_text(text)
    arguments = ("--mad-arch=models:interrupted", "--mad-update-baseline=b.json", "--mad-seeds=1")
    with project.started(*arguments, *NO_CONTRACTS, "--mad-tasks=memorization") as process:
        process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    after = read_entries(project.path / "b.json")["models.interrupted"]
    assert [len(after[s].scores) for s in (MEMORIZATION, LARGER, RECALL)] == [1, 3, 3]
    assert after[LARGER] == before[LARGER]


def test_a_killed_run_leaves_the_baseline_whole(project, recorded):
    before = (project.path / "b.json").read_bytes()
    with project.started("--mad-arch=models:slow", "--mad-update-baseline=b.json", *NO_CONTRACTS) as process:
        for line in process.stdout:
            if MEMORIZATION in line:
                process.send_signal(signal.SIGKILL)
                break
        process.communicate(timeout=60)
    assert (project.path / "b.json").read_bytes() == before


BAD = {
    "": "is not JSON: Expecting value",
    "{": "is not JSON: Expecting property name",
    "[]": "holds a list, but must hold an object",
    '{"schema": 3}': "is no baseline: schema is 3, but must be 2",
    '{"schema": 2, "architectures": {"a": {"b": 1}}}': "is no baseline: architectures.a has the name 'b', but settings are named task[baseline]",
    '{"schema": NaN}': "has the number NaN",
    "\x80\x04.": "is not JSON: Expecting value",
}


@pytest.mark.parametrize("option", ["--mad-baseline", "--mad-update-baseline"])
@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_one_line_and_stays_as_it_is(project, option, text):
    """Before anything is trained."""
    path = project.path / "b.json"
    path.write_text(text)
    line = usage_error(project.models(f"{option}=b.json"))
    assert line.startswith(f"ERROR: {option}=") and f"b.json: {BAD[text]}" in line
    assert path.read_text() == text


def test_a_baseline_that_went_bad_during_the_run_is_not_replaced(project):
    """Somebody else's good file may be half copied."""
    project.write(
        conftest="import pathlib\n\ndef pytest_collection_finish(session):\n    pathlib.Path('b.json').write_text('{')\n"
    )
    result = project.models("--mad-update-baseline=b.json", "--mad-seeds=1", "-k", MEMORIZATION)
    assert "b.json: is not JSON" in usage_error(result)
    assert (project.path / "b.json").read_text() == "{"


def test_a_baseline_that_is_not_there(project):
    """The line has the command that records it, or the nearest name."""
    line = usage_error(project.models("--mad-baseline=b.json"))
    assert line.endswith("--mad-update-baseline=b.json") and "; record it: pytest " in line
    line = usage_error(project.models("--mad-baseline=transfromer"))
    assert line.endswith("that comes with the package; did you mean 'transformer'?")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--mad-margin=1", "must be a number from 0 to below 1"),
        ("--mad-margin=-0.1", "must be a number from 0 to below 1"),
        ("--mad-margin=nan", "must be a number from 0 to below 1"),
        ("--mad-inconclusive=skip", "must be fail or pass"),
        ("--mad-update-baseline=no/b.json", "does not exist"),
        ("--mad-update-baseline=.", "is a folder, but must be a file"),
    ],
)
def test_wrong_values_are_one_line(project, option, said):
    line = usage_error(project.models(option))
    assert line.startswith(f"ERROR: {option.partition('=')[0]}=") and line.endswith(said)


@pytest.mark.parametrize("change", ["preset", "recipe", "params", "task_version"])
def test_an_entry_of_another_measurement_is_a_usage_error_that_names_both(project, recorded, change):
    path = project.path / "b.json"
    content = json.loads(path.read_text())
    other = {"preset": "ci", "recipe": "0" * 16, "params": {"vocab_size": 9}, "task_version": 7}[change]
    content["architectures"]["models"][RECALL][change] = other
    path.write_text(json.dumps(content))
    line = usage_error(project.models("--mad-baseline=b.json"))
    shown = f"{change} {other!r}"
    assert f"b.json: models, {RECALL} was recorded with {shown[:-1]}" in line and ", but this run has " in line


@pytest.mark.parametrize(("key", "value"), [("torch", "1.9"), ("device", "cuda")])
def test_another_machine_s_baseline_is_compared_with_a_warning(project, recorded, key, value):
    path = project.path / "b.json"
    path.write_text(re.sub(f'"{key}": "[^"]*"', f'"{key}": "{value}"', path.read_text()))
    result = project.models("--mad-baseline=b.json", "-k", MEMORIZATION, "-W", WARNED)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*BaselineWarning: baseline b.json: recorded with torch * on *, compared with torch *"]
    )


def test_time_that_runs_out_behind_the_first_seed_leaves_the_case_open(project, recorded, monkeypatch):
    """Which fails, unless it may pass."""
    project.write(models=(project.path / "models.py").read_text() + LOST)
    sweep_seed = sweep.run_sweep

    def run_sweep(architecture, setting, seed, **options):
        late = {"deadline": 0.0} if seed > 4 else {}
        return sweep_seed(architecture, setting, seed, **options | late)

    monkeypatch.setattr(sweep, "run_sweep", run_sweep)
    arguments = ("--mad-baseline=b.json", "--mad-json=out.json", "-k", MEMORIZATION, "--mad-timeout=600")
    result = project.models(*arguments)
    (found,) = project.results()["architectures"]["models"]["settings"].values()
    assert (result.ret, found["verdict"], found["tolerant"]) == (pytest.ExitCode.TESTS_FAILED, "inconclusive", False)
    assert "the highest of 2 new seeds, is below 0.9" in found["detail"]
    assert found["detail"].endswith(" seeds had decided; the limit is --mad-timeout=600 per setting")
    result = project.models(*arguments, "--mad-inconclusive=pass")
    (found,) = project.results()["architectures"]["models"]["settings"].values()
    assert (result.ret, found["verdict"], found["tolerant"]) == (pytest.ExitCode.OK, "inconclusive", True)


def test_a_shipped_baseline_is_compared_with_any_architecture(project, recorded, monkeypatch):
    """By its name; a setting that it has not fails with the reason."""
    shipped = project.path / "shipped"
    shipped.mkdir()
    write_entries(shipped / "best.json", {"best": {MEMORIZATION: recorded["models"][MEMORIZATION]}})
    monkeypatch.setattr(module, "_SHIPPED", shipped)
    result = project.run("--mad-arch=mine=models:plain", "--mad-baseline=best", "--mad-json=out.json", *NO_CONTRACTS)
    found = project.results()["architectures"]["mine"]["settings"]
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (found[MEMORIZATION]["verdict"], found[MEMORIZATION]["baseline"]["architecture"]) == ("pass", "best")
    assert (found[RECALL]["verdict"], found[RECALL]["detail"]) == ("fail", f"baseline best has no {RECALL}")


def test_a_user_s_own_tests_are_compared_and_recorded(project):
    """With their factory's name."""
    project.write(
        test_mine="""
        import pytest
        from models import plain

        @pytest.fixture
        def mad_model():
            return plain

        @pytest.mark.mad(tasks=["memorization"])
        def test_memory(mad_result):
            assert mad_result.passed, mad_result.explain()
        """
    )
    result = project.run("--mad-update-baseline=b.json", "--mad-seeds=2", "test_mine.py")
    result.assert_outcomes(passed=2)
    assert sorted(read_entries(project.path / "b.json")["plain"]) == [MEMORIZATION, LARGER]
    project.run("--mad-baseline=b.json", "test_mine.py").assert_outcomes(passed=2)


def test_an_ini_file_names_the_baseline(project, recorded):
    """Relative to itself, wherever pytest is started."""
    project.pytester.makeini("[pytest]\nmad_baseline = b.json\nmad_margin = 0.2\nmad_preset = tiny.toml\n")
    inner = project.path / "inner"
    inner.mkdir()
    project.pytester.chdir()
    result = project.bare(f"--rootdir={project.path}", f"-c={project.path / 'tox.ini'}", "--mad-arch=models:make_model",
                          "--mad-json=out.json", "-k", MEMORIZATION)  # fmt: skip
    assert result.ret == 0
    (found,) = project.results()["architectures"]["models"]["settings"].values()
    assert found["baseline"]["margin"] == 0.2


@pytest.mark.parametrize("report", ["--mad-json", "--mad-html", "--mad-benchmark-json"])
@pytest.mark.parametrize("baseline", ["--mad-baseline", "--mad-update-baseline"])
def test_a_report_never_takes_a_baseline_s_place(project, recorded, report, baseline):
    """However the two paths are written."""
    before = (project.path / "b.json").read_bytes()
    line = usage_error(project.models(f"{baseline}=b.json", f"{report}={project.path / 'b.json'}"))
    assert line.endswith(f"is the file of {baseline}; write another one")
    assert (project.path / "b.json").read_bytes() == before


def test_two_reports_are_two_files(project):
    line = usage_error(project.models("--mad-json=out", "--mad-html=./out"))
    assert line.endswith("is the file of --mad-json; write another one")


TASK = """
    from dataclasses import dataclass
    from pytest_mad import register_task
    from pytest_mad.tasks import get_task

    @register_task
    class Mine(type(get_task("memorization"))):
        name = "my_task"
"""


def test_a_task_of_one_s_own_is_recorded_and_read(project):
    """Whatever its name. In processes of their own: a task is registered once."""
    project.write(mine=TASK + "\n    from models import make_model\n")
    preset = (project.path / "tiny.toml").read_text().replace("[tasks.memorization]", "[tasks.my_task]")
    (project.path / "own.toml").write_text(preset)
    arguments = ("--mad-arch=mine:make_model", "--mad-preset=own.toml", "--mad-tasks=my_task", "--mad-seeds=1")
    for option in ("--mad-update-baseline=b.json", "--mad-baseline=b.json"):
        result = project.pytester.runpytest_subprocess(*arguments, option, *NO_CONTRACTS)
        assert result.ret == 0
    assert sorted(read_entries(project.path / "b.json")["mine"]) == ["my_task[baseline]", "my_task[vocab_size=24]"]


#: Diverges under some seeds: the weights are drawn from them.
DIVERGES = """
    import torch
    from models import Tiny

    class Sometimes(Tiny):
        def __init__(self, vocab_size):
            super().__init__(vocab_size)
            self.factor = float("nan") if torch.rand(()) < {share} else 1.0

        def forward(self, tokens_BT):
            logits = super().forward(tokens_BT)
            return logits * self.factor if self.training else logits

    def make_model(vocab_size):
        return Sometimes(vocab_size)
"""
OFF = tuple(f"--mad-contract={name}=off:tested elsewhere" for name in ("finite", "gradients", "repeatability"))


def test_a_new_seed_that_diverges_is_one_below_the_line(project, recorded):
    """The next one may pass; if all diverge there is nothing to judge."""
    project.write(often=DIVERGES.replace("{share}", "0.6"), always=DIVERGES.replace("{share}", "2.0"))
    text = (project.path / "b.json").read_text()
    for name in ("often", "always"):
        (project.path / f"{name}.json").write_text(text.replace('"models"', f'"{name}"'))
    options = (*OFF, "--mad-seeds=12", "--mad-json=out.json", "-k", MEMORIZATION)
    project.run("--mad-arch=often:make_model", "--mad-baseline=often.json", *options)
    (found,) = project.results()["architectures"]["often"]["settings"].values()
    assert found["verdict"] == "pass" and found["scores"][0][0] > 3, "the first new seed was meant to diverge"
    project.run("--mad-arch=always:make_model", "--mad-baseline=always.json", *options)
    (found,) = project.results()["architectures"]["always"]["settings"].values()
    assert found["verdict"] == "error" and found["detail"].startswith("the loss is nan")


def test_two_models_of_one_factory_are_recorded_each(project, recorded):
    """By the names that their parameters give them; the old entry stays."""
    project.write(
        test_mine="""
        import functools
        import pytest
        from models import Tiny

        def models(vocab_size, scale):
            model = Tiny(vocab_size)
            model.head.weight.data *= scale
            return model

        @pytest.fixture(params=[1.0, 30.0])
        def mad_model(request):
            return functools.partial(models, scale=request.param)

        @pytest.mark.mad(tasks=["in-context-recall"])
        def test_recall(mad_result):
            assert mad_result.passed
        """
    )
    project.run("--mad-update-baseline=b.json", "--mad-seeds=2", "test_mine.py")
    entries = read_entries(project.path / "b.json")
    assert entries.keys() == {*recorded, "models.1.0", "models.30.0"} and entries["models"] == recorded["models"]


def test_another_preset_s_entries_are_not_replaced(project, recorded):
    (project.path / "other.toml").write_text((project.path / "tiny.toml").read_text())
    before = (project.path / "b.json").read_bytes()
    line = usage_error(
        project.bare("--mad-arch=models:make_model", "--mad-preset=other.toml", "--mad-update-baseline=b.json")
    )
    assert "is there from preset 'tiny', but this run has 'other'; write another file" in line
    assert (project.path / "b.json").read_bytes() == before


def test_a_baseline_of_the_ini_file_can_be_recorded(project):
    """First and again; the comparison is then the default."""
    project.pytester.makeini("[pytest]\nmad_baseline = b.json\n")
    line = usage_error(project.models())
    assert "record it: pytest " in line
    for _ in range(2):
        assert project.models("--mad-update-baseline=b.json", "--mad-seeds=1", *NO_CONTRACTS).ret == 0
    assert project.models("-k", "memorization").ret == 0


def test_recording_beside_a_baseline_that_lacks_a_setting_adds_it(project):
    project.models("--mad-update-baseline=b.json", "--mad-seeds=1", "-k", "24")
    arguments = ("--mad-baseline=b.json", "--mad-update-baseline=b.json", "--mad-seeds=2")
    assert project.models(*arguments, "-k", "memorization and not contract").ret == 0
    assert sorted(read_entries(project.path / "b.json")["models"]) == [MEMORIZATION, LARGER]


def test_the_command_that_adds_an_entry_records_as_the_preset_says(project):
    """What belongs to the comparison is left out, however it is written."""
    (project.path / "b.json").write_text('{"schema": 2, "architectures": {}}')
    result = project.models("--mad-baseline", "b.json", "--mad-seeds=1", "--mad-timeout", "5", "--mad-json=out.json",
                            "-W", "ignore", "-k", "24")  # fmt: skip
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (found,) = project.results()["architectures"]["models"]["settings"].values()
    command = found["detail"].partition("add it: ")[2]
    expected = f"--mad-arch=models:make_model -W ignore -k 24 --mad-update-baseline=b.json 'mad::models::{LARGER}'"
    assert command.endswith(expected)
    assert not any(word in command for word in ("seeds", "timeout", "json=out", " b.json"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--mad-baseline=b.json", "--mad-first-seed=2"),
            "seeds 0 to 2 are recorded, so --mad-first-seed=2 is not new",
        ),
        (
            ("--mad-baseline=b.json", "--mad-lr=0.02"),
            "; --mad-lr changes it: leave that out, or record with it",
        ),
        (
            ("--mad-baseline=b.json", "--mad-threshold=0.5"),
            "takes the place of thresholds, so leave --mad-threshold out",
        ),
        (("--mad-update-baseline=transformer",), "comes with the package; write transformer.json"),
        (
            (f"--mad-baseline={'x' * 300}",),
            "that comes with the package; known: deltanet, gated_deltanet, hyena, mamba, transformer",
        ),
        ((f"--mad-json={'x' * 300}",), "cannot be written: File name too long"),
        (("--mad-json=pipe",), "is no regular file"),
    ],
)
def test_what_makes_no_sense_is_one_line(project, recorded, options, said):
    os.mkfifo(project.path / "pipe")
    line = usage_error(project.models(*options))
    assert line.endswith(said)


def test_a_link_leads_to_the_file_that_is_written(project):
    (project.path / "inner").mkdir()
    (project.path / "b.json").symlink_to(project.path / "inner" / "real.json")
    project.models("--mad-update-baseline=b.json", "--mad-seeds=1", "-k", MEMORIZATION)
    assert (project.path / "b.json").is_symlink()
    assert sorted(read_entries(project.path / "inner" / "real.json")) == ["models"]


@pytest.mark.parametrize("option", ["--mad-update-baseline=none/b.json", "--mad-baseline=bad.json"])
def test_a_bad_baseline_beside_one_s_own_tests_is_one_line(project, option):
    (project.path / "bad.json").write_text("{")
    project.write(test_mine="def test_score(mad_result): pass")
    result = project.run(option, "test_mine.py")
    text = result.stdout.str() + result.stderr.str()
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    assert "Traceback" not in text and "def " not in text


def test_a_recording_says_what_a_reviewer_should_look_at(project, recorded):
    """An entry that asks for less than before, or for no more than guessing; the new one counts all the same."""
    project.write(models=(project.path / "models.py").read_text() + LOST)
    result = project.models("--mad-update-baseline=b.json", "--mad-seeds=1", "-k", MEMORIZATION)
    (lowest,) = read_entries(project.path / "b.json")["models"][MEMORIZATION].scores
    assert f"  lower than before: models, {MEMORIZATION}: 1.000 -> {lowest:.3f}" in result.outlines
    result = project.models("--mad-update-baseline=new.json", "--mad-seeds=1", "-k", MEMORIZATION)
    assert f"  asks for nothing: models, {MEMORIZATION}: {lowest:.3f}, no better than guessing" in result.outlines


def test_a_baseline_of_another_name_says_whose_it_is(project, recorded):
    project.run("--mad-arch=mine=models:make_model", "--mad-baseline=b.json", "--mad-json=out.json", "-k", "24")
    (found,) = project.results()["architectures"]["mine"]["settings"].values()
    assert found["detail"].startswith(f"baseline b.json has no mine, {LARGER} (it has models); add it: ")


def test_the_header_says_what_a_baseline_lacks(project):
    project.models("--mad-update-baseline=b.json", "--mad-seeds=1", "-k", "24")
    result = project.models("--mad-baseline=b.json", "-k", "nothing")
    assert any(line.endswith("margin 0.03; it lacks 2 of 3 settings") for line in result.outlines)


def test_a_result_file_is_no_baseline(project):
    project.models("--mad-json=out.json", "-k", "24")
    line = usage_error(project.models("--mad-baseline=out.json"))
    assert line == "ERROR: --mad-baseline=out.json: is a result file of --mad-json, not a baseline"


def test_recording_and_comparing_at_once(project, recorded):
    """The new scores are judged by the old ones, and kept whatever the verdict."""
    project.write(models=(project.path / "models.py").read_text() + LOST)
    result = project.models("--mad-baseline=b.json", "--mad-update-baseline=new.json", "--mad-seeds=2", *NO_CONTRACTS)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    after = read_entries(project.path / "new.json")["models"]
    assert sorted(after) == SETTINGS
    assert max(after[MEMORIZATION].scores) < min(recorded["models"][MEMORIZATION].scores)
    assert (after[MEMORIZATION].first_seed, len(after[MEMORIZATION].scores)) == (3, 2)
