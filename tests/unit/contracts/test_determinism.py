"""The same model, the same answer: in any order, whatever was drawn before, and nothing is left behind."""

from __future__ import annotations

import copy
import functools
import random
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.contracts.base import ContractError, contracts
from pytest_mad.contracts.checking import falsify
from pytest_mad.evaluation.contract import check
from tests.unit.contracts.models import ALL, D, Model, Recurrent, ask, case, subject_of
from tests.unit.contracts.test_batch_independence import AttentionOverBatch
from tests.unit.contracts.test_causality_item import OneTooFar, with_attention

from . import test_gradients as gradients
from . import test_lengths as lengths
from . import test_repeatability as repeatability
from . import test_state as state

BROKEN = [
    with_attention(OneTooFar),
    AttentionOverBatch,
    repeatability.StateNotReset,
    repeatability.DropoutLeftOn,
    gradients.HalfUsed,
    lengths.UpToSix,
    state.Forgetful,
]
SOUND = [Model, Recurrent, repeatability.Dropout, repeatability.LayerDrop, gradients.Experts]


class DropoutUntilItBreaks(Model):
    """What fails depends on what is drawn: which units a step drops."""

    def mix(self, x):
        x = torch.nn.functional.dropout(super().mix(x), 0.5, self.training)
        return x / x.norm(dim=-1, keepdim=True).where(torch.rand(x.shape[1], 1) > 0.01, 0.0)


def verdicts(build, names=ALL):
    """Asked anew: nothing is remembered."""
    check.cache_clear()
    return {name: ask(build, name) for name in names}


def disturb(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def random_states():
    return torch.get_rng_state().tolist(), random.getstate(), [str(part) for part in np.random.get_state()]


@pytest.mark.parametrize("build", [*BROKEN, *SOUND], ids=lambda build: build.__name__)
def test_the_same_twice_and_in_any_order(build):
    """Broken or not, and down to the numbers in the message."""
    disturb(0)
    first = verdicts(build)
    disturb(1)
    second = verdicts(build, ALL[::-1])
    assert first == second


@pytest.mark.parametrize("build", [DropoutUntilItBreaks, repeatability.Dropout], ids=lambda build: build.__name__)
@pytest.mark.parametrize("contract", ["finite", "gradients"])
def test_random_numbers_in_training_give_the_same_verdict(build, contract):
    """Seeded, as the recipe's training is."""
    found = set()
    for seed in range(4):
        disturb(seed)
        found.add(verdicts(build, [contract])[contract])
    assert len(found) == 1


@pytest.mark.parametrize("build", [BROKEN[0], *BROKEN[3:5], *SOUND], ids=lambda build: build.__name__)
def test_no_random_state_moves(build):
    """Torch's, Python's and NumPy's."""
    check.cache_clear()
    moved = []
    for name in ALL:
        before = random_states()
        ask(build, name)
        moved += [name] * (random_states() != before)
    assert not moved


def test_nothing_is_written(tmp_path, monkeypatch):
    """Hypothesis keeps no notes, whatever it finds."""
    monkeypatch.chdir(tmp_path)
    for build in (lengths.UpToSix, Model):
        verdicts(build)
    assert not list(tmp_path.iterdir())


def test_what_a_factory_does_to_the_global_state_stays_in_it():
    """It seeds, sets dtypes and counts; the second of two models is the first."""
    built = Counter()

    def make_model(vocab_size, max_length):
        built["models"] += 1
        torch.manual_seed(built["models"])
        np.random.seed(0)
        return Model(vocab_size, max_length)

    before = random_states()
    assert {verdict.outcome for verdict in verdicts(make_model).values()} <= {"pass", "skipped", "fail"}
    assert random_states() == before and built["models"] >= len(ALL)


def one_model():
    model = Model()
    return lambda: model


def one_embedding():
    embed = Model().embed

    def make_model():
        model = Model()
        model.embed = embed
        return model

    return make_model


@pytest.mark.parametrize(
    ("factory", "what"),
    [
        (one_model(), "the same model again"),
        (functools.cache(Model), "the same model again"),
        (one_embedding(), "a model with weights of an earlier one again"),
    ],
)
def test_a_factory_that_gives_one_model_again_and_again_is_told_so(factory, what):
    """Its second training would begin where the first ended. It is said once, in the first contract."""
    found = verdicts(factory, ["output", "causality", "finite"])
    assert {verdict.outcome for verdict in found.values()} == {"error"}
    assert all(f" returned {what}: each call must build a new model" in verdict.detail for verdict in found.values())


def test_models_may_share_a_table_that_is_not_trained():
    """As of positions."""
    table = nn.Parameter(torch.randn(8, D), requires_grad=False)

    def make_model():
        model = Model()
        model.register_parameter("table", table)
        return model

    found = verdicts(make_model, ["output", "causality", "finite"])
    assert {verdict.outcome for verdict in found.values()} == {"pass"}


@pytest.mark.parametrize("name", ["output", "causality", "batch-independence", "lengths", "state", "autocast"])
def test_checks_that_do_not_train_leave_a_model_as_it_was(name):
    subject = subject_of(Recurrent)
    model = subject.build(0)
    before = copy.deepcopy(model.state_dict())
    contracts()[name].check(type(subject)(**{**vars(subject), "build": lambda seed: model}))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_tokens_depend_on_the_draw_alone():
    """Not on the model, nor on what was drawn before."""
    one, other = subject_of(Model), subject_of(Recurrent)
    a = one.tokens(3, 5)
    disturb(3)
    assert torch.equal(a, other.tokens(3, 5)) and a.shape == (3, 5)
    assert not torch.equal(a, one.tokens(3, 5, seed=1))
    assert one.tokens(2).shape == (2, one.length)


@pytest.mark.parametrize("smallest", [1, 2, 7, 20, 40])
def test_the_smallest_case_is_what_is_told(smallest):
    """However large the one was that was found first."""

    def at_most(n):
        if n >= smallest:
            raise ContractError(f"{n} is too many")

    with pytest.raises(ContractError) as found:
        falsify(at_most, range(1, 49))
    assert str(found.value) == f"{smallest} is too many"


def test_a_case_that_fails_in_two_ways_gives_one():
    """The smallest of all, and no group of exceptions."""

    def check_both(n):
        if n >= 10:
            raise ContractError("ten")
        if n >= 5:
            raise RuntimeError("five")

    with pytest.raises((ContractError, RuntimeError)) as found:
        falsify(check_both, range(1, 49))
    assert str(found.value) in ("ten", "five")


def test_a_failure_that_does_not_come_again_is_told_as_it_was():
    """Half of all models that are not repeatable are so only now and then."""
    calls = Counter()

    def once(n):
        calls["all"] += 1
        if calls["all"] == 3:
            raise ContractError("the third call")

    with pytest.raises(ContractError) as found:
        falsify(once, range(1, 49))
    assert str(found.value) == "the third call"


@pytest.mark.parametrize("count", [1, 2, 6, 10, 11, 48, 500])
def test_cases_are_spread_from_end_to_end(count):
    """All of a few, none twice; of many the first, the last, even ones and odd ones, and in every fifth some."""
    seen = []
    falsify(seen.append, range(count), most=10)
    assert seen == sorted(set(seen)) and len(seen) == min(count, 10)
    assert {0, count - 1} <= set(seen)
    if count > 10:
        assert {case % 2 for case in seen} == {0, 1}
        assert {case * 5 // count for case in seen} == {0, 1, 2, 3, 4}


def test_the_cache_is_per_question():
    """One architecture, setting and contract; another factory of the same name is another architecture."""
    check.cache_clear()
    architecture = from_factory(Model, name="model")
    first = check("output", case(architecture), None)
    assert check("output", case(architecture), None) is first
    assert check("output", case(from_factory(Model, name="model")), None) is not first
