"""Every module of `reference_archs` is an architecture in MAD-Lab's form, and stands in the scoreboard."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable

import pytest
import torch
from torch import nn

import reference_archs
from benchmarks.calibration import scoreboard
from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
from pytest_mad.architectures.build import build_model
from pytest_mad.architectures.targets import from_target
from pytest_mad.evaluation.sweep import guard
from pytest_mad.layers import layer_names
from pytest_mad.layers.mixer import Mixer
from pytest_mad.presets.reading import settings
from reference_archs._stack import small_stack, stack

NAMES = [module.name for module in pkgutil.iter_modules(reference_archs.__path__) if not module.name.startswith("_")]
FACTORIES = ["make_model", "make_paper_model"]
CHANNEL_MIXERS = {"mlp", "swiglu", "moe-mlp", "rwkv5-channel-mixer", "rwkv6-channel-mixer"}
VOCAB, LENGTH = 11, 24

every_architecture = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> object:
    return importlib.import_module(f"reference_archs.{name}")


def test_the_scoreboard_has_the_recorded_trials_of_them_all_in_its_file_and_in_the_readme() -> None:
    results = json.loads((scoreboard.RESULTS / "scoreboard.json").read_text())["architectures"]
    assert set(scoreboard.ARCHITECTURES) == set(results) == set(NAMES)
    assert {name: scoreboard.measured(name) for name in NAMES} == results
    assert scoreboard.table(results) in scoreboard.README.read_text()


def test_every_sequence_mixer_is_measured_and_costs_at_most_four_times_attention() -> None:
    found = json.loads((scoreboard.RESULTS / "layers.json").read_text())
    assert set(found["layers"]) == set(layer_names()) - CHANNEL_MIXERS
    assert found["pairs"] >= 15
    for rows in found["layers"].values():
        assert set(rows) == {"48", "128"}
        assert all(row["ratio"] <= 4 for row in rows.values())


@every_architecture
@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize(("task", "backbone"), [("in-context-recall", LanguageModel), ("compression", AutoEncoder)])
def test_factories_have_mad_labs_form(name: str, factory: str, task: str, backbone: type[nn.Module]) -> None:
    make: Callable[..., nn.Module] = getattr(load(name), factory)
    assert list(inspect.signature(make).parameters) == ["task", "vocab_size", "max_length"]
    model = make(task=task, vocab_size=VOCAB, max_length=LENGTH)
    assert isinstance(model, backbone)
    assert model.vocab_size == VOCAB
    assert model(torch.randint(VOCAB, (2, LENGTH))).shape == (2, LENGTH, VOCAB)


@pytest.mark.parametrize("preset", ["smoke", "ci"])
def test_small_models_are_built_as_the_preset_builds_those_around_layers(preset: str) -> None:
    built = {(setting.width, setting.embedding_std) for setting in settings(preset).values()}
    assert built == {(small_stack.keywords["dim"], small_stack.keywords["embedding_std"])}


@pytest.mark.parametrize("task", ["in-context-recall", "compression"])
def test_a_stack_draws_its_embeddings_at_the_scale_that_is_asked_for(task: str) -> None:
    model = stack(("swiglu",), task=task, vocab_size=500, max_length=LENGTH, dim=8, embedding_std=0.5)
    assert model.trunk.token_embeds.weight.std().item() == pytest.approx(0.5, rel=0.1)


@every_architecture
def test_the_stack_is_the_one_that_is_named(name: str) -> None:
    module = load(name)
    assert set(module.LAYERS) <= set(layer_names())
    assert len(module.LAYERS) == 4
    assert "arXiv" in module.__doc__ or "control" in module.__doc__
    for factory, width, std in zip(FACTORIES, (64, 128), (0.1, 0.02), strict=True):
        model = getattr(module, factory)(task="memorization", vocab_size=VOCAB, max_length=LENGTH)
        assert model.trunk.token_embeds.weight.std().item() == pytest.approx(std, rel=0.3)
        assert len(model.trunk.layers) == 4
        assert model.trunk.token_embeds.embedding_dim == width
        assert all(isinstance(layer, Mixer) for layer in model.trunk.layers)


@every_architecture
def test_the_models_step_is_its_parallel_form(name: str) -> None:
    torch.manual_seed(0)
    model = load(name).make_model(task="in-context-recall", vocab_size=VOCAB, max_length=LENGTH).double()
    tokens = torch.randint(VOCAB, (2, LENGTH))
    states, logits = model.init_state(2), []
    for t in range(LENGTH):
        logits_BV, states = model.step(tokens[:, t], states)
        logits.append(logits_BV)
    torch.testing.assert_close(torch.stack(logits, 1), model(tokens), atol=1e-9, rtol=1e-9)


@every_architecture
def test_the_guard_lets_it_pass(name: str) -> None:
    setting = settings("smoke")["selective-copying[baseline]"]
    torch.manual_seed(0)
    architecture = from_target(f"reference_archs.{name}:make_model")
    model = build_model(architecture, setting, torch.device("cpu"))
    guard(setting, model, torch.device("cpu"))
