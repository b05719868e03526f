"""Trials in the workers of Ray, with this process as their client.

One thread hands out units, longest first, one to each idle worker, and takes what they found as it comes; the items
wait for their own results. A worker that dies is replaced, and its unit handed out again. User code travels in Ray's
runtime environment, everything else as plain records. Only the client touches the store, unless the workers run on its
own machine: elsewhere they are sent the files that they ask for, and send back what they would have written.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.common.errors import first_line
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.requirement import BaselineWarning, requirement_of, warn_of_another_machine
from pytest_mad.evaluation.seeds import run_seeds
from pytest_mad.evaluation.setting import Measured, SeedProgress, choose_device, conclude, stopped_by
from pytest_mad.gate.baseline import BaselineError, MissingEntryError
from pytest_mad.presets.setting import Setting
from pytest_mad.results.result import ContractResult, ItemResult, SettingResult
from pytest_mad.store.folder import Store, open_store

from .actor import Answer, error_of
from .cluster import Client, cause_of, connected
from .pool import Crew, Hand, placed
from .units import CONTRACT_COST, RETRIES, Key, Unit, Waiting, units_of

if TYPE_CHECKING:
    from pytest_mad.evaluation.sweep import Part

#: Seconds between two looks at what no worker reports: time that is up, a cluster that is gone.
TICK = 1.0
#: Seconds that a unit may take beyond ``--mad-timeout``, for contracts, compiling, data and what else no budget counts.
GRACE = 180.0
#: Seconds that a worker may take to import the architectures, once Ray has a place for it.
BEGIN_LIMIT = 300.0
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
    """Connect, begin with all of this, and leave nothing behind. Raises ``ClusterError``."""
    with connected(client) as sees_cuda:
        run, slots, needs = placed(client, run, sees_cuda)
        executor = RayExecutor(client, run, Crew(client, slots, needs))
        executor.begin(sizes, settings, contracts)
        try:
            yield executor
        finally:
            executor.end()


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
        #: one of each item's
        self._units: dict[Key, Unit] = {}
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
        self._units = {unit.key: unit for unit in units}
        self._promises = {key: Future() for key in self._units}
        self._waiting = Waiting(units)
        self._thread.start()

    def setting(self, architecture: Architecture, setting: Setting, progress: SeedProgress | None) -> Measured:
        """Wait for a setting. Warnings about its baseline are given here."""
        result, traceback = self._result(Key(architecture.name, setting.id))
        try:
            requirement = requirement_of(architecture, setting, self._run)
            warn_of_another_machine(requirement, choose_device(self._run.device))
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

    def unasked(self) -> list[ItemResult]:
        """What has finished and no item asked for."""
        finished = [(key, promise) for key, promise in self._promises.items() if promise.done()]
        return [promise.result()[0] for key, promise in finished if key not in self._asked]

    def end(self) -> None:
        """Cancel what is still open."""
        self._is_over.set()
        self._thread.join()
        for hand in list(self._crew.hands):
            self._crew.dismiss(hand)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        why = "its Ray gave no answer"
        try:
            while not self._is_over.is_set() and (self._waiting or self._crew.busy()):
                self._step()
        except BaseException as error:  # of ours, or a cluster that is gone
            why = f"its Ray failed: {first_line(error) or type(error).__name__}"
        if not self._is_over.is_set():  # nobody may wait for ever
            self._give_up(why)

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
        """An answer, or news of a death. A unit stays its worker's until it is delivered or waits again."""
        import ray

        try:
            answer = ray.get(hand.owes)
        except ray.exceptions.RayError as error:
            self._crew.dismiss(hand)
            self._lost(hand.unit, error)
            return
        hand.owes = None
        if hand.since is None:
            self._crew.begin(hand)
            return
        self._failed_starts, self._alone_since = 0, time.monotonic()
        if hand.unit:
            self._heard(hand, hand.unit, answer)

    def _lost(self, unit: Unit | None, error: Exception) -> None:
        """A worker that did not begin, raised, or died. Where one raises, another would raise as well."""
        import ray

        if unit is None:
            self._failed_start(cause_of(error))
        elif isinstance(error, ray.exceptions.RayTaskError):
            self._fail(unit, f"its Ray worker raised {first_line(error.cause)}")
        elif not self._waiting.put_back(unit):
            self._fail(unit, f"its Ray worker died {unit.deaths + 1} times: {cause_of(error)}")

    def _failed_start(self, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts > RETRIES:
            self._give_up(f"no Ray worker begins: {why}")

    def _heard(self, hand: Hand, unit: Unit, answer: Answer) -> None:
        if answer.needs:
            assert self._store is not None
            hand.files |= {name: self._store.content(name) for name in answer.needs}
            self._ask(hand, unit)
            return
        if self._store:
            for name, content in answer.files.items():
                self._store.put(name, content)
            self._store.trouble = self._store.trouble or answer.trouble
        if answer.is_spoiled:
            self._crew.dismiss(hand)
        self._deliver(unit, answer)
        hand.unit = None

    def _fail(self, unit: Unit, why: str) -> None:
        """A unit that ends without an answer."""
        self._deliver(unit, Answer(found=self._error(unit, why)))

    def _error(self, unit: Unit, why: str) -> Any:
        architecture = self._architectures[unit.key.architecture]
        seconds = time.monotonic() - self._begun.get(unit.key, time.monotonic())
        return error_of(architecture, unit, self._run, why, round(seconds, 3))

    def _deliver(self, unit: Unit, answer: Answer) -> None:
        """Keep the promise to an item, with the last part of a sweep if it has parts."""
        parts = self._parts.get(unit.key)
        if parts is None:
            self._promise(unit.key, answer.found, answer.traceback)
            return
        parts[unit.trial] = answer
        if isinstance(answer.found, SettingResult):  # the verdict already: nobody need train what still waits
            for other in self._waiting.drop(unit.key):
                del parts[other.trial]
        found = {trial: part for trial, part in parts.items() if part is not None}
        if len(found) == len(parts):
            architecture = self._architectures[unit.key.architecture]
            self._promise(unit.key, *joined(architecture, unit.setting, self._run, found))

    def _promise(self, key: Key, found: Any, traceback: str) -> None:
        """Keep the promise to an item; the first result counts."""
        if not self._promises[key].done():
            self._promises[key].set_result((found, traceback))

    def _give_up(self, why: str) -> None:
        """Nothing more will come, whoever still waits."""
        for hand in self._crew.hands:
            hand.unit = None
        for key, unit in self._units.items():
            self._waiting.drop(key)
            if not self._promises[key].done():
                self._promise(key, self._error(unit, why), "")

    def _stop_the_overdue(self) -> None:
        """A worker that hangs in code that never returns hears no request: it is killed; its unit ends."""
        for hand in self._crew.asked():
            seconds = time.monotonic() - (hand.since or 0.0)
            if seconds <= self._limit(hand):
                continue
            self._crew.dismiss(hand)
            why = f"no answer after {seconds:.0f} s"
            if hand.unit:
                self._fail(hand.unit, f"out of time: {why}; {self._run.limit()}; its Ray worker was killed")
            else:
                self._failed_start(why)

    def _limit(self, hand: Hand) -> float:
        """Seconds that an actor may take for what it is asked."""
        if hand.unit is None:
            return BEGIN_LIMIT
        return math.inf if self._run.timeout is None else self._run.timeout + GRACE

    def _check_for_room(self) -> None:
        """Whether it makes sense to wait for a first worker: others may use a cluster, but it must be there."""
        if self._crew.busy() or self._crew.idle() or self._crew.has_room():
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > GONE_LIMIT:
            self._give_up("its Ray has no node left that could train it")


def joined(architecture: Architecture, setting: Setting, run: RunOptions, answers: dict[Any, Answer]) -> Measured:
    """The verdict on a setting whose trials were trained apart: what one process would have said."""
    from pytest_mad.evaluation.sweep import Part, Sweep, join

    for answer in answers.values():
        if not isinstance(answer.found, Part):
            return Measured(answer.found, answer.traceback)
    parts: dict[Any, Part] = {trial: answer.found for trial, answer in answers.items()}
    seconds = sum(part.trial.seconds for part in parts.values() if part.trial and not part.stored)
    try:
        requirement = requirement_of(architecture, setting, run)

        def sweep(seed: int, is_late: object) -> Sweep:  # none of them is: each was trained whatever others found
            return join(setting, seed, [parts[seed, point] for point in setting.recipe.points])

        found = run_seeds(setting, requirement, sweep)
        return Measured(conclude(architecture, setting, requirement, run, found, seconds))
    except Exception as error:
        return stopped_by(error, architecture, setting, run, seconds)
