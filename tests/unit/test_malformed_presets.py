"""A malformed preset is one line that names the file, the key and what would be right; never another exception."""

from __future__ import annotations

import json
import math
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pytest_mad.grid import PresetError, settings
from pytest_mad.tasks import task_names
from tests.oracles.parameters import steady

TOP = ""
RECIPE = "points = [{ lr = 1e-3 }]\nsteps = 10\n"
TASK = "baseline = { vocab_size = 16, seq_len = 8 }\n"


def preset(top=TOP, recipe=RECIPE, task=TASK, schema="schema = 1"):
    """A sound preset, but for the parts that are given."""
    return f"{schema}\n{top}\n[recipe]\n{recipe}\n[tasks.memorization]\n{task}\n"


def with_points(points):
    return preset(recipe=f"points = {points}\nsteps = 10")


#: (text, words that the message must have, as regular expressions)
MALFORMED = {
    # TOML itself
    "syntax": ("schema = 1\n[recipe\n", ["line 2"]),
    "a key twice": ("schema = 1\nschema = 1\n", ["line 2"]),
    "no value": ("schema = 1\n\nwidth =\n", ["line 3"]),
    # the file as a whole
    "empty": ("", ["schema", "must be 1"]),
    "no schema": (preset(schema=""), ["schema", "must be 1"]),
    "schema of the future": (preset(schema="schema = 2"), ["schema is 2", "must be 1"]),
    "schema in quotes": (preset(schema='schema = "1"'), ["schema is '1'", "must be 1"]),
    "schema true": (preset(schema="schema = true"), ["schema is True", "must be 1"]),
    "unknown key": (preset(top="widht = 64"), ["unknown key 'widht'", "did you mean 'width'"]),
    "key like nothing": (preset(top="xyzzy = 64"), ["unknown key 'xyzzy'", "known: .*width.*tasks"]),
    "no tasks": ("schema = 1\n", [r"\[tasks\.", "memorization"]),
    "tasks are no table": ("schema = 1\ntasks = 5\n", ["tasks", "must be a table|memorization"]),
    "recipe is no table": ("schema = 1\nrecipe = 5\n[tasks.memorization]\n", ["recipe is 5", "must be a table"]),
    **{
        f"width {value}": (preset(top=f"width = {value}"), ["width", "must be"])
        for value in ('"64"', "0", "-1", "64.0", "true", "[64]")
    },
    # a task's table
    "unknown task": ("schema = 1\n[tasks.memorisation]\n", ["'memorisation'", "did you mean 'memorization'"]),
    "task like nothing": ("schema = 1\n[tasks.xyzzy]\n", ["'xyzzy'", "known.*selective-copying"]),
    "task is no table": ("schema = 1\ntasks = { memorization = 3 }\n", [r"\[tasks.memorization\]", "must be a table"]),
    "unknown key of a task": (preset(task="baselin = {}"), [r"\[tasks.memorization\]", "did you mean 'baseline'"]),
    **{
        f"{key} = {value}": (preset(task=f"{key} = {value}"), [r"\[tasks.memorization\]", key, "must be a table"])
        for key in ("baseline", "vary", "thresholds", "recipe")
        for value in ("5", "[]", '"x"')
    },
    "unknown parameter": (preset(task="baseline = { vocab_siz = 8 }"), ["'vocab_siz'", "did you mean 'vocab_size'"]),
    "parameter of another task": (preset(task="baseline = { k_motif_size = 2 }"), ["'k_motif_size'"]),
    **{
        f"vocab_size {value}": (preset(task=f"baseline = {{ vocab_size = {value} }}"), ["vocab_size", "must be"])
        for value in ('"16"', "16.5", "true", "[16]", "{ a = 1 }", "2024-01-01", "-1", "0")
    },
    "odd length": (preset(task="baseline = { seq_len = 7 }"), ["seq_len is 7", "must be even"]),
    "choice": (preset(task='baseline = { mode = "x" }'), ["mode is 'x'", "'fixed' or 'compat'"]),
    "share": (preset(task="baseline = { frac_noise = nan }"), ["frac_noise is nan", "must be"]),
    # vary
    "vary unknown": (preset(task="vary = { vocab_siz = [8] }"), ["'vocab_siz'", "did you mean 'vocab_size'"]),
    "vary no list": (preset(task="vary = { vocab_size = 32 }"), ["vocab_size is 32", "must be a list"]),
    "vary letters": (preset(task='vary = { vocab_size = "32" }'), ["vocab_size is '32'", "must be a list"]),
    "vary bad type": (preset(task='vary = { vocab_size = [32, "a"] }'), ["vocab_size is 'a'", "must be"]),
    "vary bad value": (preset(task="vary = { seq_len = [8, 9] }"), ["seq_len is 9", "must be even"]),
    # thresholds and cost
    **{
        f"threshold {value}": (preset(task=TASK + f"threshold = {value}"), ["threshold is", "from 0 to 1"])
        for value in ("1.5", "-0.1", "nan", "inf", '"high"', "true", "[0.9]")
    },
    "thresholds of": (preset(task="thresholds = { basline = 0.5 }"), ["'basline'", "did you mean 'baseline'"]),
    "thresholds value": (preset(task="thresholds = { baseline = 2 }"), ["threshold is 2", "from 0 to 1"]),
    **{
        f"cost {value[:4]}": (preset(task=f"cost = {value}"), ["cost", "must be"])
        for value in ('"abc"', "-1", "nan", "inf", "true", "[]", "1" + 400 * "0")
    },
    # the recipe
    "unknown recipe key": (preset(recipe=RECIPE + "stpes = 10"), ["'stpes'", "did you mean 'steps'"]),
    "task's recipe": (preset(task='recipe = { bach_size = "x" }'), ["'bach_size'", "did you mean 'batch_size'"]),
    "both": (preset(recipe=RECIPE + "epochs = 3"), ["steps", "epochs", "not both|left out"]),
    "neither": (preset(recipe="points = [{ lr = 1e-3 }]"), ["steps", "epochs"]),
    "no points": (preset(recipe="steps = 10"), ["points", "lr"]),
    **{
        f"points {value}": (with_points(value), ["points", r"must be a list.*\{lr = "])
        for value in ("[]", "5", "[5]", '["a"]', "{ lr = 1e-3 }", "[{ weight_decay = 0.1 }]", "[[1e-3, 0.0]]")
    },
    "point key": (with_points("[{ lr = 1e-3, weight_decy = 0.1 }]"), ["'weight_decy'", "did you mean 'weight_decay'"]),
    **{
        f"lr {value}": (with_points(f"[{{ lr = {value} }}]"), ["lr", "must be"])
        for value in ("0", "-1e-3", "nan", "inf", '"1e-3"', "true")
    },
    **{
        f"weight_decay {value}": (with_points(f"[{{ lr = 1, weight_decay = {value} }}]"), ["weight_decay", "must be"])
        for value in ("-0.1", "nan", "inf", '"a"', "true")
    },
    **{
        f"{key} {value}": (preset(task=f"recipe = {{ {key} = {value} }}"), [rf"\b{key} is", "must be"])
        for key in ("steps", "batch_size", "evaluate_every", "num_validation_examples")
        for value in ("0", "-1", "2.5", '"10"', "true", "[1]")
    },
    **{
        f"{key} {value}": (preset(task=f"recipe = {{ {key} = {value} }}"), [rf"\b{key} is", "must be"])
        for key in ("solved_at", "hopeless_after", "hopeless_below")
        for value in ("nan", '"x"', "[]", "true")
    },
    **{
        f"{key} {value}": (preset(task=f"recipe = {{ {key} = {value} }}"), [rf"\b{key} is", "must be"])
        for key in ("schedule", "precision", "selection", "metric", "race")
        for value in ('"fast"', "1", "[]")
    },
    **{
        f"betas {value}": (preset(task=f"recipe = {{ betas = {value} }}"), ["betas", "must be"])
        for value in ("0.9", "[0.9]", "[0.9, 0.99, 0.999]", '["a", 0.9]', "[0.9, 1.0]", "[-0.1, 0.9]")
    },
    # settings in which guessing is as good as knowing, so that no score exists
    "one key": (preset(task="baseline = { vocab_size = 3 }"), ["vocab_size is 3", "must be"]),
    "one letter": (
        "schema = 1\n[tasks.compression]\nbaseline = { vocab_size = 2 }\n[recipe]\n" + RECIPE,
        ["vocab_size"],
    ),
    "one token": (
        "schema = 1\n[tasks.selective-copying]\nbaseline = { vocab_size = 3 }\n[recipe]\n" + RECIPE,
        ["vocab_size"],
    ),
}


def test_the_sound_preset_of_these_tests_loads(tmp_path):
    """Otherwise every malformed one would fail for another reason."""
    path = tmp_path / "sound.toml"
    path.write_text(preset())
    assert list(settings(str(path))) == ["memorization[baseline]"]


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_preset_is_one_line_with_file_key_and_remedy(tmp_path, case):
    """The file first, then the words listed above."""
    text, words = MALFORMED[case]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(PresetError) as caught:
        settings(str(path))
    message = str(caught.value)
    assert message.startswith(f"preset {path}: ")
    assert len(message.splitlines()) == 1
    for word in words:
        assert re.search(word, message), message


NO_TOML = {
    "no UTF-8": b"\xff\xfe",
    "binary": b"schema = 1\x00",
    "deep list": b"a = " + 5000 * b"[",
    "deep key": 3000 * b"a." + b"a = 1",
    "long number": b"schema = 1" + 5000 * b"0",
}


@pytest.mark.parametrize("content", NO_TOML)
def test_a_file_that_is_no_toml_is_one_line(tmp_path, content):
    """Bytes that are no text, and nesting and numbers that no preset needs."""
    path = tmp_path / "mine.toml"
    path.write_bytes(NO_TOML[content])
    with pytest.raises(PresetError) as caught:
        settings(str(path))
    assert str(caught.value).startswith(f"preset {path}: ")
    assert len(str(caught.value).splitlines()) == 1


def toml(value):
    """A value in TOML; tables inline, so that a preset is one line per top-level key."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


SOUND = {
    "schema": 1,
    "width": 16,
    "description": "",
    "recipe": {
        "points": [{"lr": 0.01, "weight_decay": 0.0}],
        "steps": 10,
        "batch_size": 4,
        "schedule": "cosine",
        "betas": [0.9, 0.98],
        "race": False,
        "solved_at": 0.9,
    },
    "tasks": {
        "memorization": {
            "baseline": {"vocab_size": 16, "seq_len": 8},
            "vary": {"vocab_size": [24, 32], "frac_noise": [0.0]},
            "threshold": 0.5,
            "thresholds": {"baseline": 0.25},
            "recipe": {"steps": 20},
            "cost": 2.0,
        }
    },
}
texts = st.text(st.characters(max_codepoint=0xD7FF, exclude_characters="\x7f"), max_size=4)
junk = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.just(10**400), st.floats(), texts, st.sampled_from(task_names())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def damaged(draw):
    """The sound preset with one to three values, keys or entries replaced at any depth."""
    broken = json.loads(json.dumps(SOUND))
    for _ in range(draw(st.integers(1, 3))):
        place = broken
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or draw(st.booleans()):
                if isinstance(place, dict) and draw(st.booleans()):
                    place[draw(texts | st.sampled_from(["steps", "epochs", "width", "vary"]))] = place.pop(key)
                else:
                    place[key] = draw(junk)
                break
            place = place[key]
    return "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in broken.items())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("presets") / "fuzzed.toml"


@steady
@given(text=damaged() | st.text(st.characters(max_codepoint=0xD7FF), max_size=30))
def test_any_toml_loads_or_is_refused_in_one_line(place, text):
    """What loads can be trained: its numbers are numbers, its thresholds shares, its budget whole."""
    place.write_text(text, encoding="utf-8", newline="")
    try:
        chosen = settings(str(place))
    except PresetError as error:
        assert len(str(error).splitlines()) == 1, repr(str(error))
        assert str(error).startswith(f"preset {place}: ")
        return
    for setting in chosen.values():
        recipe = setting.recipe
        assert type(setting.width) is int and setting.width >= 1
        assert setting.threshold is None or 0 <= setting.threshold <= 1
        assert math.isfinite(setting.cost) and setting.cost >= 0
        assert type(recipe.total_steps(setting.params.num_train_examples)) is int
        assert type(recipe.batch_size) is int and type(recipe.race) is bool
        assert all(math.isfinite(p.lr) and p.lr > 0 and p.weight_decay >= 0 for p in recipe.points)
        assert math.isfinite(recipe.solved_at)
        assert type(recipe).from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
