"""AdamW without torch's compiler: torch's own steps, and an import less."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from pytest_mad.training.optimizer import AdamW

TRAINING = """
import sys
import torch
from torch import nn
from pytest_mad.training.trial import make_optimizer
from tests.unit.tiny import POINT, make_setting

model = nn.Linear(4, 4)
optimizer = make_optimizer(model, make_setting().recipe, POINT)
for _ in range(2):
    optimizer.zero_grad(set_to_none=True)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("fused", [True, None])
def test_its_steps_are_torchs(fused):
    """Bit for bit, the state that a checkpoint keeps included; and no gradient is asked of a step."""
    found = []
    for kind in (AdamW, torch.optim.AdamW):
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        optimizer = kind(model.parameters(), lr=0.01, weight_decay=0.1, betas=(0.9, 0.98), fused=fused)
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            assert model.weight.grad is None
            model(torch.randn(4, 5)).square().sum().backward()
            optimizer.step()
        found.append([*model.state_dict().values(), *_tensors(optimizer.state_dict()["state"])])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert len(found[0]) == 2 + 2 * 3


def _tensors(states):
    return [tensor for state in states.values() for tensor in state.values()]


def test_a_training_imports_no_compiler():
    done = subprocess.run([sys.executable, "-c", TRAINING], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
