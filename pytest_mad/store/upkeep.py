"""What is in a store, and how it is emptied: for whoever looks at one without a run."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pytest_mad.common.files import FileError, read_json

from .folder import MARK, NAME, PART, RUNNING, SCHEMA, lock


def check_store(folder: Path) -> None:
    """Raise ``FileError`` for a folder that this version has not written: nothing in it is ours to delete."""
    if not (folder / MARK).is_file():
        raise FileError(f"is no store: it has no {MARK}")
    try:
        schema = read_json(folder / MARK).get("schema")
    except FileError as error:
        raise FileError(f"{MARK} {error}") from None
    if schema != SCHEMA:
        raise FileError(f"has schema {schema!r}, but this version of pytest-mad writes {SCHEMA}")


def sizes(folder: Path) -> dict[str, list[int]]:
    """Bytes of each file, by what it holds."""
    found: dict[str, list[int]] = {"trial": [], "checkpoint": [], "contract": []}
    for path in folder.glob("*.safetensors"):
        if NAME.fullmatch(path.name):
            with contextlib.suppress(OSError):  # deleted meanwhile
                found[path.name.partition("-")[0]].append(path.stat().st_size)
    return found


def clear(folder: Path) -> None:
    """Delete all that is kept, and leave an empty store.

    Raises ``FileError`` while a run keeps its results there, and for what cannot be deleted.
    """
    marks = [*folder.glob(f"{RUNNING}*.json")]
    if any(map(_is_held, marks)):
        raise FileError("is in use by a run; wait for its end")
    kept = [path for path in folder.glob("*.safetensors") if NAME.fullmatch(path.name)]
    try:
        for path in (*kept, *marks, *folder.glob(f".*{PART}")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"cannot be emptied: {error.strerror}") from None


def _is_held(mark: Path) -> bool:
    """Whether the process that wrote this lives: it holds the lock until it ends."""
    try:
        handle = os.open(mark, os.O_RDWR)
    except OSError:  # deleted meanwhile
        return False
    try:
        lock(handle)
    except BlockingIOError:
        return True
    except OSError:  # a disk that knows no locks
        return False
    finally:
        os.close(handle)
    return False
