"""Which items a run has, and in which order: node ids, selection, mixing with ordinary tests, ``-n 2``."""

from __future__ import annotations

import os

import pytest

MEMORIZATION = "mad::models::memorization[baseline]"
LARGER = "mad::models::memorization[vocab_size=24]"
RECALL = "mad::models::in-context-recall[baseline]"
CONTRACTS = [
    f"mad::models::contract[{name}]"
    for name in (
        *("output", "finite", "repeatability", "batch-independence", "causality", "gradients"),
        *("lengths", "state", "autocast", "input-unchanged", "globals-unchanged"),
    )
]
CAUSALITY = "mad::models::contract[causality]"
SETTINGS = [MEMORIZATION, LARGER, RECALL]
SUITE = CONTRACTS + SETTINGS
#: For tests about what training does to a run.
NO_CONTRACTS = ("-k", "not contract")

ORDINARY = """
    import pytest

    def test_passes():
        pass

    def test_recall_of_something_else():
        pass
"""
PASSES, OTHER = "test_ordinary.py::test_passes", "test_ordinary.py::test_recall_of_something_else"


@pytest.fixture
def mixed(project):
    """A project that has ordinary tests too."""
    project.write(test_ordinary=ORDINARY)
    return project


def test_ids_name_the_architecture_the_task_and_the_setting(project):
    """Contracts first, then one item per setting in the preset's order, architecture by architecture."""
    assert project.collected() == SUITE
    both = project.collected("--mad-arch=other=models:plain")
    assert both == SUITE + [i.replace("models", "other") for i in SUITE]


@pytest.mark.parametrize("ini", ["", "[pytest]\ntestpaths = ."])
def test_without_arguments_only_the_suite_is_collected(mixed, ini):
    """Also where the project's ini file says what pytest collects without arguments."""
    mixed.pytester.makefile(".ini", pytest=ini)
    assert mixed.collected() == SUITE
    said = "mad: the suite runs without the tests of testpaths; for both: pytest . mad"
    assert (said in mixed.models("--collect-only").outlines) is bool(ini)
    assert said not in mixed.models("--collect-only", ".", "mad").outlines


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mad"], SUITE),
        (["mad::models"], SUITE),
        (["mad::models::contract"], CONTRACTS),
        ([CAUSALITY], [CAUSALITY]),
        (["mad::models::memorization", "mad::models::contract[output]"], [CONTRACTS[0], MEMORIZATION, LARGER]),
        (["mad::models::memorization"], [MEMORIZATION, LARGER]),
        (["mad::models::memorization[vocab_size=24]"], [LARGER]),
        (["mad::models::in-context-recall", LARGER], [LARGER, RECALL]),
        (["-k", "recall"], [RECALL]),
        (["-k", "models and memo and not 24"], [MEMORIZATION]),
        (["-k", "contract and not state"], [i for i in CONTRACTS if "state" not in i]),
        (["-k", "not contract"], SETTINGS),
        (["-k", "nothing"], []),
        (["-m", "mad"], SUITE),
        (["-m", "not mad"], []),
        (["--deselect", "mad::models::memorization"], [*CONTRACTS, RECALL]),
        (["--deselect", RECALL], [*CONTRACTS, MEMORIZATION, LARGER]),
        (["--deselect", "mad::models::contract"], SETTINGS),
        (["--deselect", CONTRACTS[0], "--deselect", CONTRACTS[1]], SUITE[2:]),
    ],
)
def test_items_are_selected_as_any_test_is(project, arguments, expected):
    """Node ids and their prefixes, ``-k``, ``-m``, ``--deselect``."""
    assert project.collected(*arguments) == expected


def test_a_prefix_selects_no_architecture_with_a_longer_name(project):
    """``mad::models`` is not ``mad::models-2``."""
    assert project.collected("--mad-arch=models-2=models:plain", "mad::models") == SUITE


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mad", "test_ordinary.py"], [PASSES, OTHER, *SUITE]),
        (["test_ordinary.py"], [PASSES, OTHER]),
        (["mad::models::memorization", PASSES], [PASSES, MEMORIZATION, LARGER]),
        (["mad", ".", "-k", "recall"], [OTHER, RECALL]),
        (["mad", ".", "-m", "mad"], SUITE),
        (["mad", ".", "-m", "not mad"], [PASSES, OTHER]),
        (["mad", ".", "--deselect", "test_ordinary.py", "--deselect", LARGER], [*CONTRACTS, MEMORIZATION, RECALL]),
    ],
)
def test_the_suite_mixes_with_ordinary_tests(mixed, arguments, expected):
    """Ordinary tests first, and only where an argument names them."""
    assert mixed.collected(*arguments) == expected


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [
        ("mad::model", "did you mean mad::models"),
        ("mad::models::contract[casuality]", f"did you mean {CAUSALITY}?"),
        ("mad::models::contract[budget]", "did you mean mad::models::contract["),  # there is none without a limit
        ("mad::models::memorisation", f"did you mean {MEMORIZATION}?"),
        ("mad::models::memorization[vocab_size=42]", f"did you mean {LARGER}?"),
        ("mad::models::in-context-recall[baseline]x", f"did you mean {RECALL}?"),
    ],
)
def test_a_node_id_that_does_not_exist_is_a_usage_error_with_the_nearest(project, argument, nearest):
    """Also beside arguments that do exist."""
    result = project.models("mad::models::in-context-recall", argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert argument in result.errlines[0] and nearest in result.errlines[0]


def test_a_real_directory_called_mad_keeps_its_name(mixed):
    """A bare ``mad`` is then the directory, ``mad::...`` still the suite."""
    folder = mixed.path / "mad"
    folder.mkdir()
    (folder / "test_inside.py").write_text("def test_inside(): pass")
    inside = "mad/test_inside.py::test_inside"
    assert mixed.collected("mad") == [inside]
    assert mixed.collected("mad::models", "mad") == [inside, *SUITE]
    assert mixed.collected() == SUITE


def test_collect_only_shows_the_tree_and_trains_nothing(project):
    """Three levels, like any tree of pytest's."""
    result = project.models("--collect-only", "--mad-json=out.json")
    result.stdout.fnmatch_lines(
        [
            "<MadSuite mad>",
            "  <MadArchitecture models>",
            "    <MadContract contract[[]output]>",
            "    <MadItem memorization[[]baseline]>",
        ]
    )
    assert "trivial" not in result.stdout.str()
    assert not (project.path / "out.json").exists()


def test_x_ends_the_run_at_the_first_failure(mixed):
    """What stands behind the failing setting is not trained."""
    result = mixed.models("-x", *NO_CONTRACTS, "--mad-arch=other=models:plain", "mad", ".")
    assert mixed.outcomes(result) == {
        PASSES: "passed",
        OTHER: "passed",
        MEMORIZATION: "passed",
        LARGER: "passed",
        RECALL: "failed",
    }
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])


@pytest.mark.parametrize("ordinary", ["", "def test_fails(): assert 0"])
def test_lf_runs_what_failed_last(mixed, ordinary):
    """In a run that mixes the suite with ordinary tests, whether or not one of those failed too."""
    mixed.write(test_failing=ordinary)
    failed = {"test_failing.py::test_fails": "failed"} if ordinary else {}
    everything = mixed.outcomes(mixed.models("mad", ".", *NO_CONTRACTS))
    assert len(everything) == 5 + len(failed)
    assert mixed.outcomes(mixed.models("mad", ".", "--lf")) == {RECALL: "failed"} | failed
    assert mixed.outcomes(mixed.models("--lf")) == {RECALL: "failed"}


def test_lf_forgets_a_setting_that_passes_again(project):
    """A failure that was mended is not run again, another one is."""
    project.models("--mad-threshold=1")
    project.models("--lf", "--mad-threshold=0.3", RECALL)
    mended = project.models("--lf", "--mad-arch=other=models:plain", "mad::models")
    assert project.outcomes(mended) == {RECALL: "failed"}


def test_sw_goes_on_from_the_failure_it_stopped_at(mixed):
    """Stepwise: stop at a failure, begin there next time, and skip it when told to."""
    other = [i.replace("models", "other") for i in SETTINGS]
    arguments = [*NO_CONTRACTS, "--mad-arch=other=models:plain", ".", "mad"]
    first = mixed.outcomes(mixed.models("--sw", *arguments))
    assert list(first) == [PASSES, OTHER, *SETTINGS]
    assert mixed.outcomes(mixed.models("--sw", *arguments)) == {RECALL: "failed"}
    skipping = mixed.outcomes(mixed.models("--sw-skip", *arguments))
    assert list(skipping) == [*other[:2], RECALL, other[2]]


def test_workers_select_as_one_process_does(mixed):
    """``-n 2`` with the suite and ordinary tests, then ``--sw`` and ``--lf``, on models that fail before training."""
    arguments = ["-n", "2", *NO_CONTRACTS, "--mad-arch=broken=models:broken", ".", "mad"]
    suite = {i.replace("models", "broken") for i in SETTINGS}

    run = mixed.run("--sw", *arguments)
    run.stdout.fnmatch_lines(["error: models:broken raised ValueError: no model today"])
    first = mixed.outcomes(run)
    failed = {i for i, outcome in first.items() if outcome == "failed"}
    assert failed and failed <= suite
    assert {i for i, outcome in first.items() if outcome == "passed"} == {PASSES, OTHER}

    stepwise = mixed.outcomes(mixed.run("--sw", *arguments))
    assert stepwise and set(stepwise) <= suite

    last_failed = mixed.outcomes(mixed.run("--lf", *arguments))
    assert set(last_failed) == failed | set(stepwise)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-k", "recall", ".", "mad"], {RECALL, OTHER}),
        (["--deselect", "mad::models::memorization", "--deselect", "mad::models::contract"], {RECALL}),
        (["mad::models::memorization"], {MEMORIZATION, LARGER}),
    ],
    ids=["-k", "--deselect", "prefix"],
)
def test_workers_run_what_one_process_selects(mixed, arguments, expected):
    """The same items, whoever selects them."""
    result = mixed.run("-n", "2", "--mad-arch=models=models:broken", *arguments)
    assert set(mixed.outcomes(result)) == expected


def test_workers_stop_at_the_first_failure(mixed):
    """``-x`` ends the run before every item had its turn."""
    result = mixed.run("-n", "2", "-x", *[f"--mad-arch=m{i}=models:broken" for i in range(4)])
    outcomes = mixed.outcomes(result)
    assert result.ret != 0
    assert 0 < len(outcomes) < 4 * len(SUITE)


@pytest.fixture
def one_core():
    """All that this process may use, and what it starts."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("the cores of a process cannot be restricted here")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize("suite", [True, False])
def test_auto_means_a_worker_per_core_for_the_suite(project, one_core, suite):
    """``-n auto`` works with the suite, where it follows the cores this process may use, and without it."""
    project.write(test_ordinary=ORDINARY)
    arguments = ["--mad-arch=models:plain", "--mad-tasks=memorization"] if suite else ["test_ordinary.py"]
    with project.started("-n", "auto", *arguments) as process:
        output = process.communicate(timeout=100)[0]
    assert process.returncode == 0, output
    assert "1/1 worker" in output or not suite
