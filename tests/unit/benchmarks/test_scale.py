"""``benchmarks.scale``: the simulated clusters do what they stand for, and the measured load is what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale.__main__ import ONE, TASKS, load, ratios
from benchmarks.scale.simulated import (
    GOAL,
    NODES,
    SLOTS,
    TRUTHS,
    bound,
    cluster_makespan,
    drawn,
    on_a_cluster,
    on_one_machine,
    with_lost_node,
    xdist_makespan,
)
from pytest_mad.presets.reading import settings
from tests.oracles.parameters import steady

PAPER = list(settings("paper").values())
works = st.lists(st.integers(1, 40).map(float), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("times", "workers", "ends"),
    [
        ([3.0], 2, 3.0),
        ([3.0, 2.0, 1.0], 1, 6.0),
        ([5.0, 1.0, 4.0, 2.0], 2, 6.0),  # two to each at first, so the short one waits for the long one
        ([5.0, 4.0, 1.0], 2, 6.0),  # one by one, round the workers
    ],
)
def test_items_on_xdist_by_hand(times, workers, ends):
    assert xdist_makespan(times, workers) == ends


@steady
@given(works, st.integers(1, 9))
def test_no_schedule_beats_the_bound(times, slots):
    """Neither xdist's nor the actors'; and actors that take the next unit when they are free stay below twice it."""
    assert xdist_makespan(times, slots) >= bound(times, slots) - 1e-9
    assert bound(times, slots) - 1e-9 <= cluster_makespan(times, slots) <= 2 * bound(times, slots)
    assert bound(times, slots) - 1e-9 <= cluster_makespan(times, slots, ahead=1) <= sum(times)


def test_units_on_actors_by_hand():
    """One at a time; with one that waits at each actor, a short one may wait for a long one."""
    assert cluster_makespan([5.0, 1.0, 1.0, 1.0], 2) == 5.0
    assert cluster_makespan([5.0, 1.0, 1.0, 1.0], 2, ahead=1) == 6.0


@steady
@given(works, st.integers(0, 100))
def test_a_lost_node_never_helps(times, percent):
    """Its units are done again, all others once; a node that dies at the end costs nothing."""
    whole = cluster_makespan(times, NODES * SLOTS)
    late, least = with_lost_node(times, whole * percent / 100)
    assert late >= least - 1e-9 and late >= max(times)
    assert with_lost_node(times, whole) == (whole, pytest.approx(with_lost_node(times, whole)[1]))


def test_a_lost_node_by_hand():
    """Every slot has one unit of ten; eight of them begin again at five."""
    assert with_lost_node([10.0] * NODES * SLOTS, 5.0)[0] == 20.0  # no slot is free before ten
    assert with_lost_node([10.0] * 8, 5.0)[0] == 15.0


@pytest.mark.parametrize("scene", [on_one_machine, on_a_cluster])
def test_the_paper_preset_is_within_a_tenth_of_the_bound(scene):
    """In most of 20 draws of the real times around the estimates."""
    found = [scene(PAPER, TRUTHS["estimates"], seed)["of the bound"] for seed in range(20)]
    assert sum(ratio <= GOAL for ratio in found) > 10


def test_times_are_drawn_with_a_seed():
    assert drawn([1.0, 2.0], 3) == drawn([1.0, 2.0], 3) != drawn([1.0, 2.0], 4)


@pytest.mark.parametrize("count", [1, 6, 7, 20, 24])
def test_the_load_has_as_many_settings_as_it_says(tmp_path, count):
    """Of the same steps each, and none of them ends early."""
    path = tmp_path / "load.toml"
    path.write_text(load(count, 40))
    found = settings(str(path))
    assert len(found) == count and len({one.task_name for one in found.values()}) == min(count, len(TASKS))
    for one in found.values():
        assert one.recipe.total_steps(one.params.num_train_examples) == 40 and one.recipe.solved_at > 1


def test_ratios_are_taken_within_a_round():
    """A round in which the machine was busy slows both."""
    found = ratios({ONE: [10.0, 20.0, 10.0], "2 workers": [5.0, 10.0, 8.0]})
    assert found == {"2 workers": {"median": 2.0, "least": 1.25, "most": 2.0}}
