"""A trial is a pure function of its spec, and trains as a plain loop does on data that it shares with nobody."""

from __future__ import annotations

import collections
import contextlib
import copy
import itertools
import math
import random

import numpy as np
import pytest
import torch

from pytest_mad.presets.recipe import Point
from pytest_mad.training.data import load_data
from pytest_mad.training.trial import (
    TrialError,
    as_it_is,
    evaluate,
    make_optimizer,
    scheduled_lr,
    set_lr,
    shuffled_batches,
    to_device,
    training_step,
)
from tests.unit.tiny import CPU, POINT, SIZES, Tiny, make_setting, train


class Recorder(Tiny):
    """Also writes down what it was trained on, and in how many threads."""

    def __init__(self):
        super().__init__()
        self.rows, self.threads = [], []

    def forward(self, tokens):
        self.threads.append(torch.get_num_threads())
        if self.training:
            self.rows += [tuple(row) for row in tokens.tolist()]
        return super().forward(tokens)


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def odd_build():
    """A factory that draws its weights from all three global generators, with dropout on top."""
    model = Tiny(dropout=0.3)
    with torch.no_grad():
        model.head.weight += torch.from_numpy(np.random.standard_normal(model.head.weight.shape)).float()
        model.head.bias += random.random()
    return model


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference():
    return train(odd_build)


def draw_from_global_generators():
    torch.manual_seed(99), np.random.seed(99), random.seed(99)
    torch.rand(7), np.random.rand(7), random.random()


def fail():
    with pytest.raises(TrialError):
        train(odd_build, deadline=0.0)


DISTURBANCES = {
    "nothing": lambda threads: None,
    "the state of the global generators": lambda threads: draw_from_global_generators(),
    "the number of threads": lambda threads: threads(2),
    "another trial before": lambda threads: train(seed=5, point=Point(lr=1e-3)),
    "a trial that failed before": lambda threads: fail(),
}


@pytest.mark.parametrize("what", DISTURBANCES)
def test_same_spec_gives_the_same_trial_bit_for_bit_whatever(what, reference, threads):
    """Curve, scores and final weights, also with dropout and a factory that draws from every generator."""
    DISTURBANCES[what](threads)
    trial, model = train(odd_build)
    assert trial == reference[0]
    assert same_weights(model, reference[1])


@pytest.mark.parametrize(("seed", "point"), [(1, POINT), (0, Point(lr=0.02, weight_decay=0.1)), (0, Point(lr=0.01))])
def test_another_seed_or_recipe_point_gives_another_trial(seed, point, reference):
    """Each of them enters the spec."""
    _, model = train(odd_build, seed=seed, point=point)
    assert not same_weights(model, reference[1])


def test_how_often_a_trial_is_evaluated_does_not_change_what_it_learns(reference):
    """Evaluation draws nothing from the generators that dropout draws from."""
    _, model = train(odd_build, setting=make_setting(evaluate_every=3))
    assert same_weights(model, reference[1])


def test_another_seed_starts_from_other_weights_and_another_order():
    """Neither of the two alone."""
    models = [train(Recorder, seed=seed, setting=make_setting(steps=1), point=Point(lr=1e-9))[1] for seed in (0, 1)]
    assert not torch.allclose(models[0].embed.weight, models[1].embed.weight, atol=1e-3)
    setting = make_setting(epochs=1)
    rows = to_device(load_data(setting, 0).train, CPU)
    first, second = (next(shuffled_batches(rows, 8, seed))[0] for seed in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("options", [{}, {"deadline": 0.0}], ids=["finished", "failed"])
def test_a_trial_leaves_generators_and_threads_as_they_were(options, threads):
    """Whether it finishes or raises."""
    threads(2)
    torch.manual_seed(1), np.random.seed(2), random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    try:
        train(odd_build, **options)
    except TrialError:
        assert options
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(states[0], after[0])
    assert states[1:] == after[1:]
    assert torch.get_num_threads() == 2


def test_a_cpu_trial_runs_on_one_thread(threads):
    """Training and evaluation; so that sums come in one order."""
    threads(2)
    _, model = train(Recorder)
    assert set(model.threads) == {1}


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_training_is_that_of_a_plain_loop(schedule):
    """AdamW written out: decoupled decay of every parameter, bias correction, mean cross entropy of scored tokens."""
    setting = make_setting(steps=20, schedule=schedule, betas=(0.9, 0.98))
    started = []
    _, trained = train(lambda: started.append(copy.deepcopy(model := Tiny())) or model, setting=setting)
    model, stepped = copy.deepcopy(started[0]), copy.deepcopy(started[0])
    optimizer = make_optimizer(stepped, setting.recipe, POINT)
    batches = list(itertools.islice(shuffled_batches(to_device(load_data(setting, 0).train, CPU), 8, 0), 20))
    state = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]
    for step, (inputs, targets) in enumerate(batches, start=1):
        scored = targets != -100
        loss = -model(inputs).log_softmax(-1)[scored].gather(1, targets[scored][:, None]).mean()
        lr = POINT.lr
        if schedule == "cosine":
            lr = 1e-6 + (lr - 1e-6) * (1 + math.cos(math.pi * (step - 1) / 20)) / 2
        with torch.no_grad():
            for (p, m, v), g in zip(state, torch.autograd.grad(loss, list(model.parameters())), strict=True):
                m.add_(0.1 * (g - m))
                v.add_(0.02 * (g * g - v))
                p.mul_(1 - lr * 0.1)
                p.sub_(lr * (m / (1 - 0.9**step)) / ((v / (1 - 0.98**step)).sqrt() + 1e-8))
        set_lr(optimizer, scheduled_lr(setting.recipe, POINT, step, 20))
        ours = training_step(as_it_is(stepped), optimizer, inputs, targets, torch.enable_grad())
        assert float(ours) == pytest.approx(float(loss.detach()), rel=1e-4), step
    for plain, own, whole in zip(model.parameters(), stepped.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(own, plain, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(whole, own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 3, 8, 20])
def test_parts_of_a_batch_have_the_gradient_of_the_whole(parts):
    """Although they have different numbers of scored positions, and the last is smaller."""
    setting = make_setting("in-context-recall", SIZES | {"seq_len": 32})
    inputs, targets = (part[:20] for part in to_device(load_data(setting, 0).train, CPU))
    targets[0] = -100
    gradients = {}
    for count in (1, parts):
        model = Tiny().double()
        with torch.no_grad():
            for i, weight in enumerate(model.parameters()):
                weight.copy_(torch.linspace(-1, 1, weight.numel(), dtype=torch.float64).cos().view_as(weight) / (i + 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        loss = training_step(as_it_is(model), optimizer, inputs, targets, contextlib.nullcontext(), count)
        gradients[count] = [loss, *(weight.grad for weight in model.parameters())]
    for one, other in zip(gradients[parts], gradients[1], strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-9)


def test_the_cosine_ends_at_a_millionth_and_the_constant_rate_stays():
    """From the point's rate, through its half, to 1e-6."""
    rates = {}
    for schedule in ("constant", "cosine"):
        recipe = make_setting(schedule=schedule).recipe
        rates[schedule] = [scheduled_lr(recipe, POINT, step, 10) for step in range(1, 12)]
    assert rates["constant"] == [POINT.lr] * 11
    assert [rates["cosine"][i] for i in (0, 5, 10)] == pytest.approx([POINT.lr, (POINT.lr + 1e-6) / 2, 1e-6])
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)


def test_the_rate_rises_over_the_warm_up():
    """In equal parts, the last of them the whole rate; and whatever the schedule does afterwards."""
    for schedule in ("constant", "cosine"):
        plain, warmed = (make_setting(schedule=schedule, warmup=steps).recipe for steps in (0, 4))
        shares = [scheduled_lr(warmed, POINT, s, 10) / scheduled_lr(plain, POINT, s, 10) for s in range(1, 11)]
        assert shares == pytest.approx([0.25, 0.5, 0.75] + [1] * 7)


def test_every_training_example_is_visited_once_per_epoch():
    """In a new order each time, the last, smaller batch included; an input keeps its targets."""
    setting = make_setting("in-context-recall", SIZES | {"seq_len": 32, "num_train_examples": 20}, epochs=3)
    trial, model = train(Recorder, setting=setting)
    train_rows = [tuple(row) for row in load_data(setting, 0).train.inputs.tolist()]
    assert trial.steps == 9
    assert collections.Counter(model.rows) == collections.Counter(dict.fromkeys(train_rows, 3))
    epochs = [model.rows[start : start + 20] for start in (0, 20, 40)]
    assert epochs[0] != epochs[1] != epochs[2] != train_rows
    numbers = torch.arange(20)
    for inputs, targets in itertools.islice(shuffled_batches((numbers, numbers * 2), 8, 0), 6):
        assert torch.equal(inputs * 2, targets)


def test_train_validation_and_test_data_share_nothing_and_differ_by_seed():
    """Same seed, same data, whatever the global generator; every other stream is another one."""
    sizes = SIZES | {"seq_len": 32, "num_test_examples": 64}  # as many each: draws that were shared would show
    setting = make_setting("in-context-recall", sizes, num_validation_examples=64)
    streams = [load_data(setting, seed) for seed in (0, 1)]
    rows = [tuple(row) for data in streams for batch in data for row in batch.inputs.tolist()]
    assert len(rows) == 2 * 3 * 64
    assert len(set(rows)) == len(rows)
    np.random.seed(7)
    for before, again in zip(streams[0], load_data(setting, 0), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(before, again, strict=True))


def test_scores_are_those_of_the_returned_model():
    """Validation as in the curve's last point, test on test data, the model in evaluation mode."""
    setting = make_setting(steps=25)
    trial, model = train(odd_build, setting=setting)
    assert not model.training
    for found, batch in (
        (trial.validation, load_data(setting, 0).validation),
        (trial.test, load_data(setting, 0).test),
    ):
        with torch.no_grad():
            predictions = model(torch.from_numpy(batch.inputs)).argmax(-1).numpy()
        scored = batch.targets != -100
        assert found.accuracy == pytest.approx((predictions == batch.targets)[scored].mean())
    assert trial.curve[-1] == (25, trial.validation.accuracy)
    assert trial.validation != trial.test


@pytest.mark.parametrize("parts", [1, 3])
def test_evaluation_takes_as_many_rows_at_a_time_as_training(parts):
    """For which there is memory, in parts of batches too."""
    most = {True: 0, False: 0}

    class Watched(Tiny):
        def forward(self, tokens_BT):
            most[self.training] = max(most[self.training], len(tokens_BT))
            return super().forward(tokens_BT)

    train(Watched, setting=make_setting(batch_size=40), parts=parts)
    assert most[False] == most[True] > 0


@pytest.mark.parametrize("mode", [True, False])
def test_evaluate_switches_dropout_off_and_leaves_the_mode_as_it_was(mode):
    """No gradients either."""
    model = Tiny(dropout=0.9).train(mode)
    batch = to_device(load_data(make_setting(), 0).test, CPU)
    assert len({evaluate(model, batch, make_setting().recipe) for _ in range(3)}) == 1
    assert model.training is mode
    assert all(p.grad is None for p in model.parameters())
