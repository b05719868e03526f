"""Which second learning rate helps sound models that the recipe's leaves at the trivial level.

    python -m benchmarks.calibration.retry [--models gpt2,llama] [--tasks in-context-recall] [--times 0.3,3]

Small causal language models of ``transformers``, as their configs build them, at the learning rate of the smoke preset
and at multiples of it. Adds a row per trial to ``benchmarks/results/retry.json``.
"""

from __future__ import annotations

import functools
import json
from dataclasses import replace

from benchmarks.command import command_line
from benchmarks.gate.causal_models import small_model
from benchmarks.record import RESULTS, save
from pytest_mad.architectures.architecture import from_factory
from pytest_mad.evaluation.options import ContractOptions, Mode, RunOptions
from pytest_mad.evaluation.setting import run_and_judge
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting, select

#: Chosen before any was tried.
MODELS = "gpt2,llama,qwen2,gpt_neox,mamba"


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--tasks", default="in-context-recall")
    parser.add_argument("--times", default="1,3,0.3")
    arguments = parser.parse_args()
    file = RESULTS / "retry.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["trials"] if file.exists() else {}
    for kind in arguments.models.split(","):
        for setting in select(settings("smoke"), arguments.tasks.split(",")).values():
            for times in map(float, arguments.times.split(",")):
                key = f"{kind} {setting.id} x{times:g}"
                if key not in rows:
                    rows[key] = trial(kind, at_rate(setting, times))
                    save("retry", trials=rows)
                print(f"{key:48} {rows[key]}", flush=True)


def at_rate(setting: Setting, times: float) -> Setting:
    """The setting with the first point of its recipe, at so many times its learning rate."""
    first = setting.recipe.points[0]
    return replace(setting, recipe=replace(setting.recipe, points=(replace(first, lr=times * first.lr),)))


def trial(kind: str, setting: Setting) -> dict[str, object]:
    """One seed: its verdict, score, steps, and the highest of its first tenth of evaluations."""
    off = ContractOptions(modes=tuple((name, Mode("off", "not asked")) for name in ContractOptions().names()))
    architecture = from_factory(functools.partial(small_model, kind), name=kind, source=kind)
    result = run_and_judge(architecture, setting, RunOptions(device="cpu", contracts=off)).result
    steps = sum(trial.steps for trial in result.trials)
    return {"verdict": result.verdict, "score": result.normalized, "steps": steps, "seconds": result.seconds}


if __name__ == "__main__":
    main()
