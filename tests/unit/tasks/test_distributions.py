"""The fast generators draw from the slow oracle's distributions, in both modes."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pytest_mad.tasks import get_task
from tests.oracles.batches import slow_batch
from tests.oracles.parameters import make_params, params_of, seeds, splits, steady
from tests.oracles.statistics import assert_same_distribution
from tests.oracles.summaries import summarise

FAST, SLOW = 4_000, 1_500

RECALL: list[dict[str, Any]] = [
    {"vocab_size": 4, "seq_len": 6},
    {"vocab_size": 7, "seq_len": 10},
    {"vocab_size": 16, "seq_len": 24},
    {"vocab_size": 5, "seq_len": 6, "multi_query": False},
    {"vocab_size": 10, "seq_len": 14, "multi_query": False},
    {"vocab_size": 9, "seq_len": 12, "noise_vocab_size": 2, "frac_noise": 0.3},
]
NOISY: list[dict[str, Any]] = [
    {"vocab_size": 32, "seq_len": 24},
    {"vocab_size": 7, "seq_len": 6, "noise_vocab_size": 1, "frac_noise": 0.8},
    {"vocab_size": 9, "seq_len": 10, "noise_vocab_size": 3, "frac_noise": 0.6},
    {"vocab_size": 12, "seq_len": 16, "noise_vocab_size": 4, "frac_noise": 0.4, "multi_query": False},
    {"vocab_size": 9, "seq_len": 10, "noise_vocab_size": 3, "frac_noise": 0.0},
]
FUZZY: list[dict[str, Any]] = [
    {"vocab_size": 5, "seq_len": 9, "k_motif_size": 1, "v_motif_size": 1},
    {"vocab_size": 6, "seq_len": 9, "k_motif_size": 2, "v_motif_size": 2},
    {"vocab_size": 10, "seq_len": 20, "k_motif_size": 1, "v_motif_size": 3},
    {"vocab_size": 9, "seq_len": 17, "k_motif_size": 2, "v_motif_size": 1, "multi_query": False},
    {"vocab_size": 12, "seq_len": 30, "k_motif_size": 2, "v_motif_size": 2, "noise_vocab_size": 3, "frac_noise": 0.4},
    {"vocab_size": 10, "seq_len": 33, "k_motif_size": 3, "v_motif_size": 3},
]
MEMORIZATION: list[dict[str, Any]] = [
    {"vocab_size": 5, "seq_len": 2},
    {"vocab_size": 11, "seq_len": 6, "map_seed": 7},
    {"vocab_size": 16, "seq_len": 8, "noise_vocab_size": 4, "frac_noise": 0.5},
    {"vocab_size": 9, "seq_len": 6, "noise_vocab_size": 1, "frac_noise": 0.9},
]
COMPRESSION: list[dict[str, Any]] = [
    {"vocab_size": 3, "seq_len": 2},
    {"vocab_size": 7, "seq_len": 9},
    {"vocab_size": 9, "seq_len": 7, "noise_vocab_size": 3, "frac_noise": 0.3},
    {"vocab_size": 5, "seq_len": 4, "noise_vocab_size": 2, "frac_noise": 0.8},
]
COPYING: list[dict[str, Any]] = [
    {"vocab_size": 4, "seq_len": 6, "num_tokens_to_copy": 2},
    {"vocab_size": 6, "seq_len": 13, "num_tokens_to_copy": 3},
    {"vocab_size": 16, "seq_len": 12, "num_tokens_to_copy": 5},
    {"vocab_size": 16, "seq_len": 40, "num_tokens_to_copy": 4},
]
SETTINGS = {
    "in-context-recall": RECALL,
    "noisy-in-context-recall": NOISY,
    "fuzzy-in-context-recall": FUZZY,
    "memorization": MEMORIZATION,
    "compression": COMPRESSION,
    "selective-copying": COPYING,
}


def compare(name: str, params: Any, split: Any, seed: int, fast: int, slow: int) -> None:
    if "recall" in name:
        params = replace(params, supervise="every-token")  # MAD-Lab knows nothing else
    ours = get_task(name).generate(params, fast, np.random.default_rng(seed), split)
    oracles = slow_batch(name, params, slow, seed + 1, split)
    assert_same_distribution(summarise(name, params, ours), summarise(name, params, oracles))


CASES = [
    pytest.param(name, overrides, split, id=f"{name}-{split}-{index}")
    for name, settings in SETTINGS.items()
    for index, overrides in enumerate(settings)
    for split in (("train", "test") if "recall" in name else ("test",))
]


@pytest.mark.parametrize("mode", ["fixed", "compat"])
@pytest.mark.parametrize(("name", "overrides", "split"), CASES)
def test_fast_and_slow_sequences_are_distributed_alike(
    name: str, overrides: dict[str, Any], split: Any, mode: Any
) -> None:
    """Histograms of every token, target and structural feature agree between the fast generator and the slow oracle."""
    seed = zlib.crc32(repr((name, overrides, split, mode)).encode())
    compare(name, make_params(name, mode=mode, **overrides), split, seed, FAST, SLOW)


@pytest.mark.parametrize("name", SETTINGS)
@settings(steady, max_examples=10, phases=[Phase.generate])
@given(data=st.data(), seed=seeds, split=splits)
def test_any_parameters_give_the_same_distribution(name: str, data: st.DataObject, seed: int, split: Any) -> None:
    """The same for parameters that nobody chose, with fewer sequences."""
    compare(name, data.draw(params_of(name)), split, seed, 2_000, 800)
