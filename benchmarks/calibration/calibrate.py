"""How many steps each seed needs: the evidence behind a preset's step budgets and thresholds.

    python -m benchmarks.calibration.calibrate [--preset smoke] [--arch reference_archs.transformer:make_model]
        [--seeds 20] [--tasks A,B]

Prints a line per trial and a table per setting, and adds the trials, learning curves included, to
``benchmarks/results/calibrate-PRESET-ARCH.json``. Trials that are there already, with the same parameters and recipe,
are not trained again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import RESULTS, save
from pytest_mad.architectures.targets import from_target
from pytest_mad.common.records import plain
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.setting import run_and_judge
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting, select


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--arch", default="reference_archs.transformer:make_model")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tasks")
    arguments = parser.parse_args()

    architecture = from_target(arguments.arch)
    chosen = {name: first_point_only(setting) for name, setting in settings(arguments.preset).items()}
    if arguments.tasks:
        chosen = select(chosen, arguments.tasks.split(","))
    file = RESULTS / f"calibrate-{Path(arguments.preset).stem}-{architecture.name}.json"
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for setting in chosen.values():
            if is_known(read(file).get(key(setting, seed)), setting):
                continue
            result = run_and_judge(architecture, setting, RunOptions(first_seed=seed, device="cpu")).result
            record = plain(result) | {"identity": identity(setting)}
            known = read(file) | {key(setting, seed): record}  # another process may have added to it meanwhile
            save(file.stem, trials=known)
            print_trial(key(setting, seed), record)
    print_table(chosen, read(file))


def first_point_only(setting: Setting) -> Setting:
    """The setting with the first point of its recipe: what a sound model should need."""
    return replace(setting, recipe=replace(setting.recipe, points=setting.recipe.points[:1], retry=None))


def identity(setting: Setting) -> dict[str, Any]:
    """What the course of a trial depends on, apart from the code. The budget only decides where it ends."""
    recipe = setting.recipe.identity()
    budget = ("steps", "epochs") if setting.recipe.schedule == "constant" else ()
    for name in (*budget, "hopeless_after", "hopeless_below", "race"):
        del recipe[name]
    plain: dict[str, Any] = json.loads(json.dumps({"params": setting.params.to_json(), "recipe": recipe}))
    return plain


def is_known(record: dict[str, Any] | None, setting: Setting) -> bool:
    """Whether a recorded trial is the one that would be trained: solved within the budget, or out of the same one."""
    if record is None or record["identity"] != identity(setting) or not record["trials"]:
        return False
    (trial,) = record["trials"]
    budget = setting.recipe.total_steps(setting.params.num_train_examples)
    return bool(trial["stopped"] == "solved" and trial["steps"] <= budget) or trial["steps"] == budget


def key(setting: Setting, seed: int) -> str:
    return f"{setting.id} seed {seed}"


def read(file: Path) -> dict[str, Any]:
    trials: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["trials"] if file.exists() else {}
    return trials


def print_trial(name: str, record: dict[str, Any]) -> None:
    trial = (record["trials"] or [{"stopped": "-", "steps": 0}])[-1]
    score = "-" if record["normalized"] is None else f"{record['normalized']:.3f}"
    end = f"{trial['stopped']:8} {trial['steps']:5} steps {record['seconds']:6.1f} s"
    print(f"{name:48} {record['verdict']:6} {score:>6} {end}", flush=True)


def print_table(chosen: dict[str, Setting], known: dict[str, Any]) -> None:
    """Per setting: seeds, passes, lowest score, steps to the solved end, and how late a solved trial was still at 0.

    The last column is what ``hopeless_after`` must stay above: the largest share of the budget after which a trial
    that was solved later had not yet exceeded ``hopeless_below``.
    """
    print(f"\n{'setting':36} seeds  pass  lowest score  median steps  slowest  budget  latest plateau")
    for name, setting in chosen.items():
        own = [r for k, r in known.items() if k.startswith(f"{name} seed") and is_known(r, setting)]
        if not own:
            continue
        budget = setting.recipe.total_steps(setting.params.num_train_examples)
        steps = sorted(r["trials"][0]["steps"] for r in own)
        lowest = min(r["normalized"] for r in own)
        passed = sum(r["verdict"] == "pass" for r in own)
        plateaus = [plateau(setting, r["trials"][0]["curve"]) for r in own if r["trials"][0]["stopped"] == "solved"]
        latest = max(plateaus, default=0) / budget
        print(f"{name:36} {len(own):5} {passed:5}  {lowest:12.3f}  {steps[len(steps) // 2]:12}  {steps[-1]:7}"
              f"  {budget:6}  {latest:14.2f}")  # fmt: skip


def plateau(setting: Setting, curve: list[tuple[int, float]]) -> int:
    """Last step at which the trial had not yet exceeded ``hopeless_below``."""
    last = 0
    for step, accuracy in curve:
        if setting.normalized(accuracy) > setting.recipe.hopeless_below:
            break
        last = step
    return last


if __name__ == "__main__":
    main()
