"""What verdicts mean for every report alike. Records are those of the result file, of settings and of contracts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def passes(record: Mapping[str, Any]) -> bool:
    """Whether this passed, or is an open case where those were to count as a pass."""
    return record["verdict"] == "pass" or (record["verdict"] == "inconclusive" and bool(record.get("tolerant")))


def fails(record: Mapping[str, Any]) -> bool:
    """Whether this fails its run."""
    return record["verdict"] != "skipped" and not passes(record)


def is_warning(record: Mapping[str, Any]) -> bool:
    """Whether this is a broken contract that passes because it only warns. A setting's pass has a reason too."""
    return "task" not in record and record["verdict"] == "pass" and bool(record["detail"])


def needed(record: Mapping[str, Any]) -> float | None:
    """The normalised score that a setting has to reach: its baseline's line or its threshold, or none."""
    line: float | None = record["baseline"]["line"] if record["baseline"] else record["threshold"]
    return line
