"""The store: what earlier runs computed, in files that are found again by content.

A folder of safetensors files, ``<kind>-<key>-<which>.safetensors``: the key says what was asked, the last part tells
architectures apart that were asked the same. Each file holds tensors, and one JSON object in its header. Nothing in a
file is ever run. Any number of processes may write; each file is replaced whole. All of it is safe to delete.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import fcntl
except ImportError:  # no Unix
    fcntl = None  # type: ignore[assignment]

from pytest_mad.common.errors import SignalError, first_line
from pytest_mad.common.files import FileError, is_there, parse_json, read_json, write_text
from pytest_mad.common.records import Plain

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
#: The file that says how a store is written.
MARK = "store.json"
#: Kept per key: more are architectures of long ago.
MOST = 16
_HEADER, _DIGEST, _TENSORS = "mad", "sha256", "tensors-sha256"
PART = ".part"
RUNNING = "running-"
#: What a store's files are called: a name that comes from another machine is no path.
NAME = re.compile(r"(trial|checkpoint|contract)-[0-9a-f]{32}-\w{1,32}\.safetensors")
#: Seconds after which nobody writes a file any more.
_ABANDONED = 24 * 3600


class DamagedError(ValueError):
    """A file that is not what this package writes; the message is one line."""


class ElsewhereError(SignalError):
    """What is asked for lies in another machine's store; no error."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One file: what its header says, and its tensors when they are asked for."""

    path: Path
    header: dict[str, Plain]

    def tensors(self) -> dict[str, Tensor]:
        """By name. Raises :class:`DamagedError`, also where another process has replaced the file meanwhile."""
        from safetensors import safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
                metadata = file.metadata() or {}
            header = parse_json(metadata.get(_HEADER, ""))
        except Exception as error:  # deleted meanwhile, or cut off: safetensors has a type of its own for the latter
            raise DamagedError(f"is damaged ({first_line(error)})") from None
        if header != self.header:
            raise DamagedError("was written by two runs at once")
        if metadata.get(_TENSORS) != _tensors_digest(found):
            raise DamagedError("is damaged (its tensors are not those that were written)")
        return found


class Store:
    """Results in a folder. What goes wrong with it is noted, once, and the run goes on without it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: one line about what went wrong first
        self.trouble: str | None = None
        #: files that another machine has, and sends where they are asked for
        self.elsewhere: frozenset[str] = frozenset()
        self._is_off = self._is_read_only = self._has_begun = False
        self._check()

    def find(self, kind: str, key: str, which: str = "*") -> Iterator[Stored]:
        """What is stored under a key, last written or used first. Raises :class:`ElsewhereError`."""
        if self._is_off:
            return
        lacking = fnmatch.filter(self.elsewhere, self._path(kind, key, which).name)
        if lacking:
            raise ElsewhereError(sorted(lacking))
        for path in self._files(kind, key, which):
            header = self._header(path)
            if header is not None:
                yield Stored(path=path, header=header)

    def _header(self, path: Path) -> dict[str, Plain] | None:
        try:
            return _read_header(path)
        except DamagedError as error:
            if is_there(path):  # and was not deleted by another process meanwhile
                self.note(f"{path.name} is damaged ({error}) and is not used; delete it")
            return None

    def write(self, kind: str, key: str, which: str, header: dict[str, Plain], tensors: dict[str, Tensor]) -> None:
        """Keep this, in place of what has the same name."""
        from safetensors.torch import save

        if self._is_off or self._is_read_only:
            return
        try:
            text = json.dumps(header, allow_nan=False)
            content = save(tensors, {_HEADER: text, _DIGEST: _digest(text), _TENSORS: _tensors_digest(tensors)})
        except Exception as error:  # a kind of number that the format does not have
            self.note(f"cannot hold this: {first_line(error)}")
        else:
            self.put(self._path(kind, key, which).name, content)

    def names(self) -> set[str]:
        """All files of the store."""
        try:
            return {path.name for path in self.folder.glob("*.safetensors") if NAME.fullmatch(path.name)}
        except OSError:
            return set()

    def content(self, name: str) -> bytes | None:
        """A file as it is; None for one that is no longer there."""
        try:
            return (self.folder / name).read_bytes() if NAME.fullmatch(name) else None
        except OSError:
            return None

    def put(self, name: str, content: bytes | None) -> None:
        """Keep a file as it is, in place of one of the same name; without content, have none."""
        if self._is_off or self._is_read_only or not NAME.fullmatch(name):
            return
        kind, key, which = name.removesuffix(".safetensors").split("-")
        if content is None:
            self.remove(kind, key, which)
            return
        try:
            self._begin()
            _replace(self.folder / name, content)
            for old in self._files(kind, key)[MOST:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self._cannot_write(error)

    def used(self, stored: Stored) -> None:
        """What is used is not what is deleted first."""
        with contextlib.suppress(OSError):
            os.utime(stored.path)

    def remove(self, kind: str, key: str, which: str) -> None:
        """Forget this; it need not be there."""
        try:
            self._path(kind, key, which).unlink(missing_ok=True)
        except OSError as error:
            self._cannot_write(error)

    @contextlib.contextmanager
    def marked(self, what: str) -> Iterator[None]:
        """Leave a file that says so if this process dies inside, and only then."""
        marker = self._mark(what)
        try:
            yield
        finally:
            if marker is not None:
                with contextlib.suppress(OSError):
                    os.unlink(marker[1])
                os.close(marker[0])

    def _mark(self, what: str) -> tuple[int, str] | None:
        """The file, open and locked for as long as this process lives, and its path."""
        if self._is_off or self._is_read_only:
            return None
        try:
            self._begin()
            handle, path = tempfile.mkstemp(dir=self.folder, prefix=RUNNING, suffix=".json")
        except OSError as error:
            self._cannot_write(error)
            return None
        with contextlib.suppress(OSError):  # a disk that is full, or knows no locks
            lock(handle)
            os.write(handle, json.dumps({"running": what}).encode())
        return handle, path

    def left_behind(self) -> list[str]:
        """What ran when a process died, told once."""
        found: list[str] = []
        for path in [] if self._is_off else sorted(self.folder.glob(f"{RUNNING}*")):
            with contextlib.suppress(OSError, ValueError, KeyError), path.open(encoding="utf-8") as marker:
                lock(marker.fileno())  # or it is another process's, which lives
                path.unlink()
                found.append(str(parse_json(marker.read())["running"]))
        return found

    def note(self, what: str) -> None:
        """Keep the first line about trouble."""
        self.trouble = self.trouble or f"store {self.folder}: {what}"

    def _cannot_write(self, error: OSError) -> None:
        """What is there is still found."""
        self._is_read_only = True
        self.note(f"cannot be written: {error.strerror}; the run goes on without keeping results")

    def _give_up(self, why: str) -> None:
        self._is_off = True
        self.note(f"{why}; the run goes on without it")

    def _path(self, kind: str, key: str, which: str) -> Path:
        return self.folder / f"{kind}-{key}-{which}.safetensors"

    def _files(self, kind: str, key: str, which: str = "*") -> list[Path]:
        """Last written or used first. Other processes may delete what is listed."""
        try:
            found = [(_written(path), path) for path in self.folder.glob(self._path(kind, key, which).name)]
        except OSError:
            return []
        return [path for _, path in sorted(found, reverse=True)]

    def _check(self) -> None:
        """Refuse a folder that a newer version of this package has written."""
        try:
            if not (self.folder / MARK).exists():
                return
            schema = read_json(self.folder / MARK).get("schema")
        except (FileError, OSError) as error:
            self._give_up(f"{MARK} {error}")
            return
        if schema != SCHEMA:
            self._give_up(f"has schema {schema!r}, but this version of pytest-mad writes {SCHEMA}")

    def _begin(self) -> None:
        """The folder, which no version control shall keep, unless there are files of the user's."""
        if not (self.folder / MARK).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            if not any(self.folder.iterdir()):
                write_text(self.folder / ".gitignore", "*\n")
            write_text(self.folder / MARK, json.dumps({"schema": SCHEMA}) + "\n")
        if not self._has_begun:
            self._has_begun = True
            for part in self.folder.glob(f".*{PART}"):  # of a process that was killed while it wrote
                if time.time() - _written(part) / 1e9 > _ABANDONED:
                    part.unlink(missing_ok=True)


@functools.lru_cache(maxsize=8)
def open_store(folder: Path) -> Store:
    """One per folder and process, so that it complains once."""
    return Store(folder)


def key_of(what: dict[str, Any]) -> str:
    """A name for what was asked, from plain values."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _written(path: Path) -> int:
    """When; long ago for what is no longer there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def lock(handle: int) -> None:
    """Raise ``BlockingIOError`` where another process has it; the lock ends with the process, however that ends."""
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _tensors_digest(tensors: dict[str, Tensor]) -> str:
    """A bit that a disk has lost would train another model, and nobody would know."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=PART)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read_header(path: Path) -> dict[str, Plain]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = file.metadata() or {}
        text = found.get(_HEADER, "")
        if found.get(_DIGEST) != _digest(text):
            raise DamagedError("its header is not the one that was written")
        return parse_json(text)
    except DamagedError:
        raise
    except FileError as error:
        raise DamagedError(str(error)) from None
    except Exception as error:  # safetensors has a type of its own
        raise DamagedError(first_line(error)) from None
