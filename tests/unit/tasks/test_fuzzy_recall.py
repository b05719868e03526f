"""Rows 1, 2 and 5 of the conformance checklist, for fuzzy in-context recall."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from pytest_mad.tasks import IGNORE, Batch, get_task
from tests.oracles.parameters import held_out, make_params, params_of, seeds, splits, steady
from tests.oracles.reading import fuzzy_answers, fuzzy_pairs, fuzzy_runs, whole_rows

NAME = "fuzzy-in-context-recall"
ROWS = 12

fuzzy_params = params_of(NAME)


def batch_of(params: Any, seed: int, split: Any, n: int = ROWS) -> Batch:
    return get_task(NAME).generate(params, n, np.random.default_rng(seed), split)


def rows_of(params: Any, seed: int, split: Any, n: int = ROWS) -> list[list[int]]:
    return whole_rows(*batch_of(params, seed, split, n))


def probe_is_shown(params: Any, row: list[int]) -> bool:
    *body, probe = [(key.tokens, value.tokens) for key, value in fuzzy_pairs(params, row)]
    return probe in body


@steady
@given(fuzzy_params, seeds, splits)
def test_inputs_and_targets_have_the_stated_length(params: Any, seed: int, split: Any) -> None:
    """Row 1: length seq_len, with a single query too, and every token in the vocabulary."""
    inputs, targets = batch_of(params, seed, split)
    asked = targets[targets != IGNORE]
    assert inputs.shape == targets.shape == (ROWS, params.seq_len)
    assert inputs.dtype == targets.dtype == np.int64
    assert get_task(NAME).input_length(params) == params.seq_len
    assert 0 <= inputs.min() <= inputs.max() < params.vocab_size
    assert 0 <= asked.min() <= asked.max() < params.vocab_size


@steady
@given(fuzzy_params, seeds)
def test_training_asks_for_every_next_token(params: Any, seed: int) -> None:
    """Row 2: nothing is ignored in training, pads included, unless answers alone are supervised."""
    inputs, targets = batch_of(params, seed, "train")
    if params.supervise == "every-token":
        assert (targets != IGNORE).all()
        assert (targets[:, :-1] == inputs[:, 1:]).all()
    else:
        assert targets.tolist() == [fuzzy_answers(params, row) for row in whole_rows(inputs, targets)]


@steady
@given(fuzzy_params, seeds, held_out)
def test_evaluation_ignores_all_but_answers(params: Any, seed: int, split: Any) -> None:
    """Row 2: scored are all value tokens of keys shown before and of the last pair, and nothing else."""
    inputs, targets = batch_of(params, seed, split)
    assert targets.tolist() == [fuzzy_answers(params, row) for row in whole_rows(inputs, targets)]


@steady
@given(fuzzy_params, seeds, splits)
def test_pads_form_a_prefix(params: Any, seed: int, split: Any) -> None:
    """Row 5: pads stand in front only, as many as an unfinished pair may leave free."""
    least = 2 if params.multi_query else 1
    for row in rows_of(params, seed, split):
        first, *others = fuzzy_runs(params, row)
        assert first.kind == "pad"
        assert all(run.kind != "pad" for run in others)
        assert least <= len(first.tokens) < least + params.k_motif_size + params.v_motif_size


@steady
@given(fuzzy_params, seeds, splits)
def test_a_copy_prefix_announces_a_single_query(params: Any, seed: int, split: Any) -> None:
    """Row 5: with multi_query=False the copy prefix stands once, before the last pair; otherwise never."""
    for row in rows_of(params, seed, split):
        runs = fuzzy_runs(params, row)
        copies = [index for index, run in enumerate(runs) if run.kind == "copy"]
        assert copies == ([] if params.multi_query else [len(runs) - 3])


@steady
@given(fuzzy_params, seeds, splits)
def test_motifs_have_distinct_tokens(params: Any, seed: int, split: Any) -> None:
    """Row 5: a key or value repeats no token and is no longer than allowed, and each key is followed by a value."""
    for row in rows_of(params, seed, split):
        for key, value in fuzzy_pairs(params, row):
            assert value.kind == "value"
            assert len(set(key.tokens)) == len(key.tokens) <= params.k_motif_size
            assert len(set(value.tokens)) == len(value.tokens) <= params.v_motif_size


@steady
@given(fuzzy_params, seeds, splits)
def test_no_value_stands_without_its_key(params: Any, seed: int, split: Any) -> None:
    """Row 5: noise comes between pairs, never inside one, and only where it is asked for."""
    for row in rows_of(params, seed, split):
        kinds = [run.kind for run in fuzzy_runs(params, row)]
        assert all(kinds[i - 1] == "key" for i, kind in enumerate(kinds) if kind == "value")
        assert params.frac_noise > 0 or "noise" not in kinds


@steady
@given(fuzzy_params, seeds, held_out)
def test_evaluation_uses_the_longest_keys(params: Any, seed: int, split: Any) -> None:
    """Row 5: held-out keys always have k_motif_size tokens."""
    for row in rows_of(params, seed, split):
        assert {len(key.tokens) for key, _ in fuzzy_pairs(params, row)} == {params.k_motif_size}


@steady
@given(fuzzy_params, seeds, splits)
def test_a_key_has_one_value_in_a_sequence(params: Any, seed: int, split: Any) -> None:
    """Row 5: an equal key is followed by an equal value, so that what is scored can be known."""
    for row in rows_of(params, seed, split):
        pairs = {(key.tokens, value.tokens) for key, value in fuzzy_pairs(params, row)}
        assert len(pairs) == len({key for key, _ in pairs})


@steady
@given(fuzzy_params, seeds, splits)
def test_the_probe_is_always_answerable_when_fixed(params: Any, seed: int, split: Any) -> None:
    """Row 5: in mode "fixed" the last pair was shown before."""
    if params.mode == "fixed":
        assert all(probe_is_shown(params, row) for row in rows_of(params, seed, split))


@pytest.mark.parametrize("vocab_size", [16, 128])
def test_some_probes_are_unanswerable_in_compat(vocab_size: int) -> None:
    """Row 5: MAD-Lab leaves 2.4 % of probes unanswerable at length 128, and so does mode "compat"; "fixed" none."""
    params, n = make_params(NAME, vocab_size=vocab_size), 5_000
    compat = rows_of(replace(params, mode="compat"), 3, "test", n)
    fixed = rows_of(params, 3, "test", n // 5)
    missing = sum(not probe_is_shown(params, row) for row in compat) / n
    assert missing == pytest.approx(0.0239, abs=5 * (0.0239 / n) ** 0.5)
    assert all(probe_is_shown(params, row) for row in fixed)


def test_all_lengths_and_orders_of_a_motif_occur() -> None:
    """Training keys have 1 to k_motif_size tokens, in every order: no motif is left out."""
    params = make_params(NAME, vocab_size=8, seq_len=40, k_motif_size=3, v_motif_size=2)
    pairs = [pair for row in rows_of(params, 1, "train", 400) for pair in fuzzy_pairs(params, row)]
    keys, values = {key.tokens for key, _ in pairs}, {value.tokens for _, value in pairs}
    assert len(keys) == 3 + 6 + 6
    assert len(values) == 4 + 12
