"""Options: parsed once, from the command line, else the ini file, else the table's default."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest

from pytest_mad.suite import options
from pytest_mad.suite.option_table import OPTIONS, flag, is_given, on_command_line
from pytest_mad.suite.options import Options, options_of, parse

ROWS = {option.attribute: option for option in OPTIONS}
TYPES = typing.get_type_hints(Options)


@pytest.fixture
def configured(pytester):
    """pytest's config of a command line, beside an ini file with these lines."""

    def configure(*args, ini=()):
        pytester.makeini("\n".join(("[pytest]", *ini)))
        return pytester.parseconfig(*args)

    return configure


# -- the table and the record -----------------------------------------------------------------------------------------


def test_every_attribute_has_a_row_and_every_row_an_attribute():
    """``junit`` alone has none: it cannot be given on the command line."""
    assert len(ROWS) == len(OPTIONS)
    assert set(TYPES) == {*ROWS, "junit"}


@pytest.mark.parametrize("name", ROWS)
def test_an_attribute_is_called_like_its_flag(name):
    """One that may be given several times may have the plural."""
    assert flag(name).removeprefix("--mad-").replace("-", "_") in (name, name.removesuffix("s"))
    assert ROWS[name].fills is None or ROWS[name].repeatable


@pytest.mark.parametrize("name", ["inconclusive", "slower", "device", "engine", "executor"])
def test_the_choices_are_those_of_the_help(name):
    choices = typing.get_args(TYPES[name])
    assert "|".join(choices) == ROWS[name].metavar
    assert [ROWS[name].parse(choice) for choice in choices] == list(choices)


def test_without_any_option_each_has_its_default(configured):
    found = dataclasses.asdict(parse(configured()))
    assert {name: value for name, value in found.items() if value not in (None, (), False)} == {
        "preset": "smoke",
        "inconclusive": "fail",
        "slower": "fail",
        "device": "auto",
        "gpus": "auto",
        "trials_per_gpu": 2,
        "engine": "auto",
        "executor": "inline",
        "junit": True,
    }
    assert all(found[name] == () for name in ROWS if ROWS[name].repeatable)
    assert all(found[name] is False for name in ROWS if ROWS[name].switch)


# -- where a value comes from -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("--mad-tasks=memorization, compression", "tasks", ("memorization", "compression")),
        ("--mad-threshold=memorization=0.5", "thresholds", (("memorization", 0.5),)),
        ("--mad-lr=1e-3", "lrs", ((None, (0.001,)),)),
        (
            "--mad-lr=memorization[vocab_size=24]=2e-3, 5e-4",
            "lrs",
            (("memorization[vocab_size=24]", (0.002, 0.0005)),),
        ),
        ("--mad-contract=state=off:it has none", "contracts", (("state", ("off", "it has none")),)),
        ("--mad-max-params=1000", "max_params", 1000),
        ("--mad-max-state=0", "max_state", 0),
        ("--mad-margin=0.05", "margin", 0.05),
        ("--mad-update-baseline=b.json", "update_baseline", Path("b.json")),
        ("--mad-gpus=0, GPU-a", "gpus", ("0", "GPU-a")),
        ("--mad-timeout=2.5", "timeout", 2.5),
        ("--mad-no-store", "no_store", True),
        ("--mad-data=data", "data", Path("data")),
        ("--mad-benchmark-json=b.json", "benchmark_json", Path("b.json")),
        ("--mad-shard=2/4", "shard", (2, 4)),
    ],
)
def test_a_text_becomes_a_value(configured, text, name, value):
    """With an equals sign, or as two words."""
    assert getattr(parse(configured(text)), name) == value
    assert getattr(parse(configured(*text.split("=", 1))), name) == value


def test_the_command_line_goes_before_the_ini_file(configured):
    ini = ("mad_seeds = 3", "mad_threshold =", "    0.1", "    recall=0.2", "mad_junit = false", "mad_no_store = true")
    found = parse(configured("--mad-seeds=2", "--mad-threshold=0.4", ini=ini))
    assert (found.seeds, found.thresholds) == (2, ((None, 0.4),))
    found = parse(configured(ini=ini))
    assert (found.seeds, found.thresholds) == (3, ((None, 0.1), ("recall", 0.2)))
    assert (found.junit, found.no_store) == (False, True)


def test_a_path_of_the_ini_file_is_relative_to_it(configured, pytester):
    """Where it is one: a baseline, like a preset, may be named instead."""
    found = parse(configured(ini=("mad_store = kept", "mad_baseline = b.json", "mad_preset = ci")))
    assert found.store == pytester.path / "kept"
    assert (found.baseline, found.preset) == (str(pytester.path / "b.json"), "ci")


@pytest.mark.parametrize(
    ("args", "ini", "says"),
    [
        (("--mad-seeds=0",), (), "--mad-seeds=0: must be a whole number of at least 1"),
        ((), ("mad_seeds = 0",), "ini option mad_seeds=0: must be a whole number of at least 1"),
        (("--mad-engine=warp",), ("mad_engine = loop",), "--mad-engine=warp: must be auto, loop or vmap"),
        (("--mad-threshold=0.5", "--mad-threshold=2"), (), "--mad-threshold=2: must be from 0 to 1"),
        *(
            (
                (f"--mad-lr={text}",),
                (),
                f"--mad-lr={text}: must be numbers above 0 with commas between them, or TASK=..., or TASK[SETTING]=...",
            )
            for text in ("fast", "0", "-1", "inf", "nan", "1e-3,", "1e-3,1e-3", "memorization=")
        ),
        ((), ("mad_inconclusive = maybe",), "ini option mad_inconclusive=maybe: must be fail or pass"),
    ],
)
def test_a_wrong_text_is_one_line_that_says_where_it_stands(configured, args, ini, says):
    with pytest.raises(pytest.UsageError) as error:
        options_of(configured(*args, ini=ini))
    assert str(error.value) == says


# -- once -------------------------------------------------------------------------------------------------------------


def test_they_are_parsed_once_for_each_config(configured, monkeypatch):
    parsed = []
    monkeypatch.setattr(options, "parse", lambda config: parsed.append(config) or parse(config))
    one, other = configured("--mad-seeds=2"), configured("--mad-seeds=3")
    assert options_of(one) is options_of(one)
    assert (options_of(one).seeds, options_of(other).seeds) == (2, 3)
    assert parsed == [one, other]


def test_nobody_changes_them_afterwards(configured):
    with pytest.raises(dataclasses.FrozenInstanceError):
        options_of(configured()).seeds = 2


# -- as written -------------------------------------------------------------------------------------------------------


def test_what_the_command_line_says_is_known_as_it_is_written(configured):
    """Parsed or not, right or wrong; nothing of the ini file."""
    args = ("--mad-gpus=1,x", "--mad-json", "./out.json", "--mad-no-store", "--mad-threshold=0.1", "--mad-threshold=2")
    config = configured(*args, ini=("mad_timeout = 3",))
    assert on_command_line(config) == {
        "gpus": "--mad-gpus=1,x",
        "json": "--mad-json=./out.json",
        "no_store": "--mad-no-store",
        "thresholds": "--mad-threshold=0.1 --mad-threshold=2",
    }
    assert [is_given(config, name) for name in ("gpus", "timeout", "seeds", "html")] == [True, True, False, False]
    assert on_command_line(configured()) == {}


def test_architectures_and_reports_are_in_the_order_of_the_table(configured):
    found = parse(
        configured("--mad-mixer=m:M", "--mad-arch=b:f", "--mad-html=r.html", "--mad-arch=a:f", "--mad-json=j")
    )
    assert found.targets == (("--mad-arch", "b:f"), ("--mad-arch", "a:f"), ("--mad-mixer", "m:M"))
    assert list(found.reports.items()) == [("json", Path("j")), ("html", Path("r.html"))]
