"""Beside recorded seeds that judge nothing: the rank, and what lies beyond all reference architectures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.place import place, references
from pytest_mad.evaluation.requirement import requirement_of
from pytest_mad.gate.baseline import load_baseline, shipped_baselines
from pytest_mad.presets.reading import settings
from tests.unit.tiny import Tiny, make_setting

SETTING = settings("smoke")["in-context-recall[baseline]"]
MINE = from_factory(lambda vocab_size: Tiny(vocab_size), name="mine")


def told(steps, setting=SETTING, **options):
    run = RunOptions(**options)
    return place(setting, requirement_of(MINE, setting, run), run, steps)


@pytest.fixture
def transformer(tmp_path):
    return load_baseline("transformer", tmp_path)


def test_the_references_are_all_shipped_seeds_of_the_setting():
    found = references(SETTING, 0.9)
    assert found.architectures == tuple(shipped_baselines())
    assert len(found.steps) == 16 * len(found.architectures)
    assert references(SETTING, 0.8).steps == ()
    assert references(replace(SETTING, recipe=replace(SETTING.recipe, batch_size=8)), 0.9).steps == ()
    assert references(make_setting(), 0.9).steps == ()


def test_within_the_span_of_the_references_nothing_is_told():
    latest = max(references(SETTING, 0.9).steps)
    assert told([latest]) == ""
    assert told([10, latest]) == ""


def test_later_than_all_references_is_told_also_of_one_seed_of_several():
    known = references(SETTING, 0.9)
    latest, names = max(known.steps), ", ".join(known.architectures)
    span = f"{min(known.steps)} to {latest} steps"
    assert told([10, latest + 10]) == (
        f"learned in {latest + 10} steps, later than all {len(known.steps)} seeds of {names} ({span})"
    )
    assert told([10, None]) == f"{len(known.steps)} seeds of {names} learn it in {span}"


def test_a_recording_and_a_setting_of_one_s_own_are_told_nothing():
    assert told([None], record=True) == ""
    assert told([None], make_setting(threshold=0.9)) == ""
    assert told([]) == ""


def test_beside_another_architecture_s_baseline_it_is_the_rank(transformer):
    recorded = sorted(transformer.entries["transformer"][SETTING.id].steps)
    latest = recorded[-1]
    later = sum(step < latest for step in recorded)
    assert (
        told([latest], baseline=transformer)
        == f"learned in {latest} steps, later than {later} of 16 seeds of transformer"
    )
    assert told([latest + 1], baseline=transformer).endswith("later than 16 of 16 seeds of transformer")
    assert told([None], baseline=transformer) == (
        f"not learned, and transformer learns it in {recorded[0]} to {latest} steps"
    )


def test_one_good_seed_of_several_tells_the_rank(transformer):
    """As one good score passes."""
    assert told([None, 10], baseline=transformer) == "learned in 10 steps, later than 0 of 16 seeds of transformer"


def test_beside_one_s_own_baseline_the_verdict_says_it_all(transformer):
    own = replace(transformer, is_shipped=False, entries={"mine": transformer.entries["transformer"]})
    assert told([10_000], baseline=own) == ""
