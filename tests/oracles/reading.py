"""Read a sequence back: what its tokens are, and what an evaluation must ask for. Row by row, in plain Python."""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

from tests.oracles.slow_instances import IGNORE

Motif = tuple[int, ...]


class Run(NamedTuple):
    """Neighbouring tokens of one kind: "key", "value", "noise", "pad" or "copy".

    Keys and values alternate, so each run of these is one motif.
    """

    kind: str
    start: int
    tokens: Motif

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


def slots(params: Any, row: list[int]) -> list[tuple[int, int]]:
    """The two-token slots of a recall sequence (its input and last answer, without copy prefix)."""
    if not params.multi_query:
        assert row[-3] == params.vocab_size - 1, "the copy prefix stands before the last pair"
        row = row[:-3] + row[-2:]
    return list(zip(row[0::2], row[1::2], strict=True))


def recall_answers(params: Any, row: list[int]) -> list[int]:
    """What evaluation asks of a recall sequence: one entry per input position."""
    pairs = slots(params, row)
    last = len(pairs) - 1
    answers = [IGNORE] * (len(row) - 1)
    seen: set[int] = set()
    for index, (key, value) in enumerate(pairs):
        if key < params.num_keys:
            if index == last:
                answers[-1] = value
            elif key in seen and params.multi_query:
                answers[2 * index] = value
            seen.add(key)
    return answers


def fuzzy_kind(params: Any, token: int) -> str:
    if token < params.num_keys:
        return "key"
    if token < params.usable:
        return "value"
    if token < params.pad:
        return "noise"
    return "pad" if token == params.pad else "copy"


def fuzzy_runs(params: Any, row: list[int]) -> list[Run]:
    runs: list[Run] = []
    for kind, tokens in groupby(row, key=lambda token: fuzzy_kind(params, token)):
        runs.append(Run(kind, runs[-1].end if runs else 0, tuple(tokens)))
    return runs


def fuzzy_pairs(params: Any, row: list[int]) -> list[tuple[Run, Run]]:
    """Each key with the value behind it."""
    runs = fuzzy_runs(params, row)
    return [(runs[i], runs[i + 1]) for i, run in enumerate(runs) if run.kind == "key"]


def fuzzy_answers(params: Any, row: list[int]) -> list[int]:
    """What evaluation asks of a fuzzy sequence (its input and last answer): one entry per input position."""
    pairs = fuzzy_pairs(params, row)
    answers = [IGNORE] * (len(row) - 1)
    seen: set[Motif] = set()
    for index, (key, value) in enumerate(pairs):
        if index == len(pairs) - 1 or (params.multi_query and key.tokens in seen):
            answers[value.start - 1 : value.end - 1] = value.tokens
        seen.add(key.tokens)
    return answers


def whole_rows(inputs: Any, targets: Any) -> list[list[int]]:
    """Recall sequences with their last answer, which the inputs lack."""
    return [[*tokens, answers[-1]] for tokens, answers in zip(inputs.tolist(), targets.tolist(), strict=True)]
