"""Learning later than a baseline, at the command line: the verdict, its mode, and where no verdict is possible."""

from __future__ import annotations

import json
import re

import pytest

from pytest_mad.gate.baseline import read_entries

MEMORIZATION, LARGER = "memorization[baseline]", "memorization[vocab_size=24]"
NO_CONTRACTS = ("-k", "not contract")
SLOW_PRESET = """
schema = 1
width = 16

[recipe]
points = [{ lr = 5e-2 }]
steps = 600
batch_size = 8
evaluate_every = 5
evaluate_growth = 1.1
num_validation_examples = 16
solved_at = 0.97

[tasks.memorization]
baseline = { vocab_size = 16, seq_len = 8, num_train_examples = 64, num_test_examples = 32 }
vary = { vocab_size = [24] }
threshold = 0.9
"""
#: Each parameter moves by a part of what the optimizer says: the same model, and as much later.
LATE = """
from torch import nn
from torch.func import functional_call
from models import Tiny

class Late(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.inner = Tiny(vocab_size)
        for name, parameter in self.inner.named_parameters():
            self.register_buffer(name.replace(".", "_"), parameter.detach().clone())

    def forward(self, tokens):
        parameters = {{}}
        for name, now in self.inner.named_parameters():
            first = self.get_buffer(name.replace(".", "_"))
            parameters[name] = first + {by} * (now - first)
        return functional_call(self.inner, parameters, (tokens,))

def make_model(vocab_size):
    return Late(vocab_size)
"""


@pytest.fixture
def recorded(project):
    """A baseline of sixteen seeds of the sound model."""
    project.path.joinpath("quick.toml").write_text(SLOW_PRESET)
    result = run(project, "--mad-update-baseline=b.json")
    assert result.ret == 0
    return read_entries(project.path / "b.json")["models"]


def run(project, *args):
    return project.bare("--mad-preset=quick.toml", "--mad-arch=models:make_model", "-rA", *NO_CONTRACTS, *args)


def slowed(project, by=0.1):
    project.write(late=LATE.format(by=by))
    return f"--mad-arch=models={'late:make_model'}"


def compare(project, *args, by=0.1):
    """A run of the slowed model under the sound one's name."""
    arch = slowed(project, by)
    return project.bare("--mad-preset=quick.toml", arch, "-rA", *NO_CONTRACTS, "--mad-baseline=b.json", *args)


def settings(project):
    return project.results()["architectures"]["models"]["settings"]


def test_a_recording_has_the_steps_of_every_seed(project, recorded):
    for entry in recorded.values():
        assert entry.mark == 0.9
        assert len(entry.steps) == len(entry.scores) == 16
        assert all(5 <= steps <= 600 for steps in entry.steps)
        assert entry.seconds_per_step is not None
        assert entry.first is None


def test_an_unchanged_architecture_says_how_soon_it_learned(project, recorded):
    result = run(project, "--mad-baseline=b.json", "--mad-json=out.json", "--junitxml=j.xml")
    assert result.ret == 0
    for setting, found in settings(project).items():
        entry = recorded[setting]
        assert found["pace"]["recorded"] == list(entry.steps)
        (_, steps), *_ = found["steps"]
        assert steps is not None
        assert any(step == steps for step, _ in found["trials"][0]["curve"])
    assert 'name="mad.learned"' in (project.path / "j.xml").read_text()
    result.stdout.fnmatch_lines(["*verdict score needed accuracy trivial learned seconds"])


def test_a_model_that_learns_later_is_slower(project, recorded):
    """Three seeds are cut behind the latest recorded step; the fourth shows where the model arrives."""
    result = compare(project, "--mad-json=out.json", "--mad-html=out.html", "-k", MEMORIZATION)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = settings(project)[MEMORIZATION]
    latest = max(recorded[MEMORIZATION].steps)
    assert found["verdict"] == "slower"
    assert re.match(
        r"learns \d+\.\d \(at least \d\.\d\) times slower than baseline models in b\.json, and arrives at \d\.\d{3}; steps to 0\.9: ",
        found["detail"],
    ), found["detail"]
    stops = [trial["stopped"] for trial in found["trials"]]
    assert stops == ["late", "late", "late", "solved"]
    assert all(latest < trial["steps"] < 2 * latest for trial in found["trials"][:3])
    assert [seed for seed, _ in found["scores"]] == [19]
    assert [steps is None for _, steps in found["steps"]] == [True, True, True, False]
    cut = max(trial["steps"] for trial in found["trials"][:3])
    page = (project.path / "out.html").read_text()
    assert "slower" in page
    assert f"above {cut:,}, cut" in page
    assert "not learned" not in page
    result.stdout.re_match_lines([r".*memorization\[baseline\]  SLOWER  .*", rf".*memorization +slower .* >{cut:,} .*"])


@pytest.mark.parametrize(("mode", "code"), [("warn", 0), ("pass", 0), ("fail", 1)])
def test_what_slower_counts_as_is_an_option(project, recorded, mode, code):
    result = compare(project, f"--mad-slower={mode}", "--mad-json=out.json", "-k", MEMORIZATION, "-W", "default")
    assert result.ret == code
    assert settings(project)[MEMORIZATION]["verdict"] == "slower"
    assert ("SlowerWarning" in result.stdout.str()) == (mode == "warn")


def test_the_marker_of_a_test_of_one_s_own_says_it_too(project, recorded):
    """Its result passes, and warns."""
    slowed(project)
    project.write(
        test_own="""
        import late, pytest

        @pytest.fixture
        def mad_model():
            return late.make_model

        @pytest.mark.mad(tasks=["memorization"], slower="warn:known", contracts=["gradients=off:quick"])
        def test_own(mad_result):
            assert mad_result.passed
        """
    )
    (project.path / "b.json").write_text((project.path / "b.json").read_text().replace('"models"', '"late"'))
    found = project.bare("--mad-preset=quick.toml", "--mad-baseline=b.json", "test_own.py", "-W", "default", "-rA")
    assert found.ret == 0
    found.stdout.fnmatch_lines(["*SlowerWarning: *slower: learns * times slower*"])


@pytest.mark.parametrize(
    "table", ['slower = "warn:a known change"', 'slowers = { "baseline" = "pass:a known change" }']
)
def test_a_preset_says_it_for_a_setting_with_a_reason(project, recorded, table):
    preset = project.path / "quick.toml"
    preset.write_text(f"{preset.read_text()}{table}\n")
    result = compare(project, "--mad-json=out.json", "-k", MEMORIZATION, "-W", "default")
    assert result.ret == 0
    assert settings(project)[MEMORIZATION]["detail"].endswith(": a known change")


@pytest.mark.parametrize("text", ["warn", "pass:", "never", "fail:reason", 3])
def test_a_preset_without_a_reason_is_refused(project, text):
    (project.path / "quick.toml").write_text(f"{SLOW_PRESET}slower = {json.dumps(text)}\n")
    result = run(project)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "slower is" in result.stderr.str() and "must be fail, warn:REASON or pass:REASON" in result.stderr.str()


def test_a_cut_seed_is_found_again_where_it_stopped(project, recorded):
    """A run after it says the same, from what the store kept, and trains no step twice."""
    project.has_store = True
    first = compare(project, "--mad-json=out.json", "-k", MEMORIZATION)
    before = settings(project)[MEMORIZATION]
    second = compare(project, "--mad-json=out.json", "-k", MEMORIZATION)
    assert (first.ret, second.ret) == (1, 1)
    again = settings(project)[MEMORIZATION]
    for name in ("verdict", "detail", "steps", "scores"):
        assert again[name] == before[name]
    assert [t["curve"] for t in again["trials"]] == [t["curve"] for t in before["trials"]]


@pytest.fixture
def hurried(project):
    """A baseline of six settings whose first seeds are late in each, and in none by enough: 14 of 16 were earlier."""
    more = SLOW_PRESET.replace("vocab_size = [24]", "vocab_size = [18, 20, 22, 24, 26]")
    project.path.joinpath("quick.toml").write_text(more)
    assert run(project, "--mad-update-baseline=b.json").ret == 0
    text = json.loads((project.path / "b.json").read_text())
    for entry in text["architectures"]["models"].values():
        entry["steps"] = [1] * 14 + [600] * 2
    (project.path / "b.json").write_text(json.dumps(text))


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_what_is_late_over_all_settings_by_a_little_fails_at_the_end(project, hurried, workers):
    """Every setting passes; one test more says so, in the summary, in JUnit and by the exit code."""
    result = run(project, "--mad-baseline=b.json", "--junitxml=j.xml", "--mad-json=out.json", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {found["verdict"] for found in settings(project).values()} == {"pass"}
    line = "slower: learns later over all settings: the first new seeds are later than 84 of 96 recorded ones in 6 settings;"
    result.stdout.fnmatch_lines([f"*{line}*", "FAILED mad::models::speed - slower: learns later over all settings*"])
    result.assert_outcomes(passed=6, failed=1, deselected=None if workers else 11)
    junit = (project.path / "j.xml").read_text()
    assert 'name="speed"' in junit and line in junit
    merged = project.command("merge", "out.json")
    assert merged.ret == 1
    merged.stdout.fnmatch_lines([f"  {line}*", "1 file, 6 results; 1 fails"])


@pytest.mark.parametrize("mode", ["warn", "pass"])
def test_the_pooled_test_heeds_the_option(project, hurried, mode):
    result = run(project, "--mad-baseline=b.json", f"--mad-slower={mode}", "-W", "default")
    assert result.ret == 0
    assert ("SlowerWarning: models: slower: learns later" in result.stdout.str()) == (mode == "warn")


def test_what_is_allowed_in_a_setting_is_not_held_against_all(project, hurried):
    """The reason stands in the preset; the pool is of the others."""
    slowers = 'slower = "pass:it trades speed for size"'
    preset = project.path.joinpath("quick.toml")
    preset.write_text(preset.read_text() + slowers + "\n")
    result = run(project, "--mad-baseline=b.json", "--mad-json=out.json")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*over all settings*")
    assert project.command("merge", "out.json").ret == 0


def test_a_shard_judges_no_pool(project, hurried):
    """Each would flag at the level of the whole; who merges them does it once."""
    for shard in (1, 2):
        shares = (f"--mad-shard={shard}/2", f"--mad-json=s{shard}.json")
        arch = ("--mad-preset=quick.toml", "--mad-arch=models:make_model")
        found = project.bare(*arch, "--mad-baseline=b.json", *shares)
        assert found.ret == 0
        found.stdout.no_fnmatch_line("*over all settings*")
    merged = project.command("merge", "s1.json", "s2.json")
    assert merged.ret == 1
    merged.stdout.fnmatch_lines(["  slower: learns later over all settings: *", "2 files, 17 results; 1 fails"])


def test_too_few_recorded_seeds_leave_no_verdict_on_speed_and_the_header_says_so(project):
    project.path.joinpath("quick.toml").write_text(SLOW_PRESET)
    run(project, "--mad-update-baseline=b.json", "--mad-seeds=3")
    result = compare(project, "--mad-json=out.json", "-k", MEMORIZATION)
    assert result.ret == 0
    assert settings(project)[MEMORIZATION]["pace"] is None
    result.stdout.fnmatch_lines(
        ["mad: baseline b.json*, speed in 0 of 2 settings: the others have too few recorded seeds, or *"]
    )


def test_a_new_recording_says_how_the_steps_changed_and_keeps_the_first(project, recorded):
    arch = slowed(project, 0.1)
    update = ("--mad-preset=quick.toml", arch, *NO_CONTRACTS, "--mad-update-baseline=b.json")
    result = project.bare(*update)
    result.stdout.re_match_lines(
        [
            r"  models, memorization\[baseline\]: slower, \d\.\d\d \(\d\.\d\d to \d\.\d\d\) times as many steps to 0\.9 as before"
        ]
    )
    second = read_entries(project.path / "b.json")["models"][MEMORIZATION]
    assert second.first is not None
    assert second.first.steps == recorded[MEMORIZATION].steps
    result = project.bare(*update, "--mad-first-seed=40")
    result.stdout.re_match_lines([r"  models, memorization\[baseline\]: .* as before, slower, .* times in the first"])
    assert read_entries(project.path / "b.json")["models"][MEMORIZATION].first == second.first


def test_a_baseline_of_schema_1_says_how_to_record_it_anew(project):
    (project.path / "b.json").write_text('{"schema": 1, "architectures": {}}')
    result = project.models("--mad-baseline=b.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert (
        "--mad-baseline=b.json: is a baseline of schema 1, without steps to the mark; delete it and record it anew, "
        "with --mad-update-baseline in place of --mad-baseline"
    ) in result.stderr.str()
