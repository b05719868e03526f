"""``pytest-mad merge``: result files as one. What is in several agrees, what is missing is said, and nothing is chosen."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given

from pytest_mad.common.files import FileError, parse_json
from pytest_mad.results import merge as merging
from pytest_mad.results.result_file import read_results, to_json
from pytest_mad.suite.outputs import rendered
from tests.oracles.parameters import steady
from tests.oracles.result_files import content, contents, contract, measured, run

RECALL, COPYING = "in-context-recall[baseline]", "selective-copying[baseline]"


def shard(*parts, of=2, suite="00ff"):
    return [{"suite": suite, "of": of, "parts": list(parts)}]


FIRST = content(measured(RECALL, 0.9), contract("output"), shards=shard(1), device="cpu")
SECOND = content(measured(COPYING, 0.5), contract("causality"), shards=shard(2), device="cpu")
WHOLE = content(measured(RECALL, 0.9), measured(COPYING, 0.5), contract("output"), contract("causality"), device="cpu")


def merge(files, command=""):
    """Of files' contents by name."""
    return merging.merge({name: run(content) for name, content in files.items()}, command)


def refusal(*files):
    """The one line in which files named a, b, ... are refused."""
    with pytest.raises(FileError) as caught:
        merge(dict(zip("abc", files, strict=False)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- what fits together ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [[FIRST, SECOND], [SECOND, FIRST], [FIRST, SECOND, FIRST], [WHOLE]])
def test_all_shards_are_the_run_that_was_not_shared_out(files):
    """Scores of tasks and MAD scores included, in any order."""
    merged = merge(dict(zip("abc", files, strict=False)))
    assert FIRST["architectures"]["mine"]["mad_score"] is None
    assert to_json(merged.run) == WHOLE and to_json(merged.run)["architectures"]["mine"]["mad_score"] == 0.85
    assert merged.exit_code == 0 and merged.is_complete and not merged.missing and not merged.warnings


def test_a_missing_shard_is_named_and_no_pass():
    """All that is there passed, and yet: there is no MAD score, and the exit code is 1."""
    merged = merge({"a": content(measured(RECALL), shards=shard(2, of=4))})
    assert merged.missing == ["shards 1, 3-4 of 4"] and merged.exit_code == 1 and not merged.failing
    assert to_json(merged.run)["shards"] == shard(2, of=4)
    assert to_json(merged.run)["architectures"]["mine"]["mad_score"] is None


def test_what_was_merged_can_be_merged_again():
    """With the shard that was missing."""
    parts = [content(measured(f"memorization[x={i}]"), shards=shard(i, of=3)) for i in (1, 2, 3)]
    some = merge(dict(zip("ab", parts[:2], strict=True)))
    assert some.missing == ["shard 3 of 3"]
    assert merge({"some": to_json(some.run), "c": parts[2]}).run == merge(dict(zip("abc", parts, strict=True))).run


def test_shards_of_another_suite_fill_no_gap():
    """Jobs that were told different tasks, say."""
    merged = merge({"a": FIRST, "b": SECOND | {"shards": shard(2, suite="ff00")}})
    assert merged.missing == ["shard 2 of 2", "shard 1 of 2"] and merged.exit_code == 1


def test_a_shard_without_items_is_there_all_the_same():
    empty = content(shards=shard(2))
    assert empty["architectures"] == {}
    merged = merge({"a": FIRST, "b": empty})
    assert merged.is_complete and merged.exit_code == 0 and not merged.warnings


def test_architectures_of_several_jobs_come_together():
    """Whole files; each keeps its own score."""
    other = content(measured(RECALL, 0.2, architecture="other", parameters=7), device="cpu")
    merged = merge({"a": WHOLE, "b": other})
    assert list(to_json(merged.run)["architectures"]) == ["mine", "other"]
    assert to_json(merged.run)["architectures"]["mine"] == WHOLE["architectures"]["mine"]
    assert to_json(merged.run)["architectures"]["other"] == other["architectures"]["other"]


def test_a_file_of_schema_1_keeps_its_count_of_parameters():
    """No setting has its own there, so nobody knows whose it is."""
    old = copy.deepcopy(WHOLE)
    mine = old["architectures"]["mine"]
    for one in mine["settings"].values():
        one["parameters"] = None
    found = merge({"old": old, "new": content(measured("memorization[baseline]", parameters=7))}).run
    assert (found.architectures["mine"].parameters, found.architectures["mine"].largest) == (1000, None)


def test_what_was_cut_short_stays_so():
    merged = merge({"a": FIRST | {"cut_short": True}, "b": SECOND})
    assert to_json(merged.run)["cut_short"] and merged.exit_code == 1 and not merged.missing
    assert to_json(merged.run)["architectures"]["mine"]["mad_score"] is None


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (measured(COPYING, 0.1, verdict="fail"), 1),
        (measured(COPYING, 0.1, verdict="regress"), 1),
        (measured(COPYING, None, verdict="error"), 1),
        (measured(COPYING, 0.1, verdict="inconclusive"), 1),
        (measured(COPYING, 0.1, verdict="inconclusive", tolerant=True), 0),
        (measured(COPYING, None, verdict="skipped"), 0),
        (contract("lengths", "fail", "length 3"), 1),
        (contract("lengths", "pass", "length 3"), 0),
    ],
)
def test_the_exit_code_goes_by_verdicts(record, code):
    merged = merge({"a": FIRST, "b": content(record, shards=shard(2))})
    assert (merged.exit_code, merged.failing) == (code, code)


@steady
@given(contents())
def test_a_file_alone_is_itself(written):
    """Whatever a run may have written; but for its order and the commands."""
    if not written["architectures"]:
        return
    merged = merge({"a": written}, "pytest-mad merge a")
    assert to_json(merged.run)["command"] == f"{written['command']}\npytest-mad merge a"
    for key in ("preset", "cut_short", "environment"):
        assert to_json(merged.run)[key] == written[key]
    for name, one in written["architectures"].items():
        found = to_json(merged.run)["architectures"][name]
        assert {**found, "task_scores": 0} == {**one, "task_scores": 0, **_scores(found)}
        assert found["mad_score"] == pytest.approx(one["mad_score"]) or one["mad_score"] is None


def _scores(found):
    """Means, which may differ in the last digit with the order of what they are of."""
    return {key: found[key] for key in ("mad_score", "mad_score_normalized", "parameters", "state_size")}


@steady
@given(contents(), contents())
def test_what_is_joined_is_a_result_file(first, second):
    """Or is refused in a line: any two files, and every report of them."""
    try:
        merged = merge({"a": first, "b": second})
    except FileError as error:
        assert "\n" not in str(error)
        return
    for option in ("json", "html", "benchmark_json"):
        assert rendered(option, merged.run)
    assert parse_json(rendered("json", merged.run)) == to_json(merged.run)


def test_its_json_is_read_again(tmp_path):
    path = tmp_path / "all.json"
    path.write_text(rendered("json", merge({"a": FIRST, "b": WHOLE}).run))
    assert read_results(path).shards == run(FIRST).shards


def test_settings_stand_as_people_count():
    """Tasks by name, the baseline first, 32 before 128."""
    names = ["memorization[baseline]", "memorization[x=2]", "memorization[x=32]", "memorization[x=128]", RECALL]
    merged = merge({"a": content(*map(measured, reversed(names)))})
    assert [one.setting for one in merged.settings] == [RECALL, *names[:4]]


# -- what does not ----------------------------------------------------------------------------------------------------


def test_files_of_two_presets_are_refused():
    assert refusal(FIRST, SECOND | {"preset": "paper"}) == "a has preset 'tiny', but b has 'paper'"


@pytest.mark.parametrize(
    ("again", "says"),
    [
        (measured(RECALL, 0.8), "normalized 0.9 in a, but normalized 0.8 in b"),
        (measured(RECALL, None, verdict="error"), "normalized 0.9 in a, but normalized None in b"),
        (measured(RECALL, 0.9, verdict="fail", threshold=0.95), "verdict 'pass' in a, but verdict 'fail' in b"),
        (measured(RECALL, 0.9, task_version=2), "task_version 1 in a, but task_version 2 in b"),
        (measured(RECALL, 0.9, threshold=0.5), "threshold None in a, but threshold 0.5 in b"),
        (measured(RECALL, 0.9, recipe="ff00"), "recipe '00ff' in a, but recipe 'ff00' in b"),
    ],
)
def test_two_scores_of_one_setting_are_a_contradiction(again, says):
    """Also where both passed: nobody knows which is right."""
    assert refusal(FIRST, content(again)) == f"mine, {RECALL} was measured twice, with {says}"


def test_two_verdicts_of_one_contract_are_a_contradiction():
    says = "mine, output was measured twice, with verdict 'pass' in a, but verdict 'fail' in b"
    assert refusal(FIRST, content(contract("output", "fail", "no logits"))) == says


@pytest.mark.parametrize("changes", [{"seconds": 9.0}, {"stored": True}])
def test_the_same_measured_twice_is_no_contradiction(changes):
    """Or found in the store the second time."""
    again = content(measured(RECALL, 0.9, **changes), device="cpu")
    assert merge({"a": FIRST, "b": SECOND, "c": again}).run == run(WHOLE)


def test_files_without_any_result_are_refused():
    """A slip in `-k` would else pass everywhere."""
    empty = [content(shards=shard(1)), content(shards=shard(2))]
    assert refusal(*empty) == "a and b hold no results"


# -- where it was measured --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ({"torch": "2.13.0"}, {"torch": "2.13.1+cpu"}, None),
        ({"torch": "2.13.0"}, {"torch": "2.14.0"}, "torch 2.13, 2.14"),
        ({"device": "cpu"}, {"device": "cuda"}, "device cpu, cuda"),
        ({"device": "cpu"}, {"device": ""}, None),
        ({"plugin": "0.1.0"}, {"plugin": "0.2.0"}, "pytest-mad 0.1.0, 0.2.0"),
        ({"torch": None}, {"torch": "2.13.0"}, None),
        ({"python": "3.10.1"}, {"python": "3.13.0"}, None),
    ],
)
def test_what_scores_may_depend_on_is_warned_of(one, other, says):
    """As in a comparison, and with a baseline; the file has all that was there."""
    merged = merge({"a": copy.deepcopy(FIRST) | _at(one), "b": copy.deepcopy(SECOND) | _at(other)})
    lines = [] if says is None else [f"measured with {says}: scores may differ for this alone"]
    assert merged.warnings == lines and merged.exit_code == 0
    ((key, value),) = one.items()
    both = sorted(filter(None, {value, other[key]}))
    assert to_json(merged.run)["environment"][key] == ", ".join(both)


def _at(changes):
    return {"environment": FIRST["environment"] | changes}


def test_the_command_repeats_all_of_it():
    """What measured each part, and what joined them; the same only once."""
    files = {"a": FIRST | {"command": "pytest one"}, "b": SECOND | {"command": "pytest two"}, "c": FIRST}
    files["c"] = files["c"] | {"command": ""}
    assert merge(files, "pytest join").run.command == "pytest one\npytest two\npytest join"
