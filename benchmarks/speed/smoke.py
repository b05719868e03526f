"""The smoke suite as a user runs it: verdicts, steps and wall time per first seed, on two processes and on one.

    python -m benchmarks.speed.smoke [--arch reference_archs.transformer:make_model] [--seeds 0-9] [--workers 2,0]
    python -m benchmarks.speed.smoke --where [--arch transformer,gated_deltanet,mamba,hyena,rwkv7] [--preset smoke]

Starts the console script ``pytest`` once per seed and number of workers (0: one process), prints a table, and writes
``benchmarks/results/smoke-ARCH.json``. With ``--where`` it starts it once per architecture, on two processes, and
prints in which phases their seconds went: a column adds up to twice the wall clock. That goes to
``benchmarks/results/where.json``, or ``where-STEM.json`` for the preset of another file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import save, update

from .phases import FOLDER, PHASES, read

ROOT = Path(__file__).parents[2]


def run(arch: str, seed: int, workers: int) -> dict[str, Any]:
    """One pytest process over the smoke suite."""
    pytest = Path(sys.executable).with_name("pytest")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "result.json")
        command = [str(pytest), f"--mad-arch={arch}", f"--mad-first-seed={seed}", f"--mad-json={report}"]
        command += ["--mad-no-store", "-q"]
        command += ["-n", str(workers)] if workers else []
        started = time.perf_counter()
        code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
        wall = time.perf_counter() - started
        (architecture,) = json.loads(report.read_text(encoding="utf-8"))["architectures"].values()
    settings = {
        name: {
            "verdict": s["verdict"],
            "normalized": None if s["normalized"] is None else round(s["normalized"], 4),
            "steps": sum(t["steps"] for t in s["trials"]),
            "seconds": round(s["seconds"], 1),
        }
        for name, s in architecture["settings"].items()
    }
    return {"seed": seed, "workers": workers, "exit": code, "wall_seconds": round(wall, 1), "settings": settings}


def where(name: str, preset: str) -> dict[str, Any]:
    """One run with a store of its own: its wall clock, and seconds by phase of both workers together."""
    pytest = Path(sys.executable).with_name("pytest")
    with tempfile.TemporaryDirectory() as folder:
        phases = Path(folder, "phases")
        phases.mkdir()
        command = [str(pytest), f"--mad-arch=reference_archs.{name}:make_model", f"--mad-store={folder}/store"]
        command += [f"--mad-preset={preset}", "-q", "-n", "2", "-p", "benchmarks.speed.phases"]
        environment = os.environ | {FOLDER: str(phases), "PYTHONPATH": str(ROOT)}
        began = time.time()
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)
        ended = time.time()
        if done.returncode not in (0, 1):  # 1: a setting is below its threshold
            sys.exit(f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        seconds = read(phases, began, ended)
    return {"exit": done.returncode, "wall_seconds": ended - began, "seconds": seconds}


def table(found: dict[str, dict[str, Any]]) -> str:
    """A row per phase, a column per architecture."""
    rows = {phase: [record["seconds"][phase] for record in found.values()] for phase in PHASES}
    rows["together"] = [sum(record["seconds"].values()) for record in found.values()]
    rows["wall clock"] = [record["wall_seconds"] for record in found.values()]
    rows["exit code"] = [record["exit"] for record in found.values()]
    lines = [f"{'seconds of two processes':26}" + "".join(f"{name:>16}" for name in found)]
    lines += [f"{name:26}" + "".join(f"{seconds:16.1f}" for seconds in row) for name, row in rows.items()]
    return "\n".join(lines)


def main_where(names: list[str], preset: str) -> None:
    found, file = {}, "where" if preset == "smoke" else f"where-{Path(preset).stem}"
    for name in names:
        found[name] = where(name, preset)
        print(table({name: found[name]}), flush=True)
        update(file, **{name: found[name]})
    print(table(found))


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--arch")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--workers", default="2,0")
    parser.add_argument("--where", action="store_true")
    parser.add_argument("--preset", default="smoke", help="with --where: another preset")
    arguments = parser.parse_args()
    if arguments.where:
        main_where((arguments.arch or "transformer,gated_deltanet,mamba,hyena,rwkv7").split(","), arguments.preset)
        return
    arguments.arch = arguments.arch or "reference_archs.transformer:make_model"
    first, _, last = arguments.seeds.partition("-")
    name = arguments.arch.rpartition(":")[0].rpartition(".")[2]

    runs = []
    for workers in map(int, arguments.workers.split(",")):
        for seed in range(int(first), int(last or first) + 1):
            runs.append(run(arguments.arch, seed, workers))
            print_run(runs[-1])
            save(f"smoke-{name}", arch=arguments.arch, runs=runs)
    for workers in sorted({r["workers"] for r in runs}):
        walls = sorted(r["wall_seconds"] for r in runs if r["workers"] == workers)
        how = f"-n {workers}" if workers else "one process"
        print(f"{how}: wall time median {walls[len(walls) // 2]:.0f} s, slowest {walls[-1]:.0f} s, {len(walls)} runs")


def print_run(record: dict[str, Any]) -> None:
    cells = "  ".join(
        f"{name.partition('[')[0]} {s['verdict']} {s['normalized']} @{s['steps']}"
        for name, s in record["settings"].items()
    )
    how = f"-n {record['workers']}" if record["workers"] else "one process"
    print(f"seed {record['seed']} {how}: exit {record['exit']}, {record['wall_seconds']:.0f} s | {cells}", flush=True)


if __name__ == "__main__":
    main()
