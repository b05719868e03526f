"""Trials in the workers of Ray, with this process as their client.

One thread hands out units, longest first, one to each idle worker, and takes what they found as it comes; the items
wait for their own results. A worker that dies is replaced, and its unit handed out again. User code travels in Ray's
runtime environment, everything else as plain records. Only the client touches the store, unless the workers run on its
own machine: elsewhere they are sent the files that they ask for, and send back what they would have written.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_mad.architecture import Architecture
from pytest_mad.errors import first_line
from pytest_mad.executors.contracts import ContractResult
from pytest_mad.executors.inline import (
    BaselineWarning,
    Measured,
    RunOptions,
    as_asked,
    asked_of,
    choose_device,
    conclude,
    run_sweeps,
    stopped_by,
    warn_of_another_machine,
)
from pytest_mad.gate.baseline import BaselineError, MissingEntryError
from pytest_mad.grid import Setting
from pytest_mad.result import Result
from pytest_mad.store import Store, open_store

from .ray_connect import Client, ClusterError, cause_of, connected
from .ray_worker import Answer, Worker, error_of
from .units import CONTRACT_COST, RETRIES, Key, Unit, Waiting, units_of

if TYPE_CHECKING:
    from pytest_mad.training.sweep import Part
    from pytest_mad.training.trial import Progress

#: Seconds between two looks at what no worker reports: time that is up, a cluster that is gone.
TICK = 1.0
#: Seconds that a unit may take beyond ``--mad-timeout``, for contracts, data and what else no budget counts.
GRACE = 60.0
#: Seconds without a single worker, on a cluster that has no room for one, until nobody waits any longer.
GONE_LIMIT = 120.0


@contextlib.contextmanager
def training_in_ray(
    client: Client,
    run: RunOptions,
    sizes: Setting,
    settings: Sequence[tuple[Architecture, Setting]],
    contracts: Sequence[tuple[Architecture, str]],
) -> Iterator[RayExecutor]:
    """Connect, begin with all of this, and leave nothing behind. Raises :class:`ClusterError`."""
    with connected(client):
        run, slots, needs = placed(client, run)
        executor = RayExecutor(client, run, Crew(client, slots, needs))
        executor.begin(sizes, settings, contracts)
        try:
            yield executor
        finally:
            executor.end()


def placed(client: Client, run: RunOptions) -> tuple[RunOptions, int, dict[str, float]]:
    """On which device trials run, how many workers there is room for, and what each of them takes up."""
    import ray

    has = ray.cluster_resources()
    cores, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if run.device == "cuda" and not gpus:
        raise ClusterError(f"{client.option}: --mad-device=cuda: this Ray has no GPU")
    if gpus and run.device != "cpu":
        share = client.trials_per_gpu
        return replace(run, device="cuda"), gpus * share, {"num_cpus": 0.0, "num_gpus": 1 / share}
    if not cores:
        raise ClusterError(f"{client.option}: this Ray has no CPU to train on")
    return replace(run, device="cpu"), cores, {"num_cpus": 1.0, "num_gpus": 0.0}


@dataclass(eq=False, kw_only=True)
class Hand:
    """One actor, and what it is asked for."""

    actor: Any
    #: of the answer that it owes; None for one that is idle
    owes: Any
    #: None while it begins
    unit: Unit | None = None
    since: float = field(default_factory=time.monotonic)
    #: files of the store that it was sent for this unit
    files: dict[str, bytes | None] = field(default_factory=dict)


class Crew:
    """The actors: as many as there is room and work for. Lost ones are replaced."""

    def __init__(self, client: Client, slots: int, needs: dict[str, float]) -> None:
        import ray

        self.slots = slots
        self.hands: list[Hand] = []
        remote: Any = ray.remote(Worker)
        self._class = remote.options(max_restarts=0, max_task_retries=0, **needs)
        self._arguments = client.targets, client.place()

    def grow(self, units: int) -> None:
        """Start what is missing for so many units."""
        while len(self.hands) < min(self.slots, units):
            actor = self._class.remote()
            self.hands.append(Hand(actor=actor, owes=actor.begin.remote(*self._arguments)))

    def idle(self) -> list[Hand]:
        return [hand for hand in self.hands if hand.owes is None]

    def busy(self) -> list[Hand]:
        """Those with a unit."""
        return [hand for hand in self.hands if hand.unit]

    def dismiss(self, hand: Hand) -> None:
        """Kill an actor, or what is left of it."""
        import ray

        self.hands.remove(hand)
        ray.kill(hand.actor)

    def has_room(self) -> bool:
        """Whether the cluster, as it is now, could hold one of them."""
        import ray

        has = ray.cluster_resources()
        return bool(has.get("CPU", 0) >= 1 or has.get("GPU", 0) > 0)


class RayExecutor:
    """Gives items their results. One thread of its own talks to the actors."""

    def __init__(self, client: Client, run: RunOptions, crew: Crew) -> None:
        import ray

        self.description = f"Ray at {client.address}" if client.address else "a Ray of its own"
        self.description += f", {crew.slots} worker{'' if crew.slots == 1 else 's'} on {run.device}"
        self._run, self._crew = run, crew
        self._store: Store | None = open_store(run.store) if run.store else None
        self._elsewhere = ray.put(frozenset(self._store.names() if self._store and client.address else ()))
        self._promises: dict[Key, Future[tuple[Any, str]]] = {}
        self._architectures: dict[str, Architecture] = {}
        #: of settings that are trained in parts: what there is so far, in the order in which it is judged
        self._parts: dict[Key, dict[Any, Answer | None]] = {}
        self._begun: dict[Key, float] = {}
        self._asked: set[Key] = set()
        self._failed_starts, self._alone_since = 0, time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="pytest-mad-ray", daemon=True)

    # -- for the items ------------------------------------------------------------------------------------------------

    def begin(
        self,
        sizes: Setting,
        settings: Sequence[tuple[Architecture, Setting]],
        contracts: Sequence[tuple[Architecture, str]],
    ) -> None:
        """Hand out everything that the items will ask for."""
        units = [
            Unit(key=Key(architecture.name, name, is_contract=True), setting=sizes, cost=CONTRACT_COST)
            for architecture, name in contracts
        ]
        for architecture, setting in settings:
            found = units_of(architecture, setting, self._run)
            if len(found) > 1:
                self._parts[found[0].key] = {unit.trial: None for unit in found}
            units += found
        self._architectures = {a.name: a for a, _ in (*settings, *contracts)}
        self._promises = {unit.key: Future() for unit in units}
        self._waiting = Waiting(units)
        self._thread.start()

    def setting(self, architecture: Architecture, setting: Setting, progress: Progress | None) -> Measured:
        """Wait for a setting. Warnings about its baseline are given here."""
        result, traceback = self._result(Key(architecture.name, setting.id))
        try:
            asked = asked_of(architecture, as_asked(setting, self._run), self._run)
            warn_of_another_machine(asked, choose_device(self._run.device))
        except (MissingEntryError, BaselineError):  # which is the verdict already
            pass
        except BaselineWarning as error:  # the project makes errors of warnings
            return stopped_by(error, architecture, setting, self._run, result.seconds)
        return Measured(result, traceback)

    def contract(self, architecture: Architecture, name: str) -> tuple[ContractResult, str]:
        """Wait for a contract."""
        result, traceback = self._result(Key(architecture.name, name, is_contract=True))
        return result, traceback

    def _result(self, key: Key) -> tuple[Any, str]:
        found = self._promises[key].result()
        self._asked.add(key)
        return found

    def unasked(self) -> list[dict[str, Any]]:
        """What has finished and no item asked for, as records."""
        finished = [(key, promise) for key, promise in self._promises.items() if promise.done()]
        return [promise.result()[0].to_json() for key, promise in finished if key not in self._asked]

    def end(self) -> None:
        """Cancel what is still open."""
        self._is_over.set()
        self._thread.join()
        for hand in list(self._crew.hands):
            self._crew.dismiss(hand)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._is_over.is_set() and (self._waiting or self._crew.busy()):
                self._step()
        except Exception as error:  # of ours, or a cluster that is gone: nobody may wait for ever
            self._give_up(f"its Ray failed: {first_line(error)}")

    def _step(self) -> None:
        """Hand out, wait a little, take what has come."""
        import ray

        self._crew.grow(len(self._waiting) + len(self._crew.busy()))
        for hand in self._crew.idle():
            if self._waiting:
                self._hand_out(hand, self._waiting.take())
        owed = {hand.owes: hand for hand in self._crew.hands if hand.owes is not None}
        done, _ = ray.wait(list(owed), num_returns=len(owed), timeout=0)
        if not done:
            done, _ = ray.wait(list(owed), timeout=TICK)
        for one in done:
            self._take(owed[one])
        self._stop_the_overdue()
        self._check_for_room()

    def _hand_out(self, hand: Hand, unit: Unit) -> None:
        self._begun.setdefault(unit.key, time.monotonic())
        hand.unit, hand.since, hand.files = unit, time.monotonic(), {}
        self._ask(hand, unit)

    def _ask(self, hand: Hand, unit: Unit) -> None:
        run = replace(self._run, timeout=self._time_left(unit))
        hand.owes = hand.actor.run.remote(unit, run, self._elsewhere, hand.files)

    def _time_left(self, unit: Unit) -> float | None:
        """Of the setting's budget, which its trials share."""
        if self._run.timeout is None or unit.trial is None:
            return self._run.timeout
        return max(0.001, self._run.timeout - (time.monotonic() - self._begun[unit.key]))

    def _take(self, hand: Hand) -> None:
        """An answer, or news of a death."""
        import ray

        unit, owed = hand.unit, hand.owes
        hand.owes = hand.unit = None
        try:
            answer = ray.get(owed)
        except ray.exceptions.RayTaskError as error:
            self._crew.dismiss(hand)
            self._failed(unit, f"its Ray worker raised {first_line(error.cause)}", error)
        except ray.exceptions.RayError as error:
            self._crew.dismiss(hand)
            self._died(unit, cause_of(error))
        else:
            self._failed_starts, self._alone_since = 0, time.monotonic()
            if unit:
                self._heard(hand, unit, answer)

    def _failed(self, unit: Unit | None, why: str, error: Exception) -> None:
        """What an actor cannot do, another cannot do either."""
        if unit:
            self._fail(unit, why)
        else:
            self._died(None, cause_of(error))

    def _died(self, unit: Unit | None, why: str) -> None:
        if unit is None:
            self._failed_starts += 1
            if self._failed_starts > RETRIES:
                self._give_up(f"no Ray worker begins: {why}")
        elif not self._waiting.put_back(unit):
            self._fail(unit, f"its Ray worker died {unit.deaths + 1} times: {why}")

    def _heard(self, hand: Hand, unit: Unit, answer: Answer) -> None:
        if answer.needs:
            assert self._store is not None
            hand.files |= {name: self._store.content(name) for name in answer.needs}
            hand.unit = unit
            self._ask(hand, unit)
            return
        if self._store:
            for name, content in answer.files.items():
                self._store.put(name, content)
            self._store.trouble = self._store.trouble or answer.trouble
        if answer.is_spoiled:
            self._crew.dismiss(hand)
        self._deliver(unit, answer)

    def _fail(self, unit: Unit, why: str) -> None:
        """A unit that ends without an answer."""
        architecture = self._architectures[unit.key.architecture]
        seconds = time.monotonic() - self._begun.get(unit.key, time.monotonic())
        result = error_of(architecture, unit, self._run, why, round(seconds, 3))
        self._deliver(unit, Answer(found=result.to_json()))

    def _deliver(self, unit: Unit, answer: Answer) -> None:
        """Keep the promise to an item, with the last part of a sweep if it has parts."""
        parts = self._parts.get(unit.key)
        if parts is not None:
            parts[unit.trial] = answer
            open_parts = [part for part in parts.values() if part is None]
            if open_parts:
                return
            architecture = self._architectures[unit.key.architecture]
            found = {trial: part for trial, part in parts.items() if part is not None}
            measured = joined(architecture, unit.setting, self._run, found)
            self._promises[unit.key].set_result((measured.result, measured.traceback))
            return
        kind = ContractResult if unit.key.is_contract else Result
        self._promises[unit.key].set_result((kind(**answer.found), answer.traceback))

    def _give_up(self, why: str) -> None:
        """Nothing more will come."""
        for hand in self._crew.busy():
            unit, hand.unit = hand.unit, None
            if unit:
                self._fail(unit, why)
        while self._waiting:
            self._fail(self._waiting.take(), why)

    def _stop_the_overdue(self) -> None:
        """A worker that hangs in code that never returns hears no request: it is killed, and not tried again."""
        if self._run.timeout is None:
            return
        for hand in self._crew.busy():
            seconds = time.monotonic() - hand.since
            if hand.unit and seconds > self._run.timeout + GRACE:
                self._crew.dismiss(hand)
                self._fail(hand.unit, f"out of time: no answer after {seconds:.0f} s; its Ray worker was killed")

    def _check_for_room(self) -> None:
        """Whether it makes sense to wait for a first worker: others may use a cluster, but it must be there."""
        if self._crew.busy() or self._crew.idle() or self._crew.has_room():
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > GONE_LIMIT:
            self._give_up("its Ray has no node left that could train it")


def joined(architecture: Architecture, setting: Setting, run: RunOptions, answers: dict[Any, Answer]) -> Measured:
    """The verdict on a setting whose trials were trained apart: what one process would have said."""
    from pytest_mad.training.sweep import Part, Sweep, join

    for answer in answers.values():
        if not isinstance(answer.found, Part):
            return Measured(Result.from_json(answer.found), answer.traceback)
    parts: dict[Any, Part] = {trial: answer.found for trial, answer in answers.items()}
    seconds = sum(part.trial.seconds for part in parts.values() if part.trial)
    setting = as_asked(setting, run)
    try:
        asked = asked_of(architecture, setting, run)

        def sweep(seed: int) -> Sweep:
            return join(asked.setting, seed, [parts[seed, point] for point in setting.recipe.points])

        sweeps, lost = run_sweeps(asked, sweep)
        return Measured(conclude(architecture, setting, asked, run, sweeps, lost, seconds))
    except Exception as error:
        return stopped_by(error, architecture, setting, run, seconds)
