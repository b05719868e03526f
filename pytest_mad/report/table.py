"""The terminal's table: one per architecture, tasks by settings, failing first, MAD score last."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from pytest_mad.result import round_down

from .json_file import scores

Colour = Literal["green", "red", "yellow"]
_COLOURS: dict[str, Colour] = {"pass": "green", "fail": "red", "regress": "red", "error": "red"}
_FAILING = ("error", "fail", "regress", "inconclusive")


class Line(NamedTuple):
    text: str
    colour: Colour | None = None
    bold: bool = False


def tables(records: Iterable[dict[str, Any]], contracts: Iterable[dict[str, Any]] = ()) -> Iterator[Line]:
    """The lines of all tables; records are ``Result.to_json()``, contracts ``ContractResult.to_json()``."""
    records, contracts = list(records), list(contracts)
    for name in dict.fromkeys(record["architecture"] for record in (*records, *contracts)):
        own_records = [record for record in records if record["architecture"] == name]
        own_contracts = [contract for contract in contracts if contract["architecture"] == name]
        if own_records:
            yield from _table(name, own_records, own_contracts)
        else:
            yield Line(name, bold=True)
            yield from _contracts(own_contracts)


def _contracts(contracts: list[dict[str, Any]]) -> Iterator[Line]:
    """What is broken, switched off or does not apply, with the reason; and how many hold."""
    told = [c for c in contracts if c["detail"]]
    for record in sorted(told, key=lambda c: c["verdict"] not in _FAILING):
        colour = "yellow" if record["verdict"] == "pass" else _COLOURS.get(record["verdict"])
        yield Line(f"  contract {record['contract']}: {record['verdict']}: {record['detail']}", colour)
    if contracts:
        yield Line(f"  {len(contracts) - len(told)} contracts hold")


def _table(architecture: str, records: list[dict[str, Any]], contracts: list[dict[str, Any]]) -> Iterator[Line]:
    parameters = max((r["parameters"] or 0 for r in records), default=0)
    size = f", {parameters:,} parameters" if parameters else ""
    yield Line(f"{architecture} ({records[0]['preset']}{size})", bold=True)
    yield from _contracts(contracts)
    width = max(len(_name(r)) for r in records)
    yield Line(f"  {'':{width}}  verdict score needed accuracy trivial steps seconds")
    for record in sorted(records, key=lambda r: r["verdict"] not in _FAILING):
        yield Line(f"  {_name(record):{width}}  {_cells(record)}", _COLOURS.get(record["verdict"], "yellow"))
        if record["verdict"] != "pass":
            yield Line(f"    {record['detail']}")
    task_scores, mad_score, normalized = scores(records)
    if mad_score is not None:
        tasks = f"mean over {len(task_scores)} task{'s' if len(task_scores) > 1 else ''}"
        yield Line(f"  MAD score {mad_score:.3f}, normalised {normalized:.3f} ({tasks})", bold=True)
    elif task_scores:
        yield Line("  no MAD score: not every setting has a score", bold=True)


def _name(record: dict[str, Any]) -> str:
    """The setting's id, or the task's name for its baseline: this fits 80 columns."""
    name: str = record["setting"]
    return name.removesuffix("[baseline]")


def _cells(record: dict[str, Any]) -> str:
    steps = sum(t["steps"] for t in record["trials"])
    return (
        f"{record['verdict']:7} {_score(record['normalized'])} {_number(_needed(record), 6, 2)} "
        f"{_number(record['accuracy'], 8)} {_number(record['trivial'], 7)} {steps or '-':>5} {record['seconds']:7.1f}"
    )


def _needed(record: dict[str, Any]) -> float | None:
    """The threshold or the baseline's line, which is rounded down like the scores that it is compared with."""
    line = (record["baseline"] or {}).get("line")
    threshold: float | None = record["threshold"]
    return threshold if line is None else math.floor(line * 100) / 100


def _score(value: float | None) -> str:
    return _number(None if value is None else round_down(value), 5)


def _number(value: float | None, width: int, digits: int = 3) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"
