"""xdist: an order of items that leaves no worker alone with the long ones, and each worker's environment."""

from __future__ import annotations

import itertools
import os

import execnet
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale.simulated import bound, xdist_makespan
from pytest_mad.presets.reading import settings
from pytest_mad.suite.header import device_lines
from pytest_mad.suite.xdist import cores, equip, order
from tests.oracles.parameters import steady

costs_of_items = st.lists(st.sampled_from([0.0, 1.0, 1.0, 2.0, 5.0, 5.5, 40.0]), max_size=40)
workers_of_runs = st.integers(1, 9)


@steady
@given(costs_of_items, workers_of_runs)
def test_every_item_is_sent_once(costs, workers):
    """The order is a permutation, plain and computed alike by every worker; costs are left alone."""
    before = list(costs)
    found = order(costs, workers)
    assert sorted(found) == list(range(len(costs)))
    assert all(type(index) is int for index in found)
    assert found == order(list(costs), workers)
    assert costs == before


@pytest.mark.parametrize(
    ("costs", "workers", "sent"),
    [
        ([1, 7, 3], 2, [3, 7, 1]),  # fewer than two each: the longest is dealt out alone, the others share a worker
        ([4, 1, 3, 2], 2, [4, 1, 3, 2]),
        ([6, 2, 5, 1, 4, 3], 2, [6, 3, 5, 4, 2, 1]),  # few: with the shortest of the first two each
        ([8, 1, 7, 2, 6, 3, 5, 4, 9], 2, [9, 1, 8, 2, 7, 6, 5, 4, 3]),  # many: with the shortest of all
    ],
)
def test_an_order_by_hand(costs, workers, sent):
    assert [costs[i] for i in order(costs, workers)] == sent


@pytest.mark.parametrize("workers", [0, 1])
def test_a_single_process_keeps_the_given_order(workers):
    assert order([1.0, 9.0, 5.0], workers) == [0, 1, 2]


@steady
@given(st.integers(2, 6), st.integers(0, 30), st.data())
def test_the_first_two_items_of_each_worker_are_a_long_and_a_short_one(workers, more, data):
    """The i-th longest with the i-th shortest, of all or, where there are few, of the longest two per worker; behind
    them longest first.
    """
    size = 2 * workers + more
    costs = data.draw(st.lists(st.integers(0, 1000), unique=True, min_size=size, max_size=size))
    found = [costs[i] for i in order(costs, workers)]
    longest_first = sorted(costs, reverse=True)
    near = longest_first if size >= 4 * workers else longest_first[: 2 * workers]
    assert found[2 * workers :] == sorted(found[2 * workers :], reverse=True)
    for pair in range(workers):
        assert found[2 * pair : 2 * pair + 2] == [near[pair], near[-1 - pair]]


@steady
@given(costs_of_items, st.integers(2, 9))
def test_equal_costs_keep_their_order_among_themselves(costs, workers):
    """Ties are broken by place, not by chance: the rest is in the given order where costs are equal."""
    rest = order(costs, workers)[2 * workers :]
    for first, second in itertools.pairwise(rest):
        assert costs[first] > costs[second] or first < second


@pytest.mark.parametrize("workers", [2, 3, 4, 5, 6, 7])
def test_smoke_keeps_its_workers_busy(workers):
    """xdist's own scheduler, given the smoke preset's costs, ends within a quarter of an equal share.

    With fewer than two items per worker it deals them out one by one, round the workers.
    """
    costs = [setting.cost for setting in settings("smoke").values()]
    assert len(set(costs)) > 1
    ordered = [costs[i] for i in order(costs, workers)]
    assert xdist_makespan(ordered, workers) <= 1.25 * bound(costs, workers)


def test_six_items_on_two_workers_are_balanced_whatever_their_costs():
    """Within a quarter of an equal share where the given order, and longest first without pairing, take far longer."""
    rng = np.random.default_rng(0)
    late = {"order": 0, "as given": 0, "longest first": 0}
    for _ in range(60):
        costs = rng.lognormal(0, 1, 6).tolist()
        orders = {
            "order": [costs[i] for i in order(costs, 2)],
            "as given": costs,
            "longest first": sorted(costs, reverse=True),
        }
        for name, ordered in orders.items():
            late[name] += xdist_makespan(ordered, 2) > 1.25 * bound(costs, 2)
    assert late["order"] == 0
    assert late["as given"] > 10
    assert late["longest first"] > 10


@pytest.mark.parametrize(("items", "workers"), [(3, 4), (6, 4), (12, 2), (66, 2), (66, 8)])
def test_larger_suites_and_more_workers_are_balanced_too(items, workers):
    """Of 30 draws none takes half as long again as an equal share."""
    rng = np.random.default_rng(items)
    for _ in range(30):
        costs = rng.lognormal(0, 1, items).tolist()
        assert xdist_makespan([costs[i] for i in order(costs, workers)], workers) <= 1.5 * bound(costs, workers)


def test_cores_are_those_this_process_may_use(monkeypatch):
    """A container often grants fewer than the machine has; where nobody says, the machine's."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


def environments(count, devices, spec="popen"):
    """What so many workers find in their environment."""
    specs = [execnet.XSpec(spec) for _ in range(count)]
    equip(specs, devices)
    return [spec.env for spec in specs]


@pytest.fixture
def bare_environment(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def test_workers_get_devices_in_turn(bare_environment):
    """As many as there are, or more; names are passed on as they are."""
    found = environments(5, ["GPU-b", "MIG-GPU-a/1/0"])
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["GPU-b", "MIG-GPU-a/1/0"] * 2 + ["GPU-b"]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments(1, ["3", "1"])] == ["3"]


def test_workers_without_devices_keep_the_callers_list(bare_environment):
    """An empty one, too: nothing is assigned."""
    assert all("CUDA_VISIBLE_DEVICES" not in one for one in environments(2, []))


def test_workers_have_one_thread_unless_the_user_says_otherwise(bare_environment, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "4")
    assert environments(2, []) == [{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}] * 2


def test_what_the_user_gave_a_worker_is_left_alone(bare_environment):
    """``--tx`` may say everything itself, and a worker elsewhere has devices of its own."""
    own = environments(1, ["GPU-a"], "popen//env:CUDA_VISIBLE_DEVICES=7//env:OMP_NUM_THREADS=2")
    assert (own[0]["CUDA_VISIBLE_DEVICES"], own[0]["OMP_NUM_THREADS"]) == ("7", "2")
    assert environments(1, ["GPU-a"], "ssh=elsewhere") == [{}]


@pytest.mark.parametrize(
    ("devices", "workers", "lines"),
    [
        ([], 0, ["mad: add -n auto to train on 3 cores at a time"]),
        ([], 4, []),
        (
            ["GPU-a"],
            0,
            ["mad: this process trains on GPU-a", "mad: add -n auto to train 2 settings at a time on 1 GPU"],
        ),
        (
            ["GPU-a", "1"],
            0,
            ["mad: this process trains on GPU-a", "mad: add -n auto to train 4 settings at a time on 2 GPUs"],
        ),
        (["GPU-a", "MIG-b"], 1, ["mad: gw0 on GPU-a"]),
        (["GPU-a", "MIG-b"], 4, ["mad: gw0, gw2 on GPU-a", "mad: gw1, gw3 on MIG-b"]),
        (
            ["GPU-a", "MIG-b"],
            5,
            [
                "mad: gw0, gw2, gw4 on GPU-a",
                "mad: gw1, gw3 on MIG-b",
                "mad: up to 3 workers share a device, more than --mad-trials-per-gpu=2",
            ],
        ),
    ],
)
def test_the_header_says_who_trains_where(devices, workers, lines, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert device_lines(devices, workers, 2) == lines


def test_a_single_core_or_trial_needs_no_advice(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert device_lines([], 0, 2) == []
    assert device_lines(["GPU-a"], 0, 1) == ["mad: this process trains on GPU-a"]
