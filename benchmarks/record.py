"""Where measurements are kept: ``benchmarks/results/NAME.json``, with the environment they were made in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_mad.files import write_json
from pytest_mad.report.json_file import environment

RESULTS = Path(__file__).with_name("results")


def save(name: str, **content: Any) -> None:
    """Write or replace a measurement."""
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", {"schema": 1, "environment": environment(["cpu"]), **content})
