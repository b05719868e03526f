"""The record of one setting: plain values that survive any process and file."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.common.records import plain
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.setting import run_and_judge
from pytest_mad.results.result import Best, SettingResult, TrialResult
from pytest_mad.results.result_file import item_result
from tests.oracles.parameters import steady
from tests.unit.tiny import POINT, Tiny, make_setting

texts = st.text(max_size=8)
shares = st.floats(0, 1)
maybe = st.none() | shares
numbers = st.integers(0, 10**12)
params = st.dictionaries(texts, numbers | shares | st.booleans() | texts, max_size=3)
trials = st.lists(
    st.builds(
        TrialResult,
        lr=shares,
        weight_decay=shares,
        seed=numbers,
        steps=numbers,
        stopped=st.sampled_from(["solved", "hopeless", "budget"]),
        curve=st.lists(st.tuples(numbers, shares), max_size=3).map(tuple),
    ),
    max_size=2,
).map(tuple)
VERDICTS = ("pass", "fail", "regress", "inconclusive", "error", "skipped")


@st.composite
def results(draw):
    """Any setting's record: with a score, or with a verdict that needs none."""
    is_scored = draw(st.booleans())
    task = draw(st.text("abc-", min_size=1, max_size=8))
    return SettingResult(
        architecture=draw(texts),
        setting=f"{task}[{draw(texts)}]",
        task=task,
        task_version=draw(numbers),
        params=draw(params),
        preset=draw(texts),
        verdict=draw(st.sampled_from(VERDICTS if is_scored else ("fail", "error", "skipped"))),
        detail=draw(texts),
        accuracy=draw(shares) if is_scored else None,
        accuracy_compat=draw(maybe),
        sequence_accuracy=draw(maybe),
        normalized=draw(shares) if is_scored else None,
        oracle=draw(shares),
        trivial=draw(shares),
        threshold=draw(maybe),
        best=draw(st.none() | st.builds(Best, lr=shares, weight_decay=shares, seed=numbers)),
        trials=draw(trials),
        parameters=draw(st.none() | numbers),
        state_size=draw(st.none() | numbers),
        seconds=draw(shares),
        stored=draw(st.booleans()),
        device=draw(texts),
        engine=draw(texts),
    )


@steady
@given(results())
def test_a_result_survives_the_way_through_json(result):
    """From a worker to the controller, and from a run to its file, nothing is lost."""
    assert item_result(json.loads(json.dumps(plain(result), allow_nan=False))) == result
    assert set(plain(result)) == {field.name for field in dataclasses.fields(SettingResult)}


@steady
@given(results())
def test_only_a_pass_has_passed(result):
    """No other verdict lets a test through."""
    assert result.passed is (result.verdict == "pass")
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.verdict = "pass"


@steady
@given(results())
def test_what_a_record_holds_is_its_own(result):
    """Changing the plain values does not change the result."""
    before = dataclasses.replace(result)
    record = plain(result)
    record["params"]["more"] = 1
    record["trials"].append({})
    assert result == before
    assert "more" not in result.params


def is_plain(value):
    """Nothing but what JSON knows: no NumPy number, no tuple, no path."""
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def broken(vocab_size):
    raise ValueError("no\nluck")


def no_model(vocab_size):
    return 5


def diverging(vocab_size):
    """Later than any contract looks."""
    model, steps = Tiny(vocab_size), itertools.count()
    model.embed.weight.register_hook(lambda gradient: gradient * (float("nan") if next(steps) > 7 else 1))
    return model


def looking_ahead(vocab_size):
    model = Tiny(vocab_size)
    model.register_forward_hook(lambda module, tokens, logits: logits.flip(1))
    return model


@pytest.mark.parametrize(
    ("factory", "verdict", "detail"),
    [
        (Tiny, "pass", "reaches 0.1"),
        (broken, "error", "raised ValueError: no"),
        (no_model, "error", "returned int, but must return a torch.nn.Module"),
        (diverging, "error", "nan at step 10 (lr 0.01)"),
        (looking_ahead, "fail", "not causal"),
    ],
)
@pytest.mark.parametrize("seeds", [1, 2])
def test_the_result_of_a_run_is_plain_and_complete(factory, verdict, detail, seeds):
    """However it ended: a verdict, one line that says why, and the setting that it was."""
    setting = make_setting(steps=20, threshold=0.1)
    architecture = from_factory(factory, name="mine")
    outcome = run_and_judge(architecture, setting, RunOptions(seeds=seeds, device="cpu"))
    record = plain(outcome.result)
    assert is_plain(record)
    assert (record["verdict"], record["architecture"], record["setting"]) == (verdict, "mine", "memorization[baseline]")
    assert detail in record["detail"]
    assert len(record["detail"].splitlines()) == 1
    assert record["params"] == setting.params.to_json()
    assert (record["oracle"], record["trivial"], record["threshold"]) == (setting.oracle, setting.trivial, 0.1)
    assert (record["preset"], record["task"], record["task_version"]) == ("tiny", "memorization", 1)
    assert ("no" in outcome.traceback) == (factory is broken)
    scores = [record[key] for key in ("accuracy", "accuracy_compat", "sequence_accuracy", "normalized", "best")]
    if verdict != "pass":
        assert scores == [None] * 5
        assert record["trials"] == []
        return
    assert all(0 <= score <= 1 for score in scores[:4])
    assert record["normalized"] == pytest.approx(setting.normalized(record["accuracy"]))
    assert [trial["seed"] for trial in record["trials"]] == list(range(seeds))
    assert record["best"]["lr"] == POINT.lr
    assert record["parameters"] == sum(p.numel() for p in Tiny().parameters())


def test_of_several_seeds_the_lowest_score_is_reported():
    """With the seed that it belongs to."""
    setting = make_setting()
    runs = {
        seed: run_and_judge(from_factory(Tiny), setting, RunOptions(first_seed=seed, device="cpu")).result
        for seed in (3, 4, 5)
    }
    together = run_and_judge(from_factory(Tiny), setting, RunOptions(first_seed=3, seeds=3, device="cpu")).result
    worst = min(runs, key=lambda seed: runs[seed].normalized)
    assert together.normalized == runs[worst].normalized < max(r.normalized for r in runs.values())
    assert together.best.seed == worst
    assert together.accuracy_compat == runs[worst].accuracy_compat
    assert "3 seeds" in together.detail


def test_the_explanation_is_one_sentence_with_the_numbers_in_it():
    """Architecture, setting, verdict, reason, accuracy and its two levels."""
    setting = make_setting(steps=10, threshold=1.0)
    result = run_and_judge(from_factory(Tiny, name="mine"), setting, RunOptions(device="cpu")).result
    text = result.explain()
    assert text.startswith("mine, memorization[baseline]: fail: normalised score ")
    assert f"accuracy {result.accuracy:.3f}" in text
    assert f"trivial {setting.trivial:.3f}, oracle {setting.oracle:.3f}" in text
    assert len(text.splitlines()) == 1
    unfinished = dataclasses.replace(result, accuracy=None, normalized=None, verdict="error", detail="no luck")
    assert unfinished.explain() == "mine, memorization[baseline]: error: no luck"
