"""Where measurements are kept: ``benchmarks/results/NAME.json``, with the environment they were made in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_mad.common.files import read_json, write_json
from pytest_mad.results.result_file import environment

RESULTS = Path(__file__).with_name("results")


def save(name: str, **content: Any) -> None:
    """Write or replace a measurement."""
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", {"schema": 1, "environment": asdict(environment(["cpu"])), **content})


def update(name: str, **sections: Any) -> None:
    """Replace these sections of a measurement and keep its others, each with the environment that it was made in."""
    path = RESULTS / f"{name}.json"
    known = read_json(path) if path.exists() else {}
    own = {key: {"environment": asdict(environment(["cpu"])), **section} for key, section in sections.items()}
    RESULTS.mkdir(exist_ok=True)
    write_json(path, {**known, "schema": 1, **own})
