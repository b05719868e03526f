"""Parameters that cannot work are refused in one line that names the parameter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from pytest_mad.tasks import UnknownTaskError, get_task, task_names
from tests.oracles.parameters import any_task, make_params, steady

RECALL_FAMILY = ["in-context-recall", "noisy-in-context-recall"]
NOISY_FAMILY = [name for name in task_names() if name != "selective-copying"]

SHARES = (-0.1, 1.0, 1.5, float("nan"))

BAD: list[tuple[str, str, dict[str, Any]]] = [
    *[(name, "seq_len", {"seq_len": 127}) for name in [*RECALL_FAMILY, "memorization"]],
    *[(name, "seq_len", {"seq_len": length}) for name in RECALL_FAMILY for length in (-2, 0, 2, 3)],
    *[(name, "seq_len", {"seq_len": length}) for name in task_names() for length in (-4, 0, 1)],
    *[(name, "vocab_size", {"vocab_size": size}) for name in task_names() for size in (-1, 0, 1)],
    *[(name, "frac_noise", {"frac_noise": f, "noise_vocab_size": 2}) for name in task_names() for f in SHARES],
    *[(name, "noise_vocab_size", {"noise_vocab_size": -1}) for name in task_names()],
    *[(name, "noise_vocab_size", {"frac_noise": 0.2, "noise_vocab_size": 0}) for name in NOISY_FAMILY],
    *[(name, "vocab_size", {"noise_vocab_size": 20_000}) for name in NOISY_FAMILY],
    *[(name, "mode", {"mode": "fast"}) for name in task_names()],
    *[(name, "num_train_examples", {"num_train_examples": 0}) for name in task_names()],
    *[(name, "num_test_examples", {"num_test_examples": 0}) for name in task_names()],
    *[(name, "supervise", {"supervise": "all"}) for name in task_names() if "recall" in name],
    ("in-context-recall", "vocab_size", {"vocab_size": 3}),
    ("in-context-recall", "vocab_size", {"vocab_size": 4, "multi_query": False}),
    ("noisy-in-context-recall", "vocab_size", {"vocab_size": 19}),
    ("fuzzy-in-context-recall", "seq_len", {"seq_len": 12}),
    ("fuzzy-in-context-recall", "vocab_size", {"vocab_size": 6}),
    ("fuzzy-in-context-recall", "vocab_size", {"vocab_size": 7, "multi_query": False}),
    ("fuzzy-in-context-recall", "vocab_size", {"k_motif_size": 8, "seq_len": 64}),
    ("fuzzy-in-context-recall", "k_motif_size", {"k_motif_size": 0}),
    ("fuzzy-in-context-recall", "v_motif_size", {"v_motif_size": 0}),
    ("memorization", "vocab_size", {"vocab_size": 4}),
    ("memorization", "vocab_size", {"vocab_size": 6, "noise_vocab_size": 4, "mode": "compat"}),
    ("compression", "vocab_size", {"vocab_size": 5, "noise_vocab_size": 3}),
    ("selective-copying", "vocab_size", {"vocab_size": 3}),
    ("selective-copying", "seq_len", {"seq_len": 33}),
    ("selective-copying", "num_tokens_to_copy", {"num_tokens_to_copy": 0}),
    ("selective-copying", "frac_noise", {"frac_noise": 0.2, "noise_vocab_size": 2}),
]


@pytest.mark.parametrize(("name", "parameter", "overrides"), BAD)
def test_a_bad_parameter_is_named(name: str, parameter: str, overrides: dict[str, Any]) -> None:
    """The message is one line, which begins with the parameter and says what it is."""
    with pytest.raises(ValueError, match=r"must be") as error:
        make_params(name, **overrides)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{parameter} is ")


SMALLEST: list[tuple[str, dict[str, Any]]] = [
    ("in-context-recall", {"vocab_size": 4, "seq_len": 6}),
    ("in-context-recall", {"vocab_size": 5, "seq_len": 6, "multi_query": False}),
    ("noisy-in-context-recall", {"vocab_size": 20, "seq_len": 6}),
    ("fuzzy-in-context-recall", {"vocab_size": 7, "seq_len": 13}),
    ("fuzzy-in-context-recall", {"vocab_size": 8, "seq_len": 13, "multi_query": False}),
    ("memorization", {"vocab_size": 5, "seq_len": 2}),
    ("compression", {"vocab_size": 3, "seq_len": 2}),
    ("selective-copying", {"vocab_size": 4, "seq_len": 34}),
]


@pytest.mark.parametrize(("name", "overrides"), SMALLEST)
def test_the_smallest_parameters_are_accepted(name: str, overrides: dict[str, Any]) -> None:
    """What lies just inside the limits works."""
    make_params(name, **overrides)


@steady
@given(any_task)
def test_parameters_go_through_json(task: tuple[str, Any]) -> None:
    """`to_json` gives plain values from which equal parameters can be made."""
    name, params = task
    assert make_params(name, **params.to_json()) == params


def test_parameters_are_frozen_and_hashable() -> None:
    """Parameters are values: they cannot be changed, and equal ones are one key."""
    for name in task_names():
        params = make_params(name)
        assert {params, make_params(name)} == {params}
        with pytest.raises(AttributeError):
            params.vocab_size = 3


def test_an_unknown_parameter_is_refused() -> None:
    """A misspelt parameter never passes silently."""
    for name in task_names():
        with pytest.raises(TypeError, match="vocab_sizes"):
            make_params(name, vocab_sizes=3)


def test_the_six_tasks_are_known() -> None:
    """MAD's tasks, in MAD's order, each under its own name."""
    mads = [
        "in-context-recall",
        "noisy-in-context-recall",
        "fuzzy-in-context-recall",
        "memorization",
        "compression",
        "selective-copying",
    ]
    assert task_names()[:6] == mads
    assert [get_task(name).name for name in mads] == mads
    assert [get_task(name).shorthand for name in mads] == ["CR", "NR", "FR", "M", "C", "SC"]


@pytest.mark.parametrize(
    ("wrong", "near"), [("in-context-recal", "in-context-recall"), ("memorisation", "memorization"), ("xyzzy", "")]
)
def test_an_unknown_task_suggests_the_nearest(wrong: str, near: str) -> None:
    """The one-line message names what was asked for, and the nearest task or all of them."""
    with pytest.raises(UnknownTaskError) as error:
        get_task(wrong)
    message = str(error.value)
    assert isinstance(error.value, ValueError)
    assert "\n" not in message
    assert repr(wrong) in message
    assert f"did you mean {near!r}?" in message if near else all(name in message for name in task_names()[:6])
