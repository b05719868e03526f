"""Limits of parameters and of state, where there are any."""

from __future__ import annotations

import pytest

from pytest_mad.evaluation.options import ContractOptions
from tests.unit.contracts.models import COMPRESSION, D, Model, Recurrent, T, V, ask

PARAMETERS = V * D + T * D + D * V + V


class Growing(Recurrent):
    def state_size(self):
        return None


@pytest.mark.parametrize(("max_params", "max_state"), [(PARAMETERS, None), (None, D), (PARAMETERS, D), (10**9, 10**9)])
def test_what_a_limit_allows_passes(max_params, max_state):
    """The limit itself too."""
    assert ask(Recurrent, "budget", max_params=max_params, max_state=max_state) == ("pass", "")


def test_a_parameter_too_many_is_found():
    found = ask(Recurrent, "budget", max_params=PARAMETERS - 1)
    assert found == ("fail", f"{PARAMETERS} parameters are more than the {PARAMETERS - 1} allowed")


def test_large_numbers_can_be_read():
    class Wide(Model):
        def __init__(self, vocab_size, max_length):
            super().__init__(vocab_size, 2**17)
            self.embed = type(self.embed)(2**17, D)

    assert "2,09" in ask(Wide, "budget", max_params=1000).detail
    assert ask(Wide, "budget", max_params=1000).detail.endswith(" parameters are more than the 1,000 allowed")


def test_tied_weights_count_once():
    class Tied(Recurrent):
        def __init__(self, vocab_size, max_length):
            super().__init__(vocab_size, max_length)
            self.head.weight = self.embed.weight

    assert ask(Tied, "budget", max_params=PARAMETERS - V * D) == ("pass", "")
    assert ask(Tied, "budget", max_params=PARAMETERS - V * D - 1).outcome == "fail"


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (Recurrent, f"a state of {D} floats is more than the {D - 1} allowed"),
        (Growing, f"the state grows with the sequence, and {D - 1} floats are allowed"),
        (Model, "the state cannot be counted: the model has no state_size()"),
    ],
    ids=["too large", "growing", "unknown"],
)
def test_a_state_that_is_too_large_or_unknown_is_found(build, reason):
    assert ask(build, "budget", max_state=D - 1) == ("fail", reason)


def test_both_limits_hold():
    """The parameters are counted first."""
    assert "parameters" in ask(Recurrent, "budget", max_params=1, max_state=1).detail
    assert "state" in ask(Recurrent, "budget", max_params=10**6, max_state=1).detail


def test_for_compression_the_encoders_state_counts():
    assert ask(Recurrent, "budget", COMPRESSION, max_state=D) == ("pass", "")


def test_without_a_limit_a_run_has_no_budget():
    assert "budget" not in ContractOptions().names()
    assert ContractOptions(max_params=1).names()[-1] == ContractOptions(max_state=1).names()[-1] == "budget"
    assert ask(Model, "budget") == ("skipped", "no limit is set: give --mad-max-params or --mad-max-state")


def test_a_stated_limit_is_enforced():
    assert ContractOptions(max_params=1).mode("budget").name == "fail"
