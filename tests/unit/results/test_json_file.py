"""The result file: whole or not at all, MAD's score from its settings, plain JSON."""

from __future__ import annotations

import contextlib
import json
import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.common.files import write_json
from pytest_mad.common.records import plain
from pytest_mad.results import result_file as module
from pytest_mad.results.result import SettingResult
from tests.oracles.parameters import steady
from tests.oracles.result_files import setting_of


def record(setting="memorization[baseline]", accuracy=0.75, normalized=0.5, architecture="mine", **changes):
    """A finished setting, as it reaches the report."""
    result = SettingResult(
        architecture=architecture,
        setting=setting,
        task=setting.partition("[")[0],
        task_version=1,
        params={"vocab_size": 16},
        preset="tiny",
        accuracy=accuracy,
        sequence_accuracy=accuracy,
        normalized=normalized,
        oracle=1.0,
        trivial=0.5,
        **{"verdict": "pass", "parameters": 10, "state_size": None, "accuracy_compat": accuracy} | changes,
    )
    return plain(result)


def unfinished(setting, **changes):
    return record(setting, None, None, parameters=None, verdict="error", detail="no luck") | changes


def result_file(records, preset, contracts=()):
    """The content of a result file."""
    return module.to_json(module.run_of(map(setting_of, records), preset, contracts))


def scores(records):
    return module.scores(map(setting_of, records))


RECORDS = [
    record("memorization[baseline]", 1.0, 1.0, parameters=1000),
    record("memorization[vocab_size=32]", 0.5, 0.2, parameters=2000),
    record("compression[baseline]", 0.25, 0.1, parameters=500, state_size=64),
    unfinished("selective-copying[baseline]") | {"verdict": "skipped"},
]


def test_the_mad_score_is_the_mean_of_the_means_of_each_task():
    """(1 + 1/2)/2 = 3/4 and 1/4 make 1/2, not the mean of three; normalised (1 + 0.2)/2 = 0.6 and 0.1 make 0.35."""
    found = scores(RECORDS)
    assert found.tasks == {"memorization": 0.75, "compression": 0.25}
    assert found.mad_score == pytest.approx(0.5)
    assert found.normalized == pytest.approx(0.35)


def test_under_the_metric_compat_the_mad_score_is_that_of_accuracy_compat():
    """(0.9 + 0.3)/2 = 0.6 and 0.2 make 0.4; plain accuracy still 0.5, which stands beside it, as in the other case."""
    compat = [r | {"accuracy_compat": c} for r, c in zip(RECORDS, (0.9, 0.3, 0.2, None), strict=True)]
    by_compat = [r | {"metric": "compat"} for r in compat]
    assert scores(by_compat).tasks == pytest.approx({"memorization": 0.6, "compression": 0.2})
    for records, published in ((compat, 0.5), (by_compat, 0.4)):
        found = scores(records)
        assert (found.mad_score, found.accuracy, found.compat) == pytest.approx((published, 0.5, 0.4))
        assert found.normalized == pytest.approx(0.35)
        mine = result_file(records, "tiny")["architectures"]["mine"]
        assert (mine["mad_score"], mine["mad_score_accuracy"]) == pytest.approx((published, 0.5))
        assert (mine["mad_score_compat"], mine["mad_score_normalized"]) == pytest.approx((0.4, 0.35))


def test_each_setting_counts_by_the_metric_of_its_own_recipe():
    """A preset may give single settings a recipe of their own."""
    records = [record("a[baseline]", 0.5, accuracy_compat=0.1), record("b[baseline]", 0.5, metric="compat")]
    records[1]["accuracy_compat"] = 0.3
    assert scores(records).mad_score == pytest.approx((0.5 + 0.3) / 2)
    assert module.architecture_of(map(setting_of, records)).metric == "accuracy and compat"


def test_without_the_score_of_a_setting_there_is_no_mad_score():
    """Leaving out what failed would raise the mean; only a skipped setting does not count."""
    assert scores(RECORDS[:3]) == scores(RECORDS)
    for verdict in ("error", "fail"):
        broken = unfinished("fuzzy-in-context-recall[baseline]", verdict=verdict)
        assert scores([*RECORDS, broken]) == (scores(RECORDS).tasks, None, None, None, None)
    assert scores([unfinished("memorization[baseline]")]) == ({}, None, None, None, None)
    assert scores([]) == ({}, None, None, None, None)


@steady
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_mad_score_weighs_tasks_equally(settings):
    """However many settings each has, and in whatever order they finished."""
    records = [record(f"{task}[{i}]", accuracy, accuracy / 2) for i, (task, accuracy) in enumerate(settings)]
    found = scores(records)
    means = [sum(a for t, a in settings if t == task) / sum(t == task for t, _ in settings) for task in found.tasks]
    assert found.mad_score == pytest.approx(sum(means) / len(means))
    assert found.normalized == pytest.approx(found.mad_score / 2)
    assert scores(records[::-1]).mad_score == pytest.approx(found.mad_score)


def test_the_result_file_has_the_form_of_schema_3():
    """Key by key as the design promises it."""
    content = result_file(RECORDS, "tiny")
    keys = "schema preset preset_tasks command cut_short shards environment architectures"
    assert set(content) == set(keys.split())
    assert (content["schema"], content["preset"], content["preset_tasks"]) == (3, "tiny", {})
    assert set(content["environment"]) >= {"torch", "python", "device", "plugin"}
    assert content["environment"]["device"] == "cpu"
    mine = content["architectures"]["mine"]
    assert mine["parameters"] == 2000
    assert mine["state_size"] == 64
    assert mine["task_scores"] == {"memorization": 0.75, "compression": 0.25}
    assert mine["mad_score"] == pytest.approx(0.5)
    assert (mine["mad_score_accuracy"], mine["mad_score_compat"]) == (mine["mad_score"],) * 2
    assert mine["mad_score_normalized"] == pytest.approx(0.35)
    assert mine["contracts"] == {}
    assert list(mine["settings"]) == [r["setting"] for r in RECORDS]
    setting = mine["settings"]["memorization[baseline]"]
    promised = """task task_version params accuracy accuracy_compat metric sequence_accuracy normalized oracle trivial
        threshold baseline scores mark steps pace recipe verdict tolerant slower note detail parameters best trials
        seconds seconds_per_step stored device engine attempts"""
    assert set(setting) == set(promised.split())
    assert setting["params"] == {"vocab_size": 16}
    assert mine["settings"]["selective-copying[baseline]"]["detail"] == "no luck"


def test_each_architecture_has_its_own_scores():
    """Sorted by name; one that never finished has none."""
    others = [record(accuracy=0.5, architecture="b"), unfinished("memorization[baseline]", architecture="a")]
    content = result_file([*RECORDS, *others], "tiny")["architectures"]
    assert list(content) == ["a", "b", "mine"]
    assert [content[name]["mad_score"] for name in content] == [None, 0.5, pytest.approx(0.5)]
    assert content["a"]["parameters"] is None


def test_a_written_file_is_read_back_as_it_was(tmp_path):
    """Valid JSON of sorted keys, ending with a line, the same bytes for the same content."""
    path = tmp_path / "out.json"
    content = result_file(RECORDS, "tiny")
    write_json(path, content)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(json.dumps(content))
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(content)
    write_json(path, result_file(RECORDS, "tiny"))
    assert path.read_text(encoding="utf-8") == text
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_file_is_written_where_the_path_is_only_a_name(tmp_path, monkeypatch):
    """Relative to the current directory, and readable by others, who may collect it as an artifact."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path.joinpath("out.json").relative_to(tmp_path)
    write_json(path, {"detail": "naïve \ud800"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"detail": "naïve \ud800"}
    assert path.stat().st_mode & 0o444 == 0o444


def fail_with(error):
    def fail(*_):
        raise error

    return fail


@contextlib.contextmanager
def full_disk(handle, *_, **__):
    os.close(handle)
    yield SimpleNamespace(write=fail_with(OSError("disk full")))


FAILURES = {
    "a score that is no number": ({"score": float("nan")}, None, ValueError),
    "an infinite score": ({"score": float("inf")}, None, ValueError),
    "something that is not plain": ({"score": object()}, None, TypeError),
    "no room to rename": ({"score": 1}, ("replace", fail_with(OSError("no"))), OSError),
    "no room to write": ({"score": 1}, ("fdopen", full_disk), OSError),
    "Ctrl-C": ({"score": 1}, ("replace", fail_with(KeyboardInterrupt())), KeyboardInterrupt),
}


@pytest.mark.parametrize("old", [None, '{"old": true}\n'], ids=["new file", "old file"])
@pytest.mark.parametrize("what", FAILURES)
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, what, old):
    """No half a file, no temporary file, no NaN, which is no JSON."""
    content, broken, error = FAILURES[what]
    path = tmp_path / "out.json"
    if old is not None:
        path.write_text(old)
    if broken is not None:
        monkeypatch.setattr(os, *broken)
    with pytest.raises(error):
        write_json(path, content)
    assert os.listdir(tmp_path) == ([] if old is None else ["out.json"])
    assert old is None or path.read_text() == old


def test_nobody_ever_reads_half_a_file(tmp_path, monkeypatch):
    """Until the very rename the old content is there, and the new one is complete beside it."""
    path = tmp_path / "out.json"
    write_json(path, {"old": True})
    seen = []
    replace = os.replace

    def watch(source, target):
        with open(source) as file:
            seen.append((json.loads(path.read_text()), json.loads(file.read()), target))
        assert os.path.dirname(source) == str(tmp_path)  # a rename is atomic only within a file system
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    write_json(path, {"new": True})
    assert seen == [({"old": True}, {"new": True}, path)]
    assert json.loads(path.read_text()) == {"new": True}
