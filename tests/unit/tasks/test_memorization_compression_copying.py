"""Rows 1, 2, 6, 7 and 8 of the conformance checklist: memorization, compression and selective copying."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.tasks import IGNORE, Batch, get_task
from tests.oracles.parameters import make_params, params_of, seeds, splits, steady
from tests.oracles.slow_instances import memorization_map

NAMES = ["memorization", "compression", "selective-copying"]
ROWS = 12

settings_of = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), params_of(name)))


def batch_of(name: str, params: Any, seed: int, split: Any = "test", n: int = ROWS) -> Batch:
    return get_task(name).generate(params, n, np.random.default_rng(seed), split)


def pairs_asked(params: Any, batch: Batch) -> list[tuple[int, int]]:
    """Key and value of every scored position of memorization data."""
    rows, places = np.nonzero(batch.targets != IGNORE)
    return list(zip(batch.inputs[rows, places - 1].tolist(), batch.targets[rows, places].tolist(), strict=True))


@steady
@given(settings_of, seeds, splits)
def test_inputs_and_targets_have_the_stated_length(setting: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 1: length seq_len exactly, int64, and every token in the vocabulary."""
    name, params = setting
    inputs, targets = batch_of(name, params, seed, split)
    asked = targets[targets != IGNORE]
    assert inputs.shape == targets.shape == (ROWS, params.seq_len)
    assert inputs.dtype == targets.dtype == np.int64
    assert get_task(name).input_length(params) == params.seq_len
    assert 0 <= inputs.min() <= inputs.max() < params.vocab_size
    assert 0 <= asked.min() <= asked.max() < params.vocab_size


@steady
@given(settings_of, seeds)
def test_all_splits_have_the_same_format(setting: tuple[str, Any], seed: int) -> None:
    """Row 2: training and evaluation ask for the same: equal streams give equal data."""
    name, params = setting
    train, validation, test = (batch_of(name, params, seed, split) for split in ("train", "validation", "test"))
    for other in (validation, test):
        assert np.array_equal(train.inputs, other.inputs)
        assert np.array_equal(train.targets, other.targets)


@steady
@given(params_of("memorization"), seeds)
def test_memorization_asks_at_insert_tokens_only(params: Any, seed: int) -> None:
    """Row 2: a pair is a key and the insert token, where the value is due; noise and keys are ignored."""
    inputs, targets = batch_of("memorization", params, seed)
    insert = params.vocab_size - 1
    assert ((targets != IGNORE) == (inputs == insert)).all()
    assert (targets[:, 0::2] == IGNORE).all()
    assert (inputs[:, 0::2] < insert).all()


@steady
@given(params_of("memorization"), seeds)
def test_memorization_keeps_a_pair_in_every_sequence(params: Any, seed: int) -> None:
    """Row 2: however much noise, something is asked for; without noise, at every second position."""
    _, targets = batch_of("memorization", params, seed)
    asked = (targets != IGNORE).sum(axis=1)
    assert (asked >= 1).all()
    assert params.frac_noise > 0 or (asked == params.seq_len // 2).all()


@steady
@given(params_of("memorization"), seeds)
def test_memorization_noise_comes_from_its_own_tokens(params: Any, seed: int) -> None:
    """Row 6: both tokens of a noise slot are below the insert token, and (when fixed) no keys or values."""
    inputs, targets = batch_of("memorization", params, seed)
    noise = inputs[np.repeat(targets[:, 1::2] == IGNORE, 2, axis=1)]
    asked = targets[targets != IGNORE]
    low = params.vocab_size - 1 - params.noise_vocab_size
    assert ((noise >= low) & (noise < params.vocab_size - 1)).all()
    assert params.mode == "compat" or (asked < low).all()


@steady
@given(params_of("memorization"), seeds, seeds, splits)
def test_memorization_map_depends_on_the_map_seed_alone(params: Any, seed: int, other: int, split: Any) -> None:
    """Row 6: data of any stream, split and length follow MAD-Lab's map of that seed."""
    usable = params.vocab_size - 1 - (params.noise_vocab_size if params.mode == "fixed" else 0)
    expected = memorization_map(usable, params.map_seed)
    for batch in (
        batch_of("memorization", params, seed, split),
        batch_of("memorization", replace(params, seq_len=params.seq_len + 2), other),
    ):
        assert all(expected[key] == value for key, value in pairs_asked(params, batch))


@steady
@given(params_of("memorization"), seeds)
def test_memorization_values_are_distinct(params: Any, seed: int) -> None:
    """Row 6: different keys have different values, drawn from the upper half of the mapped tokens."""
    asked = set(pairs_asked(params, batch_of("memorization", params, seed, n=200)))
    values = [value for _, value in asked]
    assert len(set(values)) == len(values) == len({key for key, _ in asked})
    assert min(values) >= params.num_keys


def test_memorization_map_of_mads_baseline() -> None:
    """Row 6: the published map, in both modes: 120 -> 175, 0 -> 239, 101 -> 249, 119 -> 185, 127 keys in all."""
    for mode in ("fixed", "compat"):
        params = make_params("memorization", mode=mode)
        mapping = dict(pairs_asked(params, batch_of("memorization", params, 0, n=500)))
        assert [mapping[key] for key in (120, 0, 101, 119)] == [175, 239, 249, 185]
        assert len(mapping) == 127


@steady
@given(params_of("memorization"), seeds)
def test_memorization_map_seed_changes_the_map(params: Any, seed: int) -> None:
    """Row 6: another map seed gives another map, and leaves the keys drawn as they are."""
    large = replace(params, vocab_size=200 + params.noise_vocab_size)
    ours = batch_of("memorization", large, seed, n=40)
    others = batch_of("memorization", replace(large, map_seed=params.map_seed + 1), seed, n=40)
    assert np.array_equal(ours.inputs, others.inputs)
    assert not np.array_equal(ours.targets, others.targets)


@steady
@given(params_of("compression"), seeds, splits)
def test_compression_asks_for_its_input(params: Any, seed: int, split: Any) -> None:
    """Row 2: every position is asked for, noise too in mode "compat"; "fixed" ignores noise and nothing else."""
    inputs, targets = batch_of("compression", params, seed, split)
    is_noise = (inputs >= params.num_content) & (inputs < params.vocab_size - 1)
    ignored = is_noise if params.mode == "fixed" else np.zeros_like(is_noise)
    assert ((targets == IGNORE) == ignored).all()
    assert (targets == inputs)[~ignored].all()
    assert params.frac_noise > 0 or not is_noise.any()


@steady
@given(params_of("compression"), seeds, splits)
def test_compression_ends_with_its_token(params: Any, seed: int, split: Any) -> None:
    """Row 7: the last token is vocab_size - 1, which stands nowhere else."""
    inputs, _ = batch_of("compression", params, seed, split)
    assert (inputs[:, -1] == params.vocab_size - 1).all()
    assert (inputs[:, :-1] < params.vocab_size - 1).all()


@steady
@given(params_of("selective-copying"), seeds, splits)
def test_copying_asks_at_the_end_only(params: Any, seed: int, split: Any) -> None:
    """Row 2: the last num_tokens_to_copy positions are scored, in training too."""
    _, targets = batch_of("selective-copying", params, seed, split)
    n = params.num_tokens_to_copy
    assert (targets[:, :-n] == IGNORE).all()
    assert (targets[:, -n:] != IGNORE).all()


@steady
@given(params_of("selective-copying"), seeds, splits)
def test_copying_asks_for_what_is_left_without_blanks(params: Any, seed: int, split: Any) -> None:
    """Row 8: removing blanks and the copy token from the input leaves the targets, in order."""
    blank, copy = params.vocab_size - 2, params.vocab_size - 1
    inputs, targets = batch_of("selective-copying", params, seed, split)
    for tokens, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        content = [token for token in tokens if token not in (blank, copy)]
        assert content == [answer for answer in answers if answer != IGNORE]


@steady
@given(params_of("selective-copying"), seeds, splits)
def test_copying_answers_stand_on_blanks_behind_the_copy_token(params: Any, seed: int, split: Any) -> None:
    """Row 8: one copy token, a content token right before it, and blanks alone behind it."""
    inputs, _ = batch_of("selective-copying", params, seed, split)
    n, blank, copy = params.num_tokens_to_copy, params.vocab_size - 2, params.vocab_size - 1
    assert (inputs[:, -n:] == blank).all()
    assert (inputs[:, -n - 1] == copy).all()
    assert (inputs == copy).sum() == ROWS
    assert (inputs[:, -n - 2] < blank).all()


@pytest.mark.parametrize(("seq_len", "copied", "blanks"), [(256, 16, 223), (512, 16, 479), (256, 96, 63)])
def test_copying_inserts_as_many_blanks_as_mad(seq_len: int, copied: int, blanks: int) -> None:
    """Row 8: what is neither content nor copy token nor an answer's place is a blank among the content."""
    params = make_params("selective-copying", seq_len=seq_len, num_tokens_to_copy=copied)
    inputs, _ = batch_of("selective-copying", params, 0)
    assert ((inputs[:, : -copied - 1] == params.vocab_size - 2).sum(axis=1) == blanks).all()
