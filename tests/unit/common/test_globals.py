"""What a user's code changes of the process is put back, and an error of any kind is one line."""

from __future__ import annotations

import pytest
import torch

from pytest_mad.common.errors import LeftError, first_line, kept_inside, type_name, user_traceback
from pytest_mad.common.globals import put_back
from pytest_mad.common.packages import HERE


def test_a_device_that_was_entered_and_never_left_is_left():
    """Whoever comes next would build on it, and torch itself has no way out of it by hand."""
    with put_back() as changed:
        torch.device("meta").__enter__()
        assert torch.zeros(1).is_meta
    assert not torch.zeros(1).is_meta
    assert any("torch's function modes" in one for one in changed)


def test_the_default_device_of_the_process_stays_what_it_was_before():
    """It is such a mode too, but one that has a setting of its own."""
    torch.set_default_device("meta")
    try:
        with put_back() as changed:
            torch.set_default_device("cpu")
        assert torch.zeros(1).is_meta and len(changed) == 1
    finally:
        torch.set_default_device(None)
    assert not torch.zeros(1).is_meta


class LeavingError(Exception):
    """Of a library that ends the process wherever it can."""

    def __str__(self):
        raise SystemExit(3)


class BrokenError(Exception):
    def __str__(self):
        return 3  # noqa: PLE0307


@pytest.mark.parametrize(("error", "says"), [(LeavingError(), "SystemExit"), (BrokenError(), "TypeError")])
def test_a_message_that_cannot_be_read_says_so(error, says):
    """It ends nothing."""
    assert first_line(error) == f"(its message cannot be read: {says})"


@pytest.mark.parametrize("error", [StopIteration("why"), GeneratorExit("why"), SystemExit("why"), KeyError("why")])
def test_a_traceback_has_frames_of_the_users_alone(error):
    """Also of what is no ``Exception``, of which we make one; and of its causes."""

    def users():
        raise error

    with pytest.raises((LeftError, StopIteration, KeyError)) as caught, put_back(), kept_inside():
        users()
    shown = user_traceback(caught.value)
    assert "in users" in shown and "why" in shown
    assert f"{HERE}/" not in shown


def test_where_there_is_nothing_of_the_users_no_traceback_is_shown():
    """``pytest.exit`` says all in its message."""
    with pytest.raises(LeftError) as caught, kept_inside():
        pytest.exit("why")
    assert str(caught.value) == "called pytest.exit: why"
    assert user_traceback(caught.value) == ""


def test_a_class_may_be_called_anything():
    """Its name stands in our messages."""
    assert type_name(type("Odd\n\x1b[31m", (), {})()) == "Odd\\n\\x1b[31m"
