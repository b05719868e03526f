"""``--mad-layers`` and ``--mad-mixer``: the plugin's backbone around the user's layers."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from pytest_mad.architectures.architecture import TargetError
from pytest_mad.architectures.targets import from_layers, from_mixer
from pytest_mad.architectures.wrappers import ModelError
from tests.unit.tiny import make_setting

SETTING = make_setting()
TOKENS = torch.zeros(2, 8, dtype=torch.int64)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("attention,swiglu,atention", "unknown layer 'atention'; did you mean 'attention'"),
        ("attention,,swiglu", "unknown layer ''"),
        ("", "unknown layer ''"),
        ("a b=attention", "the name 'a b'"),
    ],
)
def test_a_stack_of_unknown_layers_is_refused(value, message):
    """In one line, with the nearest layer."""
    with pytest.raises(TargetError) as caught:
        from_layers(value)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_stack_of_layers_is_a_model_of_the_setting_s_width():
    """Named after its layers, or as it is told; spaces do not matter."""
    architecture = from_layers("attention, swiglu")
    assert architecture.name == "attention-swiglu"
    assert from_layers("mine=attention,swiglu").name == "mine"
    model = architecture.build(replace(SETTING, embedding_std=0.5))
    assert model(TOKENS).shape == (2, 8, 32)
    assert model.trunk.token_embeds.weight.shape == (32, SETTING.width)
    assert model.trunk.token_embeds.weight.std().item() == pytest.approx(0.5, rel=0.1)


MIXERS = """
from torch import nn

class Mixer(nn.Module):
    def __init__(self, {parameters}):
        super().__init__()
        self.sizes = ({width}, {length})

    def forward(self, x):
        return {output}
"""


@pytest.fixture
def mixers(tmp_path, monkeypatch):
    """Writes a module with a mixer and returns its target."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(parameters, width="None", length="None", output="x"):
        text = MIXERS.format(parameters=parameters, width=width, length=length, output=output)
        (tmp_path / "mixers_of_a_test.py").write_text(text)
        return "mixers_of_a_test:Mixer"

    yield write
    sys.modules.pop("mixers_of_a_test", None)


@pytest.mark.parametrize(
    ("parameters", "width", "length"),
    [
        ("dim", "dim", "None"),
        ("d_model, max_len", "d_model", "max_len"),
        ("hidden_size, seq_len=3, heads=2", "hidden_size", "seq_len"),
        ("embed_dim, *, l_max", "embed_dim", "l_max"),
        ("dim, max_length, **rest", "dim", "max_length"),
    ],
)
def test_a_mixer_is_built_with_the_names_that_its_field_uses(mixers, parameters, width, length):
    """Width, and length where it takes one; twice, each with a channel mixer behind it."""
    model = from_mixer(mixers(parameters, width, length)).build(SETTING)
    found = [m.sizes for m in model.modules() if type(m).__name__ == "Mixer"]
    assert found == [(SETTING.width, None if length == "None" else 8)] * 2
    assert model(TOKENS).shape == (2, 8, 32)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("size=3", "takes none of dim, d_model"),
        ("dim, order", "requires 'order'"),
        ("dim, order, **rest", "requires 'order'"),
    ],
)
def test_a_mixer_whose_width_cannot_be_set_is_refused(mixers, parameters, message):
    """Or one that requires more than its sizes."""
    with pytest.raises(TargetError) as caught:
        from_mixer(mixers(parameters))
    assert message in str(caught.value)


def test_of_a_mixer_s_tuple_the_first_entry_counts(mixers):
    """As fla's layers return it."""
    model = from_mixer(mixers("dim", output="x, None")).build(SETTING)
    assert model(TOKENS).shape == (2, 8, 32)


def test_a_mixer_that_changes_the_shape_is_named(mixers):
    """In one line with both shapes."""
    model = from_mixer(mixers("dim", output="x[:, 1:]")).build(SETTING)
    with pytest.raises(ModelError, match=r"mixers_of_a_test:Mixer turned \(2, 8, 128\) into \(2, 7, 128\)"):
        model(TOKENS)
