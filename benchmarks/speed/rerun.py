"""What an unchanged architecture costs the second time, and whether a run that is killed loses anything.

    python -m benchmarks.speed.rerun [--arch reference_archs.transformer:make_model] [--runs 15] [--kills 20]
        [--tasks A,B]

First the smoke suite, in one process, into an empty store; then again, ``--runs`` times, from that store: wall time of
the whole command. Then the suite into another empty store, killed with SIGKILL at random moments, again and again,
until it was killed ``--kills`` times; a store that is complete gives way to an empty one. Every time the scores must be
those of the first run, no stored training may be written anew, and no file may be damaged. Prints a table and writes
``benchmarks/results/rerun.json``; with ``--runs 0`` or ``--kills 0`` one half keeps what an earlier call found.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import RESULTS, save
from pytest_mad.common.files import read_json


def start(arch: str, folder: Path, tasks: str | None) -> subprocess.Popen[bytes]:
    """The suite as a process, with its store and its report in the folder."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", f"--mad-arch={arch}"]
    command += [f"--mad-store={folder / 'store'}", f"--mad-json={folder / 'result.json'}"]
    command += [f"--mad-tasks={tasks}"] if tasks else []
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(command, env=usual, stdout=(folder / "out.txt").open("ab"), stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> float:
    """Wait for it; seconds since the call."""
    started = time.perf_counter()
    if process.wait() not in (0, 1):  # 1: a verdict failed
        raise SystemExit("the suite did not run")
    return time.perf_counter() - started


def found(folder: Path) -> tuple[dict[str, Any], int]:
    """What was measured, apart from times, and how many settings were found in the store."""
    (architecture,) = json.loads((folder / "result.json").read_text(encoding="utf-8"))["architectures"].values()
    settings = architecture["settings"]
    left_out = ("seconds", "stored")
    scores = {name: {k: v for k, v in one.items() if k not in left_out} for name, one in settings.items()}
    return scores, sum(one["stored"] for one in settings.values())


def trials(folder: Path) -> dict[str, int]:
    """The stored trainings; one that is written anew is another file of the same name."""
    return {path.name: path.stat().st_ino for path in (folder / "store").glob("trial-*")}


def killed(arch: str, tasks: str | None, folder: Path, longest: float, draw: random.Random) -> bool:
    """Run until a random moment, or to the end; whether it was killed. No finished training may be repeated."""
    before = trials(folder)
    process = start(arch, folder, tasks)
    try:
        process.wait(timeout=draw.uniform(0, longest))
        is_killed = False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        is_killed = True
    after = trials(folder)
    assert before.items() <= after.items(), "a finished training was repeated"
    return is_killed


def kill_again_and_again(arch: str, tasks: str | None, kills: int, longest: float, whole: Any) -> dict[str, Any]:
    """Kills until there were enough; each store is completed, and compared with the run that nobody killed."""
    draw, moments, stores = random.Random(0), 0, 0
    while moments < kills:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            while moments < kills and killed(arch, tasks, folder, longest, draw):
                moments += 1
                print(f"killed {moments} times: {len(trials(folder))} trainings stored", flush=True)
            before = len(trials(folder))
            finish(start(arch, folder, tasks))
            scores, stored = found(folder)
            assert scores == whole, "the scores are others"
            assert stored >= before, "a finished training was not found"
            assert "damaged" not in (folder / "out.txt").read_text(encoding="utf-8", errors="replace")
            assert not list((folder / "store").glob("checkpoint-*"))
            stores += 1
    return {"kills": moments, "runs_completed": stores}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--arch", default="reference_archs.transformer:make_model")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--tasks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = finish(start(arguments.arch, folder, arguments.tasks))
        whole, _ = found(folder)
        print(f"first run {first:.1f} s", flush=True)
        again = []
        for _ in range(arguments.runs):
            again.append(finish(start(arguments.arch, folder, arguments.tasks)))
            scores, stored = found(folder)
            assert scores == whole and stored == len(whole), "not everything was found again"
    summary: dict[str, Any] = {}
    if again:
        summary = {"first": round(first, 2), "again": [round(seconds, 2) for seconds in again]}
        print(
            f"again: median {statistics.median(again):.1f} s, {min(again):.1f} to {max(again):.1f} s, {len(again)} runs"
        )
    if arguments.kills:
        summary |= kill_again_and_again(arguments.arch, arguments.tasks, arguments.kills, max(first / 3, 8), whole)
        print(f"killed {summary['kills']} times in {summary['runs_completed']} runs: nothing lost, repeated or damaged")
    file, asked = RESULTS / "rerun.json", {"arch": arguments.arch, "tasks": arguments.tasks}
    known = read_json(file) if file.exists() else {}
    names = ("kills", "runs_completed", "first", "again") if asked.items() <= known.items() else ()
    kept = {name: known[name] for name in names if name in known}
    save("rerun", **asked, **(kept | summary))


if __name__ == "__main__":
    main()
