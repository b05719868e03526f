"""Our training step against the plainest possible PyTorch loop, on the same model and data.

    python -m benchmarks.speed.train_step [--arch NAME,...] [--size smoke|ci|paper] [--setting ID] [--pairs 15]

One thread of a CPU; data, batches and width are those of a setting of the preset, in-context recall's baseline unless
another is named. Each side has a process of its own, since some of what we set holds for a whole process; both begin
with the same weights and take turns of up to ten steps. Where our loop compiles the model, a whole trial is compared:
the steps before that, compiling with an empty cache, and the steps behind it.

Prints a table, the ratio being the median over pairs with its 95 % interval, and writes
``benchmarks/results/train_step-SIZE.json``, where architectures and settings that were not chosen keep their rows. Ends
with an error where a limit is missed: at smoke sizes a median of 1 with an interval below 1.05, at the others a median
of 0.75 for the transformer.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.calibration.scoreboard import ARCHITECTURES
from benchmarks.command import command_line
from benchmarks.record import update
from pytest_mad.architectures.build import build_model
from pytest_mad.architectures.targets import from_target
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting
from pytest_mad.training.compiled import compiled, compiled_from
from pytest_mad.training.data import TaskData, load_data
from pytest_mad.training.memory import keep_freed_memory
from pytest_mad.training.trial import (
    Loss,
    as_it_is,
    autocast,
    initial_model,
    make_optimizer,
    parameter_count,
    scheduled_lr,
    set_lr,
    shuffled_batches,
    to_device,
    training_step,
)

from .plugin_tax import median_interval

CPU = torch.device("cpu")
FACTORIES = {"smoke": "make_model", "ci": "make_model", "paper": "make_paper_model"}
SECONDS, MOST_STEPS = 0.25, 10
WARM_UP = 2

Side = Literal["ours", "plain"]
Step = Callable[[], object]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--arch", metavar="NAME,...", help="default: all at smoke sizes, else the transformer")
    parser.add_argument("--size", choices=FACTORIES, default="smoke")
    parser.add_argument("--setting", default="in-context-recall[baseline]", metavar="ID")
    parser.add_argument("--pairs", type=int, default=15)
    arguments = parser.parse_args()
    size, pairs = arguments.size, arguments.pairs
    default = ",".join(ARCHITECTURES) if size == "smoke" else "transformer"

    print(
        f"{'architecture':22}{'plain ms':>10}{'ours ms':>10}{'compiling s':>13}{'ratio':>8}  95 % interval", flush=True
    )
    rows = []
    for name in (arguments.arch or default).split(","):
        rows.append(measure(name, size, arguments.setting, pairs))
        print_row(rows[-1])
    found = {f"{row['architecture']} {row['setting']}": row for row in rows}
    update(f"train_step-{size}", **found)
    missed = [name for name, row in found.items() if not meets_limit(size, row)]
    if missed:
        sys.exit(f"above the limit: {', '.join(missed)}")


def measure(name: str, size: str, setting_id: str, pairs: int) -> dict[str, Any]:
    """One row: milliseconds of a step on both sides, and the ratio of ours to the plain one."""
    setting = settings(size)[setting_id]
    total = setting.recipe.total_steps(setting.params.num_train_examples)
    sides = {side: Process(side, name, size, setting_id) for side in ("ours", "plain")}
    try:
        count = min(MOST_STEPS, max(1, round(SECONDS / sides["plain"].seconds_per_step(WARM_UP))))
        sides["ours"].seconds_per_step(WARM_UP)
        times: dict[str, list[float]] = {"ours": [], "plain": []}
        for i in range(pairs):
            for side in ("ours", "plain") if i % 2 == 0 else ("plain", "ours"):
                times[side].append(sides[side].seconds_per_step(count))
    finally:
        for process in sides.values():
            process.end()
    own, other, ready = times["ours"], times["plain"], sides["ours"].ready
    left = total - ready.steps
    trials = [(ready.before + ready.compiling + a * left) / (b * total) for a, b in zip(own, other, strict=True)]
    ratio, low, high = median_interval(trials)
    return {
        "architecture": name,
        "setting": setting.id,
        "threads": 1,
        "pairs": pairs,
        "steps_in_turn": count,
        "steps_of_a_trial": total,
        "plain_ms": round(1e3 * sorted(other)[pairs // 2], 2),
        "ours_ms": round(1e3 * sorted(own)[pairs // 2], 2),
        "compiling_s": round(ready.compiling, 1),
        "compiled_from": ready.steps + 1 if ready.compiling else None,
        "ratio": round(ratio, 4),
        "interval": [round(low, 4), round(high, 4)],
    }


class Ready(NamedTuple):
    """What a trial spends before the steps that are measured: steps, their seconds, and seconds of compiling."""

    steps: int = 0
    before: float = 0.0
    compiling: float = 0.0


class Process:
    """One side, in a process that takes steps when it is told to."""

    def __init__(self, side: Side, name: str, size: str, setting_id: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other_end = context.Pipe()
        self._process = context.Process(target=serve, args=(other_end, side, name, size, setting_id), daemon=True)
        self._process.start()
        other_end.close()
        self.ready: Ready = self._connection.recv()

    def seconds_per_step(self, count: int) -> float:
        self._connection.send(count)
        return float(self._connection.recv()) / count

    def end(self) -> None:
        self._connection.close()
        self._process.join()


def serve(connection: Connection, side: Side, name: str, size: str, setting_id: str) -> None:
    """Get ready and say what that took; then send the seconds of each turn, until nobody listens."""
    with nothing_compiled():
        serve_steps(connection, side, name, size, setting_id)


@contextlib.contextmanager
def nothing_compiled() -> Iterator[None]:
    """An empty cache for the compiler: all is compiled here and now."""
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        yield


def serve_steps(connection: Connection, side: Side, name: str, size: str, setting_id: str) -> None:
    torch.set_num_threads(1)
    setting = settings(size)[setting_id]
    architecture = from_target(f"reference_archs.{name}:{FACTORIES[size]}")
    data = load_data(setting, 0)

    def build() -> nn.Module:
        return build_model(architecture, setting, CPU)

    step, ready = our_step(build, setting, data) if side == "ours" else (plain_step(build, setting, data), Ready())
    connection.send(ready)
    while True:
        try:
            count = connection.recv()
        except EOFError:
            return
        started = time.perf_counter()
        for _ in range(count):
            step()
        connection.send(time.perf_counter() - started)


def our_step(build: Callable[[], nn.Module], setting: Setting, data: TaskData) -> tuple[Step, Ready]:
    """What a trial does between two evaluations, compiled where it would be; and what it spends before that."""
    recipe, point = setting.recipe, setting.recipe.points[0]
    total = recipe.total_steps(setting.params.num_train_examples)
    keep_freed_memory()
    model = initial_model(build, setting, point, 0, CPU).train()
    optimizer = make_optimizer(model, recipe, point)
    batches = shuffled_batches(to_device(data.train, CPU), recipe.batch_size, 0)

    def step_through(loss: Loss) -> Step:
        def step() -> None:
            set_lr(optimizer, scheduled_lr(recipe, point, 1, total))
            training_step(loss, optimizer, *next(batches), autocast(CPU, recipe))

        return step

    started = time.perf_counter()
    first = compiled_from(parameter_count(model), setting, point)  # imports the compiler
    if first is None:
        return step_through(as_it_is(model)), Ready()
    loss = compiled(build, setting, point, 0, data.train).loss(model)
    compiling = time.perf_counter() - started
    before = step_through(as_it_is(model))
    before()
    started = time.perf_counter()
    for _ in range(WARM_UP):
        before()
    of_a_step = (time.perf_counter() - started) / WARM_UP
    return step_through(loss), Ready(first - 1, (first - 1) * of_a_step, compiling)


def plain_step(build: Callable[[], nn.Module], setting: Setting, data: TaskData) -> Step:
    """What one writes down first: torch's defaults, batches in the order of the data."""
    point = setting.recipe.points[0]
    model = initial_model(build, setting, point, 0, CPU).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=point.lr, weight_decay=point.weight_decay)
    batches = slices(to_device(data.train, CPU), setting.recipe.batch_size)

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


def meets_limit(size: str, row: dict[str, Any]) -> bool:
    if size == "smoke":
        return bool(row["ratio"] <= 1.0 and row["interval"][1] < 1.05)
    return bool(row["architecture"] != "transformer" or row["ratio"] <= 0.75)


def print_row(row: dict[str, Any]) -> None:
    low, high = row["interval"]
    times = f"{row['plain_ms']:10.1f}{row['ours_ms']:10.1f}{row['compiling_s']:13.1f}"
    print(f"{row['architecture']:22}{times}{row['ratio']:8.3f}  {low:.3f} to {high:.3f}", flush=True)


if __name__ == "__main__":
    main()
