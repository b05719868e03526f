"""Per-sequence integers that a change of a task's distribution would move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_mad.tasks import IGNORE, Batch
from tests.oracles.reading import fuzzy_pairs, fuzzy_runs, slots, whole_rows

Ints = npt.NDArray[np.int64]
Features = dict[str, Ints]


def summarise(name: str, params: Any, batch: Batch) -> Features:
    """Each feature is (n,) or (n, columns)."""
    per_row = PER_ROW[name]
    rows = [per_row(params, row) for row in _rows(name, batch)]
    features = {f"{key}": np.array([row[key] for row in rows]) for key in (rows[0] if rows else {})}
    return features | token_features(params.vocab_size, batch)


def token_features(vocab_size: int, batch: Batch) -> Features:
    """Tokens and targets at each position, neighbouring tokens, and how much is scored."""
    inputs, targets = batch
    scored = targets != IGNORE
    return {
        "token": inputs,
        "token and next": inputs[:, :-1] * vocab_size + inputs[:, 1:],
        "token and next but one": inputs[:, :-2] * vocab_size + inputs[:, 2:],
        "target": targets,
        "scored targets": scored.sum(axis=1),
        "first scored": np.where(scored.any(axis=1), scored.argmax(axis=1), -1),
    }


def _rows(name: str, batch: Batch) -> list[list[int]]:
    return whole_rows(*batch) if "recall" in name else [row.tolist() for row in batch.inputs]


def index_or(items: list[Any], item: Any, otherwise: int = -1) -> int:
    return items.index(item) if item in items else otherwise


def recall_row(params: Any, row: list[int]) -> dict[str, Any]:
    *body, (probe, _) = slots(params, row)
    pairs = [pair for pair in body if pair[0] < params.num_keys]
    keys = [key for key, _ in pairs]
    order = list(dict.fromkeys(keys))
    repeats = [i for i, key in enumerate(keys) if key in keys[:i]]
    is_noise = [pair[0] >= params.num_keys for pair in body]
    return {
        "pairs": len(pairs),
        "distinct keys": len(order),
        "distinct values": len({value for _, value in pairs}),
        "first repeat": repeats[0] if repeats else -1,
        "probe's rank by first appearance": order.index(probe),
        "probe's latest appearance": len(keys) - 1 - keys[::-1].index(probe),
        "first noise": index_or(is_noise, True),
        "last slot is noise": int(is_noise[-1]),
    }


def fuzzy_row(params: Any, row: list[int]) -> dict[str, Any]:
    runs = fuzzy_runs(params, row)
    *body, (probe, probe_value) = fuzzy_pairs(params, row)
    keys = [key.tokens for key, _ in body]
    starts = [key.start for key, _ in body]
    at = index_or(keys, probe.tokens)
    lengths = [len(run.tokens) for run in runs]
    return {
        "pads": lengths[0] if runs[0].kind == "pad" else 0,
        "runs": len(runs),
        "first lengths": [*lengths, 0, 0, 0, 0][1:5],
        "last lengths": [0, 0, 0, *lengths][-4:],
        "distinct keys": len(set(keys)),
        "probe shown at": starts[at] if at >= 0 else -1,
        "probe shown": int(at >= 0),
        "appearances of the probe": keys.count(probe.tokens),
        "probe lengths": 10 * len(probe.tokens) + len(probe_value.tokens),
        "noise tokens": sum(len(run.tokens) for run in runs if run.kind == "noise"),
        "first noise": next((run.start for run in runs if run.kind == "noise"), -1),
        "first token of last value": probe_value.tokens[0],
        "last token of last value": probe_value.tokens[-1],
    }


def memorization_row(params: Any, row: list[int]) -> dict[str, Any]:
    is_noise = [token != params.vocab_size - 1 for token in row[1::2]]
    return {"noise slots": sum(is_noise), "first noise": index_or(is_noise, True), "distinct keys": len(set(row[0::2]))}


def compression_row(params: Any, row: list[int]) -> dict[str, Any]:
    return {"noise tokens": sum(token >= params.num_content for token in row[:-1]), "distinct tokens": len(set(row))}


def copying_row(params: Any, row: list[int]) -> dict[str, Any]:
    body = row[: -params.num_tokens_to_copy - 1]
    places = [place for place, token in enumerate(body) if token != params.blank]
    gaps = [later - earlier - 1 for earlier, later in zip([-1, *places], places, strict=False)]
    content = [body[place] for place in places]
    return {
        "gaps": gaps,
        "longest gap": max(gaps),
        "two gaps": [max(gaps) * 100 + min(gaps), gaps[0] * 100 + gaps[-1]],
        "content": content,
        "distinct content": len(set(content)),
    }


PER_ROW: dict[str, Callable[[Any, list[int]], dict[str, Any]]] = {
    "in-context-recall": recall_row,
    "noisy-in-context-recall": recall_row,
    "fuzzy-in-context-recall": fuzzy_row,
    "memorization": memorization_row,
    "compression": compression_row,
    "selective-copying": copying_row,
}
