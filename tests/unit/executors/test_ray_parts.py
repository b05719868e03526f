"""The pieces of the Ray executor, with a Ray that is a stand-in: what is asked of it, and what becomes of its faults."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.sweep import run_part
from pytest_mad.executors.ray import cluster as ray_connect
from pytest_mad.executors.ray import executor as executor_module
from pytest_mad.executors.ray.actor import Answer, Worker, error_of, search_path
from pytest_mad.executors.ray.cluster import Client, ClusterError, check_nodes, check_reachable
from pytest_mad.executors.ray.executor import RayExecutor, joined
from pytest_mad.executors.ray.pool import Crew, placed
from pytest_mad.executors.ray.units import Key, Unit, Waiting, separate_trials
from pytest_mad.presets.recipe import Point
from pytest_mad.results.result import ContractResult
from pytest_mad.store.folder import Store
from tests.unit.tiny import CPU, Tiny, make_setting

TINY = from_factory(Tiny, name="tiny")
ONE = make_setting()
MANY = make_setting(points=(Point(lr=0.01), Point(lr=0.02), Point(lr=0.03)), race=False)
OUTPUT = Key("tiny", "output", is_contract=True)


class RayError(Exception):
    cause = None


class RayTaskError(RayError):
    pass


class Call:
    """A reference to an answer: a value, an exception, or what a function returns."""

    def __init__(self, does, arguments):
        self.does, self.arguments = does, arguments

    def answer(self):
        found = self.does(*self.arguments) if callable(self.does) else self.does
        if isinstance(found, BaseException):
            raise found
        return found


class FakeRay:
    """One actor after the other, all alike; ``never`` are methods that do not return."""

    def __init__(self, *, has=None, never=(), **methods):
        self.has, self.never, self.methods = has or {"CPU": 1.0}, never, {"arrive": None, "begin": None, **methods}
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.killed, self.runs, self.is_connected = 0, 0, True

    def remote(self, _):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._actor))

    def _actor(self):
        return SimpleNamespace(**{name: SimpleNamespace(remote=self._method(name)) for name in self.methods})

    def _method(self, name):
        return lambda *arguments: Call("never" if name in self.never else self.methods[name], arguments)

    def put(self, value):
        return value

    def wait(self, owed, **_):
        done = [call for call in owed if call.does != "never"]
        return done[:1], owed

    def get(self, call):
        return call.answer()

    def kill(self, _):
        self.killed += 1
        if not self.is_connected:
            raise ConnectionError("no connection")

    def cluster_resources(self):
        return self.has


@pytest.fixture
def use(monkeypatch):
    """Have this stand for Ray."""

    def use(fake):
        monkeypatch.setitem(sys.modules, "ray", fake)
        monkeypatch.setattr(executor_module, "TICK", 0.0)
        return fake

    return use


def client(**options):
    return Client(**{"address": None, "folder": Path.cwd(), "targets": (), "cores": 1} | options)


def begun(settings=(), contracts=(), **run):
    """An executor with one worker."""
    options = RunOptions(device="cpu", **run)
    executor = RayExecutor(client(), options, Crew(client(), 1, {"CPU": 1.0, "GPU": 0.0}))
    executor.begin(ONE, [(TINY, setting) for setting in settings], [(TINY, name) for name in contracts])
    return executor


def found(executor, key):
    """What an item gets that does not wait long."""
    return executor._promises[key].result(timeout=20)[0]


# -- nobody waits for ever --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ConnectionError("gone"), EOFError("half a pickle"), SystemExit(1)])
def test_whatever_ends_the_thread_every_item_has_a_result(use, error):
    use(FakeRay(run=error))
    executor = begun([ONE, MANY], ["output"])
    for key in executor._promises:
        result = found(executor, key)
        assert result.verdict == "error" and result.detail.startswith("its Ray failed: ")
    executor.end()


def test_a_worker_that_cannot_be_killed_is_given_up_all_the_same(use, monkeypatch):
    monkeypatch.setattr(executor_module, "GRACE", -1.0)
    fake = use(FakeRay(never=["run"], run=None))
    fake.is_connected = False
    executor = begun(contracts=["output"], timeout=1.0)
    assert found(executor, OUTPUT).detail.endswith("its Ray worker was killed")
    executor.end()
    assert fake.killed


def test_a_worker_that_never_begins_is_a_failed_start(use, monkeypatch):
    monkeypatch.setattr(executor_module, "BEGIN_LIMIT", 0.01)
    fake = use(FakeRay(never=["begin"], run=None))
    executor = begun(contracts=["output"])
    assert found(executor, OUTPUT).detail.startswith("no Ray worker begins: no answer after ")
    executor.end()
    assert fake.killed == 3


def test_a_cluster_that_others_use_is_waited_for(use, monkeypatch):
    """As long as it could hold a worker, and no longer."""
    monkeypatch.setattr(executor_module, "BEGIN_LIMIT", 0.01)
    monkeypatch.setattr(executor_module, "GONE_LIMIT", 0.01)
    fake = use(FakeRay(never=["arrive"], run=None))
    executor = begun(contracts=["output"])
    with pytest.raises(TimeoutError):
        executor._promises[OUTPUT].result(timeout=0.2)
    fake.has = {"GPU": 4.0}
    assert found(executor, OUTPUT).detail == "its Ray has no node left that could train it"
    executor.end()


def test_a_verdict_on_one_trial_ends_the_others(use):
    """What has not begun is not trained; another setting is."""

    def run(unit, *_):
        fake.runs += 1
        if unit.key.is_contract:
            return Answer(found=ContractResult(architecture="tiny", contract="output", verdict="pass"))
        return Answer(found=error_of(TINY, unit, RunOptions(device="cpu"), "output is broken", 0.0))

    fake = use(FakeRay(run=run))
    executor = begun([MANY], ["output"])
    assert found(executor, Key("tiny", MANY.id)).detail == "output is broken"
    assert found(executor, OUTPUT).verdict == "pass"
    executor.end()
    assert fake.runs == 2


def test_the_units_of_an_item_are_dropped_together():
    units = [Unit(key=Key("a", name), setting=ONE, cost=cost) for name, cost in (("b", 1), ("c", 2), ("b", 3))]
    waiting = Waiting(units)
    assert {unit.cost for unit in waiting.drop(Key("a", "b"))} == {1, 3}
    assert len(waiting) == 1 and waiting.take() is units[1]


def test_what_came_from_the_store_took_no_time():
    options = RunOptions(device="cpu")
    trials = separate_trials(TINY, MANY, options)
    parts = {trial: run_part(TINY, MANY, *trial, device=CPU) for trial in trials}
    assert joined(TINY, MANY, options, {t: Answer(found=p) for t, p in parts.items()}).result.seconds > 0
    stored = {trial: Answer(found=dataclasses.replace(part, stored=True)) for trial, part in parts.items()}
    assert joined(TINY, MANY, options, stored).result.seconds == 0


# -- where it trains --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1, 3, 6, 7, 13])
def test_as_many_workers_as_asked_for_fit_on_a_gpu(use, share):
    use(FakeRay(has={"CPU": 8.0, "GPU": 2.0}))
    run, slots, needs = placed(client(trials_per_gpu=share), RunOptions(), lambda: True)
    assert (run.device, slots, needs["CPU"]) == ("cuda", 2 * share, 0.0)
    assert round(needs["GPU"] * 1e4) * share <= 1e4 and needs["GPU"] > 0  # Ray counts in 1e-4


def test_a_lost_gpu_leaves_no_room(use):
    fake = use(FakeRay(has={"CPU": 8.0, "GPU": 1.0}))
    crew = Crew(client(), 1, {"CPU": 0.0, "GPU": 0.5})
    assert crew.has_room()
    fake.has = {"CPU": 8.0}
    assert not crew.has_room()


def test_a_gpu_that_torch_does_not_see_is_none(use):
    use(FakeRay(has={"CPU": 8.0, "GPU": 2.0}))
    run, slots, needs = placed(client(), RunOptions(), lambda: False)
    assert (run.device, slots, needs) == ("cpu", 8, {"CPU": 1.0, "GPU": 0.0})
    with pytest.raises(ClusterError, match="this Ray has no GPU that its torch can use"):
        placed(client(), RunOptions(device="cuda"), lambda: False)


@pytest.mark.parametrize("builds, sees", [(["12.8", "12.8"], True), (["12.8", None], False)])
def test_every_node_with_a_gpu_needs_a_torch_for_it(monkeypatch, builds, sees):
    nodes = [{"NodeManagerAddress": "a", "Resources": {"GPU": 1.0}} for _ in builds]
    nodes.append({"NodeManagerAddress": "b", "Resources": {"CPU": 1.0}})
    versions = ray_connect.own_versions()

    def on_every_node(_client, _function, *arguments):
        answers = [None] * 3 if arguments else [versions | {"CUDA": build} for build in (*builds, None)]
        return zip(nodes, answers, strict=True)

    monkeypatch.setattr(ray_connect, "_on_every_node", on_every_node)
    assert check_nodes(client(address="a:1")) is sees


@pytest.mark.parametrize("host", ["10.0..7", "x" * 64 + ".invalid"])
def test_a_host_that_cannot_be_one(host):
    with pytest.raises(ClusterError, match=f"--mad-ray-address={host}:6379: nobody answers there"):
        check_reachable(client(address=f"{host}:6379"))


# -- the worker -------------------------------------------------------------------------------------------------------


def test_a_worker_imports_in_the_clients_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, there = str(tmp_path), ["/usr/lib/one", str(tmp_path)]
    a, b = (os.path.join(here, name) for name in "ab")
    assert search_path(["a", ".", "b"], there) == [a, here, b, "/usr/lib/one"]
    assert search_path([".", "a"], there) == [here, a, "/usr/lib/one"]
    assert search_path(["a"], ["/usr/lib/one"]) == [here, a, "/usr/lib/one"]
    assert search_path([], there) == there


def test_a_worker_keeps_its_files_where_ray_removes_them_and_names_the_clients_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worker = Worker()
    worker.begin((), client(address="a:1").place())
    worker._architectures = {"tiny": TINY}
    monkeypatch.setattr(Store, "names", lambda store: store.note("cannot be read") or set())
    run = RunOptions(device="cpu", store=Path("/client/kept"))
    answer = worker.run(Unit(key=Key("tiny", ONE.id), setting=ONE), run, frozenset(), {})
    assert answer.trouble == "store /client/kept: cannot be read"
    assert [path.name.startswith(".pytest-mad-") for path in tmp_path.iterdir()] == [True]
