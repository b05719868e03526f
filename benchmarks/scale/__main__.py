"""What more workers bring: measured on this machine's cores, and simulated for machines that are not at hand.

    python -m benchmarks.scale simulate [--preset paper] [--draws 200]
    python -m benchmarks.scale measure [--executor xdist|ray] [--rounds 5] [--settings 24] [--steps 400]

``simulate`` sends the preset's items through xdist's own scheduler with 8 workers, and its trials to 64 actors, and
compares the makespan with the lower bound; see :mod:`benchmarks.scale.simulated`. ``measure`` trains a load of
smoke-sized settings in one process and on 1 and 2 workers, in interleaved rounds, and checks that all scores are the
same bit for bit. Both write ``benchmarks/results/scale.json``, each its own sections.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.command import command_line
from benchmarks.record import update
from pytest_mad.suite.xdist import cores

from . import simulated as scale_simulated

ROOT = Path(__file__).parents[2]
#: A setting of each task, at the sizes of the smoke preset, for as many steps in every run: no trial ends early.
TASKS = {
    "in-context-recall": "vocab_size = 8, seq_len = 48",
    "noisy-in-context-recall": "vocab_size = 12, noise_vocab_size = 4, seq_len = 48",
    "fuzzy-in-context-recall": "vocab_size = 8, seq_len = 48, k_motif_size = 2, v_motif_size = 2",
    "memorization": "vocab_size = 64, seq_len = 32",
    "compression": "vocab_size = 8, seq_len = 16",
    "selective-copying": "vocab_size = 8, seq_len = 48, num_tokens_to_copy = 8",
}
#: What scores, and nothing else of a result, may not differ in.
SCORES = ("accuracy", "accuracy_compat", "sequence_accuracy", "normalized", "scores", "trials")


class Way(NamedTuple):
    """How the load is run."""

    arguments: tuple[str, ...]
    #: cores that the run may use; a Ray of its own has as many workers
    cores: int | None = None


ONE = "one process"
WAYS = {
    "xdist": {ONE: Way(()), "1 worker": Way(("-n", "1")), "2 workers": Way(("-n", "2"))},
    "ray": {
        ONE: Way(()),
        "1 worker": Way(("--mad-executor=ray",), 1),
        "2 workers": Way(("--mad-executor=ray",), 2),
    },
}


def load(settings: int, steps: int) -> str:
    """A preset of so many settings, which take about the same time each: the tasks in turn, each with more data."""
    lines = ["schema = 1", "width = 64", "", "[recipe]", "points = [{ lr = 5e-4 }]", "batch_size = 32"]
    lines += [f"steps = {steps}", f"evaluate_every = {steps}", "num_validation_examples = 256", "solved_at = 1.1"]
    for place, (task, sizes) in enumerate(TASKS.items()):
        count = len(range(place, settings, len(TASKS)))
        if count:
            more = ", ".join(str(2048 + 32 * i) for i in range(1, count))
            lines += ["", f"[tasks.{task}]", f"baseline = {{ {sizes}, num_train_examples = 2048 }}"]
            lines += [f"vary = {{ num_train_examples = [{more}] }}"] if more else []
    return "\n".join(lines) + "\n"


def timed(way: Way, folder: Path, architecture: str, device: str = "cpu") -> tuple[float, dict[str, Any]]:
    """Seconds of one pytest process, its start included, and the scores that it found."""
    report = folder / "results.json"
    command = [sys.executable, "-m", "pytest", f"--mad-arch={architecture}", f"--mad-preset={folder / 'load.toml'}"]
    command += ["--mad-no-store", f"--mad-device={device}", f"--mad-json={report}", "-q", "-p", "no:cacheprovider"]
    command += ["-k", "not contract", *way.arguments]
    restrict = None if way.cores is None else partial(_use, way.cores)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, preexec_fn=restrict)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return seconds, scores(json.loads(report.read_text(encoding="utf-8")))


def _use(count: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def scores(content: dict[str, Any]) -> dict[str, Any]:
    """All that must be the same however the load is run."""
    (found,) = content["architectures"].values()
    return {name: {key: one[key] for key in SCORES} for name, one in found["settings"].items()}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Interleaved rounds, each in another order; ratios are taken within a round, where the machine is in one state."""
    ways = list(WAYS[arguments.executor].items())
    seconds: dict[str, list[float]] = {name: [] for name, _ in ways}
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "load.toml").write_text(load(arguments.settings, arguments.steps), encoding="utf-8")
        for turn in range(arguments.rounds):
            for way_name, way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
                took, scored = timed(way, folder, arguments.arch)
                seconds[way_name].append(round(took, 2))
                found.append(scored)
                print(f"round {turn + 1}: {way_name:12} {took:7.1f} s", flush=True)
    return {
        "settings": arguments.settings,
        "steps": arguments.steps,
        "architecture": arguments.arch,
        "cores": cores(),
        "seconds": seconds,
        "identical": all(one == found[0] for one in found) and len(found[0]) == arguments.settings,
        "ratios": ratios(seconds),
    }


def ratios(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Throughput against one process: median, least and most of all rounds."""
    found = {}
    for name, own in seconds.items():
        if name != ONE:
            each = [one / other for one, other in zip(seconds[ONE], own, strict=True)]
            found[name] = {"median": statistics.median(each), "least": min(each), "most": max(each)}
    return {name: {key: round(value, 3) for key, value in one.items()} for name, one in found.items()}


def measured(arguments: argparse.Namespace) -> int:
    """Print and save; 1 where scores differ."""
    result = measure(arguments)
    for name, one in result["ratios"].items():
        print(f"{arguments.executor}, {name}: {one['median']:.2f} times one process ({one['least']} to {one['most']})")
    print("all scores are the same, bit for bit" if result["identical"] else "SCORES DIFFER")
    if arguments.save:
        update("scale", **{f"measured_{arguments.executor}": result})
    return int(not result["identical"])


def main() -> int:
    parser = command_line(__doc__)
    commands = parser.add_subparsers(required=True)
    scale_simulated.add_arguments(commands.add_parser("simulate"))
    real = commands.add_parser("measure")
    real.add_argument("--executor", choices=WAYS, default="xdist")
    real.add_argument("--rounds", type=int, default=5)
    real.add_argument("--settings", type=int, default=24)
    real.add_argument("--steps", type=int, default=400)
    real.add_argument("--arch", default="reference_archs.transformer:make_model")
    real.add_argument("--no-save", dest="save", action="store_false", help="only print")
    real.set_defaults(run=measured)
    arguments = parser.parse_args()
    code: int = arguments.run(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
