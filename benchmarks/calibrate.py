"""How many steps each seed needs: the evidence behind a preset's step budgets and thresholds.

    python -m benchmarks.calibrate [--preset smoke] [--arch reference_archs.transformer:make_model] [--seeds 20]
        [--tasks A,B]

Prints a line per trial and a table per setting, and adds the trials, learning curves included, to
``benchmarks/results/calibrate-PRESET-ARCH.json``. Trials that are there already, with the same parameters and recipe,
are not trained again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pytest_mad.architecture import from_target
from pytest_mad.executors.inline import RunOptions, run_and_judge
from pytest_mad.grid import Setting, select, settings
from pytest_mad.report.json_file import environment, write_json

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--arch", default="reference_archs.transformer:make_model")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tasks")
    arguments = parser.parse_args()

    architecture = from_target(arguments.arch)
    chosen = settings(arguments.preset)
    if arguments.tasks:
        chosen = select(chosen, arguments.tasks.split(","))
    file = RESULTS / f"calibrate-{Path(arguments.preset).stem}-{architecture.name}.json"
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for setting in chosen.values():
            known = read(file)
            if key(setting, seed) in known and known[key(setting, seed)]["identity"] == identity(setting):
                continue
            result = run_and_judge(architecture, setting, RunOptions(first_seed=seed, device="cpu")).result
            record = result.to_json() | {"identity": identity(setting)}
            known = read(file) | {key(setting, seed): record}  # another process may have added to it meanwhile
            write_json(file, {"schema": 1, "environment": environment(["cpu"]), "trials": known})
            last = result.trials[-1] if result.trials else {"steps": 0, "stopped": "-"}
            score = "-" if result.normalized is None else f"{result.normalized:.3f}"
            print(f"{key(setting, seed):48} {result.verdict:6} {score} {last['stopped']:8} {last['steps']:5} steps "
                  f"{result.seconds:6.1f} s", flush=True)  # fmt: skip
    table(chosen, read(file))


def identity(setting: Setting) -> dict[str, Any]:
    """What a trial's result depends on, apart from the code."""
    plain: dict[str, Any] = json.loads(json.dumps([setting.params.to_json(), setting.recipe.to_json()]))
    return plain


def key(setting: Setting, seed: int) -> str:
    return f"{setting.id} seed {seed}"


def read(file: Path) -> dict[str, Any]:
    trials: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["trials"] if file.exists() else {}
    return trials


def table(chosen: dict[str, Setting], known: dict[str, Any]) -> None:
    """Per setting: seeds, passes, lowest score, and the steps to the solved end."""
    print(f"\n{'setting':36} seeds  pass  lowest score  steps: median  slowest  budget")
    for name, setting in chosen.items():
        own = [r for k, r in known.items() if k.startswith(f"{name} seed") and r["identity"] == identity(setting)]
        steps = sorted(sum(t["steps"] for t in r["trials"]) for r in own)
        scores = [r["normalized"] for r in own if r["normalized"] is not None]
        passed = sum(r["verdict"] == "pass" for r in own)
        budget = setting.recipe.total_steps(setting.params.num_train_examples)
        print(f"{name:36} {len(own):5} {passed:5}  {min(scores, default=0):12.3f}  {steps[len(steps) // 2]:13}"
              f"  {steps[-1]:7}  {budget:6}")  # fmt: skip


if __name__ == "__main__":
    main()
