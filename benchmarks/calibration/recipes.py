"""What a change of the recipe, or of a task's size, does to the steps and the time that a trial takes to its mark.

    python -m benchmarks.calibration.recipes --task fuzzy-in-context-recall --vary "lr=1e-3,2e-3 warmup=0,50"
        [--arch transformer,gla] [--seeds 2] [--most 3000] [--preset smoke]

Trains each architecture with each combination of values, every other value as the preset has it, evaluates every tenth
step, and prints a line per trial: steps to normalised validation scores of .9 and .97, and CPU seconds of those steps
at the median cost of a step, evaluations left out. A trial that has not arrived after ``--most`` steps counts as that
many, and is marked. Then a line per combination: geometric mean of seconds to .9 over the architectures, and the
slowest against it. Trials are kept in ``benchmarks/results/recipes.json``, and are not trained again: delete it after
a change of the code that counts. One process at a time.

Steps depend on nothing but the code; seconds on the machine, and on what else it does.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from typing import Any

import torch
from torch import nn

from benchmarks.command import command_line
from benchmarks.record import RESULTS, save
from pytest_mad.architectures.architecture import Architecture
from pytest_mad.architectures.backbones import Trunk
from pytest_mad.architectures.build import build_model
from pytest_mad.architectures.targets import from_target
from pytest_mad.common.errors import require
from pytest_mad.presets.reading import settings
from pytest_mad.presets.recipe import Recipe
from pytest_mad.presets.setting import Setting, checked_embedding_std, select
from pytest_mad.training.data import load_data
from pytest_mad.training.memory import keep_freed_memory
from pytest_mad.training.trial import Loss, as_it_is, train_trial
from reference_archs._stack import small_stack

#: The eight that recipes are chosen by; the others only confirm the choice.
TUNED = ("transformer", "gla", "deltanet", "gated_deltanet", "mamba", "hyena", "rwkv7", "striped_mamba")
#: What a recipe says of where trials end, and of several: not asked here.
_OF_ENDS = (
    *("points", "steps", "epochs", "evaluate_every", "solved_at", "hopeless_after", "hopeless_below", "race"),
    *("selection", "metric"),
)
#: The scale at which reference architectures draw token embeddings. Here that of the preset, or of ``--vary``, counts.
DRAWN: float = small_stack.keywords["embedding_std"]
EVERY = 10
MARKS = (0.9, 0.97)
CPU = torch.device("cpu")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--task", required=True)
    parser.add_argument("--vary", default="", help="KEY=VALUE,VALUE ...: every combination is trained")
    parser.add_argument("--arch", default=",".join(TUNED))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--most", type=int, default=3000)
    arguments = parser.parse_args()
    keep_freed_memory()
    try:
        setting, *_ = select(settings(arguments.preset), [arguments.task]).values()
        wanted = list(changes(arguments.vary))
        for change in wanted:
            changed(setting, change)
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    for change in wanted:
        found = {}
        for name in arguments.arch.split(","):
            found[name] = [trial(name, setting, change, seed, arguments.most) for seed in range(arguments.seeds)]
        print(f"{shown(change)}: {verdict(found)}", flush=True)


def changes(text: str) -> Iterator[dict[str, Any]]:
    """Every combination of the values that ``--vary`` names."""
    named = [part.split("=") for part in text.split()]
    for values in itertools.product(*(values.split(",") for _, values in named)):
        yield {name: json_value(value) for (name, _), value in zip(named, values, strict=True)}


def json_value(text: str) -> Any:
    """``2`` and ``1e-3`` are numbers, anything else is itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def shown(change: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in change.items()
    )


def changed(setting: Setting, change: dict[str, Any]) -> Setting:
    """The setting with other values: the recipe's, its point's, the preset's, or the task's parameters."""
    recipe, params, point = setting.recipe, setting.params, setting.recipe.points[0]
    for name, value in change.items():
        require(name != "schedule", name, value, "left out: it depends on how many steps there are in all")
        if name in ("lr", "weight_decay"):
            point = replace(point, **{name: value})
        elif name == "beta2":
            recipe = replace(recipe, betas=(recipe.betas[0], value))
        elif name == "embedding_std":
            setting = replace(setting, embedding_std=checked_embedding_std(value))
        elif name in {field.name for field in fields(Recipe)}:
            recipe = replace(recipe, **{name: value})
        else:
            params = replace(params, **{name: value})
    return replace(setting, recipe=replace(recipe, points=(point,)), params=params)


def trial(name: str, setting: Setting, change: dict[str, Any], seed: int, most: int) -> dict[str, Any]:
    """One trial as it is kept: found among the results, or trained."""
    chosen = changed(setting, change)
    key = f"{chosen.task_name} {shown(described(chosen))} {name} {seed}"
    known = kept().get(key)
    if known is None or (known["steps"]["0.97"] is None and known["most"] < most):
        architecture = from_target(f"reference_archs.{name}:make_model")
        with architecture.entered():
            known = train(architecture, chosen, seed, most)
        save("recipes", trials=dict(sorted((kept() | {key: known}).items())))
    known = cut(known, most)
    print(f"  {name:20} seed {seed}  {told(known)}   [{shown(change)}]", flush=True)
    return known


def cut(record: dict[str, Any], most: int) -> dict[str, Any]:
    """What fewer steps would have found: the learning rate does not depend on how many there are."""
    steps = {mark: None if reached is None or reached > most else reached for mark, reached in record["steps"].items()}
    return record | {"steps": steps, "most": min(most, record["most"])}


def kept() -> dict[str, Any]:
    """All trials that were trained before."""
    file = RESULTS / "recipes.json"
    trials: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["trials"] if file.exists() else {}
    return trials


def described(setting: Setting) -> dict[str, Any]:
    """All that decides the course of a trial, apart from the code, by name."""
    recipe, (point,) = setting.recipe, setting.recipe.points
    kept = {name: value for name, value in recipe.identity().items() if name not in _OF_ENDS}
    is_mads = setting.embedding_std == Setting.embedding_std
    embeddings = {} if is_mads else {"embedding_std": setting.embedding_std}
    return asdict(point) | kept | embeddings | setting.params.to_json()


def train(architecture: Architecture, setting: Setting, seed: int, most: int) -> dict[str, Any]:
    """Train until the last mark is reached, or for so many steps."""
    (point,), last = setting.recipe.points, MARKS[-1]
    recipe = replace(setting.recipe, steps=most, epochs=None, evaluate_every=EVERY, solved_at=last, hopeless_after=1.0)
    setting = replace(setting, recipe=recipe)
    began: list[float] = []

    def loss_at(model: nn.Module, step: int) -> Loss:
        began.append(time.thread_time())
        return as_it_is(model)

    build = functools.partial(as_preset_says, architecture, setting)
    data = load_data(setting, seed, None)
    found, _ = train_trial(build, setting, point, seed, data, device=CPU, loss_at=loss_at)
    curve = [(step, setting.normalized(accuracy)) for step, accuracy in found.curve]
    cost = statistics.median(later - earlier for earlier, later in itertools.pairwise(began))  # one in ten evaluates
    return {
        "steps": {str(mark): next((step for step, score in curve if score >= mark), None) for mark in MARKS},
        "most": most,
        "best": round(max(score for _, score in curve), 3),
        "ms": round(1000 * cost, 2),
    }


def as_preset_says(architecture: Architecture, setting: Setting) -> nn.Module:
    """The reference architecture's model with token embeddings of the setting's scale."""
    model = build_model(architecture, setting, CPU)
    for module in model.modules():
        if isinstance(module, Trunk):
            with torch.no_grad():
                module.token_embeds.weight *= setting.embedding_std / DRAWN
    return model


def told(record: dict[str, Any]) -> str:
    reached = [record["steps"][str(mark)] for mark in MARKS]
    cells = [f"{'never' if step is None else step:>6}" for step in reached]
    return f"{' '.join(cells)} steps  {seconds(record):6.1f} s  best {record['best']:.3f}  {record['ms']:.1f} ms"


def seconds(record: dict[str, Any]) -> float:
    """To the first mark; of a trial that never arrived, all of its steps."""
    return float(record["ms"] * (record["steps"][str(MARKS[0])] or record["most"]) / 1000)


def verdict(found: dict[str, list[dict[str, Any]]]) -> str:
    """Over all architectures."""
    means = {name: statistics.fmean(map(seconds, records)) for name, records in found.items()}
    mean = math.exp(statistics.fmean(math.log(value) for value in means.values()))
    slowest = max(means, key=lambda name: means[name])
    unsolved = [name for name, records in found.items() if any(r["steps"][str(MARKS[0])] is None for r in records)]
    lacking = f"; unsolved: {', '.join(unsolved)}" if unsolved else ""
    return f"{mean:.2f} s, slowest {slowest} {means[slowest]:.1f} s ({means[slowest] / mean:.1f} times){lacking}"


if __name__ == "__main__":
    main()
