"""Which rooms of the package a stored result depends on: with other code in one of them, it is not found again."""

from __future__ import annotations

import shutil

import pytest

from pytest_mad.architectures import source
from pytest_mad.architectures.architecture import from_factory
from pytest_mad.evaluation.sweep import run_sweep
from pytest_mad.gate.judge import Verdict
from pytest_mad.store.contracts import stored_contracts
from pytest_mad.store.folder import Store
from tests.unit.tiny import CPU, Tiny, make_setting

SETTING = make_setting(steps=2, evaluate_every=1)
COMPUTES_SCORES = ["architectures", "common", "presets", "store", "tasks", "training"]
READS_THEM = ["executors", "gate", "report", "results", "suite"]


@pytest.fixture
def edit(tmp_path, monkeypatch):
    """Adds a line to a file of a room, in a copy of the package."""
    place = tmp_path / "pytest_mad"
    shutil.copytree(source.HERE, place)
    monkeypatch.setattr(source, "HERE", place)

    def edited(room):
        with (place / room / "__init__.py").open("a") as file:
            file.write("#\n")
        source.code_digest.cache_clear()

    source.code_digest.cache_clear()
    yield edited
    source.code_digest.cache_clear()


@pytest.mark.parametrize("room", COMPUTES_SCORES + READS_THEM)
def test_a_trial_is_trained_anew_where_code_that_computes_it_changed(tmp_path, edit, room):
    def trainings_found():
        return run_sweep(from_factory(Tiny), SETTING, 0, device=CPU, store=Store(tmp_path / "store")).stored

    assert trainings_found() == 0 and trainings_found() == 1
    edit(room)
    assert trainings_found() == (0 if room in COMPUTES_SCORES else 1)


@pytest.mark.parametrize("room", [*COMPUTES_SCORES, "contracts", "evaluation", *READS_THEM])
def test_a_contract_is_checked_anew_where_code_that_checks_it_changed(tmp_path, edit, room):
    def place():
        found = stored_contracts(Store(tmp_path / "store"), from_factory(Tiny), SETTING, (None, None), CPU)
        assert found
        return found

    place().keep("output", Verdict("pass", "holds"))
    assert place().find("output") == Verdict("pass", "holds")
    edit(room)
    assert place().find("output") == (Verdict("pass", "holds") if room in READS_THEM else None)
