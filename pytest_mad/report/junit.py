"""JUnit properties of an item: short scalars under one prefix."""

from __future__ import annotations

from pytest_mad.results.result import ContractResult, ItemResult


def properties(result: ItemResult) -> list[tuple[str, str | float | int]]:
    """``mad.*`` properties of a result: plain Python values, without the scores that do not exist."""
    if isinstance(result, ContractResult):
        return [("mad.verdict", result.verdict), ("mad.seconds", round(result.seconds, 1)), *_attempts(result)]
    best, baseline = result.best, result.baseline
    values: dict[str, str | float | int | None] = {
        "mad.verdict": result.verdict,
        "mad.score": _short(result.normalized),
        "mad.accuracy": _short(result.accuracy),
        "mad.accuracy_compat": _short(result.accuracy_compat),
        "mad.sequence_accuracy": _short(result.sequence_accuracy),
        "mad.threshold": result.threshold,
        "mad.baseline": _short(baseline.floor) if baseline else None,
        "mad.seeds": len(result.scores) or None,
        "mad.oracle": _short(result.oracle),
        "mad.trivial": _short(result.trivial),
        "mad.steps": sum(trial.steps for trial in result.trials),
        "mad.learned": result.learned,
        "mad.lr": best.lr if best else None,
        "mad.weight_decay": best.weight_decay if best else None,
        "mad.seed": best.seed if best else None,
        "mad.seconds": round(result.seconds, 1),
        "mad.stored": "true" if result.stored else None,
        "mad.device": result.device,
        "mad.note": result.note or None,
    }
    return [*((name, value) for name, value in values.items() if value is not None), *_attempts(result)]


def _attempts(result: ItemResult) -> list[tuple[str, str | float | int]]:
    """How many it took, where it took more than one."""
    return [("mad.attempts", len(result.attempts) + 1)] if result.attempts else []


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
