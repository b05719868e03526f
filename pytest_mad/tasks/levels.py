"""Oracle and trivial levels that have no closed form: what the scripted player reaches on 2,000 sequences.

The levels of the shipped presets are committed in ``levels.json``, which ``python -m benchmarks.calibration.levels``
writes; any other setting's level is measured when it is needed. Both come from the same fixed seed.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pytest_mad.common.seeds import generator

from .base import Task, TaskParams, accuracy

TABLE = Path(__file__).with_name("levels.json")
_SEQUENCES = 2_000
#: What a level does not depend on.
_IRRELEVANT = ("num_train_examples", "num_test_examples", "supervise")

#: What this process has measured.
measured: dict[str, float] = {}


def measured_level(task: Task[Any], params: TaskParams, which: Literal["oracle", "trivial"]) -> float:
    """Accuracy of the scripted player, from the committed table or measured now, once per process."""
    key = level_key(task, params, which)
    known = committed()
    if key in known:
        return known[key]
    if key not in measured:
        measured[key] = simulate_level(task, params, which)
    return measured[key]


def level_key(task: Task[Any], params: TaskParams, which: str) -> str:
    """Name of a level in the table."""
    relevant = {k: v for k, v in sorted(params.to_json().items()) if k not in _IRRELEVANT}
    return f"{task.name} v{task.version} {which} {json.dumps(relevant)}"


def simulate_level(task: Task[Any], params: TaskParams, which: Literal["oracle", "trivial"]) -> float:
    """Let the scripted player answer 2,000 test sequences; rounded to four digits."""
    rng = generator("level", task.name, task.version)
    batch = task.generate(params, _SEQUENCES, rng, "test")
    train = task.generate(params, min(params.num_train_examples, _SEQUENCES), rng, "train")
    player = getattr(task.players(params), which)
    return round(accuracy(player(train, batch.inputs), batch.targets), 4)


@cache
def committed() -> dict[str, float]:
    """The committed table."""
    table: dict[str, float] = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    return table
