"""Files that outlive a run: JSON that is read strictly, and text that is written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import first_line

#: Far above what a run writes: the paper preset with its curves is about 2 MB per architecture and seed.
LARGEST = 64 * 2**20
#: Only the layout has line ends: in a JSON string they are escaped.
_PAIR = re.compile(r"\[\n +([-+.\deE]+),\n +([-+.\deE]+)\n +\]")


class FileError(ValueError):
    """A file that cannot be used; the message is one line without the file's name."""


def read_json(path: Path, largest: int = LARGEST) -> dict[str, Any]:
    """The object that a JSON file holds. Nothing in it is run.

    Raises :class:`FileError` where it is missing, a folder, too large, not UTF-8, not JSON, nested too deeply, has a
    key twice, a NaN or an infinity, or is no object.
    """
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)  # not all of /dev/zero
        if len(data) > largest:
            raise FileError(f"has more than the {largest:,} bytes that it may have")
        text = str(data, "utf-8-sig")  # editors on Windows begin with a byte order mark
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FileError(f"is not JSON: {first_line(error)}") from None
    return parse_json(text)


def parse_json(text: str) -> dict[str, Any]:
    """The object that a text holds; raises :class:`FileError` as :func:`read_json` does."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique)
    except FileError:
        raise
    except RecursionError:
        raise FileError("is nested too deeply") from None
    except ValueError as error:  # not JSON, or a whole number of thousands of digits
        raise FileError(f"is not JSON: {first_line(error)}") from None
    if not isinstance(content, dict):
        raise FileError(f"holds a {type(content).__name__}, but must hold an object")
    return content


def _refuse_constant(text: str) -> None:
    raise FileError(f"has the number {text}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FileError(f"has the number {text[:20]}, which is not finite")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON allows a key twice; the second would hide the first."""
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise FileError(f"has the key {name[:60]!r} twice")
        content[name] = value
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, sorted; see :func:`write_text`."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Sorted, so that the same content is the same text; a NaN or an infinity is a ``ValueError``.

    A pair of numbers, as learning curves are full of, stands on one line.
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    return _PAIR.sub(r"[\1, \2]", text) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write through a temporary file and an atomic rename, so that no reader sees half a file.

    Raises ``OSError``; the file that was there is then as it was.
    """
    path = path.resolve()  # what a link leads to is written, and the link stays
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def refuse_unwritable(path: Path) -> None:
    """Raise :class:`FileError` for a path where no file can be written, before any work is done for it.

    A device or a pipe is refused too: the rename would put a file in its place.
    """
    try:
        if not path.parent.is_dir():
            raise FileError(f"the folder {path.parent} does not exist")
        if path.is_dir():
            raise FileError("is a folder, but must be a file")
        if path.exists() and not path.is_file():
            raise FileError("is no regular file")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise FileError(f"cannot be written: {error.strerror}") from None


def is_there(path: Path) -> bool:
    """Whether there is anything at this path; a name that no file can have is not there."""
    return _is(Path.exists, path)


def is_file(path: Path) -> bool:
    """Whether there is a file at this path."""
    return _is(Path.is_file, path)


def is_folder(path: Path) -> bool:
    """Whether there is a folder at this path."""
    return _is(Path.is_dir, path)


def _is(what: Callable[[Path], bool], path: Path) -> bool:
    """Python asks the system, which refuses a name that is too long."""
    try:
        return what(path)
    except (OSError, ValueError):
        return False
