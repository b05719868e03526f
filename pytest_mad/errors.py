"""How an exception from a user's code is shown: their own frames, and one line."""

from __future__ import annotations

import traceback
from pathlib import Path

_OURS = str(Path(__file__).parent)


def first_line(error: BaseException) -> str:
    """The first line of the message; multi-line messages would break one-line errors."""
    return (str(error).splitlines() or [""])[0]


def user_traceback(error: BaseException | None) -> str:
    """The traceback from the first frame that is neither ours nor the import machinery's; empty without an error."""
    if error is None:
        return ""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None and _is_machinery(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def _is_machinery(filename: str) -> bool:
    return filename.startswith((_OURS, "<frozen importlib")) or "/importlib/" in filename
