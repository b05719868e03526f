"""Pictures of the HTML report: thinned lines keep what can be seen, and everything lies inside."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.report.html.figures import (
    CURVES,
    LETTER,
    LINE,
    SCATTER,
    TOLERANCE,
    learning_curves,
    scatter,
    spread,
    thinned,
)
from tests.oracles.parameters import steady
from tests.oracles.result_files import setting_of
from tests.unit.report.html_samples import curve, setting, trial


def curves(setting, needed):
    """The picture of a setting that must reach this score."""
    record = {"architecture": "mine", "setting": "compression[baseline]", "preset": "smoke", **setting}
    return learning_curves(setting_of(record | {"threshold": needed}), "")


columns = st.lists(st.integers(0, 300), min_size=1, max_size=80).map(sorted)
lines = columns.flatmap(
    lambda xs: st.lists(st.integers(0, 200), min_size=len(xs), max_size=len(xs)).map(
        lambda ys: list(zip(xs, ys, strict=True))
    )
)


def away(point, line):
    """Distance of a point from a line of many points, by looking at all of it."""
    return min((to_segment(point, *ends) for ends in pairwise(line)), default=math.dist(point, line[0]))


def to_segment(point, start, end):
    """By trying a thousand places on the segment: slow, and not how the code does it."""
    shares = (i / 1000 for i in range(1001))
    return min(math.dist(point, [a + s * (b - a) for a, b in zip(start, end, strict=True)]) for s in shares)


@steady
@given(lines)
def test_thinning_keeps_ends_and_extremes_and_moves_nothing_by_more_than_the_tolerance(points):
    """What stays is a part of what was there, in its order; columns apart, which a line covers from low to high."""
    kept = thinned(points)
    rest = iter(points)
    assert all(point in rest for point in kept)
    assert kept[0] == points[0] and kept[-1] == points[-1]
    heights = [y for _, y in points]
    assert {min(heights), max(heights)} <= {y for _, y in kept}
    per_column = {x: [y for other, y in points if other == x] for x, _ in points}
    seen = [(x, y) for x, ys in per_column.items() for y in (min(ys), max(ys))]
    assert all(away(point, kept) <= TOLERANCE + 0.5 for point in seen)


@steady
@given(lines)
def test_thinning_twice_is_thinning_once(points):
    assert len(thinned(thinned(points))) <= len(thinned(points)) <= len(points)


def test_thinning_leaves_straight_lines_their_corners():
    """A plateau and a rise of a hundred points each are three points."""
    points = [(x, 50) for x in range(100)] + [(100 + x, 50 - x // 2) for x in range(0, 101, 2)]
    assert thinned(points) == [(0, 50), (100, 50), (200, 0)]
    assert thinned([(3, 4)]) == [(3, 4)]


def test_thinning_is_quick_for_a_curve_of_every_step():
    """MAD's 20,000 steps, each evaluated, in 433 columns: no recursion, and at most four points in each."""
    points = [(i * 433 // 20_000, (i * 7919) % 200) for i in range(20_000)]
    assert len(thinned(points)) <= 4 * 433


@steady
@given(st.lists(st.integers(0, 300), min_size=1, max_size=4).map(sorted))
def test_names_of_levels_do_not_overlap(wanted):
    """In their order, inside, and where they are wanted if that is possible."""
    places = spread(wanted, 20, 0, 300)
    assert all(b - a >= 20 for a, b in pairwise(places))
    assert places[0] >= 0 and places[-1] <= 300
    if all(b - a >= 20 for a, b in pairwise(wanted)):
        assert places == wanted


def test_levels_are_accuracies_from_the_top_down():
    """A threshold of 0.9 between 0.25 and 1 is 0.925, and is drawn just below the oracle."""
    found = curves(setting(), 0.9)
    assert [(level.name, level.text) for level in found.levels] == [
        ("oracle", "1.000"),
        ("needed", "0.925"),
        ("trivial", "0.250"),
    ]
    oracle, needed, trivial = found.levels
    assert CURVES.top == oracle.y < needed.y < trivial.y < CURVES.bottom
    assert needed.text_y - oracle.text_y >= LINE
    assert "needed" not in {level.name for level in curves(setting(), None).levels}


def test_every_trial_has_a_line_up_to_its_end_and_the_one_that_counts_is_drawn_last():
    trials = [trial(), trial(seed=1, stopped="solved", points=curve(4)), trial(lr=0.01, stopped="hopeless")]
    found = curves(setting(trials=trials), None)
    assert found.steps == 600
    assert [trace.stopped for trace in found.traces] == ["solved", "hopeless", "budget"]
    assert [trace.is_best for trace in found.traces] == [False, False, True]
    assert found.traces[0].title == "seed 1, lr 0.001, weight decay 0: solved at step 200"
    assert found.traces[0].end[0] == CURVES.across(200 / 600) and found.traces[2].end[0] == CURVES.right
    for trace in found.traces:
        points = [tuple(map(int, point.split(","))) for point in trace.points.split()]
        assert points[-1] == trace.end
        assert all(CURVES.left <= x <= CURVES.right and CURVES.top <= y <= CURVES.bottom for x, y in points)


def test_curves_of_no_or_one_point():
    """No picture of nothing; a trial that is solved at once is a mark at the right edge."""
    assert curves(setting(trials=[]), 0.9) is None
    assert curves(setting(trials=[trial(points=[])]), 0.9) is None
    (trace,) = curves(setting(trials=[trial(points=[[50, 1.0]])]), 0.9).traces
    assert trace.points == f"{CURVES.right},{CURVES.top}" and trace.end == (CURVES.right, CURVES.top)
    (trace,) = curves(setting(trials=[trial(points=[[0, 0.0]])]), 0.9).traces
    assert trace.end == (CURVES.left, CURVES.bottom)


sizes = st.dictionaries(
    st.text("abcdefgh-", min_size=1, max_size=30),
    st.tuples(st.one_of(st.integers(0, 4), st.integers(0, 10**15)), st.floats(0, 1)),
    min_size=1,
    max_size=12,
)


@steady
@given(sizes)
def test_everything_in_the_scatter_lies_inside_and_in_order(placed):
    """Dots between ticks, larger states to the right, higher scores higher up; ticks apart by more than their text."""
    found = scatter(placed)
    assert [dot.name for dot in found.dots] == list(placed)
    where = {dot.name: (dot.x, dot.y) for dot in found.dots}
    for name, (size, score) in placed.items():
        x, y = where[name]
        assert SCATTER.left <= x <= SCATTER.right and SCATTER.top <= y <= SCATTER.bottom
        assert all(x <= where[n][0] for n, (other, _) in placed.items() if size <= other)
        assert all(y >= where[n][1] for n, (_, other) in placed.items() if score <= other)
    for first, second in pairwise(found.sizes):
        assert second.place - first.place >= LETTER * (len(first.text) + len(second.text)) / 2
    last = found.sizes[-1]
    assert last.place + LETTER * len(last.text) / 2 <= SCATTER.width
    assert len(found.scores) >= 3


def test_a_tick_stands_at_its_power_of_two():
    """Thousands as they are, millions in units; a model without any state is left of one float."""
    found = scatter({"mine": (4096, 0.9), "twice": (8192, 0.5)})
    assert [tick.text for tick in found.sizes] == ["4,096", "8,192"]
    assert [dot.x for dot in found.dots] == [SCATTER.left, SCATTER.right]
    assert scatter({"mine": (0, 0.5), "other": (1, 0.5)}).sizes[0].text == "0"
    assert scatter({"mine": (2**21, 0.5)}).sizes[0].text == "2 Mi"
    assert scatter({}) is None


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_the_axis_of_scores_spans_two_tenths_at_least(score):
    """Two runs of one architecture do not look like a triumph and a disaster."""
    ticks = [float(tick.text) for tick in scatter({"mine": (64, score)}).scores]
    assert ticks[0] <= score <= ticks[-1] and ticks[-1] - ticks[0] >= 0.2 - 1e-9


def test_names_in_the_scatter_do_not_cover_each_other():
    """Of six architectures of one size and nearly one score, and one far away."""
    found = scatter({f"model-{i}": (4096, 0.6 + i / 1000) for i in range(6)} | {"far": (64, 0.5)})
    rows = sorted((dot.anchor == "end", dot.text_y) for dot in found.dots if dot.name != "far")
    assert all(b[0] != a[0] or b[1] - a[1] >= LINE for a, b in pairwise(rows))
    assert all(SCATTER.top <= dot.text_y <= SCATTER.bottom for dot in found.dots)
