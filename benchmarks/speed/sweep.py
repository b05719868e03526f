"""A sweep of six points to a verdict, against six plain runs, each of them a plain loop over the whole budget.

    python -m benchmarks.speed.sweep [--passing transformer] [--failing channel_only] [--task memorization] [--pairs 15]
                               [--share 0.1] [--engine loop] [--only passing|failing]

The setting is the smoke preset's, with the six points of the paper preset. A plain loop costs the same in every step,
so that only a share of its steps is taken, and their time is scaled up; the sweep is run as a whole, guard, evaluations
and compiling with an empty cache. Each turn has a process of its own. Prints the ratios, the median over pairs with its
95 % interval, and writes ``benchmarks/results/sweep.json``, which keeps what ``--only`` leaves out. Ends with an error
where a limit is missed: 0.25 for an architecture that passes, 0.7 for one that fails.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import nn

from benchmarks.calibration.scoreboard import ARCHITECTURES
from benchmarks.command import command_line
from benchmarks.record import RESULTS, save
from pytest_mad.architectures.architecture import Architecture
from pytest_mad.architectures.build import build_model
from pytest_mad.architectures.targets import from_target
from pytest_mad.common.files import read_json
from pytest_mad.evaluation.requirement import Requirement
from pytest_mad.evaluation.sweep import is_met, run_sweep
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting
from pytest_mad.training.data import load_data
from pytest_mad.training.engines import ENGINES

from .plugin_tax import median_interval
from .train_step import CPU, WARM_UP, nothing_compiled, plain_step

LIMITS = {"passing": 0.25, "failing": 0.7}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--passing", default="transformer", choices=ARCHITECTURES, metavar="NAME")
    parser.add_argument("--failing", default="channel_only", choices=ARCHITECTURES, metavar="NAME")
    parser.add_argument("--task", default="memorization")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--engine", default="loop", choices=ENGINES)
    parser.add_argument("--only", choices=LIMITS)
    arguments = parser.parse_args()

    file = RESULTS / "sweep.json"
    rows = {kind: row for kind, row in (read_json(file) if file.exists() else {}).items() if kind in LIMITS}
    for kind in [arguments.only] if arguments.only else LIMITS:
        rows[kind] = measure(getattr(arguments, kind), arguments)
        print_row(kind, rows[kind])
        if rows[kind]["verdict"] != {"passing": "pass", "failing": "fail"}[kind]:
            sys.exit(f"{rows[kind]['architecture']} does not belong to those {kind} {arguments.task}")
        save("sweep", engine=arguments.engine, limits=LIMITS, **rows)
    missed = [kind for kind, row in rows.items() if row["ratio"] > LIMITS[kind]]
    if missed:
        sys.exit(f"above the limit: {', '.join(missed)}")


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Pairs of a sweep and six plain runs, each in its own process."""
    times, what = [], {}
    for i in range(arguments.pairs):
        order = ("sweep", "plain") if i % 2 == 0 else ("plain", "sweep")
        found = {side: take_turn(side, name, arguments) for side in order}
        what = found["sweep"]
        times.append((what.pop("seconds"), found["plain"]["seconds"]))
        print(f"pair {i + 1}: {times[-1][0]:.1f} s, {times[-1][1]:.1f} s", file=sys.stderr, flush=True)
    ratio, low, high = median_interval([own / other for own, other in times])
    own_s, other_s = (sorted(side)[arguments.pairs // 2] for side in zip(*times, strict=True))
    return {
        "architecture": name,
        **what,
        "pairs": arguments.pairs,
        "share": arguments.share,
        "sweep_s": round(own_s, 2),
        "plain_s": round(other_s, 2),
        "ratio": round(ratio, 4),
        "interval": [round(low, 4), round(high, 4)],
    }


def take_turn(side: str, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What one side finds, in a process that does nothing else."""
    context = multiprocessing.get_context("spawn")
    connection, other_end = context.Pipe()
    process = context.Process(target=serve, args=(other_end, side, name, arguments), daemon=True)
    process.start()
    other_end.close()
    found: dict[str, Any] = connection.recv()
    process.join()
    return found


def serve(connection: Connection, side: str, name: str, arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    architecture = from_target(f"reference_archs.{name}:make_model")
    setting = six_points(settings("smoke")[f"{arguments.task}[baseline]"])
    if side == "sweep":
        with nothing_compiled():
            connection.send(one_sweep(architecture, setting, arguments.engine))
    else:
        connection.send({"seconds": six_plain_runs(architecture, setting, arguments.share)})


def six_points(setting: Setting) -> Setting:
    points = next(iter(settings("paper").values())).recipe.points
    return replace(setting, recipe=replace(setting.recipe, points=points))


def one_sweep(architecture: Architecture, setting: Setting, engine: str) -> dict[str, Any]:
    """Seconds, and what was found."""
    requirement = Requirement(threshold=setting.threshold)
    started = time.perf_counter()
    found = run_sweep(architecture, setting, 0, requirement=requirement, device=CPU, engine=engine)
    seconds = time.perf_counter() - started
    return {
        "setting": setting.id,
        "seconds": seconds,
        "verdict": "pass" if is_met(setting, requirement, found.best) else "fail",
        "trials": [{"lr": t.point.lr, "weight_decay": t.point.weight_decay, "steps": t.steps} for t in found.trials],
        "budget": setting.recipe.total_steps(setting.params.num_train_examples),
    }


def six_plain_runs(architecture: Architecture, setting: Setting, share: float) -> float:
    """Seconds of six plain loops over the whole budget, from a share of their steps."""
    data = load_data(setting, 0)
    total = setting.recipe.total_steps(setting.params.num_train_examples)

    def build() -> nn.Module:
        return build_model(architecture, setting, CPU)

    steps, seconds = max(1, round(share * total)), 0.0
    for point in setting.recipe.points:
        step = plain_step(build, replace(setting, recipe=replace(setting.recipe, points=(point,))), data)
        for _ in range(WARM_UP):  # what is done once would be scaled up too
            step()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        seconds += time.perf_counter() - started
    return seconds * total / steps


def print_row(kind: str, row: dict[str, Any]) -> None:
    low, high = row["interval"]
    steps = sum(trial["steps"] for trial in row["trials"])
    print(
        f"{kind}: {row['architecture']}, {row['setting']}: {len(row['trials'])} trials, {steps:,} of "
        f"{6 * row['budget']:,} steps; sweep {row['sweep_s']:.1f} s, six plain runs {row['plain_s']:.1f} s; "
        f"ratio {row['ratio']:.3f} (95 % interval {low:.3f} to {high:.3f}, {row['pairs']} pairs)",
        flush=True,
    )


if __name__ == "__main__":
    main()
