"""``--mad-shard``: every item is in one shard, jobs agree on which, and no job has much more to do than another."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.presets.reading import settings
from pytest_mad.results.gaps import absent, gaps, headline, present
from pytest_mad.results.merge import joined
from pytest_mad.results.result import Shards
from pytest_mad.suite.option_table import OPTIONS
from pytest_mad.suite.option_values import MOST_SHARDS
from pytest_mad.suite.shards import Shard, assign, digest
from tests.oracles.parameters import steady

names = st.text("abc[]=12", min_size=1, max_size=5)
#: whole numbers, so that sums are exact
suites = st.dictionaries(names, st.sampled_from([0.0, 1.0, 1.0, 2.0, 5.0, 40.0]), max_size=40)
counts = st.integers(1, 12)


@steady
@given(suites, counts)
def test_every_item_is_in_one_shard(costs, count):
    """Whichever shard asks: together they have everything once, and nothing else."""
    own = [Shard(part, count).own(costs) for part in range(1, count + 1)]
    assert sorted(itertools.chain(*own)) == sorted(costs)


@steady
@given(suites, counts, st.randoms(use_true_random=False))
def test_jobs_agree_whatever_the_order_of_their_options(costs, count, random):
    """The shard of an item depends on names and costs alone."""
    shuffled = list(costs.items())
    random.shuffle(shuffled)
    assert assign(dict(shuffled), count) == assign(costs, count)


@steady
@given(suites, counts)
def test_the_longest_shard_is_within_one_item_of_an_equal_share(costs, count):
    """And no two shards are further apart than the longest item."""
    loads = dict.fromkeys(range(1, count + 1), 0.0)
    for item, shard in assign(costs, count).items():
        loads[shard] += costs[item]
    longest = max(costs.values(), default=0.0)
    assert max(loads.values()) <= sum(costs.values()) / count + longest
    assert max(loads.values()) - min(loads.values()) <= longest


@steady
@given(st.integers(0, 30), counts)
def test_items_without_costs_are_dealt_out_evenly(items, count):
    """A preset may say that everything costs nothing."""
    found = list(assign({str(i): 0.0 for i in range(items)}, count).values())
    sizes = [found.count(shard) for shard in range(1, count + 1)]
    assert max(sizes) - min(sizes) <= 1


def test_items_by_hand():
    """Longest first, each to the shard that has least; ties by number of items, then by name."""
    costs = {"d": 3.0, "c": 3.0, "b": 5.0, "a": 1.0, "e": 1.0}
    assert assign(costs, 2) == {"b": 1, "c": 2, "d": 2, "a": 1, "e": 1} and assign({}, 3) == {}


@pytest.mark.parametrize("count", [2, 4, 6, 8])
def test_the_paper_preset_is_shared_out_evenly(count):
    """The longest job has at most a hundredth more than an equal share."""
    costs = {one.id: one.cost for one in settings("paper").values()}
    loads = [sum(costs[item] for item in Shard(part, count).own(costs)) for part in range(1, count + 1)]
    assert max(loads) <= 1.01 * sum(costs.values()) / count


# -- files of shards ------------------------------------------------------------------------------------------------


@steady
@given(suites, st.integers(2, 9), st.data())
def test_shards_of_one_suite_come_together(costs, count, data):
    """Some of them stay a part, all of them are a whole, and the order does not matter."""
    some = data.draw(st.lists(st.integers(1, count), min_size=1, max_size=12))
    files = [Shard(part, count).of_suite(costs) for part in some]
    whole = set(some) == set(range(1, count + 1))
    parts = Shards(suite=digest(costs), of=count, parts=tuple(sorted(set(some))))
    assert joined(files) == joined(files[::-1]) == ([] if whole else [parts])
    assert joined(joined(files[:1]) + files[1:]) == joined(files)


def test_shards_of_other_suites_do_not_fill_gaps():
    """Another name, another cost or another number of shards makes another suite."""
    first, *others = (
        Shard(1, 2).of_suite({"a": 1.0}),
        Shard(2, 2).of_suite({"b": 1.0}),
        Shard(2, 2).of_suite({"a": 2.0}),
    )
    for other in (*others, Shard(2, 3).of_suite({"a": 1.0})):
        assert len(joined([first, other])) == 2
    assert joined([first, Shard(2, 2).of_suite({"a": 1.0})]) == []
    assert joined([Shard(1, 1).of_suite({"a": 1.0})]) == []


def test_what_reports_say_of_shards():
    """Runs of numbers are short, and a whole file says nothing."""
    some = Shards(suite="00ff", of=9, parts=(1, 2, 3, 5, 8, 9))
    assert present(some) == "Shards 1-3, 5, 8-9 of 9" and absent(some) == "shards 4, 6-7 of 9"
    assert present(Shards(suite="00ff", of=2, parts=(2,))) == "Shard 2 of 2"
    assert gaps(cut_short=False, shards=[some]) == [
        "Shards 1-3, 5, 8-9 of 9 only: the rest of the suite is missing here."
    ]
    assert headline(cut_short=True, shards=[some]) == "Cut short: Shards 1-3, 5, 8-9 of 9: "
    assert gaps(cut_short=False, shards=[]) == [] and headline(cut_short=False, shards=[]) == ""


# -- the option -----------------------------------------------------------------------------------------------------

PARSE = next(option.parse for option in OPTIONS if option.flag == "--mad-shard")


@pytest.mark.parametrize("text", ["1/1", "1/4", "4/4", "10/12", f"{MOST_SHARDS}/{MOST_SHARDS}"])
def test_a_part_of_a_whole_is_taken(text):
    assert str(Shard(*PARSE(text))) == text


WRONG = ["5/4", "0/4", "1/0", "0/0", "a", "", "/", "1/", "/4", "1", "-1/4", "1/-4", "1/2/3", " 1/4", "1/4\n", "1.0/4"]


@pytest.mark.parametrize("text", [*WRONG, "1/4,2/4", "١/٤", f"1/{MOST_SHARDS + 1}", f"1/{10**50}"])
def test_anything_else_is_refused_with_what_would_be_right(text):
    with pytest.raises(ValueError, match="must be I/N, such as 2/4: part I of N, counted from 1, and N at most 1,000"):
        PARSE(text)
