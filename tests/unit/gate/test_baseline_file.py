"""Baseline files: read strictly, merged, written a line per setting; whatever is wrong is one line."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.calibration.baselines import baseline_of
from benchmarks.record import RESULTS
from pytest_mad.common.files import FileError
from pytest_mad.common.records import plain
from pytest_mad.gate import baseline as module
from pytest_mad.gate.baseline import (
    BaselineError,
    Entry,
    First,
    another_machine,
    check_fits,
    check_new,
    load_baseline,
    read_entries,
    shipped_baselines,
)
from pytest_mad.gate.recording import entries_text, merged, recorded, write_entries
from pytest_mad.presets.reading import settings
from pytest_mad.results.result import SettingResult
from tests.oracles.parameters import steady

RECALL = "in-context-recall[baseline]"
ENTRY = Entry(
    preset="smoke",
    params={"vocab_size": 8, "frac_noise": 0.0},
    task_version=1,
    recipe="0123456789abcdef",
    torch="2.13",
    device="cpu",
    first_seed=0,
    scores=(0.975, 0.98),
    mark=0.9,
    steps=(150, None),
    seconds_per_step=0.01,
    first=First(scores=(0.97,), mark=0.9, steps=(140,)),
)
UNMARKED = replace(ENTRY, scores=(-0.5,), mark=None, steps=(), seconds_per_step=None, first=None)
GOOD = {"mine": {RECALL: ENTRY, "compression[vocab_size=16]": UNMARKED}, "other": {RECALL: ENTRY}}

names = st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True)
step_counts = st.none() | st.integers(1, 10_000)


@st.composite
def entries(draw):
    """With steps for every score, or with none and no mark."""
    entry = draw(_entries)
    if draw(st.booleans()):
        return entry
    return replace(entry, mark=draw(st.floats(0, 1)), steps=tuple(draw(step_counts) for _ in entry.scores))


_entries = st.builds(
    Entry,
    preset=st.text(),
    params=st.dictionaries(st.text(), st.integers() | st.floats(0, 1) | st.booleans() | st.text()),
    task_version=st.integers(0, 9),
    recipe=st.text(),
    torch=st.text(),
    device=st.text(),
    first_seed=st.integers(0, 99),
    scores=st.lists(st.floats(-3, 1.1), min_size=1, max_size=4).map(tuple),
    mark=st.none(),
    steps=st.just(()),
    seconds_per_step=st.none() | st.floats(0, 9),
    first=st.none()
    | st.builds(
        First,
        scores=st.lists(st.floats(-3, 1.1), max_size=3).map(tuple),
        mark=st.none() | st.floats(0, 1),
        steps=st.lists(step_counts, max_size=3).map(tuple),
    ),
)
tables = st.dictionaries(names, st.dictionaries(st.sampled_from([RECALL, "a[b]", "a[k=0.5]"]), entries(), min_size=1))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "b.json"
    write_entries(path, GOOD)
    return path


@steady
@given(tables)
def test_what_is_written_is_read_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("b") / "b.json"
    write_entries(path, table)
    assert read_entries(path) == table


def test_a_line_of_the_file_is_a_setting(path):
    """So that a diff shows which settings changed; sorted, so that nothing else does."""
    lines = path.read_text().splitlines()
    assert [line.strip().split('"')[1] for line in lines if "scores" in line] == [
        "compression[vocab_size=16]",
        RECALL,
        RECALL,
    ]
    assert entries_text(GOOD) == entries_text({name: dict(reversed(GOOD[name].items())) for name in reversed(GOOD)})


@steady
@given(tables, tables)
def test_a_merge_replaces_what_is_new_and_keeps_the_rest(old, new):
    both = merged(old, new)
    assert {(a, s) for a in both for s in both[a]} == {(a, s) for t in (old, new) for a in t for s in t[a]}
    for name, table in both.items():
        for setting, entry in table.items():
            found = new.get(name, {}).get(setting, old.get(name, {}).get(setting))
            assert replace(entry, first=None) == replace(found, first=None)


def written(text):
    def write(path):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def changed(**changes):
    """One entry with other values; ... takes a key away."""
    data = plain(ENTRY) | changes
    data = {key: value for key, value in data.items() if value is not ...}
    return written(json.dumps({"schema": 2, "architectures": {"mine": {RECALL: data}}}))


class Runs:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


#: Where the one entry of `changed` stands.
AT = f'is no baseline: architectures.mine["{RECALL}"]'
BAD = {
    "empty": (written(""), "is not JSON"),
    "truncated": (lambda path: path.write_text(entries_text(GOOD)[:-9]), "is not JSON"),
    "no JSON": (written("scores: [1]"), "is not JSON"),
    "not UTF-8": (written(b"\xff\xfe{}"), "is not JSON"),
    "a list": (written("[]"), "holds a list, but must hold an object"),
    "pickled": (written(pickle.dumps(Runs())), "is not JSON"),
    "another schema": (written('{"schema": 3, "architectures": {}}'), "is no baseline: schema is 3, but must be 2"),
    "the first schema": (
        written('{"schema": 1, "architectures": {}}'),
        "is a baseline of schema 1, without steps to the mark; delete it and record it anew, with --mad-update-baseline",
    ),
    "no schema": (written("{}"), "is no baseline: the file has no 'schema'"),
    "a true schema": (written('{"schema": true, "architectures": {}}'), "is no baseline: schema is True"),
    "a result file": (
        written('{"schema": 1, "preset": "smoke", "architectures": {}}'),
        "is a result file of --mad-json, not a baseline",
    ),
    "no architectures": (written('{"schema": 2}'), "is no baseline: the file has no 'architectures'"),
    "a list of architectures": (written('{"schema": 2, "architectures": []}'), "is no baseline: architectures is []"),
    "a list of settings": (
        written('{"schema": 2, "architectures": {"a": []}}'),
        "is no baseline: architectures.a is [], but must be an object",
    ),
    "an odd architecture": (
        written('{"schema": 2, "architectures": {"<script>": {}}}'),
        "is no baseline: architectures has the name '<script>', but names have letters",
    ),
    "an odd setting": (
        written('{"schema": 2, "architectures": {"a": {"recall": {}}}}'),
        "is no baseline: architectures.a has the name 'recall', but settings are named task[baseline]",
    ),
    "an entry that is none": (
        written('{"schema": 2, "architectures": {"a": {"t[baseline]": 3}}}'),
        'is no baseline: architectures.a["t[baseline]"] is 3, but must be an object',
    ),
    "a key too few": (changed(scores=...), f"{AT} has no 'scores'"),
    "a step too few": (changed(steps=[150]), f"{AT}.steps is [150], but must be one number or null for each score"),
    "steps without a mark": (changed(mark=None), f"{AT}.steps is [150, None], but must be one number or null"),
    "a key too many": (
        changed(score=1),
        f"{AT} has an unknown key 'score'; did you mean 'scores'?",
    ),
    "NaN": (changed(scores=[float("nan")]), "has the number NaN"),
    "infinity": (written(json.dumps({"schema": 1, "x": float("inf")})), "has the number Infinity"),
    "a number beyond floats": (written('{"schema": 1e999}'), "has the number 1e999, which is not finite"),
    "a number of a million digits": (written('{"schema": 1' + "0" * 1_000_000 + "}"), "is not JSON"),
    "nested": (written("[" * 100_000), "is nested too deeply"),
    "twice": (written('{"schema": 1, "schema": 1}'), "has the key 'schema' twice"),
    "no scores": (changed(scores=[]), f"{AT}.scores is [], but must be a list of at least one number"),
    "scores of text": (changed(scores=["0.9"]), f"{AT}.scores[0] is '0.9', but must be a number"),
    "true scores": (changed(scores=[True]), f"{AT}.scores[0] is True, but must be a number"),
    "a wild score": (changed(scores=[1e300]), f"{AT}.scores[0] is 1e+300, but must be a number from -1000 to 1000"),
    "a million scores of text": (
        changed(scores=["x"] * 1_000_000),
        f"{AT}.scores has 1,000,000 entries, but may have 100,000 at most",
    ),
    "a negative seed": (changed(first_seed=-1), f"{AT}.first_seed is -1, but must be a whole number of at least 0"),
    "a version of text": (changed(task_version="1"), f"{AT}.task_version is '1', but must be a whole number"),
    "params of text": (changed(params="all"), f"{AT}.params is 'all', but must be an object"),
    "a torch of numbers": (changed(torch=2.13), f"{AT}.torch is 2.13, but must be text"),
    "more than memory": (lambda path: os.truncate(path, 2**31), "has more than the 67,108,864 bytes that it may have"),
    "a million keys, one twice": (
        written("{" + ",".join(f'"{i}":0' for i in range(1_000_000)) + ',"999999":0}'),
        "has the key '999999' twice",
    ),
    "missing": (lambda path: path.unlink(), "cannot be read: No such file or directory"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
}


@pytest.mark.parametrize("what", BAD)
def test_any_other_file_is_refused_in_one_line(path, monkeypatch, what):
    """And nothing in it is run."""
    monkeypatch.chdir(path.parent)
    make, said = BAD[what]
    make(path)
    with pytest.raises(FileError) as found:
        read_entries(path)
    message = str(found.value)
    assert message.startswith(said), message
    assert "\n" not in message and len(message) < 400
    assert not os.path.exists("was-run")


@steady
@given(st.data())
def test_any_change_to_a_good_file_is_read_or_refused(tmp_path_factory, data):
    """Bytes cut, changed or put in; never a traceback, never another file."""
    path = tmp_path_factory.mktemp("b") / "b.json"
    text = bytearray(entries_text(GOOD), "utf-8")
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        text[start:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"null", b"[]", b"{}", b"NaN", b'"', b"1e999", b"-1", b"true"])
        )
    path.write_bytes(bytes(text))
    try:
        found = read_entries(path)
    except FileError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(entry, Entry) for table in found.values() for entry in table.values())
    assert path.read_bytes() == bytes(text)
    assert os.listdir(path.parent) == ["b.json"]


FITTING = {"preset": "smoke", "params": ENTRY.params, "task_version": 1, "recipe": "0123456789abcdef"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"preset": "ci"}, "it was recorded with preset 'smoke', but this run has 'ci'"),
        ({"task_version": 2}, "it was recorded with task_version 1, but this run has 2"),
        ({"recipe": "f" * 16}, "it was recorded with recipe '0123456789abcdef', but this run has 'ffffffffffffffff'"),
        (
            {"params": {"vocab_size": 16, "frac_noise": 0.0}},
            "it was recorded with params {'vocab_size': 8}, but this run has {'vocab_size': 16}",
        ),
        ({"params": {"frac_noise": 0.0}}, "it was recorded with params {'vocab_size': 8}, but this run has {}"),
    ],
)
def test_an_entry_of_another_measurement_is_refused_with_both(change, said):
    check_fits(ENTRY, "it", FITTING)
    with pytest.raises(BaselineError) as found:
        check_fits(ENTRY, "it", FITTING | change)
    assert str(found.value) == said


@pytest.mark.parametrize(
    ("torch", "device", "same"), [("2.13.1+cu128", "cpu", True), ("2.14.0", "cpu", False), ("2.13.0", "cuda", False)]
)
def test_a_minor_version_or_a_class_of_device_is_another_machine(torch, device, same):
    assert (another_machine(ENTRY, torch=torch, device=device) is None) == same


def result(**changes):
    record = SettingResult(
        architecture="mine",
        setting=RECALL,
        task="in-context-recall",
        task_version=1,
        params=ENTRY.params,
        preset="smoke",
        verdict="pass",
        oracle=1.0,
        trivial=0.5,
        accuracy=0.9,
        normalized=0.8,
        scores=((3, 0.98765432198), (4, -0.12345678)),
        recipe="0123456789abcdef",
    )
    return replace(record, **changes)


def test_a_finished_setting_is_recorded_whatever_its_verdict():
    """Scores of six digits, rounded down: a seed must never fall below its own record."""
    for verdict in ("pass", "fail", "regress"):
        (entry,) = recorded([result(verdict=verdict)], "2.13.0+cpu")["mine"].values()
        unmarked = replace(ENTRY, mark=None, steps=(), seconds_per_step=None, first=None)
        assert entry == replace(unmarked, first_seed=3, scores=(0.987654, -0.123457))


def test_steps_are_recorded_with_their_mark():
    found = result(mark=0.9, steps=((3, 150), (4, None)), seconds_per_step=0.01)
    (entry,) = recorded([found], "2.13.0+cpu")["mine"].values()
    assert (entry.mark, entry.steps, entry.seconds_per_step) == (0.9, (150, None), 0.01)


@pytest.mark.parametrize(("change", "keeps"), [({}, True), ({"recipe": "ff"}, False), ({"mark": 0.8}, False)])
def test_a_new_entry_remembers_the_first_of_its_kind(change, keeps):
    """However often it is recorded anew; not one of another recipe."""
    first = replace(ENTRY, first=None)
    second = replace(first, steps=(200, 210), **change)
    third = replace(second, steps=(300, 310))
    once = merged({"mine": {RECALL: first}}, {"mine": {RECALL: second}})
    twice = merged(once, {"mine": {RECALL: third}})["mine"][RECALL]
    expected = first if keeps else second
    assert twice.first is not None
    assert (twice.first.steps, twice.first.scores) == (expected.steps, expected.scores)


@pytest.mark.parametrize("change", [{"verdict": v} for v in ("error", "inconclusive", "skipped")] + [{"scores": ()}])
def test_a_setting_that_did_not_finish_is_not_recorded(change):
    assert recorded([result(**change)], "2.13.0") == {}


def test_a_shipped_baseline_is_compared_across_names(tmp_path, monkeypatch):
    """A file's is not."""
    monkeypatch.setattr(module, "_SHIPPED", tmp_path)
    write_entries(tmp_path / "best.json", {"best": {RECALL: ENTRY}})
    assert shipped_baselines() == ["best"]
    assert load_baseline("best", tmp_path).find("mine", RECALL) == ("best", ENTRY)
    assert load_baseline("best.json", tmp_path).find("mine", RECALL) is None
    assert load_baseline("best.json", tmp_path).find("best", RECALL) == ("best", ENTRY)
    assert load_baseline("best", tmp_path).find("mine", "other[baseline]") is None


def test_the_shipped_baselines_are_of_today_s_smoke_preset():
    """A change of a task or of the recipe needs new ones."""
    chosen = settings("smoke")
    for name in shipped_baselines():
        found = read_entries(module._SHIPPED / f"{name}.json")
        assert list(found) == [name] and set(found[name]) <= set(chosen)
        for setting, entry in found[name].items():
            check_fits(entry, setting, chosen[setting].identity())
            assert len(entry.scores) >= chosen[setting].gate.baseline_seeds


def test_the_shipped_baselines_are_the_recorded_seeds():
    """What is measured is kept in benchmarks/results, learning curves included."""
    names = shipped_baselines()
    assert "transformer" in names
    for name in names:
        assert (
            baseline_of(RESULTS / f"calibrate-smoke-{name}.json")
            == read_entries(module._SHIPPED / f"{name}.json")[name]
        )


@pytest.mark.parametrize(("first_seed", "most", "says"), [
    (20, 1, "is not new"), (35, 1, "is not new"), (17, 4, "and up to 4 seeds run into them"), (13, 8, "and up to 8"),
])  # fmt: skip
def test_seeds_that_were_recorded_are_refused_also_as_later_ones(first_seed, most, says):
    recorded = replace(ENTRY, first_seed=20, scores=(0.9,) * 16, steps=(100,) * 16)
    with pytest.raises(BaselineError, match=f"seeds 20 to 35 are recorded, so --mad-first-seed={first_seed} {says}"):
        check_new(recorded, first_seed, most)


def test_seeds_before_and_behind_the_recorded_ones_are_new():
    recorded = replace(ENTRY, first_seed=20, scores=(0.9,) * 16, steps=(100,) * 16)
    for first_seed in (None, 16, 36):
        check_new(recorded, first_seed, 4)
