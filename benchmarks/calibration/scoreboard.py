"""The smoke suite on every reference architecture: what each of them can do, in one table.

    python -m benchmarks.calibration.scoreboard [--only mamba,gla] [--again]

Runs ``pytest --mad-arch=reference_archs.NAME:make_model -n 2`` for each architecture whose result is not there yet
(``--again``: for all that are chosen), keeps each as soon as it is there in ``benchmarks/results/scoreboard.json``, and
writes the table into ``reference_archs/README.md``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import RESULTS, save

ROOT = Path(__file__).parents[2]
README = ROOT / "reference_archs" / "README.md"
BEGIN, END = "<!-- scoreboard -->", "<!-- end of scoreboard -->"

# In the order of the table: attention and its controls, delta rule, gated and selective, convolutions, hybrids
ARCHITECTURES = (
    "transformer",
    "sliding_window",
    "channel_only",
    "linear_attention",
    "gla",
    "deltanet",
    "gated_deltanet",
    "rwkv7",
    "mamba",
    "mamba2",
    "hyena",
    "mh_hyena",
    "striped_mh_hyena",
    "striped_mh_hyena_moe",
    "striped_mamba",
)
TASKS = {
    "in-context-recall": "recall",
    "noisy-in-context-recall": "noisy recall",
    "fuzzy-in-context-recall": "fuzzy recall",
    "memorization": "memorization",
    "compression": "compression",
    "selective-copying": "copying",
}


def measure(name: str) -> dict[str, Any]:
    """One run of the smoke suite, reduced to what the table shows."""
    pytest = Path(sys.executable).with_name("pytest")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "result.json")
        target = f"--mad-arch=reference_archs.{name}:make_model"
        command = [str(pytest), target, f"--mad-json={report}", "--mad-no-store", "-n", "2", "-q"]
        command += ["--tb=no"]
        subprocess.run(command, check=False, cwd=ROOT)
        (found,) = json.loads(report.read_text(encoding="utf-8"))["architectures"].values()
    return {
        "parameters": found["parameters"],
        "state_size": found["state_size"],
        "mad_score": round(found["mad_score"], 4),
        "mad_score_normalized": round(found["mad_score_normalized"], 4),
        "tasks": {
            s["task"]: {
                "verdict": s["verdict"],
                "normalized": None if s["normalized"] is None else round(s["normalized"], 4),
                "steps": sum(trial["steps"] for trial in s["trials"]),
                "seconds": round(s["seconds"], 1),
            }
            for s in found["settings"].values()
        },
    }


def table(results: dict[str, Any]) -> str:
    """Markdown: a row per architecture, normalised scores, the failed ones in brackets."""
    head = ["architecture", *TASKS.values(), "mean", "seconds", "parameters", "state"]
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    rows += [_row(name, results[name]) for name in ARCHITECTURES if name in results]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(name: str, result: dict[str, Any]) -> list[str]:
    tasks = result["tasks"]
    cells = [_cell(tasks[task]) for task in TASKS]
    seconds = sum(task["seconds"] for task in tasks.values())
    state = "grows" if result["state_size"] is None else f"{result['state_size']:,}"
    mean = f"{result['mad_score_normalized']:.2f}"
    return [f"`{name}`", *cells, mean, f"{seconds:.0f}", f"{result['parameters']:,}", state]


def _cell(task: dict[str, Any]) -> str:
    score = task["verdict"] if task["normalized"] is None else f"{task['normalized']:.2f}"
    return score if task["verdict"] == "pass" else f"({score})"


def write_table(results: dict[str, Any]) -> None:
    """Put the table between its two marks in the README of the reference architectures."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--only", default=",".join(ARCHITECTURES))
    parser.add_argument("--again", action="store_true")
    arguments = parser.parse_args()
    path = RESULTS / "scoreboard.json"
    results = json.loads(path.read_text(encoding="utf-8"))["architectures"] if path.exists() else {}
    for name in arguments.only.split(","):
        if name not in results or arguments.again:
            results[name] = measure(name)
            save("scoreboard", architectures=results)
            write_table(results)
    print(table(results))


if __name__ == "__main__":
    main()
