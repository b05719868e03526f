"""Units of remote work: which they are, in which order they go out, and how often a lost one is tried again."""

from __future__ import annotations

import pytest

from pytest_mad import settings
from pytest_mad.architectures.architecture import from_factory
from pytest_mad.architectures.source import code_digest
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.executors.ray.cluster import Client, ClusterError, check_reachable, check_targets, too_much
from pytest_mad.executors.ray.units import Key, Unit, Waiting, units_of
from pytest_mad.gate.baseline import load_baseline
from tests.unit.tiny import Tiny

SMOKE, PAPER = (next(iter(settings(preset).values())) for preset in ("smoke", "paper"))
TINY = from_factory(Tiny, name="transformer")


def trials(setting, **options):
    return [unit.trial for unit in units_of(TINY, setting, RunOptions(**options))]


def test_a_setting_whose_sweep_may_end_early_is_one_unit(tmp_path):
    """One that races, one whose points are stacked, and one whose next seed depends on the last."""
    baseline = load_baseline("transformer", tmp_path)
    assert trials(SMOKE) == trials(SMOKE, seeds=3) == trials(PAPER, engine="vmap") == [None]
    assert trials(SMOKE, baseline=baseline) == [None]


def test_trials_that_wait_for_no_other_are_units_of_their_own():
    points = PAPER.recipe.points
    assert trials(PAPER) == [(0, point) for point in points]
    assert trials(PAPER, seeds=2, first_seed=5) == [(seed, point) for seed in (5, 6) for point in points]
    (point,) = SMOKE.recipe.points
    assert trials(SMOKE, record=True) == [(seed, point) for seed in range(16)]


def test_contracts_go_out_first_and_then_the_longest():
    def unit(name, cost, is_contract=False):
        return Unit(key=Key("a", name, is_contract=is_contract), setting=SMOKE, cost=cost)

    waiting = Waiting([unit("short", 1), unit("long", 9), unit("also long", 9), unit("output", 0.5, is_contract=True)])
    assert [waiting.take().key.item for _ in range(4)] == ["output", "long", "also long", "short"]
    assert not waiting


def test_a_lost_unit_goes_out_again_twice():
    waiting = Waiting([Unit(key=Key("a", "b"), setting=SMOKE)])
    for deaths in (0, 1):
        unit = waiting.take()
        assert unit.deaths == deaths and waiting.put_back(unit)
    assert not waiting.put_back(waiting.take()) and not waiting


def client(folder, *targets, address="127.0.0.1:1"):
    return Client(address=address, folder=folder, targets=tuple(("--mad-arch", text) for text in targets), cores=1)


def test_environments_and_large_files_stay_here(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_mad.executors.ray.cluster.LARGEST_FILE", 10)
    for name in ("models.py", "env/pyvenv.cfg", "env/lib/large.py", "data [1]/big.bin", ".git/big", "package/it.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x" * (100 if "big" in name or "large" in name else 3))
    assert sorted(too_much(tmp_path)) == ["/data\\ \\[1\\]/big.bin", "/env"]


def test_a_cluster_is_sent_one_folder(tmp_path):
    """So a file from elsewhere is refused, whatever its path looks like."""
    check_targets(client(tmp_path, "models:make_model", "a=models.py:make_model", "src/deep/models.py:f"))
    for text in ("../models.py:f", "a=../b/models.py:f", "/elsewhere/models.py:f", "src/../../models.py:f"):
        with pytest.raises(ClusterError, match="a cluster gets the folder in which pytest is called"):
            check_targets(client(tmp_path, text))


@pytest.mark.parametrize("address", ["", "host", "host:port", "http://host:1", "host:1/path", ":1"])
def test_an_address_is_a_host_and_a_port(tmp_path, address):
    with pytest.raises(ClusterError, match="must be host:port, ray://host:port or auto"):
        check_reachable(client(tmp_path, address=address))


def test_the_source_of_the_package_is_part_of_its_version():
    assert code_digest(".") != code_digest("training")
