"""Errors in one line: what is wrong with a value, and an exception from a user's code with their own frames."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import traceback
from collections.abc import Iterable, Iterator

from .packages import HERE
from .text import printable

_LONGEST_VALUE = 80
_LONGEST_LINE = 1000
#: pytest's ways to end more than a test, by what they raise. Nothing below the suite imports pytest.
_CALLED = {"Exit": "pytest.exit", "Failed": "pytest.fail", "XFailed": "pytest.xfail"}
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise a one-line ``ValueError`` that names the value and what would be right."""
    if not condition:
        raise ValueError(f"{name} is {shown(value)}, but must be {expected}")


def shown(value: object) -> str:
    """A value as it is written, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def check_keys(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise a one-line ``ValueError`` that suggests the nearest known key for one that is not known."""
    for key in given:
        if key not in known:
            raise ValueError(f"unknown {what} {key!r}; {suggestion(key, known)}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """``did you mean ...?``, or all that is known."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


class SkippedError(Exception):
    """The user's code asks to be skipped, or cannot be measured in this way; the message is the reason."""


class LeftError(RuntimeError):
    """The user's code wanted to leave the process, or a test; the message is what it called, and why."""


class SignalError(BaseException):
    """Ours, on its way through the user's code to who waits for it above: nothing may take it for theirs."""


@contextlib.contextmanager
def kept_inside() -> Iterator[None]:
    """Turn what is no ``Exception`` into one: a skip, ``SystemExit``, pytest's outcomes. Ctrl-C stays what it is."""
    try:
        yield
    except (KeyboardInterrupt, SignalError):
        raise
    except BaseException as error:
        kind = type_name(error)
        is_outcome = type(error).__module__.partition(".")[0] in ("builtins", "_pytest", "unittest")  # as they say
        if is_outcome and kind in ("Skipped", "SkipTest"):
            raise SkippedError(first_line(error)) from None
        if is_outcome and kind in _CALLED:
            raise LeftError(f"called {_CALLED[kind]}: {first_line(error)}") from None
        if isinstance(error, Exception):
            raise
        raise LeftError(f"raised {kind}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of the message; multi-line messages would break one-line errors."""
    line = _message(error).strip().replace("\r", "\n").partition("\n")[0]
    return printable(line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}...")


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a SystemExit must not end us either
        return f"(its message cannot be read: {type_name(broken)})"


def type_name(value: object) -> str:
    """Of a user's class, which may be called anything."""
    return printable(type(value).__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """torch raises a type of its own on CUDA, but others from its CPU allocator and from CUDA's libraries."""
    by_name = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return by_name or any(text in _message(error) for text in _OUT_OF_MEMORY)


def what_happened(error: Exception, doing: str) -> str:
    """One line about an exception that no check foresaw."""
    if is_out_of_memory(error):
        return f"out of memory: make the model or the preset's batch_size smaller ({first_line(error)})"
    if isinstance(error, LeftError):
        return f"{doing} {first_line(error)}"
    return f"{doing} raised {type_name(error)}: {first_line(error)}"


def user_traceback(error: BaseException | None) -> str:
    """The traceback of an error and of its causes, each from the first frame that is the user's and without ours.

    Empty without an error; of one that we made of the user's, theirs.
    """
    if isinstance(error, LeftError):
        error = error.__cause__
    if error is None:
        return ""
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    for link in _links(told):
        users = itertools.dropwhile(lambda frame: _is_machinery(frame.filename), link.stack)
        link.stack[:] = [frame for frame in users if not _is_ours(frame.filename)]
    return printable("".join(told.format()), keep="\n\t")


def _links(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """It, its causes, and the parts of a group."""
    waiting = [told]
    while waiting:
        link = waiting.pop()
        yield link
        parts = [link.__cause__, link.__context__, *(getattr(link, "exceptions", None) or ())]
        waiting += [part for part in parts if part is not None]


def _is_ours(filename: str) -> bool:
    return filename.startswith(str(HERE))


def _is_machinery(filename: str) -> bool:
    """Whether a frame is ours, the import system's, or one through which torch calls ``forward``."""
    imports = filename.startswith("<frozen importlib") or "/importlib/" in filename
    return (
        imports
        or _is_ours(filename)
        or filename.endswith(("/torch/nn/modules/module.py", "/torch/utils/_contextlib.py", "/contextlib.py"))
    )
