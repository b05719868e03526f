"""What the gate's pieces say: a row per planted change, totals, false alarms, and what each number means."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pytest_mad.gate.power import power
from pytest_mad.gate.speed import Pace

from .defects import PLANTED, Planted
from .expected import expected
from .pieces import (
    MUCH_SLOWER,
    Finding,
    Missing,
    Piece,
    Pieces,
    Slowness,
    Truth,
    against_baseline,
    against_threshold,
    baselines,
    by_cost,
    lookup,
    pace,
    preset,
    recorded,
    slowness,
    truth,
)
from .rates import false_alarms, rate

#: Whose seeds tell about false alarms.
RECORDED = ("transformer", "deltanet", "gated_deltanet", "mamba", "mamba2")

MEANS = {
    "false_alarms.settings.*.threshold": "recorded seeds below the preset's threshold, each of them a run that would"
    " have been flagged; interval: Clopper-Pearson, 95 %. The preset's sizes were chosen on the transformer's first 20"
    " seeds; every other seed is independent of them",
    "false_alarms.settings.*.baseline": "the rule of scores as it runs: the first B recorded seeds are the baseline,"
    " each disjoint group of n behind them is a run; counts those that regress. All groups share one baseline, so"
    " the interval is about that one, not about the rule; 16 seeds leave no group",
    "false_alarms.settings.*.baseline_bound": "1/C(B+n, n): what the rule promises of an unchanged architecture",
    "false_alarms.settings.*.splits": "of all ways to draw B + n seeds from the recorded ones, the share that regresses"
    " with the preset's margin; splits_without_margin: with none, and no cap. An estimate on pooled data: the splits"
    " share seeds, so there is no interval",
    "false_alarms.suite": "runs of all settings, the k-th made of every setting's k-th seed or group; flagged if one"
    " setting is; the bound is the sum of the settings'",
    "changes.*.status": "contract: breaks a hard contract; lost: below the threshold in one setting under two seeds"
    " that the gate does not use; else by how many times the steps it takes in its slowest setting: much slower (at"
    " least 3), slower (2 to 3), somewhat slower (1.3 to 2), harmless; refactoring: changes nothing by construction;"
    " open: not measured yet",
    "changes.*.expected": "what was written down before the steps were measured; contract, lost, slower or harmless",
    "changes.*.times": "per setting, the median of the quotients of its steps to the mark, of four seeds that the gate"
    " does not use, and the recorded seeds'; an unsolved seed counts with the budget. Cheapest first, up to the first"
    " setting of at least 3; slowest names the largest, with its 95 % interval",
    "changes.*.predicted": "the share of runs in which the rule finds slowdowns of these medians, by the spread of the"
    " recorded seeds, in one setting at least; the pooled test left out",
    "changes.*.lowest": "lowest normalised score of these seeds in the setting that shows the loss, or in all",
    "changes.*.default": "a run without options that ends at its first failure: contracts, then settings, cheapest"
    " first, one seed against the thresholds; seconds of one process on a"
    " machine with other work, contracts included; steps are those of the training",
    "changes.*.baseline": "the same against the recorded seeds of what was changed, by scores and steps, with the"
    " pooled test at its end; null where that is not measured",
    "changes.*.warnings": "contracts that warn, and that find the change where a run sets them to fail",
    "totals.found": "of what breaks a contract or loses a capability, what the default run flags. A broken contract"
    " is found by that: only found_of_lost tells how well scores find what contracts do not",
    "totals.against_baseline": "what a run against the baseline flags, by class; a class is measured by other seeds."
    " defects: contract, lost and much slower together; only those that were run",
    "totals.missed": "defects that a run against the baseline passes, by name, with the times of the slowest setting",
    "totals.seconds_to_a_failure": "of the transformer's changes: seconds of the setting that failed, in one process",
    "totals.unexpected": "changes of another class than expected",
}  # fmt: skip

_NOT_MEASURED = {"by": "not measured", "seconds": 0.0, "steps": 0}
#: Of changes that keep all capabilities: from how many times the steps on.
SPEEDS = {"much slower": MUCH_SLOWER, "slower": 2.0, "somewhat slower": 1.3, "harmless": 0.0}
DEFECTS = ("contract", "lost", "much slower")
STATUSES = ("contract", "lost", *SPEEDS, "refactoring", "open")
FoundT = TypeVar("FoundT")


def report(pieces: Pieces, folder: Path) -> dict[str, Any]:
    """All numbers, and what they mean."""
    changes = {name: row(change, pieces) for name, change in PLANTED.items()}
    return {
        "means": MEANS,
        "false_alarms": false_alarms(folder, RECORDED, by_cost()),
        "changes": changes,
        "totals": totals(changes) | {"seconds_to_a_failure": seconds_to_a_failure(pieces)},
    }


def row(change: Planted, pieces: Pieces) -> dict[str, Any]:
    """What is known of one change."""
    get, chosen = lookup(change, pieces), by_cost()
    contracts = known(lambda: recorded(Piece(change.name), pieces))
    broken = found_by_contract(contracts) if contracts else None
    shown = None if broken or change.is_refactoring else known(lambda: truth(get, chosen))
    default = broken or known(lambda: against_threshold(get, chosen))
    has_baseline = change.base in baselines()
    baseline = broken or (known(lambda: against_baseline(change, get, chosen)) if has_baseline else None)
    late = None if not shown or shown.setting or not has_baseline else known(lambda: slowness(change, get, chosen))
    seconds = contracts["seconds"] if contracts and not broken else 0.0
    return {
        "kind": change.kind,
        "base": change.base,
        "status": status(change, contracts, shown, late),
        "expected": "refactoring" if change.is_refactoring else expected(change.name),
        "shown_by": broken.by if broken else shown and shown.setting,
        "times": late and late.medians,
        "slowest": late and {"setting": late.setting, **_numbers(late)},
        "predicted": late and round(predicted(change, late), 3),
        "lowest": shown and round(shown.lowest, 4),
        "default": default and _with_contracts(default, seconds),
        "baseline": baseline and _with_contracts(baseline, seconds),
        "warnings": contracts["warnings"] if contracts else {},
    }


def _numbers(late: Slowness) -> dict[str, Any]:
    low, high = (round(one, 2) if math.isfinite(one) else None for one in (late.ratio.low, late.ratio.high))
    return {"times": round(late.ratio.low_median, 2), "interval": [low, high]}


def predicted(change: Planted, late: Slowness) -> float:
    """How often the rule would find slowdowns of these medians, in one of the settings at least."""
    missed = 1.0
    for name, times in late.medians.items():
        asked = pace(change.base, preset()[name])
        missed *= 1 - (_power(asked, times) if asked else 0.0)
    return 1 - missed


@functools.cache
def _power(asked: Pace, times: float) -> float:
    return power(asked, times)


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


def status(change: Planted, contracts: Mapping[str, Any] | None, shown: Truth | None, late: Slowness | None) -> str:
    """One of `STATUSES`: see `MEANS`."""
    if change.is_refactoring:
        return "refactoring"
    if contracts and contracts["broken"]:
        return "contract"
    if contracts and shown and shown.setting:
        return "lost"
    if not contracts or not shown or not late:
        return "open"
    return next(name for name, least in SPEEDS.items() if late.ratio.low_median >= least)


def _with_contracts(finding: Finding, seconds: float) -> dict[str, Any]:
    return asdict(finding) | {"seconds": round(finding.seconds + seconds, 1)}


def totals(changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Counts over the rows, with intervals."""
    rows = list(changes.values())
    of = {name: [r for r in rows if r["status"] == name] for name in STATUSES}
    defects = [r for name in DEFECTS for r in of[name]]
    foretold = [r["predicted"] for r in of["slower"] if r["baseline"]]
    return {
        **{name.replace(" ", "_"): len(found) for name, found in of.items()},
        "found": _flagged([*of["contract"], *of["lost"]], "default"),
        "found_of_lost": _flagged(of["lost"], "default"),
        "flagged_refactorings": _flagged(of["refactoring"], "default"),
        "against_baseline": {"defects": _flagged(defects, "baseline")}
        | {name: _flagged(of[name], "baseline") for name in STATUSES if name != "open"},
        "predicted_of_slower": round(statistics.fmean(foretold), 3) if foretold else None,
        "missed": {
            name: r["slowest"] and r["slowest"]["times"]
            for name, r in changes.items()
            if r["status"] in DEFECTS and r["baseline"] and r["baseline"]["by"] is None
        },
        "unexpected": {
            name: f"{r['expected']} expected, {r['status']} found"
            for name, r in changes.items()
            if r["status"] != "open" and not _is_expected(r["expected"], r["status"])
        },
    }


def _is_expected(expectation: str, found: str) -> bool:
    return found.endswith("slower") if expectation == "slower" else found == expectation


def seconds_to_a_failure(pieces: Pieces) -> dict[str, Any]:
    """How long the setting took that fails a run against the transformer's baseline."""
    names = [name for name, change in PLANTED.items() if change.base == "transformer"]
    keys = [Piece(name, setting).key for name in names for setting in preset()]
    taken = [pieces[key]["seconds"] for key in keys if key in pieces and pieces[key]["verdict"] != "pass"]
    if not taken:
        return {"of": 0, "median": None, "most": None}
    return {"of": len(taken), "median": round(statistics.median(taken), 1), "most": max(taken)}


def _flagged(rows: Sequence[Mapping[str, Any]], run: str) -> dict[str, Any]:
    """How many of those that had such a run were flagged by it."""
    found = [r[run]["by"] is not None for r in rows if r[run]]
    return rate(sum(found), len(found))


def print_report(found: Mapping[str, Any]) -> None:
    """Rows, totals and false alarms."""
    print(f"\n{'change':44} {'base':15} {'status':15} lowest times  {'without options':36} {'against the baseline':38}"
          " seconds")  # fmt: skip
    for name, r in found["changes"].items():
        lowest = "" if r["lowest"] is None else f"{r['lowest']:.2f}"
        times = f"{r['slowest']['times']:.1f}" if r["slowest"] else ""
        default, baseline = (r[run] or _NOT_MEASURED for run in ("default", "baseline"))
        print(f"{name:44} {r['base']:15} {r['status']:15} {lowest:6} {times:5}  {default['by'] or 'nothing':36}"
              f" {baseline['by'] or 'nothing':38} {baseline['seconds']:7.1f}")  # fmt: skip
    print()
    for name, value in found["totals"].items():
        parts = value if isinstance(value, dict) and "share" not in value else {"": value}
        for part, one in parts.items():
            text = as_text(one) if isinstance(one, dict) else one
            print(f"{name.replace('_', ' ')} {part}".ljust(68), text)
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
