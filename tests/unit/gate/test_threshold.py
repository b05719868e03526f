"""The decision rule against a threshold: every seed must reach it, and the reason says so in numbers."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.gate import judge_threshold
from tests.oracles.parameters import steady

scores = st.lists(st.floats(-1, 1.2), min_size=1, max_size=5)
thresholds = st.floats(0, 1)


@steady
@given(scores, thresholds)
def test_a_setting_passes_if_and_only_if_every_seed_reaches_the_threshold(normalised, threshold):
    """The lowest score counts; equal is enough."""
    verdict = judge_threshold(normalised, threshold)
    assert verdict.outcome == ("pass" if all(score >= threshold for score in normalised) else "fail")


@pytest.mark.parametrize(
    ("normalised", "threshold", "outcome"),
    [
        ([0.9], 0.9, "pass"),
        ([math.nextafter(0.9, 0)], 0.9, "fail"),
        ([1.0, 1.0, 0.89], 0.9, "fail"),
        ([0.0], 0.0, "pass"),
        ([-0.01], 0.0, "fail"),
        ([1.0], 1.0, "pass"),
        ([-0.5], None, "pass"),
    ],
)
def test_verdicts_at_the_edges(normalised, threshold, outcome):
    """Without a threshold a finished setting passes, whatever its score."""
    assert judge_threshold(normalised, threshold).outcome == outcome


@steady
@given(scores, thresholds, st.integers(0, 4))
def test_a_score_that_is_no_number_never_reaches_a_threshold(normalised, threshold, place):
    """Wherever it stands among the seeds."""
    normalised.insert(place, math.nan)
    assert judge_threshold(normalised, threshold).outcome == "fail"


@steady
@given(scores, st.none() | thresholds)
def test_judging_is_pure(normalised, threshold):
    """Same scores, same verdict; the order of the seeds does not matter, and the list is left alone."""
    before = list(normalised)
    verdict = judge_threshold(normalised, threshold)
    assert normalised == before
    assert judge_threshold(tuple(normalised[::-1]), threshold) == verdict


@steady
@given(st.integers(1, 99), st.integers(-2000, 2000) | st.integers(-10, 10))
def test_the_reason_is_one_line_whose_numbers_agree_with_the_verdict(percent, distance):
    """Also where rounding would make a score below the threshold look like one that reaches it: 0.900 below 0.9."""
    threshold = percent / 100
    score = threshold + distance / 10_000
    verdict = judge_threshold([score], threshold)
    assert len(verdict.detail.splitlines()) == 1
    shown, needed = map(float, re.findall(r"-?\d+\.?\d*(?:e-\d+)?", verdict.detail)[:2])
    assert shown == pytest.approx(score, abs=1e-3)
    assert needed == pytest.approx(threshold, abs=1e-3)
    if distance:
        assert (shown >= needed) == (verdict.outcome == "pass"), verdict.detail


def test_the_reason_says_how_many_seeds_there_were():
    """And that the lowest counted."""
    assert "0.250" in judge_threshold([0.5, 0.25, 0.75], 0.9).detail
    assert "3 seeds" in judge_threshold([0.5, 0.25, 0.75], 0.9).detail
    assert "seeds" not in judge_threshold([0.5], 0.9).detail
    assert "no threshold" in judge_threshold([0.5, 0.25], None).detail
