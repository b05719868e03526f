"""Clusters without training: how long the paper preset takes on 8 and 64 slots, next to what nothing can beat.

See :mod:`benchmarks.scale`, whose command ``simulate`` this is. Items and trials are sent out by their committed
estimates (``Setting.cost``); how long they really take is drawn around these, with a seed.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

from xdist.scheduler import LoadScheduling

from benchmarks.record import update
from pytest_mad.contracts.base import contracts
from pytest_mad.executors.ray.units import CONTRACT_COST
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting
from pytest_mad.suite.shards import assign
from pytest_mad.suite.xdist import order

#: Spread of real times around the estimates, of their logarithms: one in twenty is off by a factor of 1.8 or more.
SIGMA = 0.3
WORKERS = 8
NODES, SLOTS = 8, 8
SHARDS = (2, 4, 8)
#: What the makespan may be, of the lower bound.
GOAL = 1.1

# -- how long things take ---------------------------------------------------------------------------------------------

#: Real seconds of a trial of this setting, in units that cancel out.
Truth = Callable[[Setting], float]


def by_steps(setting: Setting) -> float:
    """A GPU that waits for its launches: a step takes the same time whatever its size."""
    return float(setting.recipe.total_steps(setting.params.num_train_examples))


def by_attention(setting: Setting) -> float:
    """The arithmetic of two attention and two MLP layers: more than linear in the length, and a large vocabulary."""
    width, length = setting.width, setting.params.seq_len
    per_token = 2 * (4 * width**2 + 2 * length * width) + 2 * 8 * width**2 + width * setting.params.vocab_size
    return setting.cost * per_token


TRUTHS: dict[str, Truth] = {
    "estimates": lambda setting: setting.cost,
    "steps alone": by_steps,
    "attention": by_attention,
}


def drawn(times: Iterable[float], seed: int) -> list[float]:
    """Each time off by a factor of its own."""
    rng = random.Random(seed)
    return [time * rng.lognormvariate(0, SIGMA) for time in times]


def bound(times: Sequence[float], slots: int) -> float:
    """What no schedule can beat: an equal share, or the longest unit."""
    return max(math.fsum(times) / slots, *times)


# -- one machine: xdist, items as units -------------------------------------------------------------------------------


class Worker:
    """xdist's: works items off in turn, and begins one only when it knows the next, or that there is none."""

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.queue: deque[int] = deque()
        self.shutting_down = False
        self.running: int | None = None
        self.free_at = 0.0

    def send_runtest_some(self, indices: list[int]) -> None:
        self.queue.extend(indices)

    def shutdown(self) -> None:
        self.shutting_down = True

    def begin(self, now: float, times: Sequence[float]) -> None:
        if self.running is None and (len(self.queue) > 1 or (self.queue and self.shutting_down)):
            self.running = self.queue.popleft()
            self.free_at = now + times[self.running]


class Config:
    """As much of pytest's as xdist's scheduler asks for."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def getoption(self, name: str) -> None:
        return None

    def getvalue(self, name: str) -> Any:
        return [f"{self.workers}*popen"] if name == "tx" else None


def xdist_makespan(times: Sequence[float], workers: int) -> float:
    """When the last item ends if xdist's own scheduler hands them out in this order."""
    scheduler: Any = LoadScheduling(Config(workers), SimpleNamespace(loadsched=lambda *_: None))
    team = [Worker(number) for number in range(workers)]
    for worker in team:
        scheduler.add_node(worker)
    for worker in team:
        scheduler.add_node_collection(worker, [str(i) for i in range(len(times))])
    scheduler.schedule()
    now = 0.0
    while True:
        for worker in team:
            worker.begin(now, times)
        busy = [worker for worker in team if worker.running is not None]
        if not busy:
            return now
        worker = min(busy, key=lambda one: one.free_at)
        now, item, worker.running = worker.free_at, worker.running, None
        scheduler.mark_test_complete(worker, item, duration=times[item or 0])


# -- a cluster: Ray, trials as units ----------------------------------------------------------------------------------


class Cluster:
    """Actors that work off what the client sends them in order: ``ahead`` units wait at each behind the running one."""

    def __init__(self, times: Sequence[float], slots: int, ahead: int) -> None:
        self.times, self.ahead = times, ahead
        self.waiting = deque(range(len(times)))
        self.queues: dict[int, deque[int]] = {slot: deque() for slot in range(slots)}
        self.ends: list[tuple[float, int]] = []

    def send(self, now: float) -> None:
        """Fill up the actors, the emptiest first; who was idle begins."""
        while self.waiting:
            slot = min(self.queues, key=lambda one: (len(self.queues[one]), one))
            if len(self.queues[slot]) > self.ahead:
                return
            self.queues[slot].append(self.waiting.popleft())
            if len(self.queues[slot]) == 1:
                self._begin(slot, now)

    def _begin(self, slot: int, now: float) -> None:
        heapq.heappush(self.ends, (now + self.times[self.queues[slot][0]], slot))

    def finish(self) -> float:
        """Let the next unit end; the time at which it does."""
        now, slot = heapq.heappop(self.ends)
        self.queues[slot].popleft()
        if self.queues[slot]:
            self._begin(slot, now)
        return now

    def lose(self, slots: Iterable[int]) -> list[int]:
        """These actors die; their units come first again. Those that ran, whose work is lost."""
        queues = [self.queues.pop(slot) for slot in slots]
        self.waiting.extendleft(sorted((unit for queue in queues for unit in queue), reverse=True))
        self.ends = [end for end in self.ends if end[1] in self.queues]
        heapq.heapify(self.ends)
        return [queue[0] for queue in queues if queue]


def cluster_makespan(times: Sequence[float], slots: int, *, ahead: int = 0) -> float:
    """When the last unit ends if they are sent out in this order."""
    cluster, now = Cluster(times, slots, ahead), 0.0
    cluster.send(now)
    while cluster.ends:
        now = cluster.finish()
        cluster.send(now)
    return now


def with_lost_node(times: Sequence[float], dies_at: float, *, ahead: int = 0) -> tuple[float, float]:
    """Makespan where a node of `SLOTS` slots dies, and what nothing can beat then."""
    slots = NODES * SLOTS
    cluster, now = Cluster(times, slots, ahead), 0.0
    cluster.send(now)
    while cluster.ends and cluster.ends[0][0] <= dies_at:
        now = cluster.finish()
        cluster.send(now)
    started = {slot: end - times[cluster.queues[slot][0]] for end, slot in cluster.ends}
    lost = math.fsum(dies_at - started[slot] for slot in range(SLOTS) if slot in started)
    again = [times[unit] for unit in cluster.lose(range(SLOTS))]
    cluster.send(dies_at)
    while cluster.ends:
        now = cluster.finish()
        cluster.send(now)
    share = dies_at + (math.fsum(times) + lost - slots * dies_at) / (slots - SLOTS)
    return now, max(share, *times, *(dies_at + time for time in again))


# -- the command ------------------------------------------------------------------------------------------------------


def on_one_machine(chosen: Sequence[Setting], truth: Truth, seed: int) -> dict[str, float]:
    """Contracts and sweeps of one architecture on eight workers."""
    points = len(chosen[0].recipe.points)
    costs = [CONTRACT_COST] * len(contracts()) + [setting.cost for setting in chosen]
    sweeps = drawn((points * truth(setting) for setting in chosen), seed)
    times = drawn([CONTRACT_COST] * len(contracts()), seed) + sweeps
    ordered = [times[i] for i in order(costs, WORKERS)]
    return {"of the bound": xdist_makespan(ordered, WORKERS) / bound(times, WORKERS)}


def on_a_cluster(chosen: Sequence[Setting], truth: Truth, seed: int, *, ahead: int = 0) -> dict[str, float]:
    """All trials of one architecture, the longest estimate first; then once more with a node that dies half-way."""
    units = [setting for setting in sorted(chosen, key=lambda one: -one.cost) for _ in setting.recipe.points]
    times = drawn(map(truth, units), seed)
    whole = cluster_makespan(times, NODES * SLOTS, ahead=ahead)
    late, least = with_lost_node(times, whole / 2, ahead=ahead)
    return {
        "of the bound": whole / bound(times, NODES * SLOTS),
        "with a lost node, of the bound": late / least,
        "with a lost node, of the time without": late / whole,
    }


def in_shards(chosen: Sequence[Setting], truth: Truth, seed: int) -> dict[str, float]:
    """The longest job of a CI matrix, of an equal share."""
    times = dict(zip((one.id for one in chosen), drawn(map(truth, chosen), seed), strict=True))
    costs = {one.id: one.cost for one in chosen}
    found = {}
    for shards in SHARDS:
        loads = dict.fromkeys(range(1, shards + 1), 0.0)
        for item, shard in assign(costs, shards).items():
            loads[shard] += times[item]
        found[f"{shards} shards"] = max(loads.values()) / bound(list(times.values()), shards)
    return found


SCENES: dict[str, Callable[[Sequence[Setting], Truth, int], dict[str, float]]] = {
    "8 slots, xdist, items": on_one_machine,
    "64 slots, Ray, trials": on_a_cluster,
    "64 slots, Ray, trials, the next one waits at each actor": partial(on_a_cluster, ahead=1),
    "CI matrix, items": in_shards,
}
#: Scenes that have to reach it, and where times are as estimated, but for chance.
_WITH_GOAL = ("8 slots, xdist, items", "64 slots, Ray, trials")


def simulate(preset: str, draws: int) -> dict[str, Any]:
    """By scene, kind of truth and figure: the median and the worst of all draws."""
    chosen = list(settings(preset).values())
    return {
        scene: {name: _spread([play(chosen, truth, seed) for seed in range(draws)]) for name, truth in TRUTHS.items()}
        for scene, play in SCENES.items()
    }


def _spread(draws: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    values = {figure: [draw[figure] for draw in draws] for figure in draws[0]}
    return {
        figure: {
            "median": round(statistics.median(found), 4),
            "worst": round(max(found), 4),
            "within 1.1": round(sum(value <= GOAL for value in found) / len(found), 3),
        }
        for figure, found in values.items()
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--draws", type=int, default=200)
    parser.set_defaults(run=command)


def command(arguments: argparse.Namespace) -> int:
    """Print and save; 1 where the goal is missed."""
    found = simulate(arguments.preset, arguments.draws)
    for scene, truths in found.items():
        print(scene)
        for truth, figures in truths.items():
            for figure, spread in figures.items():
                print(f"  {truth:12} {figure:38} " + ", ".join(f"{name} {value:.3f}" for name, value in spread.items()))
    update("scale", simulated={"preset": arguments.preset, "draws": arguments.draws, "sigma": SIGMA, "ratios": found})
    return int(any(found[scene]["estimates"]["of the bound"]["median"] > GOAL for scene in _WITH_GOAL))
