"""The actors of Ray that trials run in: how many, on which devices, and what each of them is asked for."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_mad.evaluation.options import RunOptions

from .actor import Worker
from .cluster import Client, ClusterError
from .units import Unit


def placed(client: Client, run: RunOptions, sees_cuda: Callable[[], bool]) -> tuple[RunOptions, int, dict[str, float]]:
    """On which device trials run, how many workers there is room for, and what each of them takes up."""
    import ray

    has = ray.cluster_resources()
    cores, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if gpus and run.device != "cpu" and not sees_cuda():
        gpus = 0
    if run.device == "cuda" and not gpus:
        raise ClusterError(f"{client.option}: --mad-device=cuda: this Ray has no GPU that its torch can use")
    if gpus and run.device != "cpu":
        share = client.trials_per_gpu  # Ray counts in 1e-4, and would round 1 / 6 up
        return replace(run, device="cuda"), gpus * share, {"CPU": 0.0, "GPU": math.floor(1e4 / share) / 1e4}
    if not cores:
        raise ClusterError(f"{client.option}: this Ray has no CPU to train on")
    return replace(run, device="cpu"), cores, {"CPU": 1.0, "GPU": 0.0}


@dataclass(eq=False, kw_only=True)
class Hand:
    """One actor, and what it is asked for."""

    actor: Any
    #: of the answer that it owes; None for one that is idle
    owes: Any
    #: None while it begins
    unit: Unit | None = None
    #: when it was last asked for something; None until Ray has a place for it
    since: float | None = None
    #: files of the store that it was sent for this unit
    files: dict[str, bytes | None] = field(default_factory=dict)


class Crew:
    """The actors: as many as there is room and work for. Lost ones are replaced."""

    def __init__(self, client: Client, slots: int, needs: dict[str, float]) -> None:
        import ray

        self.slots, self._needs = slots, needs
        self.hands: list[Hand] = []
        remote: Any = ray.remote(Worker)
        self._class = remote.options(max_restarts=0, max_task_retries=0, num_cpus=needs["CPU"], num_gpus=needs["GPU"])
        self._arguments = client.targets, client.place()

    def grow(self, units: int) -> None:
        """Start what is missing for so many units."""
        while len(self.hands) < min(self.slots, units):
            actor = self._class.remote()
            self.hands.append(Hand(actor=actor, owes=actor.arrive.remote()))

    def begin(self, hand: Hand) -> None:
        """Have an actor make ready that Ray has found a place for, which may take as long as others use the cluster."""
        hand.since, hand.owes = time.monotonic(), hand.actor.begin.remote(*self._arguments)

    def idle(self) -> list[Hand]:
        return [hand for hand in self.hands if hand.owes is None]

    def busy(self) -> list[Hand]:
        """Those with a unit."""
        return [hand for hand in self.hands if hand.unit]

    def asked(self) -> list[Hand]:
        """Those that owe an answer which they can give."""
        return [hand for hand in self.hands if hand.owes is not None and hand.since is not None]

    def dismiss(self, hand: Hand) -> None:
        """Kill an actor, or what is left of it."""
        import ray

        self.hands.remove(hand)
        with contextlib.suppress(Exception):  # a connection that is gone
            ray.kill(hand.actor)

    def has_room(self) -> bool:
        """Whether the cluster, as it is now, could hold one of them."""
        import ray

        has = ray.cluster_resources()
        return all(has.get(name, 0.0) >= number for name, number in self._needs.items())
