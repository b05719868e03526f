"""Two result files side by side: which marks, which exit code, and what the lines say of it."""

from __future__ import annotations

import copy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.report.comparison import lines
from pytest_mad.results import compare as comparing
from pytest_mad.results.result import SettingResult
from pytest_mad.results.verdicts import fails, passes
from tests.oracles.parameters import steady
from tests.oracles.result_files import content, contents, contract, measured, run

FLOOR = {"source": "main.json", "architecture": "mine", "seeds": 10, "lowest": 0.99, "margin": 0.03, "most_seeds": 4}


def compare(a, b):
    """Of the contents of two files."""
    return comparing.compare(run(a), run(b))


def asked(floor):
    """A baseline's floor; the run that is held to it has no threshold."""
    return {"baseline": FLOOR | {"floor": floor}, "threshold": None}


def setting(normalized=1.0, verdict="pass", **changes):
    return measured(normalized=normalized, verdict=verdict, **{"threshold": 0.9, "detail": "why"} | changes)


def seeds(*found):
    return {"scores": [[seed, score] for seed, score in enumerate(found)]}


PASS, FAIL = setting(), setting(0.5, "fail")
ERROR, SKIPPED = setting(None, "error"), setting(None, "skipped")
REGRESS = setting(0.5, "regress", **asked(0.96))
OPEN, TOLERATED = setting(0.5, "inconclusive"), setting(0.5, "inconclusive", tolerant=True)


def only(found):
    """The one row of a comparison."""
    (pair,) = found.pairs
    (row,) = pair.rows
    return row


def shown(a, b, **options):
    """The lines' texts."""
    return [line.text for line in lines(compare(a, b), ("a.json", "b.json"), **options)]


# -- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "mark", "is_lost", "exit_code"),
    [
        (PASS, PASS, "same", False, 0),
        (PASS, FAIL, "worse", True, 1),
        (PASS, ERROR, "worse", True, 1),
        (PASS, OPEN, "worse", True, 1),
        (PASS, SKIPPED, "worse", True, 1),
        (PASS, TOLERATED, "same", False, 0),
        (TOLERATED, PASS, "same", False, 0),
        (TOLERATED, FAIL, "worse", True, 1),
        (FAIL, PASS, "better", False, 0),
        (ERROR, PASS, "better", False, 0),
        (OPEN, PASS, "better", False, 0),
        (SKIPPED, PASS, "better", False, 0),
        (FAIL, FAIL, "same", False, 1),
        (FAIL, ERROR, "same", False, 1),
        (OPEN, OPEN, "same", False, 1),
        (SKIPPED, SKIPPED, "same", False, 0),
        (FAIL, SKIPPED, "not comparable", False, 0),
        (SKIPPED, FAIL, "not comparable", False, 1),
        (PASS, None, "only in A", True, 1),
        (FAIL, None, "only in A", False, 0),
        (SKIPPED, None, "only in A", False, 0),
        (None, PASS, "only in B", False, 0),
        (None, FAIL, "only in B", False, 1),
        (None, SKIPPED, "only in B", False, 0),
        # scores alone
        (setting(1.0), setting(0.91), "same", False, 0),
        (setting(0.91), setting(1.0), "same", False, 0),
        (setting(0.5, "fail"), setting(0.1, "fail"), "same", False, 1),
        # measured otherwise
        (PASS, setting(task_version=2), "not comparable", True, 1),
        (PASS, setting(params={"vocab_size": 32}), "not comparable", True, 1),
        (PASS, setting(recipe="ff00"), "not comparable", True, 1),
        (FAIL, setting(recipe="ff00"), "not comparable", False, 0),
        (PASS, setting(recipe=""), "same", False, 0),
        (PASS, setting(params=dict(reversed(PASS["params"].items()))), "same", False, 0),
        # a baseline
        (setting(0.97, **asked(0.96)), setting(0.97, **asked(0.96)), "same", False, 0),
        (setting(0.97, **asked(0.96)), REGRESS, "worse", True, 1),
        (REGRESS, setting(0.97, **asked(0.96)), "better", False, 0),
        (setting(0.97, **asked(0.96), **seeds(0.2, 0.97)), setting(0.98, **asked(0.96), **seeds(0.1, 0.98)), "same", False, 0),
    ],
)  # fmt: skip
def test_verdicts_decide(a, b, mark, is_lost, exit_code):
    """What passed in A must pass in B, measured in the same way; and B must not fail."""
    other = contract("output")
    found = compare(*(content(other, *([one] if one else [])) for one in (a, b)))
    row = next(row for row in found.rows if row.name != "output")
    assert (row.mark, row.is_lost, found.exit_code) == (mark, is_lost, exit_code)


@pytest.mark.parametrize(
    ("a", "b", "mark", "exit_code"),
    [
        # B passes what A would not let pass
        (setting(0.95, threshold=0.9), setting(0.6, threshold=0.5), "not comparable", 1),
        (setting(0.95, threshold=0.9), setting(0.6, threshold=None), "not comparable", 1),
        (setting(0.95, threshold=0.9), setting(0.8, threshold=0.8, **seeds(0.95, 0.8)), "not comparable", 1),
        (setting(0.97, **asked(0.96)), setting(0.8, **asked(0.7)), "not comparable", 1),
        (setting(0.6, "fail"), setting(0.6, threshold=0.5), "not comparable", 0),  # no better for that
        # B was asked for less, but has enough for A too
        (setting(0.95, threshold=0.9), setting(0.9, threshold=0.5), "same", 0),
        (setting(0.97, **asked(0.96)), setting(0.5, threshold=0.5, **seeds(0.5, 0.96)), "same", 0),
        (setting(0.6, "fail"), setting(0.9, threshold=0.5), "better", 0),
        # B was asked for more
        (setting(0.6, threshold=0.5), setting(0.95, threshold=0.9), "same", 0),
        (setting(0.1, threshold=None), setting(0.95, threshold=0.9), "same", 0),
        (setting(0.6, threshold=0.5), setting(0.6, "fail"), "not comparable", 1),
        (setting(0.95, threshold=0.5), setting(0.6, "fail"), "worse", 1),
        (setting(0.1, threshold=None), setting(0.1, threshold=None), "same", 0),
    ],
)
def test_a_pass_counts_only_by_what_was_asked_in_both(a, b, mark, exit_code):
    """A lower threshold makes no model better, and hides none that is worse."""
    found = compare(content(a), content(b))
    assert (only(found).mark, found.exit_code) == (mark, exit_code)
    assert only(compare(content(a), content(a))).mark == only(compare(content(b), content(b))).mark == "same"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task_version": 2}, "task_version 1 -> 2"),
        ({"params": {"vocab_size": 16, "frac_noise": 0.2, "new": "x"}}, "frac_noise 0.0 -> 0.2, mode fixed -> none, new none -> x"),
        ({"recipe": "ff00"}, "recipe 00ff -> ff00"),
        ({"task_version": 3, "recipe": "ff00"}, "task_version 1 -> 3, recipe 00ff -> ff00"),
        ({"threshold": 0.5, "normalized": 0.8999, **seeds(0.8999)}, "B asked for 0.500, and its 0.899 does not reach the 0.900 that A asked for"),
        ({"threshold": None, "normalized": 0.1, **seeds(0.1)}, "B asked for nothing, and its 0.100 does not reach the 0.900 that A asked for"),
    ],
)  # fmt: skip
def test_what_is_not_comparable_is_named(changes, says):
    """As it is in A and in B; below the row."""
    a, b = content(PASS), content(PASS | changes)
    assert only(compare(a, b)).why == says
    texts = shown(a, b, columns=200)
    assert f"    {says}" in texts and "    B: why" not in texts  # why B passed would be beside the point


def test_another_preset_makes_nothing_comparable():
    """Its thresholds and its sizes of models are others."""
    found = compare(content(PASS, contract("output"), preset="smoke"), content(PASS, contract("output"), preset="ci"))
    assert [row.mark for row in found.rows] == ["same", "not comparable"]
    assert found.rows[1].why == "preset smoke -> ci" and found.exit_code == 1


# -- contracts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "is_lost", "exit_code", "says"),
    [
        (("pass",), ("pass",), False, 0, None),
        (("pass",), ("fail", "a leak"), True, 1, ["contract x: pass -> fail", "  B: a leak"]),
        (("pass",), ("error", "raised"), True, 1, ["contract x: pass -> error", "  B: raised"]),
        (("pass",), ("pass", "slow"), False, 0, ["contract x: pass -> warning", "  B: warning: slow"]),
        (("pass", "slow"), ("pass", "late"), False, 0, None),
        (("pass", "slow"), ("pass",), False, 0, ["contract x: warning -> pass"]),
        (("pass", "slow"), ("fail", "slow"), True, 1, ["contract x: warning -> fail", "  B: slow"]),
        (("fail", "a leak"), ("pass",), False, 0, ["contract x: fail -> pass"]),
        (("fail", "a leak"), ("fail", "a leak"), False, 1, ["contract x: fail", "  B: a leak"]),
        (("pass",), ("skipped", "off: slow"), False, 0, ["contract x: pass -> skipped", "  B: off: slow"]),
        (("fail", "slow"), ("skipped", "off"), False, 0, ["contract x: fail -> skipped", "  B: off"]),
        (("skipped", "off"), ("fail", "slow"), False, 1, ["contract x: skipped -> fail", "  B: slow"]),
        (("skipped", "off"), ("pass",), False, 0, ["contract x: skipped -> pass"]),
        (("skipped", "off"), ("skipped", "off"), False, 0, None),
        (("pass",), None, True, 1, ["contracts only in A: x (pass)"]),
        (("pass", "slow"), None, True, 1, ["contracts only in A: x (warning)"]),
        (("fail", "a leak"), None, False, 0, ["contracts only in A: x (fail)"]),
        (None, ("pass",), False, 0, ["contracts only in B: x (pass)"]),
        (None, ("fail", "a leak"), False, 1, ["contracts only in B: x (fail)"]),
    ],
)
def test_contracts_that_changed_are_told(a, b, is_lost, exit_code, says):
    """With the reason in B. One that B breaks or lacks is lost, one that it skips is not: that has a reason."""
    files = [content(PASS, *([contract("x", *one)] if one else [])) for one in (a, b)]
    found = compare(*files)
    row = next(row for row in found.rows if row.name == "x")
    assert (row.is_lost, found.exit_code) == (is_lost, exit_code)
    told = [text for text in shown(*files) if re.match(r"  contracts? (?!that)|    B: ", text)]
    assert told == [f"  {text}" for text in says or []]
    assert ("  contracts that are the same: 1" in shown(*files)) == (says is None)


# -- architectures --------------------------------------------------------------------------------------------------


def named(*architectures):
    return content(*(PASS | {"architecture": name} for name in architectures))


@pytest.mark.parametrize(
    ("a", "b", "pairs", "exit_code"),
    [
        (["old"], ["new"], ["old -> new"], 0),
        (["old"], ["old"], ["old"], 0),
        (["x", "y"], ["y", "x"], ["x", "y"], 0),
        (["x"], ["x", "y"], ["x", "y"], 0),
        (["x", "y"], ["x"], ["x", "y"], 1),
        (["old"], ["x", "y"], ["old", "x", "y"], 1),
    ],
)
def test_architectures_are_compared_by_name(a, b, pairs, exit_code):
    """But for a single one in each file: an old model and a new one."""
    found = compare(named(*a), named(*b))
    assert [pair.name for pair in found.pairs] == pairs
    assert found.exit_code == exit_code


def test_an_architecture_of_one_file_is_named_as_such():
    """And so are its settings."""
    texts = shown(named("x", "y"), named("y", "z"))
    assert "x (only in A)" in texts and "z (only in B)" in texts and "y (1,000 parameters)" in texts
    rows = [text for text in texts if text.startswith("  memorization")]
    assert [row.split("  ")[-1].strip() for row in rows] == ["only in A", "same", "only in B"]


def test_sizes_are_shown_where_they_are_known():
    """Once where they are the same."""
    a, b = setting(parameters=1000, state_size=None), setting(parameters=2500, state_size=64)
    assert "mine (1,000 -> 2,500 parameters, 64 floats of state)" in shown(content(a), content(b))
    assert "mine" in shown(content(ERROR), content(ERROR))


# -- scores ---------------------------------------------------------------------------------------------------------


def row_of(a, b):
    """The cells of the one setting's row."""
    (text,) = (text for text in shown(content(a), content(b), columns=200) if text.startswith("  memorization"))
    return text.removeprefix("  memorization").replace(", ", ",").split()


@pytest.mark.parametrize(
    ("a", "b", "cells"),
    [
        (setting(0.95), setting(0.96), "0.950 0.960 +0.010 1,1 pass same"),
        (setting(0.96), setting(0.95), "0.960 0.950 -0.010 1,1 pass same"),
        (setting(0.95001), setting(0.95), "0.950 0.950 +0.000 1,1 pass same"),
        (
            setting(0.95, **seeds(0.99, 0.95, 0.97)),
            setting(0.8999, "fail"),
            "0.950 0.899 -0.050 3,1 pass -> fail worse",
        ),
        (setting(-0.25, "fail"), setting(), "-0.250 1.000 +1.250 1,1 fail -> pass better"),
        (setting(), ERROR, "1.000 - - 1,- pass -> error worse"),
        (setting(0.95), setting(0.96, task_version=2), "0.950 0.960 - 1,1 pass not comparable"),
        (setting(0.95, scores=[]), setting(0.95), "0.950 0.950 +0.000 1,1 pass same"),
    ],
)
def test_differences_are_shown_with_the_number_of_seeds(a, b, cells):
    """Scores rounded down, as in the other table; no difference of what is not comparable."""
    assert row_of(a, b) == cells.split()


def test_mad_scores_are_compared_over_the_same_settings_only():
    """A mean over fewer settings is another mean."""
    other = measured("compression[baseline]", 0.5, task_version=1)
    a, b = content(PASS, other), content(setting(0.96), other)
    assert "  MAD score 0.875 -> 0.865 (-0.010); normalised 0.750 -> 0.730 (-0.020)" in shown(a, b)
    both = "  MAD score 0.875 in A, 1.000 in B, which are not means over the same settings"
    assert both in shown(a, content(PASS))
    assert both in shown(a, content(PASS, other | {"verdict": "skipped"} | dict.fromkeys(("accuracy", "normalized"))))
    otherwise = content(PASS, other | {"task_version": 2})
    assert any("not means over the same settings" in text for text in shown(a, otherwise))
    assert "  MAD score 0.875 in A only" in shown(a, content(ERROR, other))
    assert "  no MAD score" in shown(content(ERROR), content(ERROR))


def test_mad_scores_of_different_metrics_are_not_compared():
    """A file of schema 1 has plain accuracy's mean even where the recipe publishes the other one."""
    compat = content(setting(0.96, metric="compat"))
    assert "  MAD score (compat) 0.980 -> 0.980 (+0.000); normalised 0.960 -> 0.960 (+0.000)" in shown(compat, compat)
    said = "  MAD score 1.000 in A, 0.980 in B, which are means of accuracy and of compat"
    assert said in shown(content(PASS), compat)


def test_parameters_of_different_settings_are_told_apart():
    """A larger vocabulary makes a larger model of one and the same architecture."""
    small, large = setting(parameters=1000), measured("memorization[vocab_size=32]", parameters=2000)
    assert "mine (2,000 parameters)" in shown(content(small, large), content(large))
    assert "mine (1,000 -> 1,500 parameters)" in shown(content(small), content(small | {"parameters": 1500}))
    said = "mine (parameters 2,000 for memorization[vocab_size=32] -> 1,000 for memorization)"
    assert said in shown(content(small, large), content(small), columns=200)


# -- warnings and the result ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ({"torch": "2.13.0+cpu"}, {"torch": "2.13.1+cu130"}, []),
        ({"torch": "2.13.0"}, {"torch": "2.14.0"}, ["torch 2.13 -> 2.14: scores may differ for this alone"]),
        ({"device": "cpu"}, {"device": "cuda"}, ["device cpu -> cuda: scores may differ for this alone"]),
        ({"torch": "2.9.0", "device": "cpu"}, {"torch": "2.10.0", "device": "cpu, cuda"}, ["torch 2.9 -> 2.10, device cpu -> cpu, cuda: scores may differ for this alone"]),
        ({"python": "3.11.1"}, {"python": "3.12.1"}, []),
    ],
)  # fmt: skip
def test_another_machine_is_warned_about(a, b, says):
    """In one line; it decides nothing."""
    files = content(PASS, **a), content(PASS, **b)
    assert list(compare(*files).warnings) == says and compare(*files).exit_code == 0
    assert [text for text in shown(*files, columns=200) if "warning" in text] == [f"warning: {text}" for text in says]


def test_a_file_of_contracts_alone_has_no_device():
    """There is none to warn of, or to show."""
    files = content(contract("x")), content(PASS, contract("x"))
    assert compare(*files).warnings == compare(*files[::-1]).warnings == ()
    assert re.fullmatch(r"A: a\.json \(tiny, torch \S+\)", shown(*files)[0])
    assert shown(content(PASS, torch=None), files[1])[0] == "A: a.json (tiny, cpu)"


def test_recipes_that_one_file_does_not_say_are_warned_about():
    """An early version did not write them."""
    files = content(PASS), content(setting(recipe=""))
    assert compare(*files).warnings == ("recipes are known for one file only, and taken to be the same",)
    assert compare(files[1], files[1]).warnings == ()


@pytest.mark.parametrize(
    ("a", "b", "says", "colour"),
    [
        (
            [PASS, contract("x")],
            [PASS, contract("x")],
            "all 2 settings and contracts that passed in A pass in B",
            "green",
        ),
        ([FAIL], [PASS], "nothing passed in A, and nothing fails in B", "green"),
        ([PASS], [FAIL], "of 1 settings and contracts that passed in A: 1 worse", "red"),
        ([PASS, contract("x")], [ERROR], "of 2 settings and contracts that passed in A: 1 only in A, 1 worse", "red"),
        (
            [PASS, contract("x")],
            [PASS, contract("x", "skipped", "off")],
            "of 2 settings and contracts that passed in A: 1 pass in B, 1 skipped",
            "green",
        ),
        ([FAIL], [FAIL, contract("x", "fail", "y")], "1 fails in both; 1 fails in B", "red"),
        (
            [PASS],
            [setting(task_version=2), *(contract(name, "fail", "y") for name in "xyz")],
            "of 1 settings and contracts that passed in A: 1 not comparable; 3 fail in B",
            "red",
        ),
    ],
)
def test_the_last_line_says_why_the_exit_code_is_what_it_is(a, b, says, colour):
    """In bold, and in the colour of the result."""
    last = list(lines(compare(content(*a), content(*b)), ("a", "b")))[-1]
    assert last == (says, colour, True)


def test_rows_have_the_colour_of_what_they_mean():
    """Red is what exit code 1 is due to."""
    records = [measured(f"compression[{name}]", 1.0) for name in "abcd"]
    a = content(*records[:3], FAIL, contract("x"), contract("y"))
    b = content(records[0], records[1] | {"verdict": "fail"}, records[3], PASS, contract("x", "pass", "z"))
    found = {line.text.split()[0]: line.colour for line in lines(compare(a, b), ("a.json", "b.json"), columns=200)}
    settings = [found[f"compression[{name}]"] for name in "abcd"] + [found["memorization"]]
    assert settings == [None, "red", "red", "yellow", "green"]
    assert (found["contract"], found["contracts"]) == ("yellow", "red")


def test_quiet_is_what_the_exit_code_is_due_to_and_verbose_adds_reasons():
    """``-q`` and ``-v``."""
    a = content(PASS, measured("compression[baseline]", 1.0, detail="reached"), contract("x"))
    b = content(FAIL, measured("compression[baseline]", 0.9, detail="reached"), contract("x", "pass", "y"))
    quiet, usual, verbose = (shown(a, b, verbosity=verbosity) for verbosity in (-1, 0, 1))
    assert quiet[0] == "mine (1,000 parameters)" and quiet[-1] == usual[-1] == verbose[-1]
    assert not any("compression" in text or "contract x" in text or "MAD score" in text for text in quiet[:-1])
    assert any("contract x" in text for text in usual)
    assert "    B: why" in quiet and "    A: reached" not in usual and "    A: reached" in verbose
    assert shown(a, a, verbosity=-1) == ["all 3 settings and contracts that passed in A pass in B"]


# -- properties -----------------------------------------------------------------------------------------------------

OPPOSITE = {"worse": "better", "better": "worse", "only in A": "only in B", "only in B": "only in A"}


@steady
@given(contents())
def test_a_file_is_the_same_as_itself(found):
    """No difference; exit code 1 if and only if something fails."""
    itself = compare(found, copy.deepcopy(found))
    assert {row.mark for row in itself.rows} <= {"same"}
    assert not itself.warnings and not any(row.is_lost for row in itself.rows)
    assert itself.exit_code == any(fails(row.b) for row in itself.rows)
    assert not re.search(r"[+-](?!0\.000)\d\.\d{3}\b.*same", "\n".join(shown(found, found)).replace(" -", " "))


@steady
@given(contents(), contents())
def test_better_is_worse_the_other_way_round(a, b):
    """And only in A is only in B. What both passed may be comparable in one direction only: where less was asked."""
    first, second = run(a), run(b)
    there, back = comparing.compare(first, second), comparing.compare(second, first)
    rows = {(row.name, id(row.b), id(row.a)): row for row in back.rows}
    for row in there.rows:
        other = rows.pop((row.name, id(row.a), id(row.b)))
        assert other.mark == OPPOSITE.get(row.mark, other.mark)
        assert OPPOSITE.get(other.mark, row.mark) == row.mark
        if row.mark != other.mark and row.mark not in OPPOSITE:
            assert passes(row.a) and passes(row.b) and {row.mark, other.mark} == {"same", "not comparable"}
    assert not rows


@steady
@given(contents(), contents())
def test_exit_code_0_is_evidence(a, b):
    """Everything that passed in A passes in B, measured in the same way and by what A asked; nothing in B fails."""
    found = compare(a, b)
    if found.exit_code == 0:
        for row in found.rows:
            assert not fails(row.b)
            if passes(row.a) and isinstance(row.a, SettingResult):
                assert passes(row.b) and a["preset"] == b["preset"]
                assert (row.a.task_version, row.a.params) == (row.b.task_version, row.b.params)
                needed = row.a.threshold
                assert (
                    needed is None
                    or row.b.normalized >= needed
                    or row.b.verdict == row.a.verdict != "pass"
                    or row.b.baseline
                )
            elif passes(row.a):
                assert passes(row.b) or row.b.verdict == "skipped"


@steady
@given(contents(), contents(), st.sampled_from([40, 80, 200]), st.sampled_from([-1, 0, 1]))
def test_lines_fit_the_terminal(a, b, columns, verbosity):
    """They are printable, whatever a file says, and no wider than a terminal of ordinary width."""
    for line in lines(compare(a, b), ("a.json", "b.json"), columns, verbosity):
        assert line.text.isprintable() and line.text == line.text.rstrip()
        assert len(line.text) <= max(columns, 80)
        assert line.colour in (None, "green", "red", "yellow")


def test_a_reason_of_any_length_takes_a_few_lines():
    """A file may say a million words."""
    texts = shown(content(PASS), content(setting(0.5, "fail", detail="word " * 1_000_000)))
    assert len(texts) < 20 and any(text.endswith("...") for text in texts)


def test_comparing_leaves_its_files_as_they_were():
    """It is pure."""
    a, b = content(PASS, contract("x")), content(FAIL)
    before = copy.deepcopy((a, b))
    list(lines(compare(a, b), ("a", "b"), verbosity=1))
    assert (a, b) == before


SMOKE = [
    f"{task}[baseline]"
    for task in ("in-context-recall", "noisy-in-context-recall", "fuzzy-in-context-recall", "memorization")
]


@pytest.mark.parametrize("verdict", ["pass", "fail", "regress"])
def test_the_smoke_preset_is_a_table_of_single_rows_at_80_columns(verdict):
    """Also where verdicts change; only what is not comparable takes a second line."""
    a = content(*(measured(name, 0.95) for name in SMOKE))
    b = content(*(measured(name, 0.95, verdict=verdict) for name in SMOKE))
    texts = shown(a, b)
    assert all(len(text) <= 80 for text in texts)
    assert sum(text.startswith("  noisy-in-context-recall  0.950  0.950  +0.000   1, 1  pass") for text in texts) == 1


def test_long_names_stand_on_lines_of_their_own():
    """In a terminal that has no room for them; in a wide one the row is one."""
    name = "noisy-in-context-recall[num_train_examples=12800]"
    file = content(measured(name, 0.95))
    narrow, wide = (shown(file, file, columns=columns) for columns in (80, 200))
    assert narrow[narrow.index(f"  {name}") + 1] == "    0.950  0.950  +0.000   1, 1  pass     same"
    assert f"  {name}  0.950  0.950  +0.000   1, 1  pass     same" in wide
