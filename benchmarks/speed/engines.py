"""The scores that each engine comes to, from the same trials: they differ by rounding, so by where training leads it.

    python -m benchmarks.speed.engines [--arch reference_archs.transformer:make_model] [--tasks A,B] [--seeds 2]

Every smoke setting at two recipe points, its own and half its learning rate, without a race, by ``loop``, by ``vmap``,
and by the loop as it trains long sweeps on a CPU: compiled, here from the first step of the second point on. Prints
normalised test scores and steps per trial, the largest difference of a score between trials that were solved under
both, and writes ``benchmarks/results/engines-ARCH.json``. Ends with an error where a setting is solved under one engine
and not under another.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch

from benchmarks.command import command_line
from benchmarks.record import save
from pytest_mad.architectures.architecture import Architecture
from pytest_mad.architectures.targets import from_target
from pytest_mad.evaluation.sweep import run_sweep
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting, select
from pytest_mad.training import compiled

CPU = torch.device("cpu")
WORTH = compiled.WORTH_COMPILING
#: engine, and from how many operations on a sweep is compiled
WAYS = {"loop": ("loop", float("inf")), "compiled": ("loop", 0.0), "vmap": ("vmap", float("inf"))}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--arch", default="reference_archs.transformer:make_model")
    parser.add_argument("--tasks")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()

    architecture = from_target(arguments.arch)
    chosen = settings("smoke")
    if arguments.tasks:
        chosen = select(chosen, arguments.tasks.split(","))
    rows: list[dict[str, Any]] = []
    for setting in map(two_points, chosen.values()):
        for seed in range(arguments.seeds):
            found = {way: trials(architecture, setting, seed, way) for way in WAYS}
            rows += [{"setting": setting.id, "seed": seed, **row} for row in side_by_side(found)]
            for row in rows[-len(setting.recipe.points) :]:
                print_row(row)
            save(f"engines-{architecture.name}", arch=arguments.arch, trials=rows)
    solved = [row for row in rows if all(row[way]["stopped"] == "solved" for way in WAYS)]
    spread = max((difference(row) for row in solved), default=0.0)
    print(f"{len(solved)} of {len(rows)} trials solved under every engine; their scores differ by at most {spread:.3f}")
    torn = [row for row in rows if row not in solved and any(row[way]["stopped"] == "solved" for way in WAYS)]
    if torn:
        sys.exit(f"solved under some engines only: {', '.join(row['setting'] for row in torn)}")


def two_points(setting: Setting) -> Setting:
    """Its own point and one of half the learning rate, both trained whatever the first comes to."""
    (point,) = setting.recipe.points
    points = (point, replace(point, lr=point.lr / 2))
    return replace(setting, recipe=replace(setting.recipe, points=points, race=False))


def trials(architecture: Architecture, setting: Setting, seed: int, way: str) -> list[dict[str, Any]]:
    """Score, steps and end of each point's trial; 0 and no end for one that gave no score."""
    engine, compiled.WORTH_COMPILING = WAYS[way]
    try:
        sweep = run_sweep(architecture, setting, seed, device=CPU, engine=engine)
    finally:
        compiled.WORTH_COMPILING = WORTH
    found = {
        trial.point: {
            "score": round(setting.normalized(trial.test.accuracy), 4),
            "steps": trial.steps,
            "stopped": trial.stopped,
        }
        for trial in sweep.trials
    }
    nothing = {"score": 0.0, "steps": 0, "stopped": "error"}
    return [{"lr": point.lr, **found.get(point, nothing)} for point in setting.recipe.points]


def side_by_side(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row per point, with what every engine came to."""
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def difference(row: dict[str, Any]) -> float:
    scores = [row[way]["score"] for way in WAYS]
    return float(max(scores) - min(scores))


def print_row(row: dict[str, Any]) -> None:
    cells = "".join(f"{way:>12} {row[way]['score']:.3f} {row[way]['stopped']} @{row[way]['steps']}" for way in WAYS)
    print(f"{row['setting']:36} seed {row['seed']} lr {row['loop']['lr']:g}{cells}", flush=True)


if __name__ == "__main__":
    main()
