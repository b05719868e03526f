"""``pytest-mad store``: where it is, how large, and how it is emptied."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_mad.api import evaluate
from pytest_mad.store.folder import Store
from tests.unit.tiny import Tiny, make_setting


@pytest.fixture
def store(folder):
    """A store with a trial."""
    place = folder / ".pytest_mad"
    evaluate(Tiny, make_setting(steps=10), store=place)
    return place


def test_it_says_where_it_is_and_what_is_in_it(mad, store):
    """Sizes are those of the files."""
    size = sum(path.stat().st_size for path in store.glob("*.safetensors"))
    done = mad("store")
    assert done.out == [f"store {store}: 1 trial, {size / 1e3:.1f} kB"]
    assert done.code == 0 and not done.err


def test_it_is_found_from_a_folder_below(mad, store, folder, monkeypatch):
    """A run there keeps its results in pytest's root."""
    (folder / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(folder / "a" / "b")
    assert mad("store").out[0].startswith(f"store {store}: ")


def test_cleared_it_is_empty_and_what_is_not_ours_stays(mad, store, folder):
    """Also where somebody keeps a file of their own in it, and through a link."""
    (store / "notes.txt").write_text("mine")
    (store / "trial-of-mine.safetensors").write_text("mine")
    (folder / "link").symlink_to(store)
    assert mad("store", "--store=link", "--clear").out[-1] == "cleared"
    assert sorted(path.name for path in store.iterdir()) == [
        ".gitignore", "notes.txt", "store.json", "trial-of-mine.safetensors",
    ]  # fmt: skip
    assert mad("store").out == [f"store {store}: empty"]


def test_where_nothing_was_kept_there_is_nothing(mad, folder):
    done = mad("store")
    assert done.code == 0 and "nothing has been kept yet" in done.out[0]
    assert mad("store", "--clear").code == 0 and not list(folder.iterdir())


@pytest.mark.parametrize("clear", [[], ["--clear"]])
def test_a_folder_that_is_no_store_is_refused_and_stays_as_it_is(refused, folder, clear):
    """A slip of the pen must not empty a folder."""
    (folder / "other").mkdir()
    (folder / "other" / "trial-x.safetensors").write_text("mine")
    assert refused("store", "--store=other", *clear).endswith("store other: is no store: it has no store.json")
    assert refused("store", "--store=missing", *clear).endswith("--store=missing: there is no such folder")


def test_a_store_of_a_folder_above_is_only_cleared_by_its_name(refused, mad, store, folder, monkeypatch):
    """It may be another project's."""
    (folder / "a").mkdir()
    monkeypatch.chdir(folder / "a")
    assert refused("store", "--clear").endswith(f"add --store={store} to clear it")
    assert list(store.glob("trial-*")) and mad("store", f"--store={store}", "--clear").code == 0


def test_a_store_in_use_is_not_cleared(refused, mad, store):
    """Nor when its run has died, which leaves a mark that nobody holds."""
    with Store(store).marked("tiny, memorization[baseline]"):
        assert refused("store", "--clear").endswith("is in use by a run; wait for its end")
    assert mad("store", "--clear").code == 0


def test_a_store_of_a_later_version_is_refused(refused, store):
    (store / "store.json").write_text('{"schema": 9}')
    assert "has schema 9" in refused("store", "--clear")


def test_it_does_not_load_torch(store):
    script = (
        "import sys\n"
        "from pytest_mad.cli import main\n"
        "main(['store', '--clear'])\n"
        "print(*[name for name in ('torch', 'numpy', 'hypothesis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
