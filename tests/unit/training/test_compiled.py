"""The compiled forward pass: the same losses as without, for long trials only, and a reason where it cannot be had."""

from __future__ import annotations

import dataclasses
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.setting import run_and_judge
from pytest_mad.evaluation.sweep import run_sweep
from pytest_mad.presets.reading import settings
from pytest_mad.store.folder import Store
from pytest_mad.training import compiled as module
from pytest_mad.training.agreement import EngineError
from pytest_mad.training.compiled import Later, compiled, compiled_from
from pytest_mad.training.data import load_data
from pytest_mad.training.trial import (
    as_it_is,
    initial_model,
    loss_of,
    make_optimizer,
    parameter_count,
    shuffled_batches,
    to_device,
    training_step,
)
from pytest_mad.training.vmap import autocast
from reference_archs import transformer
from tests.unit.tiny import CPU, POINT, Tiny, make_setting
from tests.unit.training.test_vmap import Counting

SETTING = make_setting()


@pytest.fixture(scope="module")
def fast():
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    return compiled(Tiny, SETTING, POINT, 0, load_data(SETTING, 0).train)


def losses(loss_of, seed=0):
    """Of 20 steps, several epochs of batches."""
    model = initial_model(Tiny, SETTING, POINT, seed, CPU).train()
    optimizer = make_optimizer(model, SETTING.recipe, POINT)
    batches = shuffled_batches(to_device(load_data(SETTING, 0).train, CPU), SETTING.recipe.batch_size, seed)
    loss = loss_of(model)
    return torch.stack(
        [training_step(loss, optimizer, *next(batches), autocast(CPU, SETTING.recipe)) for _ in range(20)]
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_losses_are_those_of_the_loop(fast, seed):
    """For every model of the setting, although it is compiled once."""
    torch.testing.assert_close(losses(fast.loss, seed), losses(as_it_is, seed), rtol=1e-3, atol=1e-4)


def test_only_whole_batches_are_worth_compiling_for(fast, monkeypatch):
    """Others go to the model as it is."""
    monkeypatch.setattr(fast, "_fast", lambda *_: "compiled")
    model, tokens = Tiny(), torch.zeros(8, 8, dtype=torch.int64)
    loss = fast.loss(model)
    assert loss(tokens, tokens) == "compiled"
    mean = float(F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).detach())
    assert float(loss(tokens[:5], tokens[:5]).detach()) == pytest.approx(mean)
    assert float(loss(tokens, tokens, "sum").detach()) == pytest.approx(64 * mean)


def test_a_compiler_that_is_missing_is_a_reason_in_one_line():
    """And not an error of the trial."""
    from torch._inductor import config

    missing = config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    with missing, pytest.raises(EngineError, match=r"^torch\.compile does not run it: .*compiler") as caught:
        compiled(Tiny, SETTING, POINT, 0, load_data(SETTING, 0).train)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("build", "reason"), [(lambda: Tiny(dropout=0.1), "draws random"), (Counting, "^calls changes")]
)
def test_models_that_would_not_be_the_same_trial_are_refused(build, reason):
    """Before anything is compiled."""
    with pytest.raises(EngineError, match=reason):
        compiled(build, SETTING, POINT, 0, load_data(SETTING, 0).train)


def test_another_loss_is_a_reason(monkeypatch):
    monkeypatch.setattr(module.Compiled, "loss", lambda _, model: lambda *batch: loss_of(model, *batch) * 1.1)
    with pytest.raises(EngineError, match=r"^its losses under torch\.compile are [\d.]+ instead of [\d.]+$"):
        compiled(Tiny, SETTING, POINT, 0, load_data(SETTING, 0).train)


@pytest.mark.parametrize(
    ("preset", "points", "first", "later"), [("smoke", 1, None, None), ("smoke", 12, 1301, 1), ("paper", 6, 16, 1)]
)
def test_only_long_sweeps_are_compiled_and_a_sound_model_does_not_wait_for_it(preset, points, first, later):
    """The first point only behind what a sound model needs, or has cost as much as compiling; the others at once."""
    setting = with_points(settings(preset)["in-context-recall[baseline]"], points)
    factory = transformer.make_model if preset == "smoke" else transformer.make_paper_model
    count = parameter_count(factory("in-context-recall", setting.params.vocab_size, setting.params.seq_len))
    assert compiled_from(count, setting, setting.recipe.points[0]) == first
    if points > 1:
        assert {compiled_from(count, setting, point) for point in setting.recipe.points[1:]} == {later}


def test_options_that_this_torch_does_not_have_are_left_out(monkeypatch):
    """torch would refuse all of them."""
    monkeypatch.setattr("torch._inductor.list_options", lambda: ["cpp_wrapper"])
    assert module._options() == {"cpp_wrapper": True}


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    setting = settings("paper")["in-context-recall[baseline]"]
    monkeypatch.setattr(module, "has_compiler", lambda: False)
    assert compiled_from(10**6, setting, setting.recipe.points[0]) is None


@pytest.mark.parametrize(("command", "is_there"), [("own-compiler", True), ("no-such-compiler", False)])
def test_the_compiler_is_the_one_that_torch_would_take(tmp_path, monkeypatch, command, is_there):
    """Which asks it for its version."""
    from torch._inductor import config

    compiler = tmp_path / "own-compiler"
    compiler.write_text("#!/bin/sh\necho 'g++ 13.2.0'\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    module.has_compiler.cache_clear()
    with config.patch({"cpp.cxx": (command,)}):
        assert module.has_compiler() is is_there
    module.has_compiler.cache_clear()


def with_points(setting, count):
    points = tuple(dataclasses.replace(POINT, lr=POINT.lr * (i + 1)) for i in range(count))
    return dataclasses.replace(setting, recipe=dataclasses.replace(setting.recipe, points=points))


def later_of(first, build=Tiny, points=2):
    """Trials of a setting that are compiled from the given step on."""
    setting = with_points(SETTING, points)
    return setting.recipe.points, Later(build, setting, 7, load_data(SETTING, 0).train, 1000)


def test_trials_are_compiled_when_it_is_due_and_once(monkeypatch):
    """Each has its own first step, whatever ran before it."""
    made = []

    def compiled(build, setting, point, seed, train):
        made.append(seed)
        return SimpleNamespace(loss=lambda model: "compiled")

    monkeypatch.setattr(module, "compiled", compiled)
    monkeypatch.setattr(module, "as_it_is", lambda model: "as it is")
    points, later = later_of(3)
    monkeypatch.setattr(module, "compiled_from", lambda count, setting, point: 3 if point == points[0] else 1)
    for point, expected in zip(points, (["as it is"] * 2 + ["compiled"] * 2, ["compiled"] * 4), strict=True):
        loss_at = later.loss_at(point)
        assert [loss_at(Tiny(), step) for step in (1, 2, 3, 4)] == expected
    assert made == [7]


def test_a_model_that_cannot_be_compiled_goes_on_as_it_is(monkeypatch):
    """And the reason is kept; nothing is tried twice."""
    tried = []

    def compiled(*_):
        tried.append(1)
        raise EngineError("torch.compile does not run it: because")

    monkeypatch.setattr(module, "compiled", compiled)
    monkeypatch.setattr(module, "compiled_from", lambda count, setting, point: 1)
    points, later = later_of(1)
    model = Tiny()
    assert [later.loss_at(point)(model, step).args for point in points for step in (1, 2)] == [(model,)] * 4
    assert later.refusal == "torch.compile does not run it: because"
    assert tried == [1]


def test_a_model_of_many_operations_is_not_compiled(monkeypatch):
    """One that loops over its tokens in Python would compile for hours."""

    class Loop(Tiny):
        def forward(self, tokens):
            return super().forward(tokens) + sum(tokens[0, 0] for _ in range(100)) * 0.0

    monkeypatch.setattr(module, "MOST_OPERATIONS", 100)
    with pytest.raises(EngineError, match=r"^\d+ operations, above 100, would take long to compile$"):
        compiled(Loop, SETTING, POINT, 0, load_data(SETTING, 0).train)
    assert compiled_is_tried(monkeypatch)


def compiled_is_tried(monkeypatch):
    """Whether a model of few operations gets past the count."""
    monkeypatch.setattr(module.Compiled, "loss", lambda _, model: as_it_is(model))
    return compiled(Tiny, SETTING, POINT, 0, load_data(SETTING, 0).train)


def test_a_sweep_says_that_it_was_not_compiled(monkeypatch):
    """In its result, where it was due."""
    monkeypatch.setattr(module, "compiled_from", lambda count, setting, point: 1)
    architecture = from_factory(lambda vocab_size: Tiny(dropout=0.1))
    setting = dataclasses.replace(make_setting(steps=2), threshold=0.0)
    result = run_and_judge(architecture, setting, RunOptions(device="cpu")).result
    assert result.note.startswith("not compiled: it draws random numbers")
    assert result.note in result.detail


@pytest.mark.parametrize("cut_at", [10, 20])
def test_a_compiled_trial_that_was_cut_off_ends_as_if_nothing_had_happened(cut_at, tmp_path, monkeypatch):
    """Before it was compiled, and behind that: another process compiles the same code."""
    if not module.has_compiler():
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(module, "compiled_from", lambda count, setting, point: 15)

    def cut(step, total, accuracy):
        if step == cut_at:
            raise KeyboardInterrupt

    setting = make_setting(steps=30, evaluate_every=10)
    architecture = from_factory(Tiny)
    undisturbed, interrupted = Store(tmp_path / "a"), Store(tmp_path / "b")
    run_sweep(architecture, setting, 0, device=CPU, store=undisturbed)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(architecture, setting, 0, device=CPU, store=interrupted, progress=cut)
    torch.compiler.reset()
    run_sweep(architecture, setting, 0, device=CPU, store=interrupted)
    expected, found = weights_of_the_only_trial(undisturbed), weights_of_the_only_trial(interrupted)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def weights_of_the_only_trial(store):
    (path,) = store.folder.glob("trial-*")
    return load_file(path)
