"""What each option does, and its twin in the ini file."""

from __future__ import annotations

import re

import pytest

MEMORIZATION, LARGER, RECALL = "memorization[baseline]", "memorization[vocab_size=24]", "in-context-recall[baseline]"


@pytest.fixture
def settings(project):
    """Run the suite and return what its result file says of the settings of ``models``."""

    def run(*args):
        project.models("--mad-json=out.json", *args)
        return project.results()["architectures"]["models"]["settings"]

    return run


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--mad-list"], "list"),
        (["--mad-list", "--mad-arch=models:make_model", "-n", "2"], "list"),
        (["--mad-merge=a.json", "--mad-merge=b.json"], "merge"),
        (["--mad-merge", "a.json"], "merge"),
        (["--mad-compare=a.json,b.json", "--mad-json=out.json"], "compare"),
    ],
)
def test_what_trains_nothing_says_which_command_took_its_place(project, arguments, command):
    """One line, and nothing is trained or written."""
    before = project.files()
    result = project.run(*arguments)
    (line,) = (line for line in result.errlines if line)
    option = arguments[0].partition("=")[0]
    assert result.ret == pytest.ExitCode.USAGE_ERROR and project.files() == before
    assert line == f"ERROR: {option}: is a command now: pytest-mad {command} (see pytest-mad {command} --help)"


def test_mad_tasks_keeps_only_these(settings):
    """In the preset's order, spaces allowed."""
    assert list(settings("--mad-tasks=memorization")) == [MEMORIZATION, LARGER]
    assert len(settings("--mad-tasks=in-context-recall, memorization")) == 3


def test_thresholds_apply_to_all_to_a_task_or_to_a_setting(settings):
    """The later option counts."""
    found = settings("--mad-threshold=0.1", "--mad-threshold=memorization=0.2", f"--mad-threshold={LARGER}=0.3")
    assert {name: s["threshold"] for name, s in found.items()} == {MEMORIZATION: 0.2, LARGER: 0.3, RECALL: 0.1}
    assert {s["threshold"] for s in settings("--mad-threshold=0.2", "--mad-threshold=1").values()} == {1.0}


def test_learning_rates_apply_to_all_to_a_task_or_to_a_setting(settings, project):
    """The later option counts; the trial that is told of is one of these."""
    found = settings("--mad-lr=0.02", "--mad-lr=memorization=0.03,0.01", f"--mad-lr={LARGER}=0.04")
    rates = {name: {trial["lr"] for trial in s["trials"]} for name, s in found.items()}
    assert rates[LARGER] == {0.04}
    assert rates[RECALL] == {0.02}
    assert 0.03 in rates[MEMORIZATION]
    assert rates[MEMORIZATION] <= {0.03, 0.01}
    unknown = project.models("--mad-lr=memorisation=0.1")
    assert unknown.ret == pytest.ExitCode.USAGE_ERROR
    unknown.stderr.fnmatch_lines(
        ["ERROR: --mad-lr: no task or setting 'memorisation' here; did you mean 'memorization'?"]
    )


def test_a_threshold_decides_between_pass_and_fail(project):
    """A score that reaches it passes, also exactly; 0 lets a guess pass, and a preset without one anything."""
    assert project.models("--mad-tasks=memorization", "--mad-threshold=1").ret == pytest.ExitCode.OK
    failing = project.models("--mad-threshold=0", "-k", "recall")
    assert failing.ret == pytest.ExitCode.TESTS_FAILED  # its score is below the strongest guess's
    without = project.models("--mad-preset=compression.toml", "--mad-json=out.json")
    assert without.ret == pytest.ExitCode.OK
    (setting,) = project.results()["architectures"]["models"]["settings"].values()
    assert setting["threshold"] is None and setting["verdict"] == "pass" and "no threshold" in setting["detail"]


def test_a_preset_file_sets_parameters_recipe_and_thresholds(project):
    """Its name is the file's; a table of thresholds speaks for single settings."""
    preset = (project.path / "tiny.toml").read_text()
    preset = preset.replace("steps = 20", "steps = 6").replace("evaluate_every = 10", "evaluate_every = 3")
    preset = preset.replace("[tasks.in", '[tasks.memorization.thresholds]\n"vocab_size=24" = 0.0625\n\n[tasks.in')
    (project.path / "folder").mkdir()
    (project.path / "folder" / "mine.toml").write_text(preset)
    project.models("--mad-preset=folder/mine.toml", "--mad-json=out.json")
    content = project.results()
    found = content["architectures"]["models"]["settings"]
    assert content["preset"] == "mine" and found[MEMORIZATION]["params"]["num_train_examples"] == 64
    assert {name: s["threshold"] for name, s in found.items()} == {MEMORIZATION: 0.5, LARGER: 0.0625, RECALL: 1.0}
    assert [step for step, _ in found[RECALL]["trials"][0]["curve"]] == [3, 6]


def test_first_seed_changes_the_data_and_the_model(settings):
    """Another seed, another score; the seed is reported."""
    first, other = settings("-k", "recall")[RECALL], settings("-k", "recall", "--mad-first-seed=7")[RECALL]
    assert (first["best"]["seed"], other["best"]["seed"]) == (0, 7)
    assert first["trials"][0]["curve"] != other["trials"][0]["curve"]


def test_of_several_seeds_the_lowest_score_counts(settings):
    """Each seed is a trial of its own, the same as alone."""
    alone = [settings("-k", "recall", f"--mad-first-seed={seed}")[RECALL] for seed in (5, 6, 7)]
    together = settings("-k", "recall", "--mad-seeds=3", "--mad-first-seed=5")[RECALL]
    lowest = min(alone, key=lambda s: s["normalized"])
    assert len({s["normalized"] for s in alone}) > 1
    assert {key: together[key] for key in ("accuracy", "normalized", "best")} == {
        key: lowest[key] for key in ("accuracy", "normalized", "best")
    }
    assert together["trials"] == [s["trials"][0] for s in alone]
    assert "lowest of 3 seeds" in together["detail"]


def test_running_out_of_time_is_an_error(project):
    """Not a verdict on the model: no score, and the reason says how far it came, and which option was too small."""
    result = project.models("--mad-timeout=0.00001", "--mad-json=out.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for setting in project.results()["architectures"]["models"]["settings"].values():
        assert setting["verdict"] == "error"
        assert re.fullmatch(
            r"out of time at step [12]0 of 20, with a normalised validation score of -?\d\.\d{3}; the limit is "
            r"--mad-timeout=1e-05 per setting",
            setting["detail"],
        )
        assert setting["accuracy"] is None and setting["normalized"] is None
    assert project.models("--mad-timeout=600", "-k", "memorization").ret == pytest.ExitCode.OK


def test_options_have_twins_in_the_ini_file(project):
    """The same names with underscores; the command line goes before."""
    project.pytester.makeini(
        """
        [pytest]
        mad_preset = tiny.toml
        mad_tasks = in-context-recall
        mad_threshold =
            0.1
            in-context-recall=0.2
        mad_seeds = 2
        mad_first_seed = 3
        mad_device = cpu
        mad_timeout = 600
        """
    )

    def run(*args):
        project.bare("--mad-arch=models:make_model", "--mad-json=out.json", *args)
        return project.results()["architectures"]["models"]["settings"]

    found = run()
    assert list(found) == [RECALL] and found[RECALL]["threshold"] == 0.2
    assert [trial["seed"] for trial in found[RECALL]["trials"]] == [3, 4]
    given = run("--mad-tasks=memorization", "--mad-threshold=0.4", "--mad-seeds=1", "--mad-first-seed=0")
    assert {name: s["threshold"] for name, s in given.items()} == {MEMORIZATION: 0.4, LARGER: 0.4}
    assert [trial["seed"] for trial in given[LARGER]["trials"]] == [0]
    assert run("--mad-timeout=0.00001")[RECALL]["verdict"] == "error"


def test_paths_in_the_ini_file_are_relative_to_it(project, monkeypatch):
    """From a subdirectory the same preset is found."""
    project.pytester.makeini("[pytest]\nmad_preset = tiny.toml\n")
    folder = project.path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    result = project.bare("--mad-arch=../models.py:make_model", "--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    assert len([line for line in result.outlines if "[" in line and "contract[" not in line]) == 3


def test_the_report_path_is_relative_to_where_pytest_was_started(project, monkeypatch):
    """As every path on a command line is."""
    project.pytester.makeini("[pytest]\n")
    folder = project.path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    arguments = ["--mad-preset=../tiny.toml", "--mad-arch=../models.py:make_model", "--mad-json=out.json", "-k", "24"]
    assert project.bare(*arguments).ret == pytest.ExitCode.OK
    assert (folder / "out.json").exists()


def test_a_timed_out_sweep_keeps_other_settings_going(project):
    """The budget is per setting: a slow one does not use up that of the next."""
    project.write(
        sleepy="""
        import time
        from models import Tiny

        def make_model(vocab_size):
            if vocab_size == 16:
                time.sleep(1.0)
            return Tiny(vocab_size)
        """
    )
    project.run("--mad-arch=sleepy:make_model", "--mad-timeout=0.9", "--mad-json=out.json", "-k", "memorization")
    found = project.results()["architectures"]["sleepy"]["settings"]
    assert {name: s["verdict"] for name, s in found.items()} == {MEMORIZATION: "error", LARGER: "pass"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[tool.pytest.ini_options]\nmad_tasks = ["memorization", "in-context-recall"]\n'),
        ("pyproject.toml", '[tool.pytest.ini_options]\nmad_tasks = "memorization,in-context-recall"\n'),
        ("pytest.ini", '[pytest]\nmad_tasks = "memorization,in-context-recall"\n'),
    ],
    ids=["TOML list", "TOML text", "ini file with quotes"],
)
def test_ini_values_may_be_written_as_their_format_likes(project, name, text):
    """A list where names are listed, and quotes that an ini file keeps."""
    (project.path / name).write_text(text)
    assert len(project.collected("-k", "not contract")) == 3


def test_an_engine_is_named_in_the_results(project):
    project.models("--mad-engine=vmap", "--mad-json=r.json", "--mad-tasks=memorization")
    (found,) = project.results("r.json")["architectures"].values()
    assert {one["engine"] for one in found["settings"].values()} == {"vmap"}
    assert all(one["verdict"] == "pass" for one in found["settings"].values())


def test_an_engine_that_cannot_train_a_model_says_why(project):
    """The reason in one line, for each setting; the loop trains it."""
    project.write(
        drops="""
        from torch.nn import functional as F
        from models import Tiny

        class Drops(Tiny):
            def forward(self, tokens_BT):
                return F.dropout(super().forward(tokens_BT), 0.1, self.training)

        def make_model(vocab_size):
            return Drops(vocab_size)
        """
    )
    arguments = ("--mad-arch=drops:make_model", "--mad-tasks=memorization", "-k", "baseline")
    result = project.run("--mad-engine=vmap", *arguments)
    result.stdout.fnmatch_lines(["*error: --mad-engine=vmap cannot train this model: *random numbers*; use loop*"])
    assert result.ret == 1
    assert project.run("--mad-engine=auto", *arguments).ret == 0


def test_an_engine_that_does_not_exist_is_refused(project):
    result = project.models("--mad-engine=warp")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --mad-engine=warp: must be auto, loop or vmap"])
