"""Every engine gives the sweep that the loop gives; what is stored is not trained again under any."""

from __future__ import annotations

import pytest
import torch

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.common.errors import is_out_of_memory
from pytest_mad.evaluation.sweep import run_sweep
from pytest_mad.presets.recipe import Point
from pytest_mad.store.folder import Store
from pytest_mad.training import compiled, vmap
from pytest_mad.training.agreement import EngineError
from pytest_mad.training.engines import ENGINES, choose_engine
from pytest_mad.training.trial import OutOfTimeError, TrialError
from tests.unit.tiny import CPU, Tiny, make_setting

POINTS = (Point(lr=1e-4), Point(lr=0.01, weight_decay=0.1), Point(lr=0.003))


def setting_of(points=POINTS, threshold=None, **recipe):
    return make_setting(points=points, threshold=threshold, **{"steps": 40, "race": False} | recipe)


def sweep(engine, setting, store=None, factory=Tiny, **options):
    return run_sweep(from_factory(factory), setting, 0, device=CPU, store=store, engine=engine, **options)


def ends(found):
    """What is exact in both: which trials there are, and how they ended."""
    return [(t.point, t.seed, t.steps, t.stopped) for t in found.trials]


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "loop"])
def test_an_engine_trains_what_the_loop_trains(engine):
    found, expected = sweep(engine, setting_of()), sweep("loop", setting_of())
    assert ends(found) == ends(expected)
    assert found.best.point == expected.best.point
    for one, other in zip(found.trials, expected.trials, strict=True):
        assert [a for _, a in one.curve] == pytest.approx([a for _, a in other.curve], abs=0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_race_ends_with_the_first_point_that_meets_the_requirement(engine):
    """Of those that a stack trains beside it, the later ones do not count: the result is the loop's."""
    setting = setting_of(points=POINTS[1:], threshold=0.2, race=True, steps=200, solved_at=0.5)
    found = sweep(engine, setting)
    assert ends(found) == ends(sweep("loop", setting))
    assert [(trial.point, trial.stopped) for trial in found.trials] == [(POINTS[1], "solved")]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stored", [0, 1, 2, 3])
def test_only_what_is_not_stored_is_trained(engine, stored, tmp_path, monkeypatch):
    """Whichever points an earlier run trained, the sweep is the same."""
    whole, store = sweep(engine, setting_of()), Store(tmp_path)
    if stored:
        sweep(engine, setting_of(points=POINTS[3 - stored :]), store)
    built = []
    train_members = vmap.train_members

    def noted(build, setting, members, **options):
        built.extend(members)
        return train_members(build, setting, members, **options)

    monkeypatch.setattr("pytest_mad.training.engines.train_members", noted)
    found = sweep(engine, setting_of(), store)
    assert ends(found) == ends(whole)
    assert found.stored == (stored == 3)
    assert len(built) == (3 - stored if engine == "vmap" else 0)
    assert sweep(engine, setting_of(), store).stored


def test_engines_do_not_share_their_trials(tmp_path):
    """They agree up to rounding, and a store promises more than that."""
    store = Store(tmp_path)
    sweep("loop", setting_of(), store)
    assert not sweep("vmap", setting_of(), store).stored


@pytest.mark.parametrize("engine", ENGINES)
def test_a_point_that_diverges_takes_no_other_with_it(engine):
    setting = setting_of(points=(Point(lr=1e30), *POINTS))
    assert ends(sweep(engine, setting)) == [(point, 0, 40, "budget") for point in POINTS]
    with pytest.raises(TrialError, match="lr 1e\\+30"):
        sweep(engine, setting_of(points=(Point(lr=1e30),)))


@pytest.mark.parametrize("engine", ENGINES)
def test_running_out_of_time_ends_the_sweep(engine):
    with pytest.raises(OutOfTimeError, match="out of time at step 10 of 40"):
        sweep(engine, setting_of(), deadline=0.0)


def test_a_model_that_cannot_be_stacked_is_refused_with_the_reason():
    class Dropout(Tiny):
        def __init__(self):
            super().__init__(dropout=0.5)

    class Branches(Tiny):
        def forward(self, tokens):
            logits = super().forward(tokens)
            return logits * 2 if float(logits.detach().sum()) > 0 else logits

    for factory, reason in ((Dropout, "random numbers"), (Branches, "does not run it")):
        with pytest.raises(EngineError, match=reason) as found:
            sweep("vmap", setting_of(), factory=factory)
        assert len(str(found.value).splitlines()) == 1


def test_auto_is_the_loop():
    """Until a stack is measured to be faster somewhere."""
    assert choose_engine("auto") == "loop"
    assert [choose_engine(name) for name in ENGINES] == list(ENGINES)


def test_the_best_of_equals_is_the_first():
    """The recipe's order says which points are better."""
    found = sweep("loop", setting_of(points=(Point(lr=1e-12), Point(lr=2e-12))))
    assert found.best.point == Point(lr=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_trial_that_ended_too_late_is_an_error_now_and_found_the_next_time(engine, tmp_path):
    """Otherwise a run that is always a little too short would train the same for ever."""
    store, setting = Store(tmp_path), setting_of(points=POINTS[:1], steps=10)
    said = r"^out of time at step 10 of 10, with a normalised validation score of -?\d\.\d{3}$"
    with pytest.raises(OutOfTimeError, match=said):
        sweep(engine, setting, store, deadline=0.0)
    assert sweep(engine, setting, store, deadline=0.0).stored


def test_a_trial_that_is_cut_off_again_and_again_comes_to_its_end(tmp_path):
    """One evaluation further each time."""
    store, setting = Store(tmp_path), setting_of(points=POINTS[1:2])
    for step in (10, 20, 30, 40):
        with pytest.raises(OutOfTimeError, match=f"out of time at step {step} of 40"):
            sweep("loop", setting, store, deadline=0.0)
    found = sweep("loop", setting, store, deadline=0.0)
    assert found.stored
    assert found.best.curve == sweep("loop", setting).best.curve


class Hungry(Tiny):
    """Fails with the error of torch's CPU allocator where it is trained on more sequences than there is memory for."""

    most = 1

    def forward(self, tokens):
        if self.training and len(tokens) > self.most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 8 GiB")
        return super().forward(tokens)


def test_what_does_not_fit_into_memory_is_trained_in_parts():
    """Once more from the start, to what whole batches would have given up to rounding; and it is said."""
    setting = setting_of(points=POINTS[1:2])
    found, whole = sweep("loop", setting, factory=Hungry), sweep("loop", setting)
    assert found.notes == ("out of memory with whole batches, so trained in parts of 1 sequences",)
    assert ends(found) == ends(whole)
    for one, other in zip(found.trials[0].curve, whole.trials[0].curve, strict=True):
        assert one == pytest.approx(other, abs=0.03)


def test_a_trial_in_parts_is_not_compiled(monkeypatch):
    """Compiling takes whole batches, which do not fit."""
    monkeypatch.setattr(compiled, "compiled_from", lambda count, setting, point: 1)
    found = sweep("loop", setting_of(points=POINTS[1:2]), factory=Hungry)
    assert found.notes == ("out of memory with whole batches, so trained in parts of 1 sequences",)


def test_a_stored_trial_still_says_that_it_was_trained_in_parts(tmp_path):
    setting = setting_of(points=POINTS[1:])
    notes = [sweep("loop", setting, Store(tmp_path), factory=Hungry).notes for _ in range(2)]
    assert notes[0] == notes[1] == ("out of memory with whole batches, so trained in parts of 1 sequences",)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_there_are_many_ways_to_be_out_of_memory(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_what_does_not_fit_in_parts_either_is_an_error(monkeypatch):
    monkeypatch.setattr(Hungry, "most", 0)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        sweep("loop", setting_of(), factory=Hungry)


def test_another_error_is_not_tried_again(monkeypatch):
    tried = []

    class Broken(Tiny):
        def forward(self, tokens):
            if self.training:
                tried.append(1)
                raise RuntimeError("no")
            return super().forward(tokens)

    with pytest.raises(RuntimeError, match=r"^no$"):
        sweep("loop", setting_of(), factory=Broken)
    assert len(tried) == 1
