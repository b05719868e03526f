"""The smoke suite on every reference architecture: what each of them can do, in one table.

    python -m benchmarks.calibration.scoreboard

Takes the first seed of each setting from ``benchmarks/results/calibrate-smoke-NAME.json``, where
``python -m benchmarks.calibration.calibrate --seeds 1 --arch reference_archs.NAME:make_model`` puts it, keeps what it
takes in ``benchmarks/results/scoreboard.json``, and writes the table into ``reference_archs/README.md``. Nothing is
trained: a run of pytest has the same scores.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import RESULTS, save
from pytest_mad.presets.reading import settings

from .calibrate import first_point_only, is_known, key, read

PRESET = "smoke"
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


def measured(name: str) -> dict[str, Any]:
    """The first seed of each setting, reduced to what the table shows."""
    known, own = read(RESULTS / f"calibrate-{PRESET}-{name}.json"), []
    for setting in settings(PRESET).values():
        record = known.get(key(setting, 0))
        if record is None or not is_known(record, first_point_only(setting)):
            raise SystemExit(f"{name} has no record of {setting.id} with the preset of today: see --help")
        own.append(record)
    sizes = [record["state_size"] for record in own if record["state_size"] is not None]
    return {
        "parameters": max(record["parameters"] for record in own),
        "state_size": max(sizes, default=None),
        "mad_score": round(fmean(record["accuracy"] for record in own), 4),
        "mad_score_normalized": round(fmean(record["normalized"] for record in own), 4),
        "tasks": {
            record["task"]: {
                "verdict": record["verdict"],
                "normalized": round(record["normalized"], 4),
                "steps": sum(trial["steps"] for trial in record["trials"]),
                "seconds": round(record["seconds"], 1),
            }
            for record in own
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
    score = f"{task['normalized']:.2f}"
    return score if task["verdict"] == "pass" else f"({score})"


def write_table(results: dict[str, Any]) -> None:
    """Put the table between its two marks in the README of the reference architectures."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


def main() -> None:
    command_line(__doc__).parse_args()
    results = {name: measured(name) for name in ARCHITECTURES}
    save("scoreboard", architectures=results)
    write_table(results)
    print(table(results))


if __name__ == "__main__":
    main()
