"""``--mad-shard=I/N``: jobs of a CI matrix run parts of the suite, and their files make the whole again."""

from __future__ import annotations

import json
import re

import pytest


def ran(result):
    """The suite's items of a run, in their order."""
    found = (re.match(r"(?:\[\d+/\d+\] )?(mad::\S+)  [A-Z]+ ", line) for line in result.outlines)
    return [match[1] for match in found if match]


def shard(project, part, of, *args):
    return project.models(f"--mad-shard={part}/{of}", f"--mad-json=mad-{part}.json", *args)


def comparable(content):
    """What two runs with the same scores have in common."""
    content = json.loads(json.dumps(content))
    for one in content["architectures"].values():
        for setting in one["settings"].values():
            setting["seconds"] = setting["seconds_per_step"] = 0
    return content | {"command": ""}


def test_every_item_runs_in_one_shard_and_the_merge_is_the_whole_run(project):
    """Contracts and settings alike; MAD scores and the exit code as if there had been one job, also where one of them
    has workers.
    """
    whole = project.models("--mad-json=whole.json")
    runs = [shard(project, part, 3, *(("-n", "2") if part == 3 else ())) for part in (1, 2, 3)]
    items = [item for run in runs for item in ran(run)]
    assert sorted(items) == sorted(ran(whole)) and len(items) == 14
    assert [len(ran(run)) for run in runs] == [4, 4, 6]
    assert sorted(run.ret for run in runs) == [0, 0, 1]
    merged = project.command("merge", "mad-*.json", "--json=all.json")
    assert merged.ret == whole.ret == 1
    assert comparable(project.results("all.json")) == comparable(project.results("whole.json"))


def test_a_job_says_which_part_it_has(project, monkeypatch):
    """In its header and in every report; it has no MAD score."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    result = shard(project, 2, 3, "--mad-html=out.html")
    assert any(re.fullmatch(r"mad: shard 2/3: [456] of 14 contracts and settings", line) for line in result.outlines)
    assert "collected 4 items" in result.outlines
    said = "Shard 2 of 3 only: the rest of the suite is missing here."
    assert said in result.outlines and said in (project.path / "summary.md").read_text()
    assert "<h1>Shard 2 of 3: " in (project.path / "out.html").read_text()
    content = project.results("mad-2.json")
    assert [(one["of"], one["parts"]) for one in content["shards"]] == [(3, [2])]
    assert content["architectures"]["models"]["mad_score"] is None and content["cut_short"] is False


def test_one_shard_of_one_is_the_whole_suite(project):
    shard(project, 1, 1)
    content = project.results("mad-1.json")
    assert content["shards"] == [] and content["architectures"]["models"]["mad_score"] is not None


def test_selections_choose_within_the_shard(project):
    """The cut comes before `-k` and node ids, so it is the same in all jobs whatever they select."""
    parts = {part: set(ran(shard(project, part, 3))) for part in (1, 2, 3)}
    for part, items in parts.items():
        settings = {item for item in items if "memorization" in item}
        assert set(ran(shard(project, part, 3, "-k", "memorization"))) == settings
        assert set(ran(shard(project, part, 3, "mad::models::memorization"))) == settings


def test_several_architectures_share_the_shards(project):
    """Jobs agree whatever the order in which the architectures are named."""
    given = ["--mad-arch=b=models:plain", "--mad-no-store", "--collect-only", "-q"]
    first = project.models(*given, "--mad-shard=1/2").outlines
    again = project.run(given[0], "--mad-arch=models:make_model", *given[1:], "--mad-shard=1/2").outlines
    items = [line for line in first if line.startswith("mad::")]
    assert len(items) == 14 and sorted(items) == sorted(line for line in again if line.startswith("mad::"))


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_a_shard_without_items_passes_and_says_so(project, workers):
    """With more jobs than items no job may fail; its file tells the merge that it was there."""
    result = shard(project, 20, 20, *workers)
    nothing = "mad: shard 20/20: 0 of 14 contracts and settings, which is no failure: there are fewer items than shards"
    assert result.ret == 0 and nothing in result.outlines
    content = project.results("mad-20.json")
    assert content["architectures"] == {} and content["shards"][0]["parts"] == [20]


def test_a_selection_without_items_is_what_pytest_makes_of_it(project):
    """A slip in `-k` must not pass everywhere; the file is there, for other shards may have what was selected."""
    assert shard(project, 1, 2, "-k", "memorisation").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert shard(project, 2, 2, "-k", "memorisation").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result = project.command("merge", "mad-1.json", "mad-2.json")
    assert result.ret == 2
    assert result.errlines == ["pytest-mad merge: error: mad-1.json and mad-2.json hold no results"]


def test_nothing_is_written_where_nothing_runs(project):
    """Not by a look at what would run, nor without the suite among the arguments."""
    project.write(test_own="def test_own(): pass")
    shard(project, 20, 20, "--collect-only")
    shard(project, 20, 20, "test_own.py")
    assert "mad-20.json" not in project.files()


def test_tests_of_the_users_own_run_in_every_job(project):
    """They are no items of the suite."""
    project.write(test_own="def test_own(): pass")
    for part in (1, 2):
        result = shard(project, part, 2, "test_own.py", "mad", "-k", "own or finite or memorization")
        assert "PASSED test_own.py::test_own" in result.outlines


def test_a_recording_in_shards_makes_one_baseline(project):
    """Each job writes the entries of its shard, and keeps those that are there."""
    preset = (project.path / "tiny.toml").read_text().replace("threshold = ", "cost = 10\nthreshold = ")
    (project.path / "costly.toml").write_text(preset)
    record = ("--mad-preset=costly.toml", "--mad-update-baseline=line.json", "--mad-seeds=2", "-k", "not contract")
    runs = [shard(project, part, 2, *record) for part in (1, 2)]
    assert sorted(len(ran(run)) for run in runs) == [1, 2] and [run.ret for run in runs] == [0, 0]
    entries = project.results("line.json")["architectures"]["models"]
    assert sorted(entries) == ["in-context-recall[baseline]", "memorization[baseline]", "memorization[vocab_size=24]"]


def test_the_command_that_records_a_missing_entry_does_so_without_shards(project):
    """Whichever shard the entry's setting falls to."""
    (project.path / "line.json").write_text('{"schema": 2, "architectures": {}}')
    result = shard(project, 3, 3, "--mad-baseline=line.json", "-k", "not contract")
    lines = [line for line in result.outlines if "--mad-update-baseline=line.json" in line]
    assert lines and all("--mad-shard" not in line for line in lines)


@pytest.mark.parametrize(("parts", "says"), [(1, "1 file, 1 result; cut short"), (3, "3 files, 1 result; cut short")])
def test_a_job_that_lost_a_result_is_no_whole(project, parts, says):
    """Here to a hook of the user's: no other job has it, so the merge must not look complete."""
    project.write(
        conftest="def pytest_runtest_setup(item):\n    if 'vocab_size=24' in item.nodeid:\n        raise OSError"
    )
    for part in range(1, parts + 1):
        shard(project, part, parts, "-k", "memorization")
    result = project.command("merge", "mad-*.json")
    assert result.ret == 1 and result.outlines[-1] == says


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["5/4", "0/4", "a", "1/0", ""])
def test_what_is_no_part_is_refused_in_one_line(project, text):
    before = project.files()
    result = project.models(f"--mad-shard={text}", "--mad-json=out.json")
    (line,) = (line for line in result.errlines if line)
    assert result.ret == pytest.ExitCode.USAGE_ERROR and project.files() == before
    assert line.startswith(f"ERROR: --mad-shard={text}: must be I/N, such as 2/4: ")


def test_it_needs_a_suite(project):
    """Without one every job would run all of the user's own tests."""
    result = project.bare("--mad-shard=1/2")
    (line,) = (line for line in result.errlines if line)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert line == "ERROR: --mad-shard=1/2: is a part of the MAD suite, which needs --mad-arch=module:factory"


def test_shards_of_runs_that_ask_for_something_else_do_not_belong_together(project):
    """Each alone is one of two parts, and both together are no whole."""
    for part, *others in (("1/2",), ("2/2", "--mad-threshold=memorization=0.01")):
        project.models(f"--mad-shard={part}", f"--mad-json=part{part[0]}.json", *others)
    result = project.command("merge", "part1.json", "part2.json")
    assert result.ret == 1
    assert "missing: shard 1 of 2" in result.outlines[-1] and "missing: shard 2 of 2" in result.outlines[-1]


def test_an_item_that_a_conftest_skips_does_not_cut_the_run_short(project):
    """It ended as it was meant to."""
    project.write(
        conftest="""
        import pytest
        def pytest_collection_modifyitems(items):
            for item in items:
                if "vocab_size=24" in item.name:
                    item.add_marker(pytest.mark.skip(reason="not now"))
        """
    )
    project.models("--mad-json=result.json")
    content = json.loads((project.path / "result.json").read_text())
    assert content["cut_short"] is False
    assert "memorization[vocab_size=24]" not in content["architectures"]["models"]["settings"]
