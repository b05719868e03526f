"""What is lost when xdist's workers are killed: SIGKILL at random moments, over several runs.

    python -m benchmarks.scale.kills [--kills 30] [--most 6] [--workers 2]

A load of 18 settings of a few seconds each, once undisturbed, then again and again with up to ``--most`` kills of
random workers per run. Every setting must be reported in every run, with the scores of the undisturbed one or with
verdict ``error`` and its cause, and every run must end. Prints a line per run and writes
``benchmarks/results/kills.json``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import save

#: Seconds after which a run counts as hanging.
LONGEST = 600
#: Slow enough to be hit. Each worker leaves its process id in a file.
MODEL = """
import os, pathlib, time
from torch import nn
pathlib.Path("workers").mkdir(exist_ok=True)
if "PYTEST_XDIST_WORKER" in os.environ:
    pathlib.Path("workers", str(os.getpid())).touch()
class Slow(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 16)
        self.head = nn.Linear(16, vocab_size)
    def forward(self, tokens):
        time.sleep(0.06 * self.training)
        return self.head(self.embed(tokens))
def make_model(vocab_size):
    return Slow(vocab_size)
"""
PRESET = """
schema = 1
width = 16
[recipe]
points = [{ lr = 5e-2 }]
steps = 40
batch_size = 8
evaluate_every = 10
num_validation_examples = 16
[tasks.memorization]
baseline = { vocab_size = 16, seq_len = 8, num_train_examples = 64, num_test_examples = 32 }
vary = { vocab_size = [24, 32] }
"""
ARCHITECTURES = 6


def start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    """The load as a pytest process, with its report in the folder."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--mad-preset=load.toml", "--mad-no-store"]
    command += [f"--mad-arch=model{i}=slow:make_model" for i in range(ARCHITECTURES)]
    command += ["-k", "not contract", "-n", str(workers), "--mad-json=result.json", "--mad-device=cpu"]
    return subprocess.Popen(command, cwd=folder, stdout=(folder / "out.txt").open("wb"), stderr=subprocess.STDOUT)


def found(folder: Path) -> dict[str, dict[str, Any]]:
    """Verdict, cause and score of each setting."""
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {
        f"{name}, {setting}": {key: one[key] for key in ("verdict", "detail", "normalized")}
        for name, architecture in content["architectures"].items()
        for setting, one in architecture["settings"].items()
    }


def alive(folder: Path) -> list[int]:
    """Process ids of the workers that live."""
    names = (path.name for path in folder.glob("workers/*"))
    return [int(name) for name in names if _command_line(name)]


def _command_line(process: str) -> bytes:
    try:
        return Path("/proc", process, "cmdline").read_bytes()  # empty for one that has ended
    except OSError:
        return b""


def disturbed(folder: Path, workers: int, most: int, draw: random.Random) -> int:
    """Run with kills; how many there were."""
    process, kills, started = start(folder, workers), 0, time.monotonic()
    while process.poll() is None:
        time.sleep(draw.uniform(0.2, 3.0))
        living = alive(folder)
        if living and kills < most and process.poll() is None:
            os.kill(draw.choice(living), signal.SIGKILL)
            kills += 1
        if time.monotonic() - started > LONGEST:
            raise SystemExit(f"a run hangs: {folder}")
    return kills


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--most", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    draw, runs = random.Random(0), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "slow.py").write_text(MODEL, encoding="utf-8")
        (folder / "load.toml").write_text(PRESET, encoding="utf-8")
        start(folder, arguments.workers).wait()
        whole, left = found(folder), arguments.kills
        while left > 0:
            (folder / "result.json").unlink()
            kills = disturbed(folder, arguments.workers, min(left, arguments.most), draw)
            left -= kills
            runs.append(row(folder, kills, whole))
            print(", ".join(f"{key} {value}" for key, value in runs[-1].items()), flush=True)
            save("kills", workers=arguments.workers, settings=len(whole), runs=runs)


def row(folder: Path, kills: int, whole: dict[str, dict[str, Any]]) -> dict[str, int]:
    """What a run with kills came to; an error where a setting is missing, or has another score."""
    now = found(folder)
    errors = {name: one for name, one in now.items() if one["verdict"] == "error"}
    same = sum(one["normalized"] == whole[name]["normalized"] for name, one in now.items() if name not in errors)
    assert now.keys() == whole.keys(), f"not reported: {whole.keys() - now.keys()}"
    assert same + len(errors) == len(whole), "a score is another"
    assert all("SIGKILL" in one["detail"] for one in errors.values()), errors
    return {"kills": kills, "reported": len(now), "as undisturbed": same, "errors": len(errors)}


if __name__ == "__main__":
    main()
