"""Our training step against the plainest possible PyTorch loop, on the same model and data.

    python -m benchmarks.train_step [--arch NAME,...] [--size smoke|paper] [--task TASK] [--pairs 15]

One thread of a CPU; data, batches and width are those of the preset's baseline setting of the task. Both sides begin
with the same weights and take turns of up to ten steps. Prints a table, the ratio being the median over pairs with its
95 % interval, and writes ``benchmarks/results/train_step-SIZE.json``, where architectures that were not chosen keep
their rows. Ends with an error where a limit is missed: at smoke sizes a median of 1 with an interval below 1.05, at
paper sizes a median of 0.75 for the transformer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_mad.adapters import build_model
from pytest_mad.architecture import from_target
from pytest_mad.determinism import one_thread
from pytest_mad.grid import Setting, settings
from pytest_mad.training.data import load_data
from pytest_mad.training.trial import (
    autocast,
    initial_model,
    make_optimizer,
    scheduled_lr,
    set_lr,
    shuffled_batches,
    to_device,
    training_step,
)

from .plugin_tax import median_interval
from .record import RESULTS, save
from .scoreboard import ARCHITECTURES

CPU = torch.device("cpu")
FACTORIES = {"smoke": "make_model", "paper": "make_paper_model"}
SECONDS, MOST_STEPS = 0.25, 10
WARM_UP = 2

Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default=None, metavar="NAME,...", help="default: all; at paper sizes transformer")
    parser.add_argument("--size", choices=FACTORIES, default="smoke")
    parser.add_argument("--task", default="in-context-recall")
    parser.add_argument("--pairs", type=int, default=15)
    arguments = parser.parse_args()
    size, pairs = arguments.size, arguments.pairs
    default = ",".join(ARCHITECTURES) if size == "smoke" else "transformer"

    print(f"{'architecture':22}{'plain ms':>10}{'ours ms':>10}{'ratio':>8}  95 % interval", flush=True)
    rows = {}
    for name in (arguments.arch or default).split(","):
        rows[name] = measure(name, size, arguments.task, pairs)
        print_row(name, rows[name])
    path = RESULTS / f"train_step-{size}.json"
    known = json.loads(path.read_text(encoding="utf-8"))["architectures"] if path.exists() else {}
    save(f"train_step-{size}", threads=1, architectures=known | rows)
    missed = [name for name, row in rows.items() if not meets_limit(name, size, row)]
    if missed:
        sys.exit(f"above the limit: {', '.join(missed)}")


def measure(name: str, size: str, task: str, pairs: int) -> dict[str, Any]:
    """One row: milliseconds of a step on both sides, and the ratio of ours to the plain one."""
    setting = settings(size)[f"{task}[baseline]"]
    architecture = from_target(f"reference_archs.{name}:{FACTORIES[size]}")
    train = to_device(load_data(setting, 0).train, CPU)

    def model() -> nn.Module:
        return initial_model(lambda: build_model(architecture, setting, CPU), setting, setting.recipe.points[0], 0, CPU)

    with one_thread(CPU):
        ours, plain = our_step(model(), setting, train), plain_step(model(), setting, train)
        for step in (ours, plain) * WARM_UP:
            step()
        count = min(MOST_STEPS, max(1, round(SECONDS / clocked(plain, 1))))
        times = [interleaved(ours, plain, count, ours_first=i % 2 == 0) for i in range(pairs)]
    ratio, low, high = median_interval([own / other for own, other in times])
    own, other = (sorted(side)[pairs // 2] for side in zip(*times, strict=True))
    return {
        "setting": setting.id,
        "pairs": pairs,
        "steps": count,
        "plain_ms": round(1e3 * other, 2),
        "ours_ms": round(1e3 * own, 2),
        "ratio": round(ratio, 4),
        "interval": [round(low, 4), round(high, 4)],
    }


def our_step(model: nn.Module, setting: Setting, train: tuple[Tensor, Tensor]) -> Step:
    """What a trial does between two evaluations."""
    recipe, point = setting.recipe, setting.recipe.points[0]
    total = recipe.total_steps(setting.params.num_train_examples)
    optimizer = make_optimizer(model, recipe, point)
    batches = shuffled_batches(train, recipe.batch_size, 0)
    model.train()

    def step() -> None:
        set_lr(optimizer, scheduled_lr(recipe, point, 1, total))
        training_step(model, optimizer, *next(batches), autocast(CPU, recipe))

    return step


def plain_step(model: nn.Module, setting: Setting, train: tuple[Tensor, Tensor]) -> Step:
    """What one writes down first: torch's defaults, batches in the order of the data."""
    point = setting.recipe.points[0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=point.lr, weight_decay=point.weight_decay)
    batches = slices(train, setting.recipe.batch_size)
    model.train()

    def step() -> None:
        inputs, targets = next(batches)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=-100)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def slices(train: tuple[Tensor, Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Epochs without end, as a DataLoader without shuffling has them."""
    while True:
        yield from zip(*(torch.split(part, size) for part in train), strict=True)


def interleaved(ours: Step, plain: Step, count: int, *, ours_first: bool) -> tuple[float, float]:
    """Seconds per step of both, one after the other."""
    if ours_first:
        own = clocked(ours, count)
        return own, clocked(plain, count)
    other = clocked(plain, count)
    return clocked(ours, count), other


def clocked(step: Step, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def meets_limit(name: str, size: str, row: dict[str, Any]) -> bool:
    if size == "smoke":
        return bool(row["ratio"] <= 1.0 and row["interval"][1] < 1.05)
    return bool(name != "transformer" or row["ratio"] <= 0.75)


def print_row(name: str, row: dict[str, Any]) -> None:
    low, high = row["interval"]
    print(
        f"{name:22}{row['plain_ms']:10.1f}{row['ours_ms']:10.1f}{row['ratio']:8.3f}  {low:.3f} to {high:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
