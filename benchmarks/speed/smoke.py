"""The smoke suite as a user runs it: verdicts, steps and wall time per first seed, on two processes and on one.

    python -m benchmarks.speed.smoke [--arch reference_archs.transformer:make_model] [--seeds 0-9] [--workers 2,0]

Starts the console script ``pytest`` once per seed and number of workers (0: one process), prints a table, and writes
``benchmarks/results/smoke-ARCH.json``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import save


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


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--arch", default="reference_archs.transformer:make_model")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--workers", default="2,0")
    arguments = parser.parse_args()
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
