"""Word for the next run of what this process does that may end it: a file in the store, which goes when it is done.

Under xdist the controller tells what became of a worker, so a worker leaves none.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pytest_mad.common.files import is_there
from pytest_mad.store.folder import MARK, open_store

from .storing import store_path

#: How the word of an import begins.
_IMPORT = "import of "
_DIED = pytest.StashKey[list[str]]()


def _folder(config: pytest.Config) -> Path | None:
    return None if hasattr(config, "workerinput") else store_path(config)


@contextlib.contextmanager
def marked(config: pytest.Config, what: str) -> Iterator[None]:
    """In a single process: leave word for the next run if this one dies inside."""
    folder = _folder(config)
    with open_store(folder).marked(what) if folder else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def importing(config: pytest.Config, target: str) -> Iterator[None]:
    """The same while user code is imported; what was made for this word alone goes again."""
    folder = _folder(config)
    made = [path for path in (folder, *folder.parents) if not is_there(path)] if folder else []
    known = _names(folder)
    try:
        with marked(config, f"{_IMPORT}{target}"):
            yield
    finally:
        if folder:
            _remove_empty(folder, known, made)


def _names(folder: Path | None) -> set[str]:
    with contextlib.suppress(OSError):
        return {path.name for path in folder.iterdir()} if folder else set()
    return set()


def _remove_empty(folder: Path, known: set[str], made: Sequence[Path]) -> None:
    """Remove what makes a folder a store, if nothing else has come, and the folders that were made with it."""
    come = _names(folder) - known
    with contextlib.suppress(OSError):
        if come and come <= {MARK, ".gitignore"}:
            for name in come:
                (folder / name).unlink()
            for path in made:
                path.rmdir()


def left_behind(config: pytest.Config) -> list[str]:
    """What earlier processes ran when they died, in lines for the header.

    Asked first before anything is imported: which import an earlier process died of is said at once, for that may end
    this one too.
    """
    if _DIED not in config.stash:
        folder = _folder(config)
        died = open_store(folder).left_behind() if folder else []
        config.stash[_DIED] = [one for one in died if not one.startswith(_IMPORT)]
        for one in died:
            if one.startswith(_IMPORT):
                sys.stderr.write(f"mad: the last run ended while it imported {one.removeprefix(_IMPORT)}\n")
                sys.stderr.flush()
    lines = config.stash[_DIED]
    return [f"mad: the last run ended while it ran {what}; what had finished is in the store" for what in lines]
