"""Settings and presets: MAD's grid as its paper has it, and how settings are chosen from a preset."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pytest_mad.presets.reading import preset_names, settings
from pytest_mad.presets.recipe import Point, Recipe
from pytest_mad.presets.setting import PresetError, select, with_rates, with_threshold
from pytest_mad.tasks import UnknownTaskError, task_names

# MAD's benchmark, from section 1.2 and the "baseline and changes" of each task in section 2 of the specification.
SIZES = [6400, 3200, 1600, 800]
VOCABULARIES = [32, 64, 128]
LENGTHS = [256, 512, 1024]
MAD = {
    "in-context-recall": (
        {"vocab_size": 16, "seq_len": 128, "num_train_examples": 12800, "multi_query": True},
        {"vocab_size": VOCABULARIES, "seq_len": LENGTHS, "num_train_examples": SIZES},
    ),
    "noisy-in-context-recall": (
        {
            "vocab_size": 32,
            "noise_vocab_size": 16,
            "frac_noise": 0.2,
            "seq_len": 128,
            "num_train_examples": 12800,
            "multi_query": True,
        },
        {
            "vocab_size": [48, 80, 144],
            "seq_len": LENGTHS,
            "num_train_examples": SIZES,
            "frac_noise": [0.4, 0.6, 0.8],
        },
    ),
    "fuzzy-in-context-recall": (
        {
            "vocab_size": 16,
            "seq_len": 128,
            "num_train_examples": 12800,
            "k_motif_size": 3,
            "v_motif_size": 3,
            "multi_query": True,
        },
        {"vocab_size": VOCABULARIES, "seq_len": LENGTHS, "num_train_examples": SIZES},
    ),
    "memorization": (
        {"vocab_size": 256, "seq_len": 32, "num_train_examples": 256, "map_seed": 12345},
        {"vocab_size": [512, 1024, 2048, 4096, 8192]},
    ),
    "compression": (
        {"vocab_size": 16, "seq_len": 32, "num_train_examples": 12800},
        {"vocab_size": VOCABULARIES, "seq_len": [64, 128, 256], "num_train_examples": SIZES},
    ),
    "selective-copying": (
        {"vocab_size": 16, "seq_len": 256, "num_tokens_to_copy": 16, "num_train_examples": 12800},
        {
            "vocab_size": VOCABULARIES,
            "seq_len": [512, 1024],
            "num_train_examples": SIZES,
            "num_tokens_to_copy": [32, 64, 96],
        },
    ),
}
NUMBER_OF_SETTINGS = {
    "in-context-recall": 11,
    "noisy-in-context-recall": 14,
    "fuzzy-in-context-recall": 11,
    "memorization": 6,
    "compression": 11,
    "selective-copying": 13,
}
STEPS = {12800: 20_000, 6400: 10_000, 3200: 5_000, 1600: 2_600, 800: 1_400, 256: 400}


def mads_settings():
    """Id -> parameters, one changed parameter at a time."""
    no_noise = {"noise_vocab_size": 0, "frac_noise": 0.0, "num_test_examples": 1280}
    for task, (baseline, changes) in MAD.items():
        yield f"{task}[baseline]", no_noise | baseline
        for name, values in changes.items():
            for value in values:
                yield f"{task}[{name}={value}]", no_noise | baseline | {name: value}


@pytest.fixture(scope="module")
def paper():
    return settings("paper")


def test_paper_has_exactly_the_settings_of_mad(paper):
    """66 settings, each under MAD's id, in MAD's order of tasks."""
    assert list(paper) == [name for name, _ in mads_settings()]
    assert len(paper) == 66
    assert {task: sum(s.task_name == task for s in paper.values()) for task in MAD} == NUMBER_OF_SETTINGS


@pytest.mark.parametrize(("name", "expected"), list(mads_settings()))
def test_paper_setting_has_the_parameters_of_mad(paper, name, expected):
    """Every parameter that MAD states, those that do not change included."""
    params = paper[name].params.to_json()
    assert {key: params[key] for key in expected} == expected
    assert params.get("supervise", "every-token") == "every-token"


@pytest.mark.parametrize(
    "setting",
    [
        "in-context-recall[num_train_examples=800]",
        "noisy-in-context-recall[frac_noise=0.8]",
        "fuzzy-in-context-recall[seq_len=1024]",
        "memorization[vocab_size=8192]",
        "compression[seq_len=256]",
        "selective-copying[num_tokens_to_copy=96]",
    ],
)
def test_ids_are_spelled_like_this(paper, setting):
    """Ids enter node ids, files and command lines, so they are promises."""
    assert paper[setting].id == setting


def test_paper_trains_each_setting_as_long_as_mad(paper):
    """200 epochs in batches of 128, the last, smaller batch included."""
    assert set(STEPS) == {s.params.num_train_examples for s in paper.values()}
    for setting in paper.values():
        examples = setting.params.num_train_examples
        assert setting.recipe.total_steps(examples) == STEPS[examples], setting.id
        assert setting.recipe.batch_size == 128


def test_paper_sweeps_the_six_points_of_mad(paper):
    """Three learning rates times two weight decays, all of them, at a constant rate, and no threshold."""
    for setting in paper.values():
        points = [(p.lr, p.weight_decay) for p in setting.recipe.points]
        assert len(points) == 6
        assert set(points) == {(lr, decay) for lr in (1e-4, 5e-4, 1e-3) for decay in (0.0, 0.1)}
        assert setting.recipe.schedule == "constant"
        assert not setting.recipe.race
        assert setting.threshold is None
        assert setting.preset == "paper"


def test_smoke_has_the_baseline_of_each_task_with_a_threshold():
    """Six settings, MAD's order, nothing left without a verdict."""
    smoke = settings("smoke")
    assert list(smoke) == [f"{task}[baseline]" for task in MAD]
    assert all(s.threshold is not None and 0.5 <= s.threshold <= 1 for s in smoke.values())
    assert all(s.recipe.race for s in smoke.values())


@pytest.mark.parametrize("preset", preset_names())
def test_the_settings_of_shipped_presets_leave_room_to_score(preset):
    """An oracle above the strongest guess; normalised, these are 1 and 0."""
    for setting in settings(preset).values():
        assert 0 < setting.trivial < setting.oracle <= 1, setting.id
        assert setting.normalized(setting.oracle) == pytest.approx(1)
        assert setting.normalized(setting.trivial) == pytest.approx(0)
        middle = (setting.oracle + setting.trivial) / 2
        assert setting.normalized(middle) == pytest.approx(0.5)


def test_a_preset_file_gives_the_settings_that_it_lists(tmp_path):
    """Baseline first, then each varied value; own thresholds and recipe keys go over the common ones."""
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        schema = 1
        width = 32
        embedding_std = 0.1
        [recipe]
        points = [{ lr = 1e-3 }, { lr = 2e-3, weight_decay = 0.5 }]
        steps = 10
        batch_size = 4
        [tasks.memorization]
        baseline = { vocab_size = 16, seq_len = 8 }
        vary = { vocab_size = [24, 32], seq_len = [4] }
        threshold = 0.5
        thresholds = { "seq_len=4" = 1 }
        cost = 3
        costs = { "vocab_size=32" = 0.5 }
        recipe = { steps = 20 }
        recipes = { "vocab_size=24" = { steps = 30, evaluate_every = 5 } }
        [tasks.compression]
        """
    )
    chosen = settings(str(path))
    first = "memorization[baseline] memorization[vocab_size=24] memorization[vocab_size=32] memorization[seq_len=4]"
    assert list(chosen) == [*first.split(), "compression[baseline]"]
    sizes = [(s.params.vocab_size, s.params.seq_len) for s in chosen.values()]
    assert sizes == [(16, 8), (24, 8), (32, 8), (16, 4), (16, 32)]
    assert [s.threshold for s in chosen.values()] == [0.5, 0.5, 0.5, 1.0, None]
    assert [s.recipe.steps for s in chosen.values()] == [20, 30, 20, 20, 10]
    assert [s.recipe.evaluate_every for s in chosen.values()] == [50, 5, 50, 50, 50]
    assert {s.recipe.batch_size for s in chosen.values()} == {4}
    assert {tuple((p.lr, p.weight_decay) for p in s.recipe.points) for s in chosen.values()} == {
        ((1e-3, 0), (2e-3, 0.5))
    }
    assert {(s.preset, s.width, s.embedding_std) for s in chosen.values()} == {("mine", 32, 0.1)}
    costs = [s.cost for s in chosen.values()]
    assert costs[:4] == [3, 3, 0.5, 3]
    assert 0 < costs[4] < 1  # without a cost: millions of tokens


@pytest.mark.parametrize("preset", preset_names())
def test_recipes_survive_the_way_through_plain_values(preset):
    """``from_json(to_json())`` is the same recipe."""
    for setting in settings(preset).values():
        assert type(setting.recipe).from_json(setting.recipe.to_json()) == setting.recipe


def test_select_keeps_only_the_settings_of_some_tasks_in_the_preset_s_order(paper):
    """The order in which tasks are asked for does not matter."""
    chosen = select(paper, ["compression", "in-context-recall"])
    assert list(chosen) == [i for i in paper if i.startswith(("in-context-recall[", "compression["))]
    assert all(chosen[i] is paper[i] for i in chosen)
    assert select(paper, task_names()[:6]) == paper


def test_select_suggests_the_nearest_task():
    """A misspelled task is a one-line error."""
    with pytest.raises(UnknownTaskError, match=r"^unknown task 'memorisation'; did you mean 'memorization'\?$"):
        select(settings("smoke"), ["memorization", "memorisation"])


def test_select_names_the_tasks_of_the_preset(tmp_path):
    """A known task that the preset does not have is an error, not an empty run."""
    chosen = {i: s for i, s in settings("smoke").items() if s.task_name in ("memorization", "compression")}
    with pytest.raises(PresetError, match=r"^task 'selective-copying' is not in .*: memorization, compression$"):
        select(chosen, ["compression", "selective-copying"])


@pytest.mark.parametrize(
    ("where", "changed"),
    [
        (None, {f"{task}[baseline]" for task in MAD}),
        ("in-context-recall", {"in-context-recall[baseline]"}),
        ("compression[baseline]", {"compression[baseline]"}),
    ],
)
def test_with_threshold_changes_what_it_is_told_to(where, changed):
    """All settings, those of one task (not those whose name merely ends like it), or one; the originals stay."""
    smoke = settings("smoke")
    before = {i: s.threshold for i, s in smoke.items()}
    after = with_threshold(smoke, where, 0.25)
    assert list(after) == list(smoke)
    assert {i for i, s in after.items() if s.threshold == 0.25} == changed
    assert all(after[i] == smoke[i] for i in smoke if i not in changed)
    assert {i: s.threshold for i, s in smoke.items()} == before


def test_with_rates_changes_the_points_and_nothing_else():
    """The weight decay stays the first point's, and no other point is tried."""
    smoke = settings("smoke")
    after = with_rates(smoke, "memorization", (0.5, 0.25))
    changed, before = after["memorization[baseline]"], smoke["memorization[baseline]"]
    decay = before.recipe.points[0].weight_decay
    assert changed.recipe.points == (Point(lr=0.5, weight_decay=decay), Point(lr=0.25, weight_decay=decay))
    assert changed.recipe.retry is None
    assert replace(changed.recipe, points=before.recipe.points, retry=before.recipe.retry) == before.recipe
    assert all(after[i] == smoke[i] for i in smoke if i != "memorization[baseline]")
    with pytest.raises(PresetError, match="did you mean 'memorization'"):
        with_rates(smoke, "memorisation", (0.5,))


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("in-context-recal", r"did you mean 'in-context-recall'\?"),
        ("compression[baselin]", r"did you mean 'compression\[baseline\]'\?"),
        ("%", "known: in-context-recall, .*compression"),
    ],
)
def test_with_threshold_suggests_the_nearest_place(where, hint):
    """A threshold for nothing is an error, because a run that ignores it would pass in silence."""
    with pytest.raises(PresetError, match=f"^no task or setting '.*' here; {hint}"):
        with_threshold(settings("smoke"), where, 0.5)


@pytest.mark.parametrize(
    ("preset", "hint"),
    [
        ("smok", "did you mean 'smoke'"),
        ("papers", "did you mean 'paper'"),
        ("%%", "smoke"),
        ("", "smoke"),
        ("/tmp", r"smoke[;,.].* ends? in \.toml"),
        ("there-is-no.toml", r"there-is-no\.toml does not exist"),
    ],
)
def test_an_unknown_preset_is_one_line_with_what_would_be_right(preset, hint):
    """Shipped names are suggested, and that a path must end in .toml."""
    with pytest.raises(PresetError) as caught:
        settings(preset)
    assert re.search(hint, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_recipe_without_warm_up_is_the_one_that_baselines_were_recorded_under():
    """A digest written down before recipes had one; with a warm-up it is another."""
    recipe = Recipe(points=(Point(lr=1e-3),), steps=100)
    assert recipe.digest() == "c0a7ea46e8e6efb5"
    assert replace(recipe, warmup=50).digest() != recipe.digest()
    assert replace(recipe, evaluate_growth=1.1).digest() != recipe.digest()
