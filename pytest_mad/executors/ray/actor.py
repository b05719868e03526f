"""The remote end: what an actor does. It gets text and plain records, and gives plain values back."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pytest_mad.architectures.architecture import Architecture, TargetError
from pytest_mad.architectures.targets import TARGETS
from pytest_mad.common.errors import kept_inside
from pytest_mad.evaluation.contract import run_contract
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.requirement import BaselineWarning
from pytest_mad.evaluation.setting import check_contracts, choose_device, ended, run_and_judge, stopped_by
from pytest_mad.gate import Verdict
from pytest_mad.results.result import ContractResult
from pytest_mad.store.folder import ElsewhereError, Store, open_store

from .units import Unit


class Place(NamedTuple):
    """Where user code is found, and where results are kept."""

    #: the working directory, where it is not the one that Ray made
    folder: str | None
    #: what else to import from
    paths: tuple[str, ...]
    #: whether the store's folder is the client's own; otherwise its files travel
    shares_store: bool


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a unit came to, or what it lacks."""

    #: files of the client's store, without which it cannot go on
    needs: tuple[str, ...] = ()
    #: a ``SettingResult``, a ``ContractResult`` or a ``Part``
    found: Any = None
    traceback: str = ""
    #: what was written to the store, or removed from it
    files: dict[str, bytes | None] = field(default_factory=dict)
    trouble: str | None = None
    #: whether the device bears no further work
    is_spoiled: bool = False


def load(targets: tuple[tuple[str, str], ...], place: Place) -> dict[str, Architecture]:
    """The client's architectures, made here from their text. Raises ``TargetError``."""
    if place.folder:
        os.chdir(place.folder)
    sys.path[:] = search_path(place.paths, sys.path)
    found = [TARGETS[flag](text) for flag, text in targets]
    return {architecture.name: architecture for architecture in found}


def search_path(paths: Sequence[str], there: Sequence[str]) -> list[str]:
    """What a process imports from: the client's paths in the client's order, and then what was there before."""
    first = [os.path.abspath(path) for path in paths]
    if os.getcwd() not in (*first, *there):
        first.insert(0, os.getcwd())
    return [*first, *(path for path in there if path not in first)]


def problem_with(targets: tuple[tuple[str, str], ...], place: Place) -> str | None:
    """One line about what cannot be imported here."""
    try:
        load(targets, place)
    except TargetError as error:
        return str(error)
    return None


class Worker:
    """One actor: it keeps its architectures, and what it found out about their contracts."""

    def arrive(self) -> None:
        """Answer as soon as Ray has found a place for this."""

    def begin(self, targets: tuple[tuple[str, str], ...], place: Place) -> None:
        """Make ready."""
        self._architectures, self._place = load(targets, place), place
        self._folder: Path | None = None

    def run(self, unit: Unit, run: RunOptions, elsewhere: frozenset[str], files: dict[str, bytes | None]) -> Answer:
        """Compute a unit. ``elsewhere`` are the files that the client has, ``files`` those of them that it sent."""
        store, folder = self._store(run, elsewhere, files), run.store
        if store and not self._place.shares_store:
            run = replace(run, store=store.folder, contracts=replace(run.contracts, store=store.folder))
        try:
            answer = compute(self._architectures[unit.key.architecture], unit, run)
        except ElsewhereError as lacking:
            return Answer(needs=tuple(lacking.names))
        if store is None:
            return answer
        changed = {} if self._place.shares_store else handed_back(store, files)
        trouble = store.trouble and store.trouble.replace(str(store.folder), str(folder))  # as the user knows it
        return replace(answer, files=changed, trouble=trouble)

    def _store(self, run: RunOptions, elsewhere: frozenset[str], files: dict[str, bytes | None]) -> Store | None:
        """The client's store, or a folder with those of its files that were sent."""
        if run.store is None:
            return None
        if self._place.shares_store:
            return open_store(run.store)
        if self._folder is None:
            # in Ray's copy of the client's folder, which Ray removes: a worker that is killed can remove nothing
            self._folder = Path(tempfile.mkdtemp(prefix=".pytest-mad-", dir=os.getcwd()))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        store = open_store(self._folder)
        store.elsewhere = elsewhere - files.keys()
        for name, content in files.items():
            store.put(name, content)
        return store


def compute(architecture: Architecture, unit: Unit, run: RunOptions) -> Answer:
    """What comes of a unit, whatever the user's code does."""
    started = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BaselineWarning)  # the client gives it
            answer = _compute(architecture, unit, run)
    except (KeyboardInterrupt, SystemExit) as error:  # from a model, which would take the actor with it
        answer = _stopped(architecture, unit, run, f"training raised {type(error).__name__}", started)
    return replace(answer, is_spoiled=is_spoiled(run))


def _compute(architecture: Architecture, unit: Unit, run: RunOptions) -> Answer:
    if unit.key.is_contract:
        device = choose_device(run.device)
        verdict, traceback = run_contract(architecture, unit.setting, unit.key.item, run.contracts, device)
        return Answer(found=verdict, traceback=traceback)
    if unit.trial:
        return _trial(architecture, unit, run)
    measured = run_and_judge(architecture, unit.setting, run)
    return Answer(found=measured.result, traceback=measured.traceback)


def _trial(architecture: Architecture, unit: Unit, run: RunOptions) -> Answer:
    """One trial of a sweep: its part, or the verdict on the whole setting where there is nothing to train."""
    from pytest_mad.evaluation.sweep import run_part

    assert unit.trial is not None
    started, device, setting = time.monotonic(), choose_device(run.device), unit.setting
    try:
        with kept_inside():
            check_contracts(architecture, setting, run, device)
            part = run_part(
                architecture,
                setting,
                *unit.trial,
                device=device,
                data_dir=run.data_dir,
                deadline=float("inf") if run.timeout is None else time.monotonic() + run.timeout,
                store=open_store(run.store) if run.store else None,
            )
    except Exception as error:
        stopped = stopped_by(error, architecture, setting, run, time.monotonic() - started)
        return Answer(found=stopped.result, traceback=stopped.traceback)
    return Answer(found=part)


def _stopped(architecture: Architecture, unit: Unit, run: RunOptions, why: str, started: float) -> Answer:
    return Answer(found=error_of(architecture, unit, run, why, time.monotonic() - started))


def error_of(architecture: Architecture, unit: Unit, run: RunOptions, why: str, seconds: float) -> Any:
    """The result of a unit that ended without one: a setting's, or a contract's."""
    if unit.key.is_contract:
        return ContractResult(
            architecture=architecture.name, contract=unit.key.item, verdict="error", detail=why, seconds=seconds
        )
    return ended(architecture, unit.setting, run, Verdict("error", why), seconds).result


def handed_back(store: Store, sent: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """What the client's store does not have as it is here, which is then forgotten."""
    here = {name: store.content(name) for name in store.names()}
    gone: dict[str, bytes | None] = {name: None for name in sent if sent[name] is not None and name not in here}
    for name in here:
        store.put(name, None)
    return gone | {name: content for name, content in here.items() if content != sent.get(name)}


def is_spoiled(run: RunOptions) -> bool:
    """Whether a CUDA error has stuck, as an illegal access does: then every later call in this process fails."""
    import torch

    if choose_device(run.device).type != "cuda":
        return False
    try:
        torch.cuda.synchronize()
    except Exception:
        return True
    return False
