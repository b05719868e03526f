"""A trial that was cut off goes on where it was kept last, and ends as if nothing had happened."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pytest_mad.architectures import architecture
from pytest_mad.architectures.architecture import from_factory
from pytest_mad.evaluation.sweep import run_sweep
from pytest_mad.store import identity, trials
from pytest_mad.store.folder import Store
from pytest_mad.training import trial
from tests.unit.tiny import CPU, POINT, Tiny, make_setting, timeless

SETTING = make_setting(steps=45, evaluate_every=10)


@pytest.fixture(autouse=True)
def at_every_evaluation(monkeypatch):
    """These trainings take less time than any is worth keeping for."""
    monkeypatch.setattr(trials, "CHECKPOINT_SECONDS", 0.0)


class Noisy(Tiny):
    """Draws from every generator that a model may use, and normalises by what it has seen."""

    def __init__(self):
        super().__init__(dropout=0.2)
        self.norm = nn.BatchNorm1d(32)

    def forward(self, tokens):
        logits = super().forward(tokens)
        if self.training:
            logits = logits * (1 + 0.1 * float(np.random.rand()) + 0.1 * random.random())
        return self.norm(logits.transpose(1, 2)).transpose(1, 2)


class Counting(Tiny):
    """Knows how often it was called, which no checkpoint does."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, tokens):
        self.calls += self.training
        return super().forward(tokens) * (1 + self.calls / 100)


def sweep(factory, store, cut_at=None, setting=SETTING):
    """Raises KeyboardInterrupt at an evaluation, as Ctrl-C would."""

    def progress(step, total, accuracy):
        if step == cut_at:
            raise KeyboardInterrupt

    found = run_sweep(from_factory(factory), setting, 0, device=CPU, store=store, progress=progress)
    return [timeless(one) for one in found.trials], found.stored


@pytest.fixture
def steps(monkeypatch):
    """Notes each training step."""
    taken, step = [], trial.training_step

    def noted(*arguments):
        taken.append(1)
        return step(*arguments)

    monkeypatch.setattr(trial, "training_step", noted)
    return taken


def checkpoints(store):
    return list(store.folder.glob("checkpoint-*"))


@pytest.mark.parametrize("cut_at", [20, 30, 40, 45])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_trial_that_goes_on_is_the_one_that_never_stopped(tmp_path, steps, cut_at, schedule):
    """With dropout, buffers, every random generator and a schedule; only what was not yet kept is trained again."""
    setting = dataclasses.replace(SETTING, recipe=dataclasses.replace(SETTING.recipe, schedule=schedule))
    whole, _ = sweep(Noisy, None, setting=setting)
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(Noisy, store, cut_at, setting)
    assert len(checkpoints(store)) == 1
    steps.clear()
    assert sweep(Noisy, store, setting=setting) == (whole, False)
    kept = (cut_at - 1) // 10 * 10  # the evaluation before the one that was cut off
    assert len(steps) == 45 - kept
    assert checkpoints(store) == []
    assert sweep(Noisy, store, setting=setting) == (whole, True)
    assert store.trouble is None


@pytest.mark.parametrize(("cut_at", "kept"), [(4, 2), (10, 6), (45, 36)])
def test_it_goes_on_along_a_growing_grid(tmp_path, steps, cut_at, kept):
    """The next evaluation is the one that would have come: of 2, 4, 6, 10, 16, 24, 36 and 45 steps."""
    recipe = dataclasses.replace(SETTING.recipe, evaluate_every=2, evaluate_growth=1.5)
    setting, store = dataclasses.replace(SETTING, recipe=recipe), Store(tmp_path)
    whole, _ = sweep(Noisy, None, setting=setting)
    assert [step for step, _ in whole[0].curve] == [2, 4, 6, 10, 16, 24, 36, 45]
    with pytest.raises(KeyboardInterrupt):
        sweep(Noisy, store, cut_at, setting)
    steps.clear()
    assert sweep(Noisy, store, setting=setting) == (whole, False)
    assert len(steps) == 45 - kept


def test_a_training_is_kept_no_more_often_than_it_is_worth(tmp_path, monkeypatch, steps):
    """Evaluations at 4, 6, 8 and 12 seconds: at 6 and 12. What was not kept is trained again, to the same end."""
    whole, _ = sweep(Noisy, None)
    store, now, kept = Store(tmp_path), [0.0], []
    monkeypatch.setattr(trials, "CHECKPOINT_SECONDS", 5.0)
    monkeypatch.setattr(trials, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def progress(step, total, accuracy):
        now[0] = {10: 4.0, 20: 6.0, 30: 8.0, 40: 12.0}.get(step, 13.0)
        kept.append([path.stat().st_mtime_ns for path in checkpoints(store)])
        if step == 45:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(from_factory(Noisy), SETTING, 0, device=CPU, store=store, progress=progress)
    before_10, before_20, before_30, before_40, before_45 = kept
    assert before_10 == before_20 == [] and len(before_30) == 1
    assert before_40 == before_30 and before_45 != before_40
    steps.clear()
    assert sweep(Noisy, store) == (whole, False)
    assert len(steps) == 45 - 40


def test_a_trial_whose_time_is_up_is_kept_whenever_that_is(tmp_path, monkeypatch, steps):
    """Or with a short limit no run would ever get further."""
    store = Store(tmp_path)
    monkeypatch.setattr(trials, "CHECKPOINT_SECONDS", 1e6)
    with pytest.raises(trial.OutOfTimeError):
        run_sweep(from_factory(Noisy), SETTING, 0, device=CPU, store=store, deadline=0.0)
    assert len(checkpoints(store)) == 1


def test_a_model_that_carries_a_count_begins_again(tmp_path):
    """Its next step depends on what no tensor holds, so going on would be another training."""
    whole, _ = sweep(Counting, None)
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(Counting, store, 30)
    assert checkpoints(store) == []
    assert sweep(Counting, store) == (whole, False)


class Initialised(Tiny):
    """Scales itself by the first batch that it sees, as ActNorm does."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.is_initialised = False

    def forward(self, tokens):
        logits = super().forward(tokens)
        if self.training and not self.is_initialised:
            self.scale.data = 1 / logits.detach().std()
            self.is_initialised = True
        return logits * self.scale


class Expanded(Tiny):
    """Has a buffer that nothing can be written into."""

    def __init__(self):
        super().__init__()
        self.register_buffer("ones", torch.ones(1).expand(32))

    def forward(self, tokens):
        return super().forward(tokens) * self.ones


class Sparse(Tiny):
    """Has a buffer that no file of the store holds."""

    def __init__(self):
        super().__init__()
        self.register_buffer("eye", torch.eye(32).to_sparse())


@pytest.mark.parametrize("factory", [Initialised, Expanded, Sparse])
def test_a_model_that_cannot_go_on_from_tensors_begins_again(tmp_path, factory):
    """The run is the one without a store, whatever the store can do for it."""
    whole, _ = sweep(factory, None)
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(factory, store, 30)
    assert checkpoints(store) == []
    assert sweep(factory, store) == (whole, False)
    assert sweep(factory, store)[0] == whole


def test_a_value_that_was_read_from_a_file_belongs_to_a_checkpoint(tmp_path):
    """Mended between Ctrl-C and the next run: what was trained with the old value is not gone on from."""
    limit = [1e9]

    class Clamped(Tiny):
        def __init__(self):
            super().__init__()
            self.limit = limit[0]

        def forward(self, tokens):
            return super().forward(tokens).clamp(-self.limit, self.limit)

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(Clamped, store, 30)
    assert len(checkpoints(store)) == 1
    limit[0] = 3.0  # reached late
    whole, _ = sweep(Clamped, None)
    assert sweep(Clamped, store) == (whole, False)


def test_a_checkpoint_of_another_source_is_not_gone_on_from(tmp_path, monkeypatch, steps):
    """An edit in the middle of a run may change what comes late."""
    whole, _ = sweep(Noisy, None)
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(Noisy, store, 30)
    monkeypatch.setattr(architecture, "source_digest", lambda *modules: "another")
    monkeypatch.setattr(identity, "source_digest", lambda *modules: "another")
    steps.clear()
    assert sweep(Noisy, store) == (whole, False)
    assert len(steps) == 45


@pytest.mark.parametrize("fault", ["weights", "optimizer", "random", "header", "cut", "empty"])
def test_a_damaged_checkpoint_is_not_used(tmp_path, fault):
    """The trial begins again, and the run says why."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    whole, _ = sweep(Noisy, None)
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(Noisy, store, 30)
    (path,) = checkpoints(store)
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    if fault == "weights":
        tensors["weights.model.head.weight"] = torch.zeros(1)
    if fault == "optimizer":
        tensors["optimizer.3.exp_avg"] = torch.zeros(1)
    if fault == "random":
        tensors["random.torch"] = torch.zeros(5)
    if fault == "header":
        metadata["mad"] = metadata["mad"].replace('"step": 20', '"step": "x"')
        metadata["sha256"] = hashlib.sha256(metadata["mad"].encode()).hexdigest()
    save_file(tensors, path, metadata)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    if fault == "empty":
        path.write_bytes(b"")
    assert sweep(Noisy, store) == (whole, False)
    assert store.trouble is not None and path.name in store.trouble and "delete it" in store.trouble


def test_what_diverges_is_not_kept(tmp_path):
    """It is no score; and the trial is short."""
    store = Store(tmp_path)
    setting = make_setting(points=(dataclasses.replace(POINT, lr=1e30), POINT))
    assert len(sweep(Tiny, store, setting=setting)[0]) == 1
    assert len(list(tmp_path.glob("trial-*"))) == 1
    assert checkpoints(store) == []
