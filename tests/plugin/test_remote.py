"""What is sent to other machines, and which of their results are kept; a stand-in is the executor."""

from __future__ import annotations

import contextlib

import pytest

from pytest_mad.results.result import ContractResult
from pytest_mad.suite import ray as remote

pytest.importorskip("ray")

SKIPPING = """
    import pytest

    def pytest_collection_modifyitems(items):
        for item in items:
            if "finite" in item.name:
                item.add_marker(pytest.mark.skip(reason="not today"))
            if "repeatability" in item.name:
                item.add_marker(pytest.mark.skipif(True, reason="nor this"))
"""
WHICH = ("-k", "contract and (output or finite or repeatability)")


class StandIn:
    """Has every result at once; ``output`` is broken where it shall be."""

    description = "a stand-in"

    def __init__(self, contracts, outcome):
        self.contracts = [name for _, name in contracts]
        self.asked, self.outcome = [], outcome

    def contract(self, architecture, name):
        self.asked.append(name)
        return self._result(architecture.name, name), ""

    def _result(self, architecture, name):
        verdict = self.outcome if name == "output" else "pass"
        detail = "" if verdict == "pass" else "broken"
        return ContractResult(architecture=architecture, contract=name, verdict=verdict, detail=detail, seconds=0.0)

    def unasked(self):
        return [self._result("models", name) for name in self.contracts if name not in self.asked]


@pytest.fixture
def run(project, monkeypatch):
    """Run with the stand-in: the result, and the stand-in itself if it was used."""

    def run(*args, outcome="pass"):
        used = []

        @contextlib.contextmanager
        def training(client, run, sizes, settings, contracts):
            used.append(StandIn(contracts, outcome))
            yield used[-1]

        monkeypatch.setattr(remote, "training_in_ray", training)
        return project.models("--mad-executor=ray", "--mad-json=out.json", *WHICH, *args), used

    return run


def reported(project):
    return {name for one in project.results()["architectures"].values() for name in one["contracts"]}


def test_what_a_conftest_skips_is_neither_sent_nor_reported(project, run):
    project.pytester.makeconftest(SKIPPING)
    result, [used] = run()
    result.assert_outcomes(passed=1, skipped=2)
    assert "output" in used.contracts and "finite" not in used.contracts
    assert reported(project) == {"output"}


def test_what_no_item_asked_for_is_kept_where_the_run_ends_early(project, run):
    result, [used] = run("-x", outcome="fail")
    result.assert_outcomes(failed=1)
    assert used.asked == ["output"] and reported(project) == {"output", "finite", "repeatability"}


@pytest.mark.parametrize("flag, is_used", [((), False), (("--continue-on-collection-errors",), True)])
def test_errors_of_collection_stop_what_they_stop_in_pytest(project, run, flag, is_used):
    project.write(test_broken="import nothing_of_that_name")
    _, used = run("mad", "test_broken.py", *flag)
    assert bool(used) is is_used


def test_published_data_stay_with_the_client(project):
    (project.path / "data").mkdir()
    result = project.models("--mad-executor=ray", "--mad-ray-address=127.0.0.1:1", "--mad-data=data")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line == "ERROR: --mad-data=data: a cluster cannot see this folder; leave out --mad-ray-address"
