"""A sweep: the guard before and after, the points in their order, the end of a race, and the choice of the best."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.architectures.wrappers import ModelError
from pytest_mad.evaluation.requirement import Requirement
from pytest_mad.evaluation.sweep import NotCausalError, join, run_part, run_sweep
from pytest_mad.gate import draw_floor
from pytest_mad.presets.recipe import Point
from pytest_mad.store.folder import Store
from pytest_mad.training import engines
from pytest_mad.training.metrics import Accuracies
from pytest_mad.training.trial import OutOfTimeError, Trial, TrialError
from tests.unit.tiny import CPU, SIZES, Tiny, make_setting, timeless

RATES = (0.1, 0.2, 0.3)
POINTS = [Point(lr=lr) for lr in RATES]


def sweep(setting, factory=Tiny, **options):
    architecture = from_factory(lambda vocab_size: factory(vocab_size), name="tiny")
    return run_sweep(architecture, setting, options.pop("seed", 0), device=CPU, **options)


@pytest.fixture
def scripted(monkeypatch):
    """Trials that train nothing: (validation, test) accuracy per point, or a failure; returns which points ran."""

    def use(scores):
        ran = []

        def train_trial(build, setting, point, seed, data, **_):
            ran.append(point.lr)
            found = scores[point.lr]
            if isinstance(found, Exception):
                raise found
            validation, test = (
                Accuracies(accuracy=level, accuracy_compat=compat, sequence_accuracy=0.0)
                for level, compat in ((a if isinstance(a, tuple) else (a, a)) for a in found)
            )
            trial = Trial(
                point=point,
                seed=seed,
                steps=1,
                stopped="budget",
                curve=((1, validation.accuracy),),
                validation=validation,
                test=test,
                seconds=0.0,
                seconds_per_step=0.0,
            )
            return trial, build()

        monkeypatch.setattr(engines, "train_trial", train_trial)
        return ran

    return use


def test_the_points_are_tried_in_their_order_and_all_without_a_race(scripted):
    """Also behind a point that meets the requirement."""
    ran = scripted(dict.fromkeys(RATES, (1.0, 1.0)))
    found = sweep(make_setting(points=POINTS[::-1], threshold=0.5, race=False))
    assert ran == [0.3, 0.2, 0.1] == [t.point.lr for t in found.trials]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({0.1: (1.0, 1.0)}, [0.1]),
        ({0.1: (0.5, 0.5), 0.2: (1.0, 1.0)}, [0.1, 0.2]),
        ({0.1: (1.0, 0.5), 0.2: (0.5, 1.0), 0.3: (0.5, 0.5)}, [0.1, 0.2, 0.3]),
    ],
    ids=["the first", "the second", "never on both"],
)
def test_a_race_ends_as_soon_as_validation_and_test_meet_the_threshold(scripted, scores, expected):
    """Not when only one of the two does."""
    ran = scripted(scores)
    sweep(make_setting(points=POINTS, threshold=0.9))
    assert ran == expected


TRIVIAL_LEVEL = make_setting().trivial


def retrying(threshold=0.9, points=POINTS[:1], **recipe):
    return make_setting(points=points, retry=Point(lr=0.3), threshold=threshold, **recipe)


def test_a_spare_point_is_tried_before_a_threshold_fails_at_the_trivial_level(scripted):
    """Its score counts, and a note says how to have it from the start."""
    ran = scripted({0.1: (TRIVIAL_LEVEL, TRIVIAL_LEVEL), 0.3: (1.0, 1.0)})
    found = sweep(retrying())
    assert ran == [0.1, 0.3]
    assert (found.best.point.lr, found.accuracies().accuracy) == (0.3, 1.0)
    assert found.notes == (
        "this is at lr 0.3; at lr 0.1, the recipe's, it stays at the trivial level (--mad-lr=memorization=0.3 sets it)",
    )


def test_a_spare_point_that_learns_nothing_either_is_told_too(scripted):
    scripted(dict.fromkeys((0.1, 0.3), (TRIVIAL_LEVEL, TRIVIAL_LEVEL)))
    found = sweep(retrying())
    assert found.best.point.lr == 0.1
    assert found.notes == ("at lr 0.1, the recipe's, it stays at the trivial level, and at lr 0.3 too",)


@pytest.mark.parametrize(
    ("setting", "scores", "expected"),
    [
        (retrying(), {0.1: (0.95, 0.95)}, [0.1]),
        (retrying(), {0.1: (0.5, 0.5)}, [0.1]),
        (retrying(points=POINTS[:2]), {0.1: (TRIVIAL_LEVEL, 0.0), 0.2: (0.5, 0.5)}, [0.1, 0.2]),
        (retrying(threshold=None), {0.1: (TRIVIAL_LEVEL, 0.0)}, [0.1]),
        (retrying(race=False), {0.1: (TRIVIAL_LEVEL, 0.0)}, [0.1]),
    ],
    ids=["it passes", "it has learned something", "the second point has", "nothing is asked", "it does not race"],
)
def test_a_spare_point_is_left_alone_otherwise(scripted, setting, scores, expected):
    ran = scripted(scores)
    assert sweep(setting).notes == ()
    assert ran == expected


def test_a_recording_and_a_comparison_never_try_the_spare_point(scripted):
    """Recorded scores belong to the recipe's points."""
    ran = scripted({0.1: (TRIVIAL_LEVEL, TRIVIAL_LEVEL)})
    floor = draw_floor("b.json", "tiny", [0.9] * 4, margin=0.0, most_seeds=2, solved_at=0.97)
    for requirement in (Requirement(record=True, threshold=0.9), Requirement(floor=floor, threshold=0.9)):
        sweep(retrying(), requirement=requirement)
    assert ran == [0.1, 0.1]


def test_a_spare_point_changes_no_identity_of_recorded_scores():
    assert retrying().identity() == make_setting(points=POINTS[:1], threshold=0.9).identity()


def test_a_model_that_only_learns_at_another_rate_passes(tmp_path):
    """Really trained; the second run finds both trials in the store."""
    setting = make_setting(
        points=[Point(lr=1e-9)],
        retry=Point(lr=0.02),
        threshold=0.3,
        steps=200,
        params=SIZES | {"num_train_examples": 512},
    )
    runs = [sweep(setting, store=Store(tmp_path)) for _ in range(2)]
    assert [run.best.point.lr for run in runs] == [0.02, 0.02]
    assert [run.stored for run in runs] == [False, True]


def test_a_race_without_a_threshold_ends_at_the_top(scripted):
    """``solved_at`` takes the threshold's place."""
    ran = scripted({0.1: (0.9, 0.9), 0.2: (1.0, 1.0)})
    sweep(make_setting(points=POINTS, solved_at=0.95))
    assert ran == [0.1, 0.2]


def test_a_race_does_not_end_with_a_score_that_misses_the_threshold(scripted):
    """The second point meets it, but the first is better on validation data and so is the one that is reported."""
    scripted({0.1: (0.99, 0.5), 0.2: (0.95, 0.95), 0.3: (1.0, 1.0)})
    setting = make_setting(points=POINTS, threshold=0.9)
    found = sweep(setting)
    met = setting.normalized(found.accuracies().accuracy) >= 0.9
    assert met or len(found.trials) == len(POINTS)


CHOICES = {0.1: ((0.6, 0.1), (0.2, 0.3)), 0.2: ((0.5, 0.2), (0.1, 0.4)), 0.3: ((0.4, 0.3), (0.3, 0.2))}


@pytest.mark.parametrize(
    ("selection", "metric", "expected"),
    [
        ("validation", "accuracy", 0.1),
        ("validation", "compat", 0.3),
        ("compat", "accuracy", 0.3),
        ("compat", "compat", 0.2),
    ],
)
def test_the_best_point_is_chosen_on_validation_data_or_as_mad_does_on_test_data(scripted, selection, metric, expected):
    """By accuracy or by MAD's macro average; the reported score is that point's on test data."""
    scripted(CHOICES)
    found = sweep(make_setting(points=POINTS, selection=selection, metric=metric, race=False))
    assert found.best.point.lr == expected
    level, compat = CHOICES[expected][1]
    assert (found.accuracies().accuracy, found.accuracies().accuracy_compat) == (level, compat)


def test_one_diverging_point_does_not_spoil_a_sweep():
    """It gives no score; the others do."""
    found = sweep(make_setting(points=[Point(lr=1e30), Point(lr=0.02)]))
    assert [trial.point.lr for trial in found.trials] == [0.02]
    assert found.best.test.accuracy > 0.5


def test_a_sweep_of_diverging_points_is_an_error():
    """With the last point's line."""
    with pytest.raises(TrialError, match=r"^the loss is \w+ at step 10 \(lr 1e\+31\)$"):
        sweep(make_setting(points=[Point(lr=1e30), Point(lr=1e31)]))


@pytest.mark.parametrize("passed", [0, 1])
def test_a_sweep_whose_time_runs_out_is_an_error(scripted, passed):
    """However many points had finished: a part of a sweep is no score."""
    late = OutOfTimeError("out of time at step 3 of 9")
    ran = scripted(dict.fromkeys(RATES[:passed], (0.5, 0.5)) | dict.fromkeys(RATES[passed:], late))
    with pytest.raises(OutOfTimeError, match=r"^out of time"):
        sweep(make_setting(points=POINTS))
    assert ran == list(RATES[: passed + 1])


def test_a_sweep_is_the_same_whatever_ran_before():
    """Also its guard draws from seeds of its own."""
    setting = make_setting(points=[Point(lr=0.01), Point(lr=0.02)])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = sweep(setting)
    assert torch.equal(before, torch.get_rng_state())
    sweep(setting, seed=3)
    torch.manual_seed(2)
    second = sweep(setting)
    assert [timeless(t) for t in first.trials] == [timeless(t) for t in second.trials]
    assert first.accuracies() == second.accuracies()
    assert [t.test for t in sweep(setting, seed=3).trials] != [t.test for t in first.trials]


def test_each_point_starts_from_a_model_of_its_own():
    """The second finds what it finds alone; it does not go on where the first stopped."""
    points = [Point(lr=0.02), Point(lr=0.01)]
    found, alone = sweep(make_setting(points=points, race=False)), sweep(make_setting(points=points[1:]))
    assert found.trials[1].curve == alone.trials[0].curve


class Sized(Tiny):
    def state_size(self):
        return 24


def test_a_sweep_knows_the_size_of_the_model():
    """Parameters, and the state where the model says how large it is."""
    found = sweep(make_setting(steps=1), Sized)
    assert found.parameters == 32 * 12 + 24 * 16 + 16 + 16 * 32 + 32
    assert found.state_size == 24
    assert sweep(make_setting(steps=1)).state_size is None


class Ahead(Tiny):
    """Reads the next token, behind a gate that is closed at first."""

    def __init__(self, vocab_size):
        super().__init__(vocab_size)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, tokens):
        following = torch.roll(self.embed(tokens), -1, dims=1)
        return super().forward(tokens) + self.gate * self.head(torch.cat([following, following[..., :4]], dim=-1))


class LateAhead(Tiny):
    """Opens the gate only after some steps of training."""

    def __init__(self, vocab_size):
        super().__init__(vocab_size)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, tokens):
        if self.training:
            self.steps += 1
        leak = torch.roll(super().forward(tokens), -1, dims=1) if self.steps > 5 else 0.0
        return super().forward(tokens) + leak


def test_a_model_that_may_look_ahead_is_stopped_before_any_training(scripted):
    """Although its gate is closed when it is built."""
    ran = scripted(dict.fromkeys(RATES, (1.0, 1.0)))
    with pytest.raises(NotCausalError, match=r"^not causal: .* position 0 "):
        sweep(make_setting(points=POINTS), Ahead)
    assert ran == []


def test_a_leak_that_appears_in_training_is_found_before_a_score_is_given():
    """The trained weights of the best point are guarded once more."""
    with pytest.raises(NotCausalError, match=r"^after training, not causal: "):
        sweep(make_setting(), LateAhead)


class Positive(Tiny):
    """Takes the logarithm of rates that are positive, but half of them by less than a tenth of their mean size."""

    def __init__(self, vocab_size):
        super().__init__(vocab_size)
        self.rates = nn.Parameter(torch.tensor([0.01, 1.0] * (vocab_size // 2)))

    def forward(self, tokens):
        return super().forward(tokens) + 0.1 * self.rates.log()


def test_the_guard_does_not_push_positive_parameters_below_zero():
    """Decay rates and widths are stored like that; a sound model of them is trained, not refused as NaN."""
    found = sweep(make_setting(points=[Point(lr=1e-4)]), Positive)
    assert found.best.stopped == "budget"


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_a_model_whose_logits_are_no_numbers_is_an_error_before_training(scripted, bad):
    """In one line; it is neither causal nor not."""
    ran = scripted(dict.fromkeys(RATES, (1.0, 1.0)))

    class NoNumbers(Tiny):
        def forward(self, tokens):
            return super().forward(tokens) + float(bad)

    with pytest.raises(ModelError, match="NaN or infinite") as caught:
        sweep(make_setting(points=POINTS), NoNumbers)
    assert len(str(caught.value).splitlines()) == 1
    assert ran == []


def test_a_task_with_a_bottleneck_is_not_guarded():
    """An autoencoder sees its whole input."""

    class Whole(nn.Module):
        def __init__(self, vocab_size):
            super().__init__()
            self.embed = nn.Embedding(vocab_size, 8)
            self.out = nn.Linear(16, vocab_size)

        def forward(self, tokens):
            x = self.embed(tokens)
            return self.out(torch.cat([x, x.mean(1, keepdim=True).expand_as(x)], dim=-1))

    sizes = {"vocab_size": 8, "seq_len": 6, "num_train_examples": 16, "num_test_examples": 16}
    architecture = from_factory(lambda task, vocab_size: Whole(vocab_size), name="whole")
    found = run_sweep(architecture, make_setting("compression", sizes, steps=2), 0, device=CPU, deadline=math.inf)
    assert len(found.trials) == 1
    with pytest.raises(NotCausalError):
        run_sweep(architecture, make_setting(steps=2), 0, device=CPU)


# -- trained in parts -------------------------------------------------------------------------------------------------


def in_parts(setting, factory=Tiny, **options):
    """The same as :func:`sweep`, each point on its own, and the last one first."""
    architecture = from_factory(lambda vocab_size: factory(vocab_size), name="tiny")
    points = setting.recipe.points
    parts = {point: run_part(architecture, setting, 0, point, device=CPU, **options) for point in reversed(points)}
    return join(setting, 0, [parts[point] for point in points])


def test_a_sweep_in_parts_is_the_sweep():
    """Scores, curves and the choice of the best, to the last digit; one of its points diverges."""
    points = [Point(lr=0.05), Point(lr=1e30), Point(lr=0.01, weight_decay=0.1)]
    setting = make_setting(points=points, race=False)

    def found(one):
        return [timeless(trial) for trial in (one.best, *one.trials)]

    whole, parts = sweep(setting), in_parts(setting)
    assert found(parts) == found(whole) and len(whole.trials) == 2
    assert (parts.parameters, parts.state_size, parts.seed, parts.stored) == (whole.parameters, None, 0, False)


def test_what_the_guard_says_of_a_part_counts_if_it_is_the_best(scripted):
    scripted({0.1: (0.5, 0.5), 0.2: (0.9, 0.9), 0.3: (0.7, 0.7)})
    setting = make_setting(points=POINTS, race=False)
    architecture = from_factory(lambda vocab_size: Tiny(vocab_size), name="tiny")
    parts = [run_part(architecture, setting, 0, point, device=CPU) for point in POINTS]
    leaking = dataclasses.replace(parts[1], leak="after training, not causal")
    assert join(setting, 0, [dataclasses.replace(parts[0], leak="not causal"), *parts[1:]]).best.point == POINTS[1]
    with pytest.raises(NotCausalError, match=r"^after training, not causal$"):
        join(setting, 0, [parts[0], leaking, parts[2]])
    with pytest.raises(ModelError, match=r"^after training, nan$"):
        join(setting, 0, [parts[0], dataclasses.replace(parts[1], bad_logits="after training, nan"), parts[2]])


def test_a_leak_that_appears_in_training_is_found_in_parts():
    with pytest.raises(NotCausalError, match=r"^after training, not causal: "):
        in_parts(make_setting(race=False), LateAhead)


def test_parts_without_a_score_are_the_same_errors(scripted):
    """All of them diverged, or the time was up for one."""
    setting = make_setting(points=POINTS, race=False)
    scripted(dict.fromkeys(RATES, TrialError("diverged")))
    with pytest.raises(TrialError, match=r"^diverged$"):
        in_parts(setting)
    scripted({0.1: (0.5, 0.5), 0.2: OutOfTimeError("out of time"), 0.3: (0.7, 0.7)})
    with pytest.raises(OutOfTimeError, match=r"^out of time$"):
        in_parts(setting)
