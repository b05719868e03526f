"""What part of its preset a MAD score is of."""

from __future__ import annotations

import pytest

from pytest_mad.report.comparison import lines
from pytest_mad.report.table import tables
from pytest_mad.results.compare import compare
from pytest_mad.results.gaps import part
from pytest_mad.results.result_file import architecture_of
from tests.oracles.result_files import content, measured, run, setting_of

RECALL, COPYING = "in-context-recall[baseline]", "selective-copying[baseline]"
LARGER = "in-context-recall[vocab_size=32]"
SMOKE = {"in-context-recall": 1, "selective-copying": 1, "compression": 1}
CI = {"in-context-recall": 5, "selective-copying": 1}


def records(*names, tasks=SMOKE, **changes):
    return [setting_of(measured(name, **changes) | {"preset_tasks": tasks}) for name in names]


SKIPPED = records("compression[baseline]", normalized=None, verdict="skipped")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (records(RECALL, COPYING, "compression[baseline]"), ""),
        (records(RECALL), "1 of 3 tasks"),
        (records(RECALL, COPYING), "2 of 3 tasks"),
        ([*records(RECALL, COPYING), *SKIPPED], "2 of 3 tasks"),
        (records(RECALL, LARGER, COPYING, tasks=CI), "3 of 6 settings"),
        (records(COPYING, tasks=CI), "1 of 2 tasks"),
        (records(RECALL, tasks={"in-context-recall": 2}), "1 of 2 settings"),
        (records(RECALL, tasks={}), ""),
        ([], ""),
    ],
)
def test_a_part_of_a_preset_is_told_in_tasks_or_where_these_are_incomplete_in_settings(found, says):
    """A skipped task counts in no mean. What the preset has, a file of schema 1 does not know."""
    assert part(architecture_of(found)) == says


def test_the_table_names_the_part_before_the_number():
    """Without it there is no bare MAD score; all of the preset needs no such word."""
    some, whole = records(RECALL, COPYING), records(RECALL, COPYING, "compression[baseline]")
    assert [line.text for line in tables(some)][-1] == "  MAD score of 2 of 3 tasks: 1.000, normalised 1.000"
    assert [line.text for line in tables(whole)][-1] == "  MAD score 1.000, normalised 1.000 (mean over 3 tasks)"


def test_a_comparison_names_the_part_too():
    """Both sides' where they are of different ones. Files keep what the preset has, so that a report of them knows."""
    one = content(measured(RECALL), preset_tasks=SMOKE)
    two = content(measured(RECALL), measured(COPYING, 0.5), preset_tasks=SMOKE)

    def means(a, b):
        return [line.text for line in lines(compare(run(a), run(b)), ("a", "b"), 200) if "MAD score" in line.text]

    assert means(two, two) == [
        "  MAD score of 2 of 3 tasks 0.875 -> 0.875 (+0.000); normalised 0.750 -> 0.750 (+0.000)"
    ]
    (text,) = means(one, two)
    assert text.startswith("  MAD score 1.000 in A (1 of 3 tasks), 0.875 in B (2 of 3 tasks), which are not means over")
