"""How contracts are run: modes, the first broken one, what is remembered, and errors from the user's code."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.common.records import plain
from pytest_mad.contracts import base
from pytest_mad.contracts.base import ContractError, NotApplicableError, contracts, register_contract
from pytest_mad.evaluation.contract import check, first_broken, run_contract
from pytest_mad.evaluation.options import ContractOptions, Mode
from pytest_mad.results.result import ContractResult
from tests.unit.contracts.models import ALL, COMPRESSION, CPU, HARD, SETTING, SIZES, Attention, Model, T
from tests.unit.contracts.test_causality_item import Unmasked, with_attention
from tests.unit.contracts.test_gradients import Detached, Unused
from tests.unit.contracts.test_lengths import Eights
from tests.unit.tiny import make_setting

LEAKY = with_attention(Unmasked)


def run(build, name, trained=SETTING, modes=(), **options):
    """The result and the traceback of one contract."""
    architecture = from_factory(build, name="mine")
    return run_contract(architecture, trained, name, ContractOptions(modes=tuple(modes), **options), CPU)


def first(build, setting=SETTING, modes=(), **options):
    return first_broken(from_factory(build, name="mine"), setting, ContractOptions(modes=tuple(modes), **options), CPU)


def said(result):
    """Without the way out, which every failure ends with."""
    before, _, after = result.detail.partition(" (to go on without it: ")
    assert after == f"--mad-contract={result.contract}=off:REASON)"
    return before


@pytest.fixture
def registry():
    """What a test registers is forgotten after it."""
    known = dict(base._CONTRACTS._entries)
    yield
    base._CONTRACTS._entries.clear()
    base._CONTRACTS._entries.update(known)
    check.cache_clear()


def test_the_contracts_and_how_much_they_matter():
    """In the order in which they are asked: an output that is no output has nothing else to say."""
    assert tuple(contracts()) == (*ALL, "budget")
    assert tuple(name for name, contract in contracts().items() if contract.hard) == (*HARD, "budget")


def test_a_kept_contract_passes_without_a_word():
    result, traceback = run(Model, "output")
    assert (result.verdict, result.detail, traceback) == ("pass", "", "")
    assert result.passed and not result.warned
    assert (result.architecture, result.contract) == ("mine", "output")


def test_a_hard_contract_fails():
    result, traceback = run(LEAKY, "causality")
    assert result.verdict == "fail" and not result.passed and not result.warned and not traceback
    assert result.explain() == f"mine, contract causality: fail: {result.detail}"
    assert result.detail.startswith("not causal: ")


def test_a_soft_one_warns():
    result, _ = run(Eights, "lengths")
    assert result.verdict == "pass" and result.passed and result.detail == ""
    assert result.warned == ("a batch of 2 sequences of 1 token raises ValueError: the length must be a multiple of 8",)
    assert result.explain() == f"mine, contract lengths: pass: warning: {result.warned[0]}"


@pytest.mark.parametrize(("build", "name"), [(LEAKY, "causality"), (Eights, "lengths")])
def test_the_users_mode_stands_above_the_contracts_own(build, name):
    outcomes = {mode: run(build, name, modes=[(name, Mode(mode, "why"))])[0] for mode in ("fail", "warn", "off")}
    assert {mode: r.verdict for mode, r in outcomes.items()} == {"fail": "fail", "warn": "pass", "off": "skipped"}
    assert outcomes["warn"].warned and not outcomes["off"].warned
    assert outcomes["off"].detail == "switched off: why"


def test_a_contract_that_is_off_is_not_asked():
    built = Counter()

    def make_model():
        built["models"] += 1
        return Model()

    result, _ = run(make_model, "gradients", modes=[("gradients", Mode("off", "frozen on purpose"))])
    assert result.detail == "switched off: frozen on purpose" and not built and result.seconds == 0


def test_a_mode_is_for_one_contract():
    options = ContractOptions(modes=(("lengths", Mode("fail")),))
    assert options.mode("lengths") == ("fail", "") and options.mode("state") == ("warn", "")
    assert options.mode("causality") == ("fail", "")


def test_what_does_not_apply_is_skipped_in_every_mode():
    for mode in ("fail", "warn"):
        result, _ = run(Model, "state", modes=[("state", Mode(mode))])
        assert result.verdict == "skipped"
        assert result.detail == "the model has no init_state(batch) and step(tokens, state)"


def test_the_first_broken_contract_ends_it_all():
    assert first(Model) is None
    assert first(LEAKY).startswith("contract causality is broken: not causal: ")
    assert first(Detached).startswith("contract gradients is broken: no gradient reaches extra.weight, extra.bias (")


def test_soft_and_switched_off_ones_do_not():
    assert first(Eights) is None
    assert first(LEAKY, modes=[("causality", Mode("warn"))]) is None
    assert first(LEAKY, modes=[("causality", Mode("off", "prefix model"))]) is None
    assert first(Eights, modes=[("lengths", Mode("fail"))]).startswith(
        "contract lengths is broken: a batch of 2 sequences of 1 token raises"
    )


def test_the_budget_is_the_last():
    assert first(Model, max_params=10**6) is None
    assert first(Model, max_params=10).startswith("contract budget is broken: 2,")
    assert first(Unused, max_params=10).startswith("contract gradients is broken: ")


def test_the_first_broken_one_builds_no_model_for_the_others():
    """Soft ones are not asked: to ask one afterwards takes a model more, which a hard one does not."""
    asked = []

    def make_model(vocab_size, max_length):
        asked.append(max_length)
        return Eights(vocab_size, max_length)

    architecture = from_factory(make_model, name="mine")
    assert first_broken(architecture, SETTING, ContractOptions(), CPU) is None
    before = len(asked)
    run_contract(architecture, SETTING, "output", ContractOptions(), CPU)
    assert len(asked) == before
    run_contract(architecture, SETTING, "lengths", ContractOptions(), CPU)
    assert len(asked) == before + 1


def test_they_are_checked_at_the_sizes_of_the_options_setting():
    """Or of the one that is trained."""
    sizes = set()

    def make_model(vocab_size, max_length):
        sizes.add((vocab_size, max_length))
        return Model(vocab_size, max_length)

    small = make_setting("memorization", SIZES | {"vocab_size": 6, "seq_len": 4})
    run(make_model, "output", small)
    assert sizes == {(6, 4)}
    sizes.clear()
    run(make_model, "output", SETTING, setting=small)
    assert sizes == {(6, 4)}


def test_a_question_is_asked_once_per_process():
    """Every training item asks again."""
    built = Counter()

    def make_model(vocab_size, max_length):
        built["models"] += 1
        return Model(vocab_size, max_length)

    architecture = from_factory(make_model, name="mine")
    options = ContractOptions(setting=SETTING)
    other = make_setting("memorization", SIZES)
    first_broken(architecture, SETTING, options, CPU)
    once = built["models"]
    for setting in (SETTING, other, COMPRESSION):
        first_broken(architecture, setting, options, CPU)
    assert built["models"] == once
    first_broken(architecture, other, ContractOptions(), CPU)
    assert built["models"] > once


def test_modes_judge_what_is_remembered_anew():
    architecture = from_factory(LEAKY, name="mine")
    results = [
        run_contract(architecture, SETTING, "causality", ContractOptions(modes=(("causality", Mode(mode)),)), CPU)[0]
        for mode in ("fail", "warn", "fail")
    ]
    assert [r.verdict for r in results] == ["fail", "pass", "fail"]
    assert results[0] == results[2] and results[1].seconds == results[0].seconds


def raise_in_factory(vocab_size, max_length):
    raise KeyError("no such width")


class RaisesInForward(Model):
    def forward(self, tokens):
        return self.user_function(tokens)

    def user_function(self, tokens):
        if len(tokens) == 3:
            raise RuntimeError("three is too many\nsecond line")
        return super().forward(tokens)


class RaisesInBackward(Model):
    """A custom function whose backward does not fit."""

    class Identity(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise ArithmeticError("no way back")

    def forward(self, tokens):
        return self.Identity.apply(super().forward(tokens))


class NoGraph(Model):
    @torch.no_grad()
    def forward(self, tokens):
        return super().forward(tokens)


def test_a_factory_that_raises_is_an_error_with_its_traceback():
    result, traceback = run(raise_in_factory, "output")
    assert result.verdict == "error"
    assert result.detail == "raise_in_factory raised KeyError: 'no such width'"
    assert "in raise_in_factory" in traceback and "pytest_mad" not in traceback
    assert not result.passed


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("output", "a batch of 3 sequences"),
        ("batch-independence", "a batch of 3 sequences of 16 tokens"),
        ("repeatability", "a batch of 3 sequences of 16 tokens"),
    ],
)
def test_the_traceback_begins_in_the_users_code(name, case):
    """Neither ours, nor torch's, nor Hypothesis'."""
    result, traceback = run(RaisesInForward, name)
    assert (result.verdict, said(result)) == ("fail", f"{case} raises RuntimeError: three is too many")
    assert "in user_function" in traceback
    frames = [line for line in traceback.splitlines() if line.startswith("  File ")]
    assert "test_contract_executor.py" in frames[0], traceback


def test_what_the_backward_pass_raises_is_found():
    result, traceback = run(RaisesInBackward, "gradients")
    assert (result.verdict, said(result)) == ("fail", "a training step raises ArithmeticError: no way back")
    assert "in backward" in traceback


def test_a_model_without_a_graph_does_not_pass():
    for name in ("finite", "gradients"):
        assert run(NoGraph, name)[0].verdict in ("fail", "error")


def test_an_error_is_one_in_every_mode():
    """A warning is for what a contract found, not for a model that cannot be asked."""
    for mode in ("fail", "warn"):
        result, _ = run(raise_in_factory, "output", modes=[("output", Mode(mode))])
        assert result.verdict == "error"


def test_a_broken_factory_is_left_to_the_training_item():
    """Which reports it as the error that it is."""
    assert first(raise_in_factory) is None


def test_a_wrong_shape_is_the_models_error():
    class Flat(Model):
        def forward(self, tokens):
            return super().forward(tokens).flatten(0, 1)

    result, _ = run(Flat, "output")
    assert result.verdict == "error"
    assert result.detail.startswith("wrong rank: the model of ")


def test_a_model_without_a_vector_is_skipped():
    """Where only compression is asked for."""

    class Table(torch.nn.Module):
        def __init__(self, vocab_size):
            super().__init__()
            self.table = torch.nn.Parameter(torch.randn(vocab_size, vocab_size))

        def forward(self, tokens):
            return self.table[tokens]

    for name in ("output", "batch-independence", "repeatability", "finite", "gradients", "autocast"):
        result, _ = run(Table, name, COMPRESSION)
        reason = "compression needs one vector to decode" if name == "output" else "there is no model to check: "
        assert result.verdict == "skipped" and result.detail.startswith(reason)
    assert first(Table, COMPRESSION) is None


def test_a_users_own_contract_joins(registry):
    """Behind ours; hard unless it says otherwise."""

    @register_contract("small")
    def small(subject):
        parameters = sum(p.numel() for p in subject.build(0).parameters())
        if parameters > 100:
            raise ContractError(f"{parameters} parameters")

    @register_contract("never", hard=False)
    def never(subject):
        raise NotApplicableError("not today")

    assert list(contracts())[-2:] == ["small", "never"] == ContractOptions().names()[-2:]
    assert said(run(Model, "small")[0]).endswith(" parameters")
    assert run(Model, "small")[0].verdict == "fail" and first(Model).startswith("contract small is broken: ")
    assert run(Model, "never")[0].verdict == "skipped"
    assert run(Model, "small", modes=[("small", Mode("warn"))])[0].warned


def test_a_name_can_be_taken_once(registry):
    with pytest.raises(ValueError, match=r"^contract 'causality' is already registered by pytest_mad\."):

        @register_contract("causality")
        def mine(subject):
            pass


def test_a_contract_of_the_users_that_raises_is_an_error(registry):
    @register_contract("odd")
    def odd(subject):
        raise ZeroDivisionError("oops")

    result, traceback = run(Model, "odd")
    assert (result.verdict, result.detail) == ("error", "checking raised ZeroDivisionError: oops")
    assert "in odd" in traceback


def test_a_result_is_plain_values():
    result = ContractResult(architecture="a", contract="output", verdict="pass")
    assert plain(result) == {
        "architecture": "a",
        "contract": "output",
        "verdict": "pass",
        "detail": "",
        "warned": [],
        "attempts": [],
        "seconds": 0.0,
        "stored": False,
    }


def test_threads_are_as_they_were():
    """A CPU computes on one, and gets its others back."""
    seen = []

    class Counting(Model):
        def forward(self, tokens):
            seen.append(torch.get_num_threads())
            return super().forward(tokens)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(Counting, "output")
        assert torch.get_num_threads() == 2 and set(seen) == {1}
    finally:
        torch.set_num_threads(before)


def test_the_helper_models_are_as_long_as_the_setting():
    assert SETTING.params.seq_len == T and Attention().hidden(2).tolist() == [[False, True], [False, False]]
