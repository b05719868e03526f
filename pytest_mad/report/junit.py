"""JUnit properties of an item: short scalars under one prefix."""

from __future__ import annotations

from typing import Any


def properties(record: dict[str, Any]) -> list[tuple[str, str | float | int]]:
    """``mad.*`` properties from a record's ``to_json()``: plain Python values, without the scores that do not exist."""
    if "contract" in record:
        return [("mad.verdict", record["verdict"]), ("mad.seconds", round(record["seconds"], 1))]
    best = record["best"] or {}
    values: dict[str, Any] = {
        "mad.verdict": record["verdict"],
        "mad.score": _short(record["normalized"]),
        "mad.accuracy": _short(record["accuracy"]),
        "mad.accuracy_compat": _short(record["accuracy_compat"]),
        "mad.sequence_accuracy": _short(record["sequence_accuracy"]),
        "mad.threshold": record["threshold"],
        "mad.baseline": _short((record["baseline"] or {}).get("line")),
        "mad.seeds": len(record["scores"]) or None,
        "mad.oracle": _short(record["oracle"]),
        "mad.trivial": _short(record["trivial"]),
        "mad.steps": sum(trial["steps"] for trial in record["trials"]),
        "mad.lr": best.get("lr"),
        "mad.weight_decay": best.get("weight_decay"),
        "mad.seed": best.get("seed"),
        "mad.seconds": round(record["seconds"], 1),
        "mad.stored": "true" if record["stored"] else None,
        "mad.device": record["device"],
        "mad.note": record["note"] or None,
    }
    return [(name, value) for name, value in values.items() if value is not None]


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
