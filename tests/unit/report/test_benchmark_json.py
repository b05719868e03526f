"""``--mad-benchmark-json`` in the form that github-action-benchmark reads as ``customBiggerIsBetter``."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.common.files import json_text
from pytest_mad.report.benchmark_json import benchmark_entries
from pytest_mad.results.result import SettingResult
from pytest_mad.results.result_file import run_of
from tests.oracles.parameters import steady

#: Its schema: keys and whether they must be there. It turns whatever it finds into these types, a null into the word or
#: into zero, and fails on an empty list.
FORM = {"name": (str, True), "value": (float, True), "unit": (str, True), "range": (str, False), "extra": (str, False)}
#: Units among which it converts values by factors of a thousand.
TIMES = ("s", "ms", "us", "ns")


def record(setting, score, architecture="mine", **changes):
    return SettingResult(
        architecture=architecture,
        setting=setting,
        task=setting.partition("[")[0],
        task_version=1,
        params={},
        preset="tiny",
        verdict="error" if score is None else "pass",
        accuracy=None if score is None else (1 + score) / 2,
        normalized=score,
        oracle=1.0,
        trivial=0.5,
        **{"scores": () if score is None else ((0, score),)} | changes,
    )


def entries(*records):
    """As they stand in the file."""
    return json.loads(json_text(benchmark_entries(run_of(records, "tiny"))))


def check_form(found):
    assert len({entry["name"] for entry in found}) == len(found), "one chart per name"
    for entry in found:
        assert set(entry) <= set(FORM)
        for key, (kind, is_needed) in FORM.items():
            assert isinstance(entry[key], kind) if is_needed else isinstance(entry.get(key, ""), kind)
        assert math.isfinite(entry["value"]) and entry["value"] >= 0
        assert entry["unit"] not in TIMES and "/" not in entry["unit"]


def test_architectures_and_settings_have_an_entry_per_score():
    """Under names that do not change from run to run, in the order of the result file."""
    found = entries(
        record("memorization[baseline]", 0.9),
        record("memorization[vocab_size=32]", 0.7),
        record("compression[baseline]", 0.4, architecture="other"),
    )
    check_form(found)
    assert [(entry["name"], entry["value"], entry["unit"]) for entry in found] == [
        ("mine: MAD score", pytest.approx(0.9), "accuracy"),
        ("mine: MAD score, normalised", pytest.approx(0.8), "normalised score"),
        ("mine: memorization[baseline]", 0.9, "normalised score"),
        ("mine: memorization[vocab_size=32]", 0.7, "normalised score"),
        ("other: MAD score", 0.7, "accuracy"),
        ("other: MAD score, normalised", 0.4, "normalised score"),
        ("other: compression[baseline]", 0.4, "normalised score"),
    ]


def test_what_has_no_score_has_no_entry():
    """Neither the setting nor, without it, the architecture's MAD score; a run without any score has no entries."""
    found = entries(record("memorization[baseline]", 0.9), record("compression[baseline]", None))
    check_form(found)
    assert [entry["name"] for entry in found] == ["mine: memorization[baseline]"]
    assert entries(record("compression[baseline]", None)) == []


def test_a_score_below_the_trivial_guess_is_zero_in_the_chart_and_told_beside_it():
    """The action alerts when previous / current is above its threshold, which a negative number never is."""
    found = entries(record("memorization[baseline]", -0.25))[-1]
    assert found["value"] == 0 and "normalised score -0.2500" in found["extra"]


def test_seeds_are_told_as_a_range():
    """In words: behind a plus-minus sign the action would scale it with the value."""
    scores = [[0, 0.912], [1, 0.87], [2, 0.9]]
    found = entries(record("memorization[baseline]", 0.87, scores=scores))[-1]
    assert found["range"] == "3 seeds, 0.870 to 0.912"
    assert "range" not in entries(record("memorization[baseline]", 0.87))[-1]


def test_the_extra_says_where_a_score_comes_from():
    found = entries(record("memorization[baseline]", 0.5))
    assert found[-1]["extra"].startswith("pass: normalised score 0.5000, accuracy 0.7500\npreset tiny, torch ")
    assert found[0]["extra"].startswith("memorization 0.750\npreset tiny, ")


@steady
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["memorization", "compression"]), st.integers(0, 3)),
        st.none() | st.floats(-3, 1.5),
    )
)
def test_any_result_has_the_form(scores):
    records = [record(f"{task}[vocab_size={i}]", score, name) for (name, task, i), score in scores.items()]
    found = entries(*records)
    check_form(found)
    assert sum(": MAD" not in entry["name"] for entry in found) == sum(score is not None for score in scores.values())
