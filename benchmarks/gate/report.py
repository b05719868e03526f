"""What the gate's pieces say: a row per planted change, totals, false alarms, and what each number means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pytest_mad.gate import Floor

from .defects import PLANTED, Planted
from .pieces import (
    Finding,
    Missing,
    Piece,
    Pieces,
    Truth,
    against_baseline,
    against_threshold,
    by_cost,
    lookup,
    recorded,
    truth,
)
from .rates import false_alarms, rate

#: Whose seeds tell about false alarms.
RECORDED = ("transformer", "deltanet", "gated_deltanet", "mamba", "mamba2")

MEANS = {
    "false_alarms.settings.*.threshold": "recorded seeds below the preset's threshold, each of them a run that would"
    " have been flagged; interval: Clopper-Pearson, 95 %. The preset's sizes were chosen on the transformer's first 20"
    " seeds; every other seed is independent of them",
    "false_alarms.settings.*.baseline": "the rule as it runs: the first B recorded seeds are the baseline, each"
    " disjoint group of n behind them is a run; counts those that regress. All groups share one baseline, so"
    " the interval is about that one, not about the rule; 10 seeds leave no group",
    "false_alarms.settings.*.baseline_bound": "1/C(B+n, n): what the rule promises of an unchanged architecture",
    "false_alarms.settings.*.splits": "of all ways to draw B + n seeds from the recorded ones, the share that regresses"
    " with the preset's margin; splits_without_margin: with none, and no cap. An estimate on pooled data: the splits"
    " share seeds, so there is no interval",
    "false_alarms.suite": "runs of all settings, the k-th made of every setting's k-th seed or group; flagged if one"
    " setting is; the bound is the sum of the settings'",
    "changes.*.status": "defect: breaks a hard contract, or is below the threshold in one setting under two seeds that"
    " the gate does not use; harmless: neither; warned: neither, but it breaks a contract that only warns; refactoring:"
    " changes nothing by construction; open: not measured yet",
    "changes.*.lowest": "lowest normalised score of these seeds in the setting that shows the defect, or in all",
    "changes.*.default": "a run without options that ends at its first failure: contracts, then settings, cheapest"
    " first, one seed against the thresholds; seconds of one process on a"
    " machine with other work, contracts included; steps are those of the training",
    "changes.*.baseline": "the same against the base architecture's recorded seeds; null where that is not measured",
    "changes.*.warnings": "contracts that warn, and that find the change where a run sets them to fail",
    "totals.found": "defects that the default run flags. A change that breaks a hard contract is a defect by that and"
    " found by that, so only found_of_those_that_only_scores_show tells how well scores find what contracts do not",
    "totals.found_if_a_warning_is_a_defect": "the same where changes that only break a contract that warns count as"
    " defects; the default run shows their warning and passes",
    "totals.found_against_baseline": "of the defects that were run against a baseline too; a broken contract counts",
    "totals.flagged_*": "changes that cost nothing, and are flagged nevertheless",
}  # fmt: skip

_NOT_MEASURED = {"by": "not measured", "seconds": 0.0, "steps": 0}
STATUSES = ("defect", "harmless", "warned", "refactoring", "open")
FoundT = TypeVar("FoundT")


def report(pieces: Pieces, lines: Mapping[str, Mapping[str, Floor]], folder: Path) -> dict[str, Any]:
    """All numbers, and what they mean."""
    changes = {name: row(change, pieces, lines.get(change.base)) for name, change in PLANTED.items()}
    return {
        "means": MEANS,
        "false_alarms": false_alarms(folder, RECORDED, by_cost()),
        "changes": changes,
        "totals": totals(list(changes.values())),
    }


def row(change: Planted, pieces: Pieces, lines: Mapping[str, Floor] | None) -> dict[str, Any]:
    """What is known of one change."""
    get, chosen = lookup(change, pieces), by_cost()
    contracts = known(lambda: recorded(Piece(change.name), pieces))
    broken = found_by_contract(contracts) if contracts else None
    shown = None if broken or change.is_refactoring else known(lambda: truth(get, chosen))
    default = broken or known(lambda: against_threshold(get, chosen))
    baseline = broken or (None if lines is None else known(lambda: against_baseline(get, chosen, lines)))
    seconds = contracts["seconds"] if contracts and not broken else 0.0
    return {
        "kind": change.kind,
        "base": change.base,
        "status": status(change, contracts, shown),
        "shown_by": broken.by if broken else shown and shown.setting,
        "lowest": shown and round(shown.lowest, 4),
        "default": default and _with_contracts(default, seconds),
        "baseline": baseline and _with_contracts(baseline, seconds),
        "warnings": contracts["warnings"] if contracts else {},
    }


def known(ask: Callable[[], FoundT]) -> FoundT | None:
    """The answer, if all that it takes is measured."""
    try:
        return ask()
    except Missing:
        return None


def found_by_contract(contracts: Mapping[str, Any]) -> Finding | None:
    """Every run asks them first."""
    if contracts["broken"] is None:
        return None
    return Finding(
        by=f"contract {contracts['broken']}", detail=contracts["detail"], seconds=contracts["seconds"], steps=0
    )


def status(change: Planted, contracts: Mapping[str, Any] | None, shown: Truth | None) -> str:
    """refactoring, defect, warned, harmless, or open: see `MEANS`."""
    if change.is_refactoring:
        return "refactoring"
    if contracts and (contracts["broken"] or (shown and shown.setting)):
        return "defect"
    if not contracts or not shown:
        return "open"
    return "warned" if contracts["warnings"] else "harmless"


def _with_contracts(finding: Finding, seconds: float) -> dict[str, Any]:
    return asdict(finding) | {"seconds": round(finding.seconds + seconds, 1)}


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts over the rows, with intervals."""
    of = {name: [r for r in rows if r["status"] == name] for name in STATUSES}
    by_contract = [r for r in of["defect"] if r["shown_by"].startswith("contract")]
    by_score = [r for r in of["defect"] if r not in by_contract]
    harmless = [*of["harmless"], *of["refactoring"]]
    return {
        "defects": len(of["defect"]),
        "harmless": len(of["harmless"]),
        "warned": len(of["warned"]),
        "refactorings": len(of["refactoring"]),
        "open": len(of["open"]),
        "found": _flagged(of["defect"], "default"),
        "found_if_a_warning_is_a_defect": _flagged([*of["defect"], *of["warned"]], "default"),
        "found_of_those_that_break_a_contract": _flagged(by_contract, "default"),
        "found_of_those_that_only_scores_show": _flagged(by_score, "default"),
        "found_against_baseline": _flagged(of["defect"], "baseline"),
        "found_against_baseline_of_those_that_only_scores_show": _flagged(by_score, "baseline"),
        "flagged_refactorings": _flagged(of["refactoring"], "default"),
        "flagged_refactorings_against_baseline": _flagged(of["refactoring"], "baseline"),
        "flagged_harmless": _flagged(of["harmless"], "default"),
        "flagged_harmless_against_baseline": _flagged(of["harmless"], "baseline"),
        "flagged_of_all_that_cost_nothing": _flagged(harmless, "default"),
    }


def _flagged(rows: Sequence[Mapping[str, Any]], run: str) -> dict[str, Any]:
    """How many of those that had such a run were flagged by it."""
    found = [r[run]["by"] is not None for r in rows if r[run]]
    return rate(sum(found), len(found))


def print_report(found: Mapping[str, Any]) -> None:
    """Rows, totals and false alarms."""
    print(f"\n{'change':44} {'kind':14} {'base':14} {'status':11} lowest  {'found by':36} seconds  steps"
          "  against the baseline")  # fmt: skip
    for name, r in found["changes"].items():
        lowest = "" if r["lowest"] is None else f"{r['lowest']:.2f}"
        default, baseline = (r[run] or _NOT_MEASURED for run in ("default", "baseline"))
        print(f"{name:44} {r['kind']:14} {r['base']:14} {r['status']:11} {lowest:6}  {default['by'] or 'nothing':36}"
              f" {default['seconds']:7.1f} {default['steps']:6}  {baseline['by'] or 'nothing'}")  # fmt: skip
    print()
    for name, value in found["totals"].items():
        print(f"{name.replace('_', ' '):58} {as_text(value) if isinstance(value, dict) else value}")
    for architecture, table in found["false_alarms"].items():
        rows = {**table["settings"], "suite": table["suite"]}
        print(f"\nfalse alarms: {architecture}")
        for name, r in rows.items():
            splits = f", over splits {r['splits']:.5f}" if r.get("splits") is not None else ""
            print(f"  {name:34} threshold {as_text(r['threshold'])}; baseline {as_text(r['baseline'])}, "
                  f"at most {r['baseline_bound']:.4f}{splits}")  # fmt: skip


def as_text(found: Mapping[str, Any]) -> str:
    """``3 of 30, 10.0 % (2.1 to 26.5)``."""
    if found["share"] is None:
        return "none measured"
    low, high = found["interval"]
    return f"{found['count']} of {found['of']}, {found['share']:.1%} ({100 * low:.1f} to {100 * high:.1f})"
