"""The suite in users' own test files: ``mad_model``, ``mad_setting``, ``mad_result`` and the ``mad`` marker."""

from __future__ import annotations

import textwrap

import pytest

MODEL = """
    import pytest
    from models import make_model, plain

    @pytest.fixture
    def mad_model():
        return make_model
"""
RESULT = """
    def test_score(mad_result):
        assert mad_result.passed, mad_result.explain()
"""


@pytest.fixture
def own(project):
    """Run a test file of the user's, put together from parts, in a folder that has ``models.py``."""
    project.pytester.syspathinsert()

    def run(*parts, options=()):
        project.write(test_own="\n".join(map(textwrap.dedent, parts)))
        return project.run(*options)

    return run


def test_mad_result_runs_once_per_setting_of_the_preset(own, project):
    """Parametrized by setting ids; a failed verdict explains itself in the assertion."""
    result = own(MODEL, RESULT)
    assert project.outcomes(result) == {
        "test_own.py::test_score[memorization[baseline]]": "passed",
        "test_own.py::test_score[memorization[vocab_size=24]]": "passed",
        "test_own.py::test_score[in-context-recall[baseline]]": "failed",
    }
    result.stdout.re_match_lines(
        [r"E +AssertionError: models, in-context-recall.*: fail: normalised score .* is below 1"]
    )


def test_no_mad_fixture_means_no_training_and_no_report(own):
    """An ordinary test file beside the models stays ordinary."""
    result = own(MODEL, "def test_ordinary(): pass", "--mad-json=out.json")
    result.assert_outcomes(passed=1)
    assert "MAD" not in result.stdout.str()


@pytest.mark.parametrize(
    "arguments", ['tasks=["in-context-recall"], threshold=0', 'threshold=0, tasks=("memorization",)']
)
def test_the_marker_chooses_tasks_and_the_threshold(own, project, arguments):
    """Instead of the preset's."""
    source = f"""
    @pytest.mark.mad({arguments})
    def test_threshold(mad_result):
        assert mad_result.threshold == 0.0
    """
    result = own(MODEL, source, "--mad-threshold=0.9")
    assert result.ret == pytest.ExitCode.OK
    task = "memorization" if "memorization" in arguments else "in-context-recall"
    assert all(f"[{task}[" in name for name in project.outcomes(result))


def test_the_marker_chooses_the_preset(own, project):
    """On a function, a class or a module: the closest counts."""
    source = """
    pytestmark = pytest.mark.mad(preset="tiny.toml", tasks=["in-context-recall"])

    def test_module(mad_setting):
        assert mad_setting.task == "in-context-recall"

    @pytest.mark.mad(preset="compression.toml")
    class TestClass:
        def test_class(self, mad_setting):
            assert (mad_setting.task, mad_setting.preset) == ("compression", "compression")
    """
    assert list(project.outcomes(own(source))) == [
        "test_own.py::test_module[in-context-recall[baseline]]",
        "test_own.py::TestClass::test_class[compression[baseline]]",
    ]
    assert own("import pytest\n" + source.replace("    pytestmark", "pytestmark")).ret == pytest.ExitCode.OK


def test_options_narrow_down_what_has_no_marker(own, project):
    """``--mad-tasks``, ``--mad-threshold`` and the preset apply to users' tests too."""
    result = own(MODEL, RESULT, "--mad-tasks=memorization", "--mad-threshold=memorization[vocab_size=24]=1")
    assert len(project.outcomes(result)) == 2
    result.stdout.re_match_lines(
        [r"  memorization\S* +pass +1\.000 +0\.50 ", r"  memorization\[vocab_size=24\] +pass +1\.000 +1\.00 "]
    )


def test_a_threshold_for_a_task_leaves_tests_of_other_tasks_alone(own):
    """An option for one task must not break a test whose marker chooses another."""
    source = """
    @pytest.mark.mad(tasks=["memorization"])
    def test_score(mad_result):
        assert mad_result.threshold == 0.5
    """
    own(MODEL, source, "--mad-threshold=in-context-recall=0.2").assert_outcomes(passed=2)


def test_mad_setting_alone_trains_nothing(own, project):
    """It is the setting: its id, its parameters, its levels."""
    source = """
    def test_setting(mad_setting):
        assert mad_setting.id.startswith(mad_setting.task + "[")
        assert 0 < mad_setting.trivial < mad_setting.oracle <= 1
        assert mad_setting.params.vocab_size in (8, 16, 24)
    """
    result = own(source, "--mad-json=out.json")
    result.assert_outcomes(passed=3)
    assert "= MAD =" not in result.stdout.str() and not (project.path / "out.json").exists()


def test_results_of_own_tests_are_reported_under_the_factory_s_name(own, project):
    """In the table, the result file and JUnit: ``make_model`` is named after its module, others after themselves."""
    source = """
    import pytest
    from models import make_model, plain

    @pytest.fixture(params=[make_model, plain])
    def mad_model(request):
        return request.param

    @pytest.mark.mad(tasks=["memorization"])
    def test_score(mad_result):
        assert mad_result.architecture in ("models", "plain")
        assert mad_result.accuracy == 1.0 and mad_result.normalized == 1.0
    """
    result = own(source, "--mad-json=out.json", "--junitxml=junit.xml")
    result.assert_outcomes(passed=4)
    found = project.results()["architectures"]
    assert {name: sorted(a["settings"]) for name, a in found.items()} == {
        name: ["memorization[baseline]", "memorization[vocab_size=24]"] for name in ("models", "plain")
    }
    result.stdout.fnmatch_lines(["models (tiny, *", "plain (tiny, *"])
    assert (project.path / "junit.xml").read_text().count('name="mad.score" value="1.0"') == 4


def test_the_command_line_s_architecture_is_the_default_model(own, project):
    """A test without a ``mad_model`` of its own judges ``--mad-arch``, beside the suite or alone."""
    result = own(
        RESULT, "--mad-arch=mine=models:make_model", "test_own.py", "--mad-tasks=memorization", "--mad-json=out.json"
    )
    result.assert_outcomes(passed=2)
    assert list(project.results()["architectures"]) == ["mine"]
    assert not any(name.startswith("mad::") for name in project.outcomes(result))
    both = own(RESULT, "--mad-arch=mine=models:make_model", "mad", "test_own.py", "--mad-tasks=memorization")
    both.assert_outcomes(passed=4)


@pytest.mark.parametrize("arguments", [[], ["--mad-arch=models:make_model", "--mad-arch=models:plain", "test_own.py"]])
def test_without_exactly_one_architecture_the_test_says_what_to_do(own, project, arguments):
    """One line that names the fixture and the option, no traceback through the plugin."""
    result = own(RESULT, *arguments, "--mad-tasks=in-context-recall")
    assert set(project.outcomes(result).values()) == {"error"}
    line = f"*mad_model needs one architecture, but the command line names {len(arguments[:2])}: override the fixture*--mad-arch*"
    result.stdout.fnmatch_lines([line])
    assert "fixtures.py" not in result.stdout.str() and "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("task=['memorization']", "takes preset=, tasks= and threshold=, not 'task'"),
        ("'memorization'", "takes preset=, tasks= and threshold=, not 'memorization'"),
        ("preset='smok'", "did you mean 'smoke'?"),
        ("tasks=['memorisation']", "did you mean 'memorization'?"),
        ("tasks='memorization'", "tasks"),
        ("threshold=2", "threshold"),
        ("threshold='high'", "threshold"),
    ],
)
def test_a_wrong_marker_is_one_line_that_names_the_test(own, arguments, expected):
    """Nothing is trained, and the marker's own test is named, not an option that nobody gave."""
    result = own(
        join(MODEL, f"@pytest.mark.mad({arguments})", RESULT.replace("\n    ", "\n").strip()).replace("\n    ", "\n")
    )
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    text = result.stdout.str() + result.stderr.str()
    lines = [line for line in text.splitlines() if "mad marker" in line and expected in line]
    assert lines and "test_own.py" in lines[0] and "test_score" in lines[0]
    assert "--mad-" not in lines[0] and "Traceback" not in text and "pytest_mad/" not in text


def test_a_factory_that_raises_shows_its_traceback(own):
    """The result is an error with a reason; the user's own frames are shown, not ours."""
    source = """
    from models import broken
    import pytest

    @pytest.fixture
    def mad_model():
        return broken

    @pytest.mark.mad(tasks=["in-context-recall"])
    def test_score(mad_result):
        assert mad_result.verdict == "pass", mad_result.explain()
    """
    result = own(source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*broken, in-context-recall*: error: broken raised ValueError: no model today*", "ValueError: no model today"]
    )


def test_a_setting_that_cannot_be_measured_is_skipped_with_its_reason(own):
    """Compression of a model that has no vector to decode."""
    source = """
    import pytest
    from torch import nn

    class Table(nn.Module):
        def __init__(self, vocab_size):
            super().__init__()
            self.table = nn.Parameter(0.02 * torch.randn(vocab_size, vocab_size))

        def forward(self, tokens):
            return self.table[tokens]

    @pytest.fixture
    def mad_model():
        return lambda vocab_size: Table(vocab_size)

    def test_score(mad_result):
        assert False
    """
    result = own("import torch\n" + source.replace("\n    ", "\n"), "--mad-preset=compression.toml")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * compression needs one vector to decode*"])


def test_own_tests_run_in_workers(own, project):
    """Results come back from ``-n 2`` as from one process."""
    result = own(MODEL, RESULT, "-n", "2", "--mad-json=out.json", "--junitxml=junit.xml")
    result.assert_outcomes(passed=2, failed=1)
    assert len(project.results()["architectures"]["models"]["settings"]) == 3
    result.stdout.fnmatch_lines(["*MAD score*"])
