"""Many sequences at a time: from the slow oracle, in the form that `pytest_mad.tasks` uses."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from pytest_mad.tasks import Batch, TaskParams

from . import slow_instances as slow

#: Parameters that a slow instance takes; the others concern whole data sets or training.
RECALL = ("vocab_size", "seq_len", "multi_query", "noise_vocab_size", "frac_noise")
ACCEPTED = {
    "in-context-recall": RECALL,
    "noisy-in-context-recall": RECALL,
    "fuzzy-in-context-recall": (*RECALL, "k_motif_size", "v_motif_size"),
    "memorization": ("vocab_size", "seq_len", "map_seed", "noise_vocab_size", "frac_noise"),
    "compression": ("vocab_size", "seq_len", "noise_vocab_size", "frac_noise"),
    "selective-copying": ("vocab_size", "seq_len", "num_tokens_to_copy"),
}


def slow_instance(
    name: str, params: TaskParams, rng: np.random.Generator, layout: np.random.RandomState, is_training: bool
) -> slow.Pair:
    """One sequence of a task."""
    wanted: dict[str, Any] = {key: getattr(params, key) for key in ACCEPTED[name]}
    mended = params.mode == "fixed"
    if name == "fuzzy-in-context-recall":
        return slow.fuzzy_in_context_recall(rng, is_training=is_training, mended=mended, **wanted)
    if name == "memorization":
        return slow.memorization(rng, mended=mended, **wanted)
    if name == "compression":
        return slow.compression(rng, mended=mended, **wanted)
    if name == "selective-copying":
        return slow.selective_copying(rng, layout, **wanted)
    return slow.in_context_recall(rng, is_training=is_training, mended=mended, **wanted)


def slow_batch(name: str, params: TaskParams, n: int, seed: int, split: str) -> Batch:
    """n sequences of one stream. Where MAD-Lab would fail because there is nothing but noise, the next one counts."""
    rng, layout = np.random.default_rng(seed), np.random.RandomState(seed)
    pairs: list[slow.Pair] = []
    while len(pairs) < n:
        with suppress(IndexError):
            pairs.append(slow_instance(name, params, rng, layout, split == "train"))
    return Batch(np.stack([inputs for inputs, _ in pairs]), np.stack([targets for _, targets in pairs]))
