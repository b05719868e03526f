"""Where a process of a run spends its time: a pytest plugin that splits it into phases, without a remainder.

Loaded by ``python -m benchmarks.speed.smoke --where``, in every process of the run. Behind every item a process writes
its seconds by phase to a file in the folder that `FOLDER` names. A phase's own time leaves out the phases inside it.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

FOLDER = "PYTEST_MAD_PHASES"
START, IMPORTS, ITEMS = "start-up of pytest", "importing torch", "pytest around items"
BETWEEN, LAST, END = "waiting for items", "waiting for the last item", "reports, and the end"
CONTRACTS, COMPILING, STORE = "contracts", "compiling", "store: "
#: Whose call is which phase: a module, what it looks up there, and what that is called in the table.
CALLS = (
    ("pytest_mad.evaluation.contract", "ask", CONTRACTS),
    ("pytest_mad.evaluation.sweep", "guard", "causality guard"),
    ("pytest_mad.evaluation.sweep", "build_model", "building models"),
    ("pytest_mad.evaluation.sweep", "load_data", "data"),
    ("pytest_mad.evaluation.sweep", "stored_trial", f"{STORE}which model this is"),
    ("pytest_mad.training.engines", "Job.find", f"{STORE}results"),
    ("pytest_mad.training.engines", "Job.keep", f"{STORE}results"),
    ("pytest_mad.store.trials", "StoredTrial.save", f"{STORE}checkpoints"),
    ("pytest_mad.training.compiled", "compiled", COMPILING),
    ("pytest_mad.training.engines", "train_trial", "steps: the loop around"),
    ("pytest_mad.training.trial", "training_step", "steps: the loop around"),
    ("pytest_mad.training.trial", "loss_of", "steps: forward"),
    ("torch", "Tensor.backward", "steps: backward"),
    ("pytest_mad.training.optimizer", "AdamW.step", "steps: optimizer"),
    ("pytest_mad.training.trial", "evaluate", "evaluation"),
)


class Clock:
    """Seconds by phase; each moment belongs to the innermost phase."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stack = [START]
        self._since = time.time()

    def enter(self, phase: str) -> None:
        self._count()
        outer = self._stack[-1]  # what these train is no step of a trial
        self._stack.append(outer if outer in (CONTRACTS, COMPILING) or outer.startswith(STORE) else phase)

    def leave(self) -> None:
        self._count()
        self._stack.pop()

    def turn(self, phase: str) -> None:
        """Replace the outermost phase."""
        self._count()
        self._stack[0] = phase

    def _count(self) -> None:
        now = time.time()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now


CLOCK, BEGAN = Clock(), time.time()


def pytest_configure(config: pytest.Config) -> None:
    """Count what happens inside items, where somebody asks."""
    if FOLDER in os.environ:
        config.pluginmanager.register(_Items(), "phases of items")


class _Items:
    def __init__(self) -> None:
        self._has_begun = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        CLOCK.enter(ITEMS)
        try:
            if not self._has_begun:
                self._has_begun = True
                CLOCK.enter(IMPORTS)
                _wrap_all()
                CLOCK.leave()
            return (yield)
        finally:
            CLOCK.leave()
            CLOCK.turn(BETWEEN)
            _write()


def _wrap_all() -> None:
    for module, path, phase in CALLS:
        owner: Any = importlib.import_module(module)
        *owners, name = path.split(".")
        for attribute in owners:
            owner = getattr(owner, attribute)
        setattr(owner, name, _timed(getattr(owner, name), phase))


def _timed(call: Callable[..., Any], phase: str) -> Callable[..., Any]:
    @functools.wraps(call)
    def timed(*args: Any, **kwargs: Any) -> Any:
        CLOCK.enter(phase)
        try:
            return call(*args, **kwargs)
        finally:
            CLOCK.leave()

    return timed


def _write() -> None:
    """A worker may be ended without notice."""
    path = Path(os.environ[FOLDER], f"{os.getpid()}.json")
    record = {"began": BEGAN, "ended": time.time(), "seconds": dict(CLOCK.seconds)}
    path.write_text(json.dumps(record), encoding="utf-8")


def read(folder: Path, began: float, ended: float) -> dict[str, float]:
    """Seconds by phase of all processes that ran items in a command that began and ended then: together its wall clock,
    once per process.
    """
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    last = max(record["ended"] for record in records)
    found: defaultdict[str, float] = defaultdict(float)
    for record in records:
        for phase, seconds in record["seconds"].items():
            found[phase] += seconds
        found[START] += record["began"] - began
        found[LAST] += last - record["ended"]
        found[END] += ended - last
    return {phase: found[phase] for phase in PHASES}


PHASES = (START, IMPORTS, ITEMS, *dict.fromkeys(phase for *_, phase in CALLS), BETWEEN, LAST, END)
