"""What the plugin costs those who do not use it, and what it says to those who start it wrongly."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "hypothesis", "scipy")

#: What every run of pytest loads of ours: each imports the standard library and pytest alone.
LIGHT = [
    "pytest_mad",
    "pytest_mad.hookspecs",
    "pytest_mad.plugin",
    "pytest_mad.suite",
    "pytest_mad.suite.fixtures",
    "pytest_mad.suite.keys",
    "pytest_mad.suite.option_table",
    "pytest_mad.suite.option_values",
    "pytest_mad.suite.records",
    "pytest_mad.suite.session",
]

#: The section of ``pytest --help``: a new option is a decision.
FLAGS = [
    "--mad-arch",
    "--mad-baseline",
    "--mad-benchmark-json",
    "--mad-contract",
    "--mad-data",
    "--mad-device",
    "--mad-engine",
    "--mad-executor",
    "--mad-first-seed",
    "--mad-gpus",
    "--mad-html",
    "--mad-inconclusive",
    "--mad-json",
    "--mad-layers",
    "--mad-lr",
    "--mad-margin",
    "--mad-max-params",
    "--mad-max-state",
    "--mad-mixer",
    "--mad-no-store",
    "--mad-preset",
    "--mad-ray-address",
    "--mad-seeds",
    "--mad-shard",
    "--mad-slower",
    "--mad-store",
    "--mad-tasks",
    "--mad-threshold",
    "--mad-timeout",
    "--mad-trials-per-gpu",
    "--mad-update-baseline",
]
INI = [
    "mad_baseline",
    "mad_contract",
    "mad_data",
    "mad_device",
    "mad_engine",
    "mad_executor",
    "mad_first_seed",
    "mad_gpus",
    "mad_inconclusive",
    "mad_junit",
    "mad_lr",
    "mad_margin",
    "mad_max_params",
    "mad_max_state",
    "mad_no_store",
    "mad_preset",
    "mad_ray_address",
    "mad_seeds",
    "mad_slower",
    "mad_store",
    "mad_tasks",
    "mad_threshold",
    "mad_timeout",
    "mad_trials_per_gpu",
]


def loaded(source):
    """Which heavy packages a fresh interpreter has loaded after running this."""
    script = f"{source}\nimport sys\nprint(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_importing_the_plugin_loads_nothing_heavy():
    """Every pytest run on the machine imports it."""
    assert loaded("import pytest_mad.plugin") == []
    assert loaded("import pytest_mad, pytest_mad.tasks") == ["numpy"]  # the check can see it


def test_an_unrelated_project_loads_nothing_heavy(pytester):
    """Collecting and running tests without a mad fixture, also with markers and reports of pytest's own."""
    pytester.makepyfile(
        f"""
        import sys

        def test_unrelated():
            heavy = [m for m in {HEAVY} if m in sys.modules]
            ours = sorted(m for m in sys.modules if m.startswith("pytest_mad"))
            assert not heavy
            assert ours == {LIGHT}
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:anyio", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1)
    assert "mad: " not in result.stdout.str() and "MAD" not in result.stdout.str()
    assert not (pytester.path / ".pytest_mad").exists()


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "workers"])
def test_nothing_is_parsed_where_no_test_asks_for_it(project, workers):
    """A wrong ini option is found by the first test with a mad fixture, and disturbs no other."""
    project.has_store = True  # no option of ours
    project.pytester.makeini("[pytest]\nmad_seeds = none\nmad_executor = slurm\n")
    project.write(test_ordinary="def test_ordinary(): pass")
    project.bare(*workers, "test_ordinary.py").assert_outcomes(passed=1)
    project.write(test_asking="def test_asking(mad_setting): pass")
    asking = project.bare(*workers, "test_asking.py")
    asking.assert_outcomes(errors=1)
    asking.stdout.fnmatch_lines(["*ini option mad_seeds=none: must be a whole number of at least 1"])


def test_p_no_mad_switches_the_plugin_off(project):
    """The options are then unknown, and ordinary tests run as ever."""
    project.has_store = True  # no option of ours
    project.write(test_ordinary="def test_ordinary(): pass")
    off = project.bare("-p", "no:mad", "--mad-arch=models:make_model")
    assert off.ret == pytest.ExitCode.USAGE_ERROR
    off.stderr.fnmatch_lines(["*unrecognized arguments: --mad-arch*"])
    project.bare("-p", "no:mad").assert_outcomes(passed=1)
    assert "--mad" not in project.bare("-p", "no:mad", "--help").stdout.str()


def test_help_lists_exactly_the_options_of_the_table(project):
    """One section, one entry per option with its value; ini twins and the marker beside it."""
    text = project.bare("--help").stdout.str()
    section = text.partition("MAD capability tests for sequence-model architectures:\n")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^  (--[\w-]+)", section, flags=re.MULTILINE)) == FLAGS
    assert sorted(re.findall(r"^  (mad_\w+) \(", text, flags=re.MULTILINE)) == INI
    assert sorted(set(re.findall(r"--mad[\w-]*", text))) == FLAGS
    project.bare("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.mad(preset=None, tasks=None, threshold=None, slower=None, contracts=()):*"]
    )


def test_an_unknown_option_is_not_taken_for_an_abbreviation(project):
    """``--mad-seed`` is no ``--mad-seeds``."""
    result = project.models("--mad-seed=3")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unrecognized arguments: --mad-seed=3*"])


@pytest.mark.parametrize("arguments", [["--mad-json", "out.json"], ["--mad-preset", "tiny.toml"], ["--mad-data", "."]])
def test_a_path_as_a_second_word_is_warned_about(project, arguments):
    """pytest takes it for a test path when it looks for its root; with ``=`` there is no warning."""
    project.write(test_ordinary="def test_ordinary(): pass")
    result = project.bare(*arguments, "test_ordinary.py")
    result.stdout.fnmatch_lines([f"*PytestConfigWarning: write {arguments[0]}=PATH: *"])
    assert "write --mad" not in project.bare("=".join(arguments), "test_ordinary.py").stdout.str()


def test_the_header_says_what_will_run(project, monkeypatch):
    """Architectures, preset, number of settings; advice where it helps; nothing without the suite."""
    result = project.models("--mad-arch=b=models:plain", "--collect-only")
    result.stdout.fnmatch_lines(["mad: models, b; preset tiny, 3 settings*"])
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert "mad: add -n auto to train on 3 cores at a time" in project.models("--collect-only").outlines
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert "-n auto" not in project.models("--collect-only").stdout.str()
    project.write(test_ordinary="def test_ordinary(): pass")
    assert "mad: " not in project.run("test_ordinary.py").stdout.str()


def test_pytest_does_without_its_terminal_cache_or_capture(project):
    """Other plugins may be switched off."""
    arguments = ["--mad-preset=tiny.toml", "--mad-arch=models:make_model"]
    result = project.bare(*arguments, "-p", "no:terminal", "-p", "no:cacheprovider", "--mad-json=out.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert len(project.results()["architectures"]["models"]["settings"]) == 3
    assert project.models("-s", "-p", "no:xdist", "-p", "no:logging", "-k", "memo").ret == pytest.ExitCode.OK


def test_torch_is_imported_once_in_all_of_these_runs(project):
    """Runs in this process share its modules: what one adds is forgotten, what was there stays."""
    before = dict(sys.modules)
    project.models("mad::models::memorization[vocab_size=24]", "mad::models::contract").assert_outcomes(
        passed=11, skipped=1
    )
    assert sys.modules == before


def test_the_suite_runs_where_hypothesis_is_not_installed(project):
    """Contracts too: only our own tests need it."""
    project.write(absent="import sys\nsys.modules['hypothesis'] = None")
    plugins = ("-p", "no:hypothesispytest", "-p", "absent")
    options = ("--mad-arch=models:make_model", "--mad-preset=tiny.toml", "--mad-no-store")
    result = project.pytester.runpytest_subprocess(*plugins, *options, "-k", "contract or memorization")
    result.stdout.fnmatch_lines(["*12 passed, 1 skipped, 1 deselected*"])
    assert result.ret == 0
