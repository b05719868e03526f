"""The engine ``vmap``: every member of a stack is the trial that it would be alone, or there is a reason why not."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.calibration.scoreboard import ARCHITECTURES
from pytest_mad.architectures.build import build_model
from pytest_mad.architectures.targets import from_target
from pytest_mad.presets.recipe import Point
from pytest_mad.training import vmap
from pytest_mad.training.agreement import EngineError
from pytest_mad.training.data import load_data
from pytest_mad.training.trial import OutOfTimeError, TrialError, as_it_is, train_trial, training_step
from pytest_mad.training.vmap import Member, Stack, check, train_members
from tests.unit.tiny import CPU, POINT, Tiny, make_setting, timeless

POINTS = (POINT, Point(lr=0.003), Point(lr=0.03, weight_decay=0.5))
NEVER = Point(lr=1e-9)
WILD = Point(lr=1e30)
RECALL = {"vocab_size": 16, "seq_len": 16, "num_train_examples": 22, "num_test_examples": 8}


def members_of(setting, points=POINTS, seed=0):
    data = load_data(setting, seed)
    return [Member(point=point, seed=seed, data=data) for point in points]


def train(build=Tiny, setting=None, members=None, **options):
    setting = setting or make_setting()
    return train_members(build, setting, members or members_of(setting), device=CPU, **options)


def alone(build, setting, member):
    """What the loop finds, a failure included."""
    try:
        return train_trial(build, setting, member.point, member.seed, member.data, device=CPU)
    except TrialError as error:
        return error


def weights(model):
    return torch.cat([tensor.detach().flatten().float() for tensor in (*model.parameters(), *model.buffers())])


def assert_same(found, expected):
    """Two outcomes of one trial, up to rounding and wall time."""
    if isinstance(expected, TrialError):
        assert (type(found), str(found)) == (type(expected), str(expected))
        return
    (trial, model), (expected_trial, expected_model) = found, expected
    assert timeless(trial) == timeless(expected_trial)
    assert not model.training
    torch.testing.assert_close(weights(model), weights(expected_model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("task", ["in-context-recall", "compression"])
def test_every_reference_architecture_has_the_losses_of_the_loop(name, task):
    """Over 20 steps and several epochs, whose last batch is smaller."""
    steps, sizes = 20, RECALL if task == "in-context-recall" else RECALL | {"seq_len": 6}
    setting = make_setting(task, sizes, points=[Point(lr=1e-3), Point(lr=3e-4, weight_decay=0.5)], steps=steps)
    architecture = from_target(f"reference_archs.{name}:make_model")
    members = members_of(setting, setting.recipe.points)

    def build():
        return build_model(architecture, setting, CPU)

    check(build, setting, members, CPU)
    together, one_by_one = (vmap._begin(build, setting, members, CPU) for _ in range(2))
    stack = Stack([run.model for run in together])
    for step in range(1, steps + 1):
        found = vmap._step(stack, together, setting.recipe, step, steps)
        expected = [
            training_step(as_it_is(run.model), run.optimizer, *next(run.batches), vmap.autocast(CPU, setting.recipe))
            for run in one_by_one
        ]
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("grid", [{}, {"evaluate_every": 5, "evaluate_growth": 1.5}])
def test_members_are_the_trials_that_they_are_alone(grid):
    """Points and seeds side by side, each with its own start, batches, evaluations, ends, scores and final weights."""
    setting = make_setting(steps=60, solved_at=0.7, **grid)
    members = [*members_of(setting), *members_of(setting, [POINT], seed=1)]
    found = train(setting=setting, members=members)
    assert {trial.stopped for trial, _ in found} == {"solved", "budget"}
    for outcome, member in zip(found, members, strict=True):
        assert_same(outcome, alone(Tiny, setting, member))


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_every_members_steps_are_those_of_torchs_adamw(schedule):
    """Each with its own learning rate, schedule and decoupled weight decay; the optimizer here is not the fused one."""
    setting = make_setting(schedule=schedule)
    runs, others = (vmap._begin(Tiny, setting, members_of(setting), CPU) for _ in range(2))
    stack = Stack([run.model for run in runs])
    optimizers = [
        torch.optim.AdamW(
            run.model.parameters(), lr=run.member.point.lr, weight_decay=run.member.point.weight_decay, fused=False
        )
        for run in others
    ]
    cosine = [torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=25, eta_min=1e-6) for o in optimizers]
    for step in range(1, 26):
        vmap._step(stack, runs, setting.recipe, step, 25)
        for run, other, optimizer in zip(runs, others, optimizers, strict=True):
            inputs, targets = next(other.batches)
            optimizer.zero_grad()
            F.cross_entropy(other.model(inputs).flatten(0, 1), targets.flatten()).backward()
            optimizer.step()
            torch.testing.assert_close(weights(run.model), weights(other.model), rtol=1e-4, atol=1e-5)
        for scheduler in cosine if schedule == "cosine" else ():
            scheduler.step()


@pytest.fixture
def sizes(monkeypatch):
    """The number of models in each stack that is made, without those of the check."""
    seen = []

    class Counted(Stack):
        def __init__(self, models):
            super().__init__(models)
            seen.append(len(models))

    monkeypatch.setattr(vmap, "Stack", Counted)
    monkeypatch.setattr(vmap, "check", lambda *_: None)
    return seen


def test_a_member_that_has_ended_leaves_the_stack(sizes):
    """And the others go on as if it had never been there."""
    setting = make_setting(steps=60, solved_at=0.7)
    found = train(setting=setting, members=members_of(setting, [POINT, NEVER, WILD]))
    assert found[0][0].steps < found[1][0].steps == 60
    assert str(found[2]) == "the loss is nan at step 10 (lr 1e+30)"
    assert sizes[0] == 3
    assert sizes[-1] == 1
    assert sorted(sizes, reverse=True) == sizes


@pytest.mark.parametrize("place", [0, 1])
def test_a_member_that_diverges_does_not_harm_the_others(place):
    """Wherever it stands in the stack; it alone becomes an error, the loop's."""
    setting = make_setting()
    points = [POINT, Point(lr=0.003)]
    members = members_of(setting, [*points[:place], WILD, *points[place:]])
    found = train(setting=setting, members=members)
    for outcome, member in zip(found, members, strict=True):
        assert_same(outcome, alone(Tiny, setting, member))
    assert isinstance(found[place], TrialError)


def test_a_stack_of_diverging_members_is_a_list_of_errors():
    found = train(members=members_of(make_setting(), [WILD, Point(lr=1e31)]))
    assert all(isinstance(outcome, TrialError) for outcome in found)


def test_time_that_runs_out_ends_every_member_that_goes_on():
    """One that ends at that moment has its score, as in the loop."""
    found = train(setting=make_setting(steps=10), deadline=0.0)
    assert [trial.stopped for trial, _ in found] == ["budget"] * 3
    found = train(deadline=0.0)
    said = re.compile(r"out of time at step 10 of 25, with a normalised validation score of -?\d\.\d{3}")
    assert len(found) == 3 and all(said.fullmatch(str(outcome)) for outcome in found)
    assert all(isinstance(outcome, OutOfTimeError) for outcome in found)


def test_the_stack_ends_when_the_outcomes_so_far_are_enough(sizes):
    """Those that a loop would have trained, in their order: a later member that was quicker does not count."""
    setting = make_setting(steps=60, solved_at=0.7)
    asked = []

    def enough(outcomes):
        asked.append(len(outcomes))
        return any(not isinstance(outcome, TrialError) for outcome in outcomes)

    found = train(setting=setting, members=members_of(setting, [WILD, POINT, NEVER]), enough=enough)
    assert len(found) == 2
    assert found[1][0].stopped == "solved"
    assert asked == [1, 2]


def test_a_member_behind_one_that_goes_on_is_not_enough():
    setting = make_setting(steps=60, solved_at=0.7)
    found = train(setting=setting, members=members_of(setting, [NEVER, POINT]), enough=bool)
    assert [trial.point for trial, _ in found] == [NEVER]


def test_progress_is_told_after_every_evaluation():
    seen = []
    found = train(progress=lambda *what: seen.append(what))
    assert [(step, total) for step, total, _ in seen] == [(10, 25), (20, 25), (25, 25)]
    assert seen[-1][2] == max(trial.curve[-1][1] for trial, _ in found)


def test_the_models_that_come_back_own_their_weights():
    """And neither the gradients nor the stack stay in memory."""
    found = train()
    for _, model in found:
        for weight in model.parameters():
            assert weight.grad is None
            assert weight.untyped_storage().nbytes() == weight.numel() * 4


def test_generators_and_threads_are_left_as_they_were():
    torch.manual_seed(1), np.random.seed(2), random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
    train()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads())


class Normalised(Tiny):
    """With running statistics, updated in place. A bias in front has no gradient but rounding, which Adam blows up."""

    def __init__(self):
        super().__init__()
        self.head.bias.requires_grad_(False)
        self.norm = nn.BatchNorm1d(32)

    def forward(self, tokens):
        return self.norm(super().forward(tokens).transpose(1, 2)).transpose(1, 2)


class Tied(Tiny):
    """One weight under two names, one that is frozen, and one that nothing uses."""

    def __init__(self):
        super().__init__()
        self.again = self.embed
        self.hidden.bias.requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, tokens):
        return super().forward(tokens) + self.again(tokens).sum(-1, keepdim=True)


@pytest.mark.parametrize("build", [Normalised, Tied])
def test_buffers_and_odd_parameters_are_what_they_are_alone(build):
    """Also a weight that is shared, frozen or unused, on which weight decay must not work."""
    setting = make_setting()
    members = members_of(setting)
    for outcome, member in zip(train(build, setting, members), members, strict=True):
        assert_same(outcome, alone(build, setting, member))


class Double(torch.autograd.Function):
    """Knows nothing of vmap."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


class Stochastic(Tiny):
    def forward(self, tokens):
        return super().forward(tokens) * (0.5 + random.random())


class Branching(Tiny):
    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits if logits.sum() > 1e9 else 2 * logits


class Counting(Tiny):
    calls = 0

    def forward(self, tokens):
        self.calls += 1
        return super().forward(tokens)


class Replacing(Tiny):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, tokens):
        self.calls = self.calls + 1
        return super().forward(tokens)


class Keeping(Tiny):
    kept = 0.0

    def forward(self, tokens):
        logits = super().forward(tokens) + self.kept
        self.kept = logits.detach().mean()
        return logits


class Custom(Tiny):
    def forward(self, tokens):
        return Double.apply(super().forward(tokens))


class Individual(Tiny):
    """Has a number of its own that is no tensor."""

    def __init__(self):
        super().__init__()
        self.scale = 1.0 + random.random()

    def forward(self, tokens):
        return super().forward(tokens) * self.scale


REFUSALS = {
    "dropout": (lambda: Tiny(dropout=0.1), "draws random numbers, as dropout does"),
    "chance": (Stochastic, "draws random numbers"),
    "branch": (Branching, "torch.func.vmap does not run it: .*data-dependent control flow"),
    "counter": (Counting, "^calls changes when the model is called, and is no buffer"),
    "buffer": (Replacing, "the buffer calls is updated otherwise under vmap"),
    "memory": (Keeping, "^kept changes when the model is called, and is no buffer"),
    "autograd": (Custom, "torch.func.vmap does not run it: .*autograd.Function"),
    "own number": (Individual, r"its losses under vmap are [\d., ]+ instead of [\d., ]+"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_model_that_cannot_be_stacked_is_refused_with_its_reason(what):
    """In one line, before any training."""
    build, reason = REFUSALS[what]
    seen = []
    with pytest.raises(EngineError, match=reason) as caught:
        train(build, progress=lambda *_: seen.append(1))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300
    assert not seen


def test_memory_that_runs_out_is_no_reason_of_the_engines():
    """It is told as what it is."""

    class Greedy(Tiny):
        def forward(self, tokens):
            raise MemoryError("can't allocate memory")

    with pytest.raises(MemoryError):
        train(Greedy)
