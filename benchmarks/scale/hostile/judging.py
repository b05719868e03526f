"""What counts as a defect, and how one input is judged."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import torch
from hypothesis import HealthCheck, Phase
from torch.overrides import _get_current_function_mode_stack

from pytest_mad.common.globals import SETTINGS
from pytest_mad.common.text import printable

from .damage import Strategy

#: Seconds in which a parser has to end, and a tiny training.
LONGEST = 20.0
_PART = re.compile(r"\..+\.\w{6,}|.*\.part")
OUTCOMES = ("valid", "refused", "judged")


class DefectError(Exception):
    """What must not happen; the message says what did."""


class HangError(BaseException):
    """Nothing ends what is asked of it."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of input: what is drawn, and what is done with it."""

    name: str
    inputs: Strategy = field(repr=False)
    #: with an input, in an empty folder of its own, which is the current one: ``valid``, ``refused`` or ``judged``
    attempt: Callable[[Any, Path], str]
    #: one-line errors that the API documents
    documented: tuple[type[BaseException], ...] = ()
    #: of the inputs of a run, in thousandths
    share: int
    #: whether code of the users' runs, which may leave what it likes in the environment, but not in torch
    of_users: bool = False


class Met(NamedTuple):
    """What an input came to."""

    outcome: str
    defect: str = ""


def drawn(inputs: Strategy, count: int, seed: int) -> list[Any]:
    """So many different inputs; the same for the same seed."""
    found: dict[str, Any] = {}
    for turn in range(20):
        if len(found) >= count:
            break

        def keep(given: Any) -> None:
            if len(found) < count:
                found.setdefault(repr(given), given)

        quiet = hypothesis.settings(
            max_examples=max(20, (count - len(found)) * 3 // 2),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the strategy is too long to be shown
            hypothesis.seed(1000 * seed + turn)(quiet(hypothesis.given(given=inputs)(keep)))()
    return list(found.values())


def meet(kind: Kind, given: Any, folder: Path) -> Met:
    """Judge one input in this process."""
    before = process(of_users=kind.of_users)
    outcome, defect = "refused", ""
    with limited(LONGEST) as hangs:
        try:
            outcome = kind.attempt(given, folder)
        except KeyboardInterrupt:
            raise
        except DefectError as wrong:
            defect = str(wrong)
        except kind.documented as error:
            defect = wrong_line(str(error))
        except BaseException as error:
            defect = _frames(error)
    if hangs:
        defect = f"hangs: more than {LONGEST:g} s"
    changed = put_back(before)
    return Met(outcome, defect or (f"left changed: {changed}" if changed else ""))


def wrong_line(text: str) -> str:
    """What is wrong with a message, which must be one line of printable characters."""
    if not text.strip():
        return "a message without a word"
    if "\n" in text or "\r" in text:
        return f"a message of several lines: {text[:300]!r}"
    if printable(text) != text:
        return f"a message with control characters: {text[:300]!r}"
    return ""


def check_line(text: str) -> None:
    """Raise :class:`DefectError` for a message that is no line; an empty one is none."""
    if text and wrong_line(text):
        raise DefectError(wrong_line(text))


def left_over(folder: Path) -> list[str]:
    """Temporary files that somebody forgot."""
    return sorted(path.name for path in folder.rglob("*") if _PART.fullmatch(path.name))


def _frames(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/hostile/" not in f.filename]
    told = [f"{Path(f.filename).name}:{f.lineno}" for f in frames[-3:]]
    try:
        message = str(error)
    except BaseException:
        message = "(no message)"
    return f"{type(error).__name__!a} in {' > '.join(told)}: {message[:160]!a}"


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[list[bool]]:
    """End what takes too long; afterwards the list that it yields is not empty if it did."""
    hangs: list[bool] = []

    def ring(number: int, frame: FrameType | None) -> None:
        hangs.append(True)
        raise HangError

    known = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield hangs
    except HangError:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, known)


# -- the process ------------------------------------------------------------------------------------------------------


def process(*, of_users: bool) -> dict[str, Any]:
    """What an input must leave as it was, by name."""
    found: dict[str, Any] = {"torch's modes": _modes()}
    found |= {setting.name: _read(setting.read) for setting in SETTINGS}
    found |= {"random": random.getstate(), "numpy": _numpy(), "torch": torch.get_rng_state().numpy().tobytes()}
    found |= {"warnings": list(warnings.filters), "stdout": sys.stdout, "stderr": sys.stderr, "folder": os.getcwd()}
    if not of_users:
        found |= {"path": list(sys.path), "environment": dict(os.environ), "hooks": list(sys.meta_path)}
    return found


def _modes() -> int:
    """How many there are, such as a default device."""
    return len(_get_current_function_mode_stack())  # type: ignore[no-untyped-call]


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # of another default device, for example
        return type(error).__name__


def _numpy() -> Any:
    name, words, *rest = np.random.get_state()
    return name, np.asarray(words).tobytes(), rest


def put_back(before: dict[str, Any]) -> str:
    """What of the process is another than before, put back for the inputs that come."""
    now = process(of_users="path" not in before)
    changed = [name for name in before if now[name] != before[name]]
    if not changed:
        return ""
    while _modes() > before["torch's modes"]:
        torch._C._pop_torch_function_stack()
    for setting in SETTINGS:
        if _read(setting.read) != before[setting.name]:
            setting.write(before[setting.name])
    random.setstate(before["random"])
    os.chdir(before["folder"])
    warnings.filters[:] = before["warnings"]  # type: ignore[index]
    sys.stdout, sys.stderr = before["stdout"], before["stderr"]
    sys.path[:] = before.get("path", sys.path)
    sys.meta_path[:] = before.get("hooks", sys.meta_path)
    names = {key for key in os.environ if os.environ[key] != before.get("environment", os.environ).get(key)}
    for name in names:
        del os.environ[name]
    return ", ".join([*changed, *sorted(names)])
