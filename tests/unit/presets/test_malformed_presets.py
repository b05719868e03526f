"""A malformed preset is one line that names the file, the key and what would be right; never another exception."""

from __future__ import annotations

import json
import math
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import PresetError
from pytest_mad.tasks import task_names
from tests.oracles.parameters import steady

TOP = ""
RECIPE = "points = [{ lr = 1e-3 }]\nsteps = 10\n"
TASK = "baseline = { vocab_size = 16, seq_len = 8 }\n"


def preset(top=TOP, recipe=RECIPE, task=TASK, schema="schema = 1"):
    """A sound preset, but for the parts that are given."""
    return f"{schema}\n{top}\n[recipe]\n{recipe}\n[tasks.memorization]\n{task}\n"


#: More digits than a float has, and fewer than Python reads.
HUGE = "1" + 400 * "0"


def with_gate(gate):
    return preset(top=f"[gate]\n{gate}")


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
        for value in ('"64"', "0", "-1", "64.0", "true", "[64]", "100_000", HUGE)
    },
    **{
        f"embedding_std {value}": (preset(top=f"embedding_std = {value}"), ["embedding_std", "above 0 and at most 10"])
        for value in ('"0.2"', "0", "-0.2", "10.5", "nan", "inf", "true", "[0.2]", HUGE)
    },
    "description": (preset(top="description = 5"), ["description is 5", "must be text"]),
    # the gate
    "gate is no table": ("schema = 1\ngate = 5\n[tasks.memorization]\n", ["gate is 5", "must be a table"]),
    "gate key": (with_gate("margn = 0.1"), [r"\[gate\]", "'margn'", "did you mean 'margin'"]),
    **{
        f"{key} {value[:4]}": (with_gate(f"{key} = {value}"), [r"\[gate\]", f"{key} is", "must be"])
        for key in ("seeds", "baseline_seeds")
        for value in ("0", "-1", "2.5", '"4"', "true", "10_001", HUGE)
    },
    **{
        f"margin {value[:4]}": (with_gate(f"margin = {value}"), [r"\[gate\]", "margin is", "must be"])
        for value in ("-0.1", "1", "nan", "inf", '"x"', "true", HUGE)
    },
    "one seed for many": (
        preset(top="[gate]\nseeds = 1", task=f"vary = {{ map_seed = {list(range(120))} }}"),
        [r"\[gate\]", "seeds is 1", "must be more", "121 settings"],
    ),
    # a task's table
    "unknown task": ("schema = 1\n[tasks.memorisation]\n", ["'memorisation'", "did you mean 'memorization'"]),
    "task like nothing": ("schema = 1\n[tasks.xyzzy]\n", ["'xyzzy'", "known.*selective-copying"]),
    "task is no table": ("schema = 1\ntasks = { memorization = 3 }\n", [r"\[tasks.memorization\]", "must be a table"]),
    "unknown key of a task": (preset(task="baselin = {}"), [r"\[tasks.memorization\]", "did you mean 'baseline'"]),
    **{
        f"{key} = {value}": (preset(task=f"{key} = {value}"), [r"\[tasks.memorization\]", key, "must be a table"])
        for key in ("baseline", "vary", "thresholds", "recipe", "recipes", "costs")
        for value in ("5", "[]", '"x"')
    },
    "unknown parameter": (preset(task="baseline = { vocab_siz = 8 }"), ["'vocab_siz'", "did you mean 'vocab_size'"]),
    "parameter of another task": (preset(task="baseline = { k_motif_size = 2 }"), ["'k_motif_size'"]),
    **{
        f"vocab_size {value}": (preset(task=f"baseline = {{ vocab_size = {value} }}"), ["vocab_size", "must be"])
        for value in ('"16"', "16.5", "true", "[16]", "{ a = 1 }", "2024-01-01", "-1", "0")
    },
    "odd length": (preset(task="baseline = { seq_len = 7 }"), ["seq_len is 7", "must be even"]),
    "seed of the map": (preset(task="baseline = { map_seed = -1 }"), ["map_seed is -1", "must be"]),
    "choice": (preset(task='baseline = { mode = "x" }'), ["mode is 'x'", "'fixed' or 'compat'"]),
    "share": (preset(task="baseline = { frac_noise = nan }"), ["frac_noise is nan", "must be"]),
    # vary
    "vary unknown": (preset(task="vary = { vocab_siz = [8] }"), ["'vocab_siz'", "did you mean 'vocab_size'"]),
    "vary no list": (preset(task="vary = { vocab_size = 32 }"), ["vocab_size is 32", "must be a list"]),
    "vary letters": (preset(task='vary = { vocab_size = "32" }'), ["vocab_size is '32'", "must be a list"]),
    "vary bad type": (preset(task='vary = { vocab_size = [32, "a"] }'), ["vocab_size is 'a'", "must be"]),
    "vary bad value": (preset(task="vary = { seq_len = [8, 9] }"), ["seq_len is 9", "must be even"]),
    "vary nothing": (preset(task="vary = { vocab_size = [] }"), [r"vary.vocab_size is \[\]", "at least one"]),
    "vary twice": (preset(task=TASK + "vary = { vocab_size = [8, 32, 8] }"), ["vary.vocab_size", "8 twice"]),
    "vary twice, spelled otherwise": (
        preset(task="baseline = { noise_vocab_size = 2 }\nvary = { frac_noise = [0.5, 0.50] }"),
        ["vary.frac_noise", "0.5 twice"],
    ),
    "vary not": (preset(task=TASK + "vary = { vocab_size = [32, 16] }"), ["vary.vocab_size", "16", "baseline"]),
    "vary not the default": (preset(task="vary = { frac_noise = [0] }"), ["vary.frac_noise", "0", "baseline"]),
    "vary no number": (
        preset(task="baseline = { noise_vocab_size = 2 }\nvary = { frac_noise = [nan] }"),
        ["frac_noise is nan", "must be"],
    ),
    # sizes that no machine holds
    **{
        f"{key} {value[:4]}": (preset(task=f"baseline = {{ {key} = {value} }}"), [f"{key} is", "must be"])
        for key in ("num_train_examples", "num_test_examples", "seq_len", "vocab_size")
        for value in ("1_000_000_000_000", HUGE)
    },
    "examples": (preset(task="baseline = { num_train_examples = 200_000_000 }"), ["num_train_examples.*95 GiB"]),
    "length": (
        preset(task="baseline = { num_train_examples = 1_000, seq_len = 5_000_000 }"),
        ["seq_len.*189 GiB"],
    ),
    "logits": (
        preset(task="baseline = { num_train_examples = 1_000, vocab_size = 1_000_000, seq_len = 1_000 }"),
        ["vocab_size.*119 GiB"],
    ),
    # what single settings differ in
    **{
        f"{key} of no setting": (
            preset(task=TASK + f'{key} = {{ "vocab_size=33" = 1 }}\nvary = {{ vocab_size = [32] }}'),
            ["unknown setting 'vocab_size=33'", "did you mean 'vocab_size=32'"],
        )
        for key in ("thresholds", "recipes", "costs")
    },
    "own recipe no table": (preset(task="recipes = { baseline = 3 }"), ["recipes.baseline", "must be a table"]),
    "own recipe key": (preset(task="recipes = { baseline = { step = 3 } }"), ["recipes.baseline", "mean 'steps'"]),
    "own recipe value": (preset(task="recipes = { baseline = { steps = 0 } }"), ["recipes.baseline", "steps is 0"]),
    "own cost": (preset(task="costs = { baseline = -1 }"), ["cost is -1", "must be a number of seconds"]),
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
    "retry of a number": (preset(recipe=RECIPE + "retry = 0.1"), ["retry", r"must be \{lr = "]),
    "retry without lr": (preset(recipe=RECIPE + "retry = { weight_decay = 0.1 }"), ["points", r"\{lr = "]),
    "retry of a point": (preset(recipe=RECIPE + "retry = { lr = 1e-3 }"), ["retry", "none of the points"]),
    "a point twice": (with_points("[{ lr = 1 }, { lr = 2 }, { lr = 1.0, weight_decay = 0 }]"), ["points", "twice"]),
    "whose recipe": (preset(recipe=RECIPE + 'batch_size = "x"'), [r"\[recipe\]: batch_size is 'x'"]),
    "whose steps": (preset(task="recipe = { epochs = 3 }"), [r"\[tasks.memorization\]", "steps", "epochs"]),
    **{
        f"points {value}": (with_points(value), ["points", r"must be a list.*\{lr = "])
        for value in ("[]", "5", "[5]", '["a"]', "{ lr = 1e-3 }", "[{ weight_decay = 0.1 }]", "[[1e-3, 0.0]]")
    },
    "point key": (with_points("[{ lr = 1e-3, weight_decy = 0.1 }]"), ["'weight_decy'", "did you mean 'weight_decay'"]),
    **{
        f"lr {value}": (with_points(f"[{{ lr = {value} }}]"), ["lr", "must be"])
        for value in ("0", "-1e-3", "nan", "inf", '"1e-3"', "true", HUGE)
    },
    **{
        f"weight_decay {value}": (with_points(f"[{{ lr = 1, weight_decay = {value} }}]"), ["weight_decay", "must be"])
        for value in ("-0.1", "nan", "inf", '"a"', "true", HUGE)
    },
    **{
        f"{key} {value[:4]}": (preset(task=f"recipe = {{ {key} = {value} }}"), [rf"\b{key} is", "must be"])
        for key in ("steps", "batch_size", "evaluate_every", "num_validation_examples")
        for value in ("0", "-1", "2.5", '"10"', "true", "[1]", HUGE)
    },
    **{
        f"{key} {value[:4]}": (preset(task=f"recipe = {{ {key} = {value} }}"), [rf"\b{key} is", "must be"])
        for key in ("solved_at", "hopeless_after", "hopeless_below", "evaluate_growth")
        for value in ("nan", '"x"', "[]", "true", HUGE)
    },
    **{
        f"warmup {value[:4]}": (preset(task=f"recipe = {{ warmup = {value} }}"), [r"\bwarmup is", "must be", "from 0"])
        for value in ("-1", "2.5", '"10"', "true", "[1]", HUGE)
    },
    "epochs": (preset(recipe=f"points = [{{ lr = 1e-3 }}]\nepochs = {HUGE}"), ["epochs is", "must be"]),
    **{
        f"{key} {value}": (preset(task=f"recipe = {{ {key} = {value} }}"), [rf"\b{key} is {value}", "must be"])
        for key, value in (
            *(("solved_at", 0), ("solved_at", -1), ("hopeless_after", -0.5), ("hopeless_after", 1.5)),
            *(("evaluate_growth", 0.5), ("evaluate_growth", 11)),
        )
    },
    "hopeless where solved": (
        preset(task="recipe = { solved_at = 0.9, hopeless_below = 0.9 }"),
        ["hopeless_below is 0.9", "must be .*solved_at"],
    ),
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
    assert len(message.splitlines()) == 1 and len(message) < 300 + len(str(path))
    for word in words:
        assert re.search(word, message), message


NO_TOML = {
    "no UTF-8": (b"schema = 1\n# \xff\xfe", "is no UTF-8 text"),
    "UTF-16": ("schema = 1".encode("utf-16"), "is no UTF-8 text"),
    "binary": (b"schema = 1\x00", "line 1"),
    "deep list": (b"a = " + 5000 * b"[", "nested too deeply"),
    "deep key": (3000 * b"a." + b"a = 1", ""),  # some readers get through it, to a key that is not known
    "long number": (b"schema = 1" + 5000 * b"0", "digits"),
}


@pytest.mark.parametrize("case", NO_TOML)
def test_a_file_that_is_no_toml_is_one_line(tmp_path, case):
    """Bytes that are no text, and nesting and numbers that no preset needs."""
    content, says = NO_TOML[case]
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(PresetError) as caught:
        settings(str(path))
    assert str(caught.value).startswith(f"preset {path}: ") and says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    """Windows' editors write one."""
    path = tmp_path / "sound.toml"
    path.write_text(preset(), encoding="utf-8-sig")
    assert list(settings(str(path))) == ["memorization[baseline]"]


def test_what_is_no_file_is_said_to_be_none(tmp_path):
    """A folder may have any name."""
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(PresetError, match=f"^preset file {folder} is a folder, but must be a file$"):
        settings(str(folder))
    with pytest.raises(PresetError, match=f"^preset file {tmp_path}/no.toml does not exist$"):
        settings(str(tmp_path / "no.toml"))


@pytest.mark.parametrize("level", ["oracle", "trivial"])
def test_a_level_that_cannot_be_computed_here_is_one_line(tmp_path, monkeypatch, level):
    """On a small machine even a possible size may be too large."""
    path = tmp_path / "mine.toml"
    path.write_text(preset())
    (setting,) = settings(str(path)).values()

    def give_up(params):
        raise MemoryError

    monkeypatch.setattr(setting.task, level, give_up)
    with pytest.raises(
        PresetError, match=r"^memorization\[baseline\]: its levels take more memory to compute than this"
    ):
        setting.normalized(0.5)


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
            "vary": {"vocab_size": [24, 32], "map_seed": [1]},
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
    assert len({(s.task_name, s.params) for s in chosen.values()}) == len(chosen)
    for setting in chosen.values():
        recipe = setting.recipe
        assert type(setting.width) is int and setting.width >= 1
        assert setting.threshold is None or 0 <= setting.threshold <= 1
        assert math.isfinite(setting.cost) and setting.cost >= 0
        assert type(recipe.total_steps(setting.params.num_train_examples)) is int
        assert type(recipe.batch_size) is int and type(recipe.race) is bool
        assert all(math.isfinite(p.lr) and p.lr > 0 and p.weight_decay >= 0 for p in recipe.points)
        assert math.isfinite(recipe.solved_at) and recipe.hopeless_below < recipe.solved_at
        assert len(set(recipe.points)) == len(recipe.points)
        assert type(recipe).from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
