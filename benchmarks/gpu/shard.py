"""How many workers should share a CUDA device: throughput and memory of one load on 1, 2, 4 and 8 of them.

Part of :mod:`benchmarks.gpu`. The load is that of ``python -m benchmarks.scale measure``, at sizes of its own; every
run is a pytest process of its own, with the workers of xdist. pytest-xdist must be there.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import save
from benchmarks.scale.__main__ import Way, load, timed

#: Seconds between two looks at the device's memory.
TICK = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", default="reference_archs.transformer:make_paper_model")
    parser.add_argument("--workers", default="1,2,4,8", metavar="N,...")
    parser.add_argument("--settings", type=int, default=24)
    parser.add_argument("--steps", type=int, default=1000)
    parser.set_defaults(run=share)


def share(arguments: argparse.Namespace) -> int:
    """Print and save a row per number of workers; 1 where scores differ by more than an answer on the edge."""
    rows: list[dict[str, Any]] = []
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "load.toml").write_text(load(arguments.settings, arguments.steps), encoding="utf-8")
        for workers in map(int, arguments.workers.split(",")):
            with watched(arguments.device) as memory:
                seconds, scores = timed(way(workers, arguments.device), folder, arguments.arch, arguments.device)
            rows.append({"workers": workers, "seconds": round(seconds, 2), "peak_mib": max(memory, default=None)})
            found.append({setting: one["normalized"] for setting, one in scores.items()})
            print_row(rows[-1], rows[0], arguments.settings)
    spread = max(abs(one[setting] - found[0][setting]) for one in found for setting in one)
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    best = min(rows, key=lambda row: row["seconds"])
    print(f"{device}: fastest with {best['workers']} workers; scores differ by at most {spread:.4f}")
    content = {"settings": arguments.settings, "steps": arguments.steps, "architecture": arguments.arch}
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    save(f"gpu-shard-{slug}", device=device, **content, rows=rows, largest_difference=spread)
    return int(spread > 0.05)


def way(workers: int, device: str) -> Way:
    own = ("--mad-gpus=0", f"--mad-trials-per-gpu={workers}") if device == "cuda" else ()
    return Way(("-n", str(workers), *own))


@contextlib.contextmanager
def watched(device: str) -> Iterator[list[int]]:
    """MiB in use on the first device, looked at again and again meanwhile; nothing without nvidia-smi."""
    found: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        command = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            while device == "cuda" and not is_over.wait(TICK):
                found.append(int(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def print_row(row: dict[str, Any], first: dict[str, Any], settings: int) -> None:
    memory = "" if row["peak_mib"] is None else f", {row['peak_mib']:,} MiB at most"
    print(
        f"{row['workers']} workers: {row['seconds']:.1f} s, {60 * settings / row['seconds']:.1f} settings a minute, "
        f"{first['seconds'] / row['seconds']:.2f} times the throughput of {first['workers']}{memory}",
        flush=True,
    )
