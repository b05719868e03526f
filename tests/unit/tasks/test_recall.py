"""Rows 1 to 4 of the conformance checklist, for in-context recall and noisy in-context recall."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.tasks import IGNORE, Batch, get_task
from tests.oracles.parameters import held_out, make_params, params_of, seeds, splits, steady
from tests.oracles.playing import expected_answers
from tests.oracles.reading import recall_answers, slots, whole_rows

NAMES = ["in-context-recall", "noisy-in-context-recall"]
ROWS = 12

settings_of = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), params_of(name)))


def batch_of(name: str, params: Any, seed: int, split: Any) -> Batch:
    return get_task(name).generate(params, ROWS, np.random.default_rng(seed), split)


def scored(targets: list[int]) -> list[int]:
    return [place for place, target in enumerate(targets) if target != IGNORE]


@steady
@given(settings_of, seeds, splits)
def test_inputs_and_targets_lack_one_token_of_the_sequence(setting: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 1: length seq_len - 1, or seq_len where a copy prefix makes the sequence one longer."""
    name, params = setting
    inputs, targets = batch_of(name, params, seed, split)
    length = params.seq_len - 1 if params.multi_query else params.seq_len
    assert inputs.shape == targets.shape == (ROWS, length)
    assert inputs.dtype == targets.dtype == np.int64
    assert get_task(name).input_length(params) == length


@steady
@given(settings_of, seeds, splits)
def test_every_token_is_in_the_vocabulary(setting: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 1: a model with vocab_size classes can read every input and answer every target."""
    name, params = setting
    inputs, targets = batch_of(name, params, seed, split)
    asked = targets[targets != IGNORE]
    assert 0 <= inputs.min() <= inputs.max() < params.vocab_size
    assert 0 <= asked.min() <= asked.max() < params.vocab_size


@steady
@given(settings_of, seeds)
def test_training_asks_for_every_next_token(setting: tuple[str, Any], seed: int) -> None:
    """Row 2: nothing is ignored in training, unless answers alone are supervised."""
    name, params = setting
    inputs, targets = batch_of(name, params, seed, "train")
    if params.supervise == "every-token":
        assert (targets != IGNORE).all()
        assert (targets[:, :-1] == inputs[:, 1:]).all()
    else:
        assert targets.tolist() == [recall_answers(params, row) for row in whole_rows(inputs, targets)]


@steady
@given(settings_of, seeds, held_out)
def test_evaluation_ignores_all_but_answers(setting: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 2: scored are the values of keys shown before and the last value, all of them and nothing else."""
    name, params = setting
    inputs, targets = batch_of(name, params, seed, split)
    assert targets.tolist() == [recall_answers(params, row) for row in whole_rows(inputs, targets)]


@steady
@given(settings_of, seeds, held_out)
def test_a_single_query_scores_the_last_position_only(setting: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 2: with multi_query=False the last value, behind the copy prefix, is all that is asked."""
    name, params = setting
    inputs, targets = batch_of(name, params, seed, split)
    if not params.multi_query:
        assert (targets[:, :-1] == IGNORE).all()
        assert (inputs[:, -2] == params.vocab_size - 1).all()
        assert (inputs == params.vocab_size - 1).sum() == ROWS
    assert (targets[:, -1] != IGNORE).all()


@steady
@given(settings_of, seeds, held_out)
def test_what_is_scored_was_shown_before(setting: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 3: the key at a scored position stands at an earlier even position, and the target behind it."""
    name, params = setting
    inputs, targets = batch_of(name, params, seed, split)
    for tokens, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        for place in scored(answers):
            followers = [tokens[p + 1] for p in range(0, place - 1, 2) if tokens[p] == tokens[place]]
            assert followers, f"the key at position {place} is new"
            assert set(followers) == {answers[place]}


@steady
@given(settings_of, seeds, splits)
def test_a_key_has_one_value_in_a_sequence(setting: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 3: keys are the lower half of the usable tokens and values the upper, and each key keeps its value."""
    name, params = setting
    for row in whole_rows(*batch_of(name, params, seed, split)):
        pairs = [pair for pair in slots(params, row) if pair[0] < params.num_keys]
        assert len(set(pairs)) == len({key for key, _ in pairs})
        assert all(params.num_keys <= value < params.usable for _, value in pairs)
        assert pairs[-1] in pairs[:-1]


@steady
@given(settings_of, seeds, splits)
def test_noise_replaces_whole_slots(setting: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 4: a slot that starts at an even position is a pair or two noise tokens; the last slot is a pair."""
    name, params = setting
    noise = range(params.usable, params.usable + params.noise_vocab_size)
    for row in whole_rows(*batch_of(name, params, seed, split)):
        *body, last = slots(params, row)
        assert last[0] < params.num_keys
        for first, second in body:
            assert (first < params.num_keys) or (first in noise and second in noise)
            assert params.frac_noise > 0 or first < params.num_keys


@steady
@given(settings_of, seeds, held_out)
def test_noise_is_never_asked_for(setting: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 4: every scored target is a value."""
    name, params = setting
    _, targets = batch_of(name, params, seed, split)
    asked = targets[targets != IGNORE]
    assert ((asked >= params.num_keys) & (asked < params.usable)).all()


SIZES = [
    ("in-context-recall", {}, 56.0),
    ("in-context-recall", {"vocab_size": 32}, 48.3),
    ("in-context-recall", {"vocab_size": 64}, 36.3),
    ("in-context-recall", {"vocab_size": 128}, 23.7),
    ("in-context-recall", {"seq_len": 256}, 120.0),
    ("noisy-in-context-recall", {}, 43.4),
    ("noisy-in-context-recall", {"vocab_size": 144}, 16.4),
    ("noisy-in-context-recall", {"seq_len": 512}, 197.0),
    ("noisy-in-context-recall", {"frac_noise": 0.4}, 30.9),
    ("noisy-in-context-recall", {"frac_noise": 0.8}, 7.2),
]


@pytest.mark.parametrize(("name", "overrides", "published"), SIZES)
@pytest.mark.parametrize("mode", ["fixed", "compat"])
def test_as_much_is_scored_as_in_mad(name: str, overrides: dict[str, Any], published: float, mode: Any) -> None:
    """The mean number of scored targets per sequence is the one computed in closed form.

    The specification's numbers leave out the protected slot, which adds less than one target.
    """
    task = get_task(name)
    params = make_params(name, mode=mode, **overrides)
    _, targets = task.generate(params, 3_000, np.random.default_rng(5), "test")
    counts = (targets != IGNORE).sum(axis=1)
    tolerance = 5 * counts.std() / len(counts) ** 0.5 + 1e-4
    assert counts.mean() == pytest.approx(expected_answers(params), abs=tolerance)
    assert -0.5 < expected_answers(params) - published < 0.5 + params.frac_noise


@pytest.mark.parametrize(("mode", "expected"), [("fixed", 1 / 2), ("compat", 5 / 11)])
def test_one_slot_is_kept_from_noise(mode: Any, expected: float) -> None:
    """Row 4: fixed protects one of the body's slots; MAD-Lab may pick the last pair instead, and fails if all are noise.

    With two slots in the body and half noise, both are pairs in 1/2 of sequences, or in (2/3 1/2 + 1/3 1/4) / (11/12).
    """
    params = make_params("noisy-in-context-recall", mode=mode, seq_len=6, frac_noise=0.5)
    inputs, _ = get_task("noisy-in-context-recall").generate(params, 40_000, np.random.default_rng(4), "test")
    no_noise = (inputs[:, [0, 2]] < params.num_keys).all(axis=1)
    assert no_noise.mean() == pytest.approx(expected, abs=5 * 0.5 / len(inputs) ** 0.5)
