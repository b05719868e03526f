"""Mistakes that happen, planted in the reference architectures (``benchmarks.gate.defects``), and the contracts that find them.

Those that none finds cost a capability, if anything, and are for the scores to tell: see ``benchmarks.gate``.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks.gate.defects import BASES, PLANTED
from pytest_mad.common.determinism import seeded
from tests.unit.contracts.models import HARD, all_broken
from tests.unit.tiny import make_setting

GUARDED = {"causality"}
MIXED = {"batch-independence"}
#: What each change breaks; nothing, if it does not stand here.
BROKEN = {
    "mask one ahead": GUARDED,
    "mask one behind": GUARDED,
    "masked after the softmax": GUARDED,
    "mask of ones instead of infinity": GUARDED,
    "softmax over queries": GUARDED,
    "softmax over heads": GUARDED,
    "softmax over the batch": MIXED,
    "scores left out": {"gradients"},
    "heads made of time": GUARDED,
    "all heads read the first group": {"gradients"},
    "detached values": {"gradients"},
    "dropout left on": {"repeatability"},
    "norm over time": GUARDED,
    "norm over the batch": MIXED,
    "detached norms": {"gradients"},
    "detached embedding": {"gradients"},
    "last layer skipped": {"gradients"},
    "SwiGLU times zero": {"gradients"},
    "state reset between chunks": {"state"},
    "decay that never decays": {"gradients"},
    "decay in the step only": {"state"},
    "detached beta": {"gradients"},
    "no beta": {"gradients"},
    "convolution one ahead": GUARDED,
    "convolution one late": {"state"},
    "state not reset": {"repeatability"},
    "no rates": {"gradients"},
    "no gate": {"gradients"},
    "detached steps": {"gradients"},
    "steps without softplus": {"finite"},
    "no skip connection": {"gradients"},
    "read backwards": GUARDED,
    "batch and time confused": MIXED,
    "convolution that wraps around": GUARDED,
    "filters read backwards": {"state"},
    "filters one late": {"gradients"},
    "detached filters": {"gradients"},
    "filters without the skip": {"gradients"},
    "inner gate left out": {"gradients"},
    "no short convolution": {"gradients"},
    "all queries read the first group": {"gradients"},
    "detached keys of the groups": {"gradients"},
    "values one position late": {"state"},
    "groups made of time": GUARDED,
    "the same experts for all": {"gradients"},
    "router over time": GUARDED,
    "router over the batch": MIXED,
    "routed one late": {"state"},
    "detached router": {"gradients"},
    "hard choice of one expert": {"gradients"},
    "noise on the router left on": {"repeatability"},
    "tokens dropped from a full expert": MIXED,
    "experts chosen blindly": {"gradients"},
}
#: Refactorings that give parts another name: another model from the same seed, and as good.
RELABELLED = {
    "heads joined in another order", "keys and values of the next head", "keys and queries trade places",
    "branches trade places", "keys and values of the other group", "groups tiled", "channels read as experts",
    "experts in another order",
}  # fmt: skip

CONTRACTS = (*HARD, "state")
SHORT = make_setting(
    "selective-copying", {"vocab_size": 8, "seq_len": 8, "num_tokens_to_copy": 2, "num_test_examples": 9}
)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_found_by_the_contracts_that_it_breaks(name):
    """And what changes nothing, or nothing that a contract is about, by none."""
    expected = BROKEN.get(name, set())
    found = all_broken(PLANTED[name].architecture(), SHORT, expected or CONTRACTS)
    assert {name for name, verdict in found.items() if verdict.outcome == "fail"} == expected, found


def test_all_expectations_are_about_a_change():
    assert BROKEN.keys() <= PLANTED.keys()
    assert not BROKEN.keys() & {name for name, change in PLANTED.items() if change.is_refactoring}


def test_there_are_enough_of_both():
    refactorings = [change for change in PLANTED.values() if change.is_refactoring]
    assert len(refactorings) >= 8
    assert len(PLANTED) - len(refactorings) >= 35


def both(change, task):
    """Logits of a base and of its changed copy, drawn from one seed, on sequences longer than any chunk here."""
    tokens = torch.randint(0, 8, (4, 48), generator=torch.Generator().manual_seed(0))
    models = []
    for make_model in (BASES[change.base], change.make_model):
        with seeded("refactoring"):
            models.append(make_model(task=task, vocab_size=8, max_length=48).eval())
    with torch.no_grad():
        return [model(tokens) for model in models]


@pytest.mark.parametrize("task", ["selective-copying", "compression"])
@pytest.mark.parametrize("name", [name for name, change in PLANTED.items() if change.is_refactoring])
def test_a_refactoring_computes_the_same(name, task):
    """Within rounding; what relabels parts computes something else from the same weights."""
    before, after = both(PLANTED[name], task)
    assert torch.allclose(before, after, atol=1e-3) is (name not in RELABELLED)
