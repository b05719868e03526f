"""Where a run's seconds go, split without a remainder."""

import json

import pytest

from benchmarks.speed import phases
from benchmarks.speed.phases import CONTRACTS, END, LAST, PHASES, START, Clock, read


@pytest.fixture
def clock(monkeypatch):
    """One whose time is what the test says."""
    now = [0.0]
    monkeypatch.setattr(phases.time, "time", lambda: now[0])
    made = Clock()

    def wait(seconds):
        now[0] += seconds

    made.wait = wait
    return made


def test_each_moment_belongs_to_the_innermost_phase(clock):
    """What contracts train is theirs."""
    for phase, seconds in (("data", 1), ("store", 2)):
        clock.enter(phase)
        clock.wait(seconds)
    clock.leave()
    clock.wait(4)
    clock.leave()
    clock.enter(CONTRACTS)
    clock.enter("evaluation")
    clock.wait(8)
    clock.leave()
    clock.leave()
    clock.wait(16)
    clock.turn("waiting for items")
    assert clock.seconds == {START: 16, "data": 5, "store": 2, CONTRACTS: 8}


def test_the_table_adds_up_to_the_wall_clock_of_all_processes(tmp_path):
    """What came before a process began, and what it waited for at the end, included."""
    for name, began, ended in (("one", 3, 20), ("two", 4, 26)):
        record = {"began": began, "ended": ended, "seconds": {START: 1, CONTRACTS: ended - began - 1}}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    found = read(tmp_path, 1, 30)
    assert tuple(found) == PHASES
    assert sum(found.values()) == 2 * 29
    assert (found[START], found[LAST], found[END]) == (2 + 3 + 2, 6, 8)
