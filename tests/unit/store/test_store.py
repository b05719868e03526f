"""The store's files: found by content, written whole, never run, and never in the way of a run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_mad import evaluate
from pytest_mad.api import StoreWarning
from pytest_mad.architectures.architecture import from_factory
from pytest_mad.common.errors import kept_inside
from pytest_mad.evaluation.sweep import run_sweep
from pytest_mad.store.folder import MARK, MOST, DamagedError, ElsewhereError, Store, Stored, key_of
from pytest_mad.store.headers import TrialHeader
from pytest_mad.store.headers import header_of as typed
from tests.unit.tiny import CPU, POINT, Tiny, make_setting

SETTING = make_setting(steps=10)
KEY = key_of({"task": "any"})


def sweep(store):
    return run_sweep(from_factory(Tiny), SETTING, 0, device=CPU, store=store)


def test_what_is_written_is_found_under_its_key(tmp_path):
    store, tensors = Store(tmp_path / "a" / "store"), {"x.y": torch.arange(3), "z": torch.zeros(2, 2)}
    assert list(store.find("trial", KEY)) == []
    assert not store.folder.exists()  # until something is written
    store.write("trial", KEY, "one", {"score": 0.1}, tensors)
    (found,) = Store(store.folder).find("trial", KEY)
    assert found.header == {"score": 0.1}
    assert {name: tensor.tolist() for name, tensor in found.tensors().items()} == {
        "x.y": [0, 1, 2],
        "z": [[0, 0], [0, 0]],
    }
    assert list(store.find("contract", KEY)) == list(store.find("trial", key_of({"task": "other"}))) == []
    assert (store.folder / ".gitignore").read_text() == "*\n"
    assert json.loads((store.folder / "store.json").read_text()) == {"schema": 1}


def test_only_the_last_used_are_kept(tmp_path):
    store = Store(tmp_path)
    for number in range(MOST + 2):
        store.write("trial", KEY, f"{number:02}", {"number": number}, {})
        for stored in store.find("trial", KEY, "00"):
            os.utime(stored.path, ns=(number * 1000, 2**62 + number))  # used after every other
    kept = {stored.header["number"] for stored in store.find("trial", KEY)}
    assert len(kept) == MOST
    assert {0, MOST + 1} <= kept


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_left_alone(tmp_path):
    tmp_path.chmod(0o500)
    store = Store(tmp_path / "store")
    assert not sweep(store).stored
    assert "Permission denied" in store.trouble


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(30, "Read-only file system"), "Read-only"),
    ],
)
def test_a_disk_that_takes_nothing_is_said_once(tmp_path, monkeypatch, error, reason):
    """The run goes on, and tries no more."""
    calls = []

    def refuse(*arguments):
        calls.append(arguments)
        raise error

    monkeypatch.setattr("pytest_mad.store.folder._replace", refuse)
    store = Store(tmp_path)
    first = sweep(store)
    assert not first.stored
    assert sweep(store).best.curve == first.best.curve
    assert len(calls) == 1
    assert (
        store.trouble
        == f"store {tmp_path}: cannot be written: {error.strerror}; the run goes on without keeping results"
    )
    assert reason in store.trouble
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize("text", ['{"schema": 2}', "{}", "", "[]", '{"schema": NaN}', "\x80"])
def test_a_store_of_another_version_is_neither_read_nor_written(tmp_path, text):
    sweep(Store(tmp_path))
    (tmp_path / MARK).write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    store = Store(tmp_path)
    assert not sweep(store).stored
    assert store.trouble is not None
    assert "goes on without it" in store.trouble
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store with one trial."""
    folder = tmp_path_factory.mktemp("store")
    sweep(Store(folder))
    return folder


def header_of(path):
    (size,) = struct.unpack("<Q", path.read_bytes()[:8])
    return size


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_not_used_and_not_changed(written, tmp_path_factory, data):
    """Bytes changed, cut off or added anywhere: the trial is trained again, without a traceback."""
    folder = shutil.copytree(written, tmp_path_factory.mktemp("copy") / "store")
    fresh = sweep(None)
    (path,) = folder.glob("trial-*")
    content = path.read_bytes()
    kind = data.draw(st.sampled_from(["header", "anywhere", "cut", "longer", "random"]))
    if kind in ("header", "anywhere"):
        last = header_of(path) + 8 if kind == "header" else len(content)
        at = data.draw(st.integers(0, last - 1))
        content = content[:at] + data.draw(st.binary(min_size=1, max_size=8)) + content[at + 1 :]
    elif kind == "cut":
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    elif kind == "longer":
        content += data.draw(st.binary(min_size=1, max_size=100))
    else:
        content = data.draw(st.binary(max_size=300))
    path.write_bytes(content)
    store = Store(folder)
    found = next(iter(store.find("trial", path.name.split("-")[1])), None)
    assert found is None or isinstance(found.header, dict)
    assert path.read_bytes() == content
    again = sweep(store)  # it may be used where the same bytes were drawn, or some that nothing asks for
    assert (again.best.curve, again.best.test) == (fresh.best.curve, fresh.best.test)


@pytest.mark.parametrize("part", [0.001, 0.2, 0.4, 0.6, 0.8, 0.999])
def test_a_bit_that_a_disk_has_lost_is_noted(tmp_path, part):
    """In a tensor, which is a number before and after; a checkpoint with one would go on to another result."""
    store = Store(tmp_path)
    store.write("checkpoint", "0" * 32, "x", {}, {"weights": torch.ones(300), "step": torch.tensor(3)})
    (path,) = tmp_path.glob("checkpoint-*")
    content = bytearray(path.read_bytes())
    (stored,) = store.find("checkpoint", "0" * 32)
    assert stored.tensors().keys() == {"weights", "step"}
    start = header_of(path) + 8
    content[start + int(part * (len(content) - start))] ^= 1
    path.write_bytes(content)
    (stored,) = store.find("checkpoint", "0" * 32)
    with pytest.raises(DamagedError, match="its tensors are not those that were written"):
        stored.tensors()


def test_a_pickle_in_the_store_is_never_opened(tmp_path):
    """A file of the right name that would run code if it were unpickled."""

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'boom'}",)

    sweep(Store(tmp_path))
    (path,) = tmp_path.glob("trial-*")
    path.write_bytes(pickle.dumps(Bomb()))
    assert not sweep(Store(tmp_path)).stored
    torch.save({"x": Bomb()}, path)
    assert not sweep(Store(tmp_path)).stored
    assert not (tmp_path / "boom").exists()


GOOD = {
    "point": {"lr": POINT.lr, "weight_decay": POINT.weight_decay},
    "seed": 0,
    "steps": 10,
    "stopped": "budget",
    "curve": [[10, 0.5]],
    "validation": {"accuracy": 0.5, "accuracy_compat": 0.5, "sequence_accuracy": 0.5},
    "test": {"accuracy": 0.5, "accuracy_compat": 0.5, "sequence_accuracy": 0.5},
    "seconds": 1.0,
    "seconds_per_step": 0.01,
    "note": "",
}


def trial_from(content):
    """The trial in the header of a file."""
    header = {"source": "00ff", "hidden": "ff00", "by_evidence": True, "trial": content}
    return typed(TrialHeader, Stored(path=Path("trial-0-0.safetensors"), header=header)).trial


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0}, {"steps": True}, {"steps": "10"}, {"stopped": "bored"}, {"curve": [[10, 1.5]]},
        {"curve": [[10]]}, {"curve": None}, {"seed": -1}, {"note": None}, {"point": {"lr": 1.0}}, {"seconds": None},
        {"test": {"accuracy": 0.5}}, {"validation": {**GOOD["validation"], "accuracy": -0.1}},
        {"test": {**GOOD["test"], "more": 0.5}}, {"test": []},
    ],
)  # fmt: skip
def test_a_trial_that_cannot_be_is_refused(change):
    """In one line that names the key."""
    assert trial_from(GOOD).steps == 10
    with pytest.raises(DamagedError, match=rf"^is damaged \(trial\.{next(iter(change))}.*\)$"):
        trial_from(GOOD | change)


@pytest.mark.parametrize("key", GOOD)
def test_every_key_of_a_trial_must_be_there(key):
    with pytest.raises(DamagedError, match=rf"^is damaged \(trial has no '{key}'\)$"):
        trial_from({name: value for name, value in GOOD.items() if name != key})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "x"]), inner, max_size=4),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_a_trial_or_refused_in_one_line(content):
    try:
        trial_from(content)
    except DamagedError as error:
        assert len(str(error).splitlines()) == 1


def test_python_warns_of_a_store_that_cannot_be_used(tmp_path):
    """The score is there all the same; the next call finds nothing and says so again."""
    (tmp_path / MARK).write_text('{"schema": 2}')
    with pytest.warns(StoreWarning, match="has schema 2"):
        assert evaluate(Tiny, SETTING, store=tmp_path).normalized is not None
    found = [evaluate(Tiny, SETTING, store=tmp_path / "good").stored for _ in range(2)]
    assert found == [False, True]


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path):
    """After a day; before that another process may still be writing it."""
    for name, age in ((".old.part", 2), (".new.part", 0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age * 86_400,) * 2)
    Store(tmp_path).write("trial", KEY, "one", {}, {})
    assert [path.name for path in tmp_path.glob(".*.part")] == [".new.part"]


def test_a_mark_is_there_while_something_runs_and_is_nobody_elses_business(tmp_path):
    """Also where it ends in an error, and where the folder vanishes meanwhile."""
    store = Store(tmp_path / "store")
    with pytest.raises(KeyError), store.marked("a, b"):
        assert len(list(store.folder.glob("running-*"))) == 1
        assert Store(store.folder).left_behind() == []  # its process lives
        raise KeyError
    assert not list(store.folder.glob("running-*"))
    with store.marked("a, b"):
        shutil.rmtree(store.folder)
    assert store.trouble is None and store.left_behind() == []


def test_what_dead_processes_ran_is_told_once(tmp_path):
    """Marks that are cut off, as of a process that died while it wrote one, say nothing and go too."""
    for name, text in (("a", '{"running": "a, b"}'), ("b", '{"running": "c"}'), ("c", ""), ("d", "{}"), ("e", "[]")):
        (tmp_path / f"running-{name}.json").write_text(text)
    assert Store(tmp_path).left_behind() == ["a, b", "c"]
    assert Store(tmp_path).left_behind() == []
    assert not list(tmp_path.glob("running-*"))


def test_a_mark_that_cannot_be_left_stops_nothing(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "store")
    with store.marked("a, b"):
        pass
    assert "cannot be written" in store.trouble


def test_files_travel_between_stores_as_they_are(tmp_path):
    """By their names, which are no paths; without content a file is forgotten."""
    store = Store(tmp_path / "store")
    store.write("trial", KEY, "one", {"score": 0.1}, {})
    (name,) = store.names()
    other = Store(tmp_path / "other")
    other.put(name, store.content(name))
    (found,) = other.find("trial", KEY)
    assert found.header == {"score": 0.1}
    other.put(name, None)
    assert not other.names() and other.content(name) is None
    other.put("../out.safetensors", b"text")
    other.put(f"trial-{KEY}-../../out.safetensors", b"text")
    assert not list(tmp_path.rglob("*out*")) and store.content("../store.json") is None


def test_what_lies_elsewhere_is_asked_for_by_name(tmp_path):
    """Only where it could be what is looked for; what has arrived is found."""
    store = Store(tmp_path / "store")
    store.write("trial", KEY, "one", {"score": 0.1}, {})
    content = {name: store.content(name) for name in store.names()}
    (name,) = content
    store.put(name, None)
    store.elsewhere = frozenset(content)
    assert list(store.find("contract", KEY)) == []
    with pytest.raises(ElsewhereError) as lacking, kept_inside():  # which is for what the user's code raises
        next(store.find("trial", KEY))
    assert lacking.value.names == [name]
    store.put(name, content[name])
    store.elsewhere = frozenset()
    assert [found.header for found in store.find("trial", KEY)] == [{"score": 0.1}]


def test_a_store_that_keeps_nothing_prepares_nothing(tmp_path, monkeypatch):
    """What cannot be written is not even put together."""
    (tmp_path / MARK).write_text('{"schema": 99}')
    store = Store(tmp_path)

    def save(*_):
        raise AssertionError("put together")

    monkeypatch.setattr("safetensors.torch.save", save)
    before = store.trouble
    store.write("trial", KEY, "one", {}, {})
    store._is_off, store._is_read_only, store.trouble = False, True, None
    store.write("trial", KEY, "one", {}, {})
    assert before and "schema 99" in before and store.trouble is None
