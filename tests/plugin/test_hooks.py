"""Hooks that a conftest.py or another plugin may implement: ``pytest_mad_setting`` and ``pytest_mad_finish``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from pytest_mad.results.result import ContractResult, SettingResult
from pytest_mad.results.result_file import read_results, run_from, to_json

SETTINGS = ("-k", "not contract")


class Listener:
    """A plugin that keeps what it is told."""

    def __init__(self):
        self.results = []
        self.runs = []

    def pytest_mad_setting(self, config, result):
        assert not self.runs and not hasattr(config, "workerinput")
        self.results.append(result)

    def pytest_mad_finish(self, config, run):
        self.runs.append(run)

    @property
    def names(self):
        return [(one.architecture, one.name) for one in self.results]


@pytest.fixture
def listener():
    return Listener()


#: A conftest.py that writes what it is told, and where, into a file; also where it is loaded.
CONFTEST = """
    import json
    import os
    from pathlib import Path

    import pytest

    def note(what, *more):
        with Path(__file__).with_name("hooks.jsonl").open("a") as file:
            file.write(json.dumps([os.getpid(), what, *more]) + "\\n")

    note("loaded")

    @pytest.hookimpl(optionalhook=True)
    def pytest_mad_setting(config, result):
        note("setting", result.architecture, result.name)

    @pytest.hookimpl(optionalhook=True)
    def pytest_mad_finish(config, run):
        note("finish", *sorted(run.architectures))
"""


def noted(project):
    return [json.loads(line) for line in (project.path / "hooks.jsonl").read_text().splitlines()]


def finished(result):
    """What the terminal says has finished, in that order."""
    found = (re.match(r"(?:\[\d+/\d+\] )?mad::([^:]+)::(.+?)  [A-Z]+ ", line) for line in result.outlines)
    return [(m[1], re.sub(r"^contract\[(.*)\]$", r"\1", m[2])) for m in found if m]


def comparable(content):
    """What is the same in two runs."""
    content = json.loads(json.dumps(content))
    for one in content["architectures"].values():
        for setting in one["settings"].values():
            setting["seconds"] = setting["seconds_per_step"] = 0
    return content | {"command": ""}


# -- what is told -----------------------------------------------------------------------------------------------------


def test_each_setting_and_contract_is_told_once_in_the_order_in_which_they_finish(project, listener):
    """Also those that fail, and all of a model that cannot be built."""
    result = project.models("--mad-arch=models:broken", plugins=[listener])
    assert listener.names == finished(result) and len(set(listener.names)) == len(listener.names) == 28
    kinds = [ContractResult] * 11 + [SettingResult] * 3
    assert [type(one) for one in listener.results] == kinds * 2
    settings = [one for one in listener.results if isinstance(one, SettingResult)]
    assert [one.verdict for one in settings] == ["pass", "pass", "fail", "error", "error", "error"]
    assert all(trial.curve for one in settings[:3] for trial in one.trials)


def written(run):
    """A run as its file has it, which leaves out how long a contract took and what models of single settings weigh."""
    return run_from(to_json(run))


def test_the_end_is_told_once_with_what_the_result_file_has(project, listener):
    project.models("--mad-json=out.json", plugins=[listener])
    (run,) = listener.runs
    assert to_json(run) == project.results()
    assert written(run) == read_results(project.path / "out.json")
    found = run.architectures["models"]
    assert [*found.contracts.values(), *found.settings.values()] == listener.results


def test_report_files_are_there_when_the_end_is_told(project):
    """So a tracker can keep them."""

    class Reader:
        def pytest_mad_finish(self, config, run):
            seen.append(read_results(project.path / "out.json") == written(run))

    seen = []
    project.models("--mad-json=out.json", *SETTINGS, plugins=[Reader()])
    assert seen == [True]


@pytest.mark.parametrize("selected", [(), ("mad::models::memorization",)], ids=["all", "node id"])
def test_with_workers_only_the_controller_is_told(project, selected):
    """It is this process. Every result arrives once, from whichever worker."""
    project.write(conftest=CONFTEST)
    result = project.models("-n", "2", *selected)
    lines = noted(project)
    assert len({pid for pid, what, *_ in lines if what == "loaded"}) == 3
    told = [line for line in lines if line[1] != "loaded"]
    assert {pid for pid, *_ in told} == {os.getpid()}
    names = [(architecture, name) for _, what, architecture, name in told[:-1] if what == "setting"]
    assert names == finished(result) and len(set(names)) == len(told) - 1 == (2 if selected else 14)
    assert told[-1][1:] == ["finish", "models"]


OWN = """
    import pytest
    from models import make_model

    @pytest.fixture
    def mad_model():
        return make_model

    pytestmark = pytest.mark.mad(tasks=["memorization"])

    def test_accuracy(mad_result):
        assert mad_result.accuracy == 1.0

    def test_verdict(mad_result):
        assert mad_result.passed
"""


def test_a_result_of_the_user_s_own_tests_is_told_once(project, listener):
    """Although two tests look at it."""
    project.pytester.syspathinsert()
    project.write(test_own=OWN)
    project.run("--mad-json=out.json", plugins=[listener]).assert_outcomes(passed=4)
    assert listener.names == [("models", "memorization[baseline]"), ("models", "memorization[vocab_size=24]")]
    assert list(map(written, listener.runs)) == [read_results(project.path / "out.json")]


def test_x_ends_with_what_had_finished(project, listener):
    result = project.models("-x", "--mad-arch=other=models:plain", *SETTINGS, plugins=[listener])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [one.verdict for one in listener.results] == ["pass", "pass", "fail"]
    (run,) = listener.runs
    assert run.cut_short and list(run.architectures) == ["models"]
    assert list(run.architectures["models"].settings.values()) == listener.results


def test_ctrl_c_ends_with_what_had_finished(project, listener):
    result = project.run("--mad-arch=models:interrupted", *SETTINGS, plugins=[listener], no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert listener.names == [("models.interrupted", "memorization[baseline]")]
    assert [run.cut_short for run in listener.runs] == [True]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mad-arch=models:make_model", "--collect-only"),
        ("--mad-arch=models:make_model", "-k", "nothing"),
        ("--mad-arch=models:make_model", "--mad-tasks=in-context-recall", "--mad-shard=20/20"),
        ("test_ordinary.py",),
    ],
    ids=["--collect-only", "-k", "empty shard", "ordinary"],
)
def test_where_nothing_was_measured_nothing_is_told(project, listener, arguments):
    project.write(test_ordinary="def test_ordinary(): pass")
    project.run(*arguments, plugins=[listener])
    assert not listener.results and not listener.runs


# -- what may go wrong ------------------------------------------------------------------------------------------------

RAISED = {
    "raise RuntimeError('no server\\nat all')": "RuntimeError: no server",
    "assert False, 'never'": "AssertionError: never",
    "pytest.importorskip('no_such_tracker')": "Skipped: could not import 'no_such_tracker'",
    "pytest.fail('no server')": "Failed: no server",
}


@pytest.mark.parametrize("hook", ["setting", "finish"])
@pytest.mark.parametrize("source", RAISED)
def test_a_hook_that_raises_costs_a_line_and_not_the_run(project, hook, source):
    """The exit code and the reports are those of a run without it."""
    argument = {"setting": "result", "finish": "run"}[hook]
    options = ("--mad-tasks=memorization", "--mad-threshold=memorization[vocab_size=24]=1", *SETTINGS)
    before = project.models("--mad-json=before.json", *options)
    project.write(conftest=f"import pytest\n\ndef pytest_mad_{hook}(config, {argument}):\n    {source}\n")
    after = project.models("--mad-json=after.json", *options)
    assert (after.ret, project.outcomes(after)) == (before.ret, project.outcomes(before))
    assert comparable(project.results("after.json")) == comparable(project.results("before.json"))
    lines = [i for i, line in enumerate(after.outlines) if f"hook pytest_mad_{hook}" in line]
    assert len(lines) == 1 and not any("hook pytest_mad" in line for line in before.outlines)
    assert after.outlines[lines[0]].startswith(
        f"hook pytest_mad_{hook}: a plugin or conftest.py raised {RAISED[source]}"
    )
    assert "MAD score" in after.outlines[lines[0] - 1]
    assert "INTERNALERROR" not in after.stdout.str() and "Traceback" not in after.stdout.str() + after.stderr.str()


# -- where nobody listens, or nobody calls ----------------------------------------------------------------------------


def test_hooks_that_nobody_implements_cost_nothing(project):
    """They load nothing that a run of ordinary tests does not need; the suite runs as ever."""
    script = "import pytest_mad.hookspecs, sys\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "torch" not in loaded and "numpy" not in loaded and not any("pytest_mad.results" in one for one in loaded)
    seen = []

    class Looker:
        def pytest_sessionfinish(self, session):
            hooks = session.config.hook
            seen.append(hooks.pytest_mad_setting.get_hookimpls() + hooks.pytest_mad_finish.get_hookimpls())

    result = project.models("--mad-tasks=memorization", plugins=[Looker()])
    assert result.ret == pytest.ExitCode.OK and seen == [[]] and "hook pytest_mad" not in result.stdout.str()


def test_an_optional_hook_needs_no_plugin(project):
    """pytest refuses those without the mark."""
    project.write(conftest=CONFTEST, test_ordinary="def test_ordinary(): pass")
    result = project.pytester.runpytest_inprocess("-pno:mad", "test_ordinary.py")
    result.assert_outcomes(passed=1)
    assert [what for _, what, *_ in noted(project)] == ["loaded"]
    project.write(conftest="def pytest_mad_setting(config, result): pass")
    result = project.pytester.runpytest_subprocess("-pno:mad", "test_ordinary.py")
    assert result.ret not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    assert "unknown hook 'pytest_mad_setting'" in result.stdout.str() + result.stderr.str()
