"""``benchmarks.scale``: the simulated clusters do what they stand for, and the measured load is what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale import simulated
from benchmarks.scale.__main__ import ONE, TASKS, load, ratios
from benchmarks.scale.simulated import (
    TRUTHS,
    bound,
    cluster_makespan,
    drawn,
    in_shards,
    on_a_cluster,
    on_one_machine,
    with_lost_node,
    xdist_makespan,
)
from pytest_mad.architectures.architecture import from_factory
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.executors.ray.units import Waiting, units_of
from pytest_mad.presets.reading import settings
from tests.oracles.parameters import steady
from tests.unit.tiny import Tiny

PAPER = list(settings("paper").values())
BASELINES = {setting.task_name: setting for setting in PAPER if setting.name == "baseline"}
works = st.lists(st.integers(1, 40).map(float), min_size=1, max_size=60)


@pytest.fixture
def as_estimated(monkeypatch):
    """Everything takes as long as it should."""
    monkeypatch.setattr(simulated, "SIGMA", 0.0)


# -- schedulers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "slots", "least"),
    [([3.0], 2, 3.0), ([3.0, 2.0, 1.0], 2, 3.0), ([2.0, 2.0, 2.0], 2, 3.0), ([2.0, 9.0, 2.0], 8, 9.0)],
)
def test_the_bound_by_hand(times, slots, least):
    assert bound(times, slots) == least


@pytest.mark.parametrize(
    ("times", "workers", "ends"),
    [
        ([3.0], 2, 3.0),
        ([3.0, 2.0, 1.0], 1, 6.0),
        ([5.0, 1.0, 4.0, 2.0], 2, 6.0),  # two to each at first, so the short one waits for the long one
        ([5.0, 4.0, 1.0], 2, 6.0),  # one by one, round the workers
        ([1.0, 1.0, 9.0, 1.0, 2.0, 2.0], 2, 10.0),  # the others go to who is not held up by the long one
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


def by_the_clock(times, slots, *, ahead=0, dies_at=None, dying=0):
    """When the last unit ends, tick by tick; at a tick, the first ``dying`` actors may be lost with what they have."""
    waiting, queues = list(range(len(times))), [[] for _ in range(slots)]
    left, now = dict(enumerate(times)), 0
    while True:
        for queue in queues:
            if queue and left[queue[0]] == 0:
                queue.pop(0)
        for length in range(ahead + 1):  # the emptiest first
            for queue in queues:
                if waiting and len(queue) == length:
                    queue.append(waiting.pop(0))
        if now == dies_at:
            lost = sorted(unit for queue in queues[:dying] for unit in queue)
            waiting, queues, dies_at = lost + waiting, queues[dying:], None
            left |= {unit: times[unit] for unit in lost}
            continue
        running = [queue[0] for queue in queues if queue]
        if not running:
            return now
        for unit in running:
            left[unit] -= 1
        now += 1


@steady
@given(works, st.integers(1, 9), st.integers(0, 2))
def test_actors_by_the_clock(times, slots, ahead):
    """Looked at in every moment, not from end to end."""
    assert cluster_makespan(times, slots, ahead=ahead) == by_the_clock(times, slots, ahead=ahead)


@steady
@given(works, st.integers(2, 4), st.integers(1, 3), st.integers(0, 60), st.integers(0, 1))
def test_a_lost_node_by_the_clock(times, nodes, slots, dies_at, ahead):
    """On small clusters, where it matters which unit goes out first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated, "NODES", nodes)
        patch.setattr(simulated, "SLOTS", slots)
        dies_at = min(dies_at, int(cluster_makespan(times, nodes * slots, ahead=ahead)))
        late, least = with_lost_node(times, dies_at, ahead=ahead)
    assert late == by_the_clock(times, nodes * slots, ahead=ahead, dies_at=dies_at, dying=slots)
    assert least <= late + 1e-9


@steady
@given(works)
def test_a_node_that_dies_at_the_end_costs_nothing(times):
    whole = cluster_makespan(times, 64)
    late, least = with_lost_node(times, whole)
    assert late == whole >= least >= max(times)


@pytest.mark.parametrize(
    ("times", "late", "least"),
    [
        ([10.0] * 64, 20.0, 15.0),  # eight begin again, but no actor is free before ten
        ([10.0] * 8, 15.0, 15.0),  # and here the others are
        ([1.0] * 640, 11.0, 5 + 320 / 56),  # half is done, and what is left takes 56 actors six more
        ([6.0] * 64 + [1.0] * 400, 14.0, 14.0),  # 56 with one left, eight with all six, 400 of one: nine each
    ],
)
def test_a_node_that_dies_at_five_by_hand(times, late, least):
    assert with_lost_node(times, 5.0) == (late, pytest.approx(least))


# -- scenes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", [on_one_machine, on_a_cluster])
def test_the_paper_preset_is_within_a_tenth_of_the_bound(scene):
    """In most of 20 draws of the real times around the estimates; it is never below."""
    found = [scene(PAPER, TRUTHS["estimates"], seed)["of the bound"] for seed in range(20)]
    assert sum(ratio <= 1.1 for ratio in found) > 10 and min(found) >= 1


def test_a_cluster_by_hand(as_estimated):
    """396 trials of one each: seven rounds of 64. At 3.5 a node dies with eight half done; 56 finish at 7 all the same."""
    assert on_a_cluster(PAPER, lambda setting: 1.0, 0) == pytest.approx(
        {
            "of the bound": 7 / (396 / 64),
            "with a lost node, of the bound": 7 / (3.5 + (396 - 64 * 3.5 + 8 / 2) / 56),
            "with a lost node, of the time without": 1.0,
        }
    )


def test_trials_go_out_as_the_executor_sends_them(as_estimated, monkeypatch):
    """It knows nothing of the simulation."""
    sent = []
    monkeypatch.setattr(simulated, "cluster_makespan", lambda times, *_, **__: sent.extend(times) or 1.0)
    on_a_cluster(PAPER, lambda setting: setting.cost, 0)
    waiting = Waiting(unit for setting in PAPER for unit in units_of(from_factory(Tiny), setting, RunOptions()))
    assert sent == [waiting.take().cost for _ in range(len(waiting))]


def test_a_matrix_shares_out_what_takes_as_long_as_estimated(as_estimated):
    """The longest of two, four and eight jobs has at most a hundredth more than its share."""
    found = in_shards(PAPER, TRUTHS["estimates"], 0)
    assert list(found) == ["2 shards", "4 shards", "8 shards"]
    assert all(1 <= ratio <= 1.01 for ratio in found.values())


def test_what_a_trial_takes_by_hand():
    """Steps alone, or the arithmetic of 256 tokens at width 128 and length 32 by which the estimate is multiplied."""
    recall, memorization = BASELINES["in-context-recall"], BASELINES["memorization"]
    assert TRUTHS["steps alone"](recall) == 20_000
    per_token = 2 * (65_536 + 8_192) + 262_144 + 32_768
    assert TRUTHS["attention"](memorization) == pytest.approx(memorization.cost * per_token)


def test_times_are_drawn_with_a_seed():
    assert drawn([1.0, 2.0], 3) == drawn([1.0, 2.0], 3) != drawn([1.0, 2.0], 4)


def test_one_time_in_twenty_is_off_by_a_factor_of_almost_two():
    found = drawn([1.0] * 20_000, 0)
    assert sum(max(factor, 1 / factor) >= 1.8 for factor in found) == pytest.approx(1_000, abs=150)


def test_a_spread_by_hand():
    found = simulated._spread([{"of the bound": 1.0}, {"of the bound": 1.2}, {"of the bound": 1.05}])
    assert found == {"of the bound": {"median": 1.05, "worst": 1.2, "within 1.1": 0.667}}


# -- the load that is measured ----------------------------------------------------------------------------------------


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
