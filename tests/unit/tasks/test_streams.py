"""Row 9 of the conformance checklist: data are a pure function of parameters, number, stream and split."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from pytest_mad.tasks import Batch, get_task, task_names
from tests.oracles.parameters import any_task, make_params, seeds, splits, steady

ROOT = Path(__file__).parents[3]
ROWS = 8
SPLITS = ("train", "validation", "test")


def draw(name: str, params: Any, seed: Any, split: Any, n: int = ROWS) -> Batch:
    return get_task(name).generate(params, n, np.random.default_rng(seed), split)


def digest(*batches: Batch) -> str:
    return sha256(b"".join(part.tobytes() for batch in batches for part in batch)).hexdigest()


def three_splits(name: str, seed: int = 0, n: int = ROWS) -> list[Batch]:
    streams = np.random.SeedSequence(seed).spawn(3)
    return [draw(name, make_params(name), s, split, n) for s, split in zip(streams, SPLITS, strict=True)]


@steady
@given(any_task, seeds, splits)
def test_the_same_seed_gives_the_same_data(task: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 9: twice the same stream, twice the same data, and arrays of their own each time."""
    name, params = task
    first, second = draw(name, params, seed, split), draw(name, params, seed, split)
    assert digest(first) == digest(second)
    assert not any(np.shares_memory(a, b) for a in first for b in second)


@steady
@given(any_task, seeds, splits)
def test_numpys_global_state_is_neither_read_nor_changed(task: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 9: MAD-Lab's selective copying reads the global generator; here nothing does."""
    name, params = task
    before: Any = np.random.get_state(legacy=False)
    try:
        np.random.seed(1)
        first = draw(name, params, seed, split)
        after: Any = np.random.get_state(legacy=False)["state"]
        np.random.seed(1)
        fresh: Any = np.random.get_state(legacy=False)["state"]
        np.random.seed(2)
        second = draw(name, params, seed, split)
    finally:
        np.random.set_state(before)
    assert digest(first) == digest(second)
    assert after["pos"] == fresh["pos"]
    assert np.array_equal(after["key"], fresh["key"])


@pytest.mark.parametrize("name", task_names())
def test_a_stream_goes_on_where_it_stopped(name: str) -> None:
    """Row 9: two draws from one generator differ: no sequence is repeated."""
    task, rng = get_task(name), np.random.default_rng(0)
    first, second = (task.generate(make_params(name), ROWS, rng, "test") for _ in range(2))
    assert not {row.tobytes() for row in first.inputs} & {row.tobytes() for row in second.inputs}


@pytest.mark.parametrize("name", task_names())
def test_order_and_neighbours_do_not_matter(name: str) -> None:
    """Row 9: a task's data are the same drawn first or after all others, and after its levels were measured."""
    alone = digest(*three_splits(name))
    for other in reversed(task_names()):
        three_splits(other)
        get_task(other).trivial(make_params(other))
    assert digest(*three_splits(name)) == alone


def test_threads_do_not_matter() -> None:
    """Row 9: data drawn by four threads at a time are those that one draws."""
    jobs = [(name, seed) for name in task_names() for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = [digest(*batches) for batches in pool.map(three_splits, *zip(*jobs, strict=True))]
    assert together == [digest(*three_splits(name, seed)) for name, seed in jobs]


def test_another_process_draws_the_same_data() -> None:
    """Row 9: neither the process nor Python's hash seed enters."""
    code = (
        "from tests.unit.tasks.test_streams import digest, three_splits, task_names\n"
        "print(digest(*[batch for name in task_names() for batch in three_splits(name)]))"
    )
    here = digest(*[batch for name in task_names() for batch in three_splits(name)])
    path = os.pathsep.join([str(ROOT), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "7"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == here


@pytest.mark.parametrize("name", task_names())
def test_spawned_streams_share_no_sequence(name: str) -> None:
    """Row 9: train, validation and test data of MAD's baseline setting have no input in common."""
    inputs = [{row.tobytes() for row in batch.inputs} for batch in three_splits(name, n=1_000)]
    assert all(len(rows) == 1_000 for rows in inputs)
    assert len(set.union(*inputs)) == 3_000


@steady
@given(any_task, seeds, splits)
def test_any_number_of_sequences_can_be_drawn(task: tuple[str, Any], seed: int, split: Any) -> None:
    """Row 9: one sequence has the shape that many have."""
    name, params = task
    one, many = draw(name, params, seed, split, n=1), draw(name, params, seed, split, n=3)
    assert one.inputs.shape == one.targets.shape == (1, get_task(name).input_length(params))
    assert many.inputs.shape == (3, *one.inputs.shape[1:])
