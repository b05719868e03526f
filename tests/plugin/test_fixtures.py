"""The suite in users' own test files: ``mad_model``, ``mad_setting``, ``mad_result`` and the ``mad`` marker."""

from __future__ import annotations

import textwrap

import pytest

MODEL = """
    import pytest
    from models import make_model

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
    """Run a test file of the user's, put together from its parts, in a folder that has ``models.py``."""
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
    line = r"E +AssertionError: models, in-context-recall.*: fail: normalised score .* is below 1"
    result.stdout.re_match_lines([line])


def test_no_mad_fixture_means_no_training_and_no_report(own, project):
    """An ordinary test file beside the models stays ordinary."""
    result = own(MODEL, "def test_ordinary(): pass", options=["--mad-json=out.json"])
    result.assert_outcomes(passed=1)
    assert "= MAD =" not in result.stdout.str() and not (project.path / "out.json").exists()


@pytest.mark.parametrize("tasks", [["in-context-recall"], ("memorization",)])
def test_the_marker_chooses_tasks_and_the_threshold(own, project, tasks):
    """Instead of the preset's and the command line's."""
    source = f"""
    @pytest.mark.mad(tasks={tasks}, threshold=0)
    def test_threshold(mad_setting):
        assert mad_setting.threshold == 0.0
    """
    result = own(MODEL, source, options=["--mad-threshold=0.9"])
    assert result.ret == pytest.ExitCode.OK
    assert all(f"[{tasks[0]}[" in name for name in project.outcomes(result))


def test_the_closest_marker_chooses_the_preset(own, project):
    """On a function, a class or a module."""
    source = """
    import pytest

    pytestmark = pytest.mark.mad(preset="tiny.toml", tasks=["in-context-recall"])

    def test_module(mad_setting):
        assert mad_setting.task_name == "in-context-recall"

    @pytest.mark.mad(preset="compression.toml")
    class TestClass:
        def test_class(self, mad_setting):
            assert (mad_setting.task_name, mad_setting.preset) == ("compression", "compression")
    """
    result = own(source)
    assert project.outcomes(result) == {
        "test_own.py::test_module[in-context-recall[baseline]]": "passed",
        "test_own.py::TestClass::test_class[compression[baseline]]": "passed",
    }


def test_options_narrow_down_what_has_no_marker(own):
    """``--mad-tasks``, ``--mad-threshold`` and the preset apply to users' tests too."""
    result = own(MODEL, RESULT, options=["--mad-tasks=memorization", "--mad-threshold=memorization[vocab_size=24]=1"])
    result.assert_outcomes(passed=2)
    rows = [r"  memorization\S* +pass +1\.000 +0\.500 ", r"  memorization\[vocab_size=24\] +pass +1\.000 +1\.000 "]
    result.stdout.re_match_lines([*rows, r"  MAD score of 1 of 2 tasks: \d\.\d{3}, normalised "])


def test_a_threshold_for_one_task_leaves_tests_of_other_tasks_alone(own):
    """An option for one task must not break a test whose marker chooses another."""
    source = """
    @pytest.mark.mad(tasks=["memorization"])
    def test_threshold(mad_setting):
        assert mad_setting.threshold == 0.5
    """
    own(MODEL, source, options=["--mad-threshold=in-context-recall=0.2"]).assert_outcomes(passed=2)


def test_mad_setting_alone_trains_nothing(own, project):
    """It is the setting: its id, its parameters, its levels."""
    source = """
    def test_setting(mad_setting):
        assert mad_setting.id.startswith(mad_setting.task_name + "[")
        assert 0 < mad_setting.trivial < mad_setting.oracle <= 1
        assert mad_setting.params.vocab_size in (8, 16, 24)
    """
    result = own(source, options=["--mad-json=out.json"])
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
        assert mad_result.accuracy == 1.0 and mad_result.normalized == pytest.approx(1.0)
    """
    result = own(source, options=["--mad-json=out.json", "--junitxml=junit.xml"])
    result.assert_outcomes(passed=4)
    assert {name: sorted(found["settings"]) for name, found in project.results()["architectures"].items()} == {
        name: ["memorization[baseline]", "memorization[vocab_size=24]"] for name in ("models", "plain")
    }
    result.stdout.fnmatch_lines(["models (tiny, *", "plain (tiny, *"])
    assert (project.path / "junit.xml").read_text().count('name="mad.score" value="1.0"') == 4


def test_tests_that_look_at_the_same_result_share_it(own, project):
    """A setting is trained once per model in a process, and reported once; another threshold judges anew."""
    source = """
    import pytest
    import models

    built = []

    def counting(vocab_size):
        built.append(vocab_size)
        return models.Tiny(vocab_size)

    @pytest.fixture
    def mad_model():
        return counting

    pytestmark = pytest.mark.mad(tasks=["memorization"])

    def test_accuracy(mad_result):
        assert mad_result.accuracy == 1.0

    number = []

    def test_threshold(mad_result):
        number.append(len(built))
        assert mad_result.threshold == 0.5

    def test_share():
        assert len(set(number)) == 1

    @pytest.mark.mad(tasks=["memorization"], threshold=1)
    def test_another_threshold(mad_result):
        assert mad_result.passed and mad_result.threshold == 1.0
    """
    result = own(source, options=["--mad-json=out.json", "-k", "not another"])
    result.assert_outcomes(passed=5, deselected=2)
    assert sum(line.startswith("  memorization") for line in result.outlines) == 2
    assert len(project.results()["architectures"]["counting"]["settings"]) == 2
    own(source).assert_outcomes(passed=7)


def test_the_command_line_s_architecture_is_the_default_model(own, project):
    """A test without a ``mad_model`` of its own judges ``--mad-arch``, beside the suite or alone."""
    options = ["--mad-arch=mine=models:make_model", "--mad-tasks=memorization", "--mad-json=out.json", "test_own.py"]
    alone = own(RESULT, options=options)
    alone.assert_outcomes(passed=2)
    assert list(project.results()["architectures"]) == ["mine"]
    assert all(name.startswith("test_own.py::test_score[") for name in project.outcomes(alone))
    own(RESULT, options=[*options, "mad::mine::memorization"]).assert_outcomes(passed=4)


@pytest.mark.parametrize("names", [[], ["make_model", "plain"]])
def test_without_exactly_one_architecture_the_test_says_what_to_do(own, project, names):
    """One line that names the fixture and the option, and no way through the plugin."""
    architectures = [f"--mad-arch=models:{name}" for name in names]
    result = own(RESULT, options=[*architectures, "--mad-tasks=in-context-recall", "test_own.py"])
    assert set(project.outcomes(result).values()) == {"error"}
    line = f"*mad_model needs one architecture, but the command line names {len(names)}: override*--mad-arch*"
    result.stdout.fnmatch_lines([line])
    assert "fixtures.py" not in result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("task=['memorization']", "takes preset=, tasks=, threshold=, contracts= and slower=, not task"),
        (
            "contracts='gradients=off:x'",
            "contracts= of the mad marker is 'gradients=off:x', but must be a list of NAME=fail",
        ),
        (
            "contracts=[('gradients', 'off')]",
            "contracts= of the mad marker is [('gradients', 'off')], but must be a list",
        ),
        ("contracts=['gradients=off']", "'gradients=off': must be NAME=fail, NAME=warn or NAME=off:REASON"),
        (
            "contracts=['gradient=warn']",
            "contracts= of the mad marker: unknown contract 'gradient'; did you mean 'gradients'?",
        ),
        ("'memorization'", "takes preset=, tasks=, threshold=, contracts= and slower=, not 'memorization'"),
        ("preset='smok'", "did you mean 'smoke'?"),
        ("tasks=['memorisation']", "did you mean 'memorization'?"),
        ("tasks='memorization'", "tasks="),
        ("threshold=2", "threshold="),
        ("threshold='high'", "threshold="),
    ],
)
def test_a_wrong_marker_is_one_line_that_names_its_test(own, arguments, expected):
    """Nothing is trained; no option is blamed that nobody gave, and there is no way through the plugin."""
    result = own(MODEL, f"@pytest.mark.mad({arguments})", textwrap.dedent(RESULT).lstrip())
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    text = result.stdout.str() + result.stderr.str()
    lines = [line for line in text.splitlines() if expected in line]
    assert lines and "test_own.py" in lines[0] and "test_score" in lines[0] and "mad marker" in lines[0]
    assert "--mad-" not in lines[0] and "Traceback" not in text and "pytest_mad/" not in text


def test_a_factory_that_raises_shows_its_own_traceback(own):
    """The result is an error with a reason; the user's frames are shown, not ours."""
    model = MODEL.replace("make_model", "broken")
    source = """
    @pytest.mark.mad(tasks=["in-context-recall"])
    def test_score(mad_result):
        assert mad_result.verdict == "error" and mad_result.accuracy is None
        assert mad_result.passed, mad_result.explain()
    """
    result = own(model, source)
    result.assert_outcomes(failed=1)
    line = "*broken, in-context-recall*: error: broken raised ValueError: no model today*"
    result.stdout.fnmatch_lines([line, "*models.py*in broken", "ValueError: no model today"])


def test_a_setting_that_cannot_be_measured_is_skipped_with_its_reason(own):
    """Compression of a model that has no vector to decode."""
    source = """
    import pytest
    from models import table

    @pytest.fixture
    def mad_model():
        return table

    def test_score(mad_result):
        assert False
    """
    result = own(source, options=["--mad-preset=compression.toml"])
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * compression needs one vector to decode*"])


def test_own_tests_run_in_workers(own, project):
    """Results come back from ``-n 2`` as from one process."""
    result = own(MODEL, RESULT, options=["-n", "2", "--mad-json=out.json", "--junitxml=junit.xml"])
    result.assert_outcomes(passed=2, failed=1)
    assert len(project.results()["architectures"]["models"]["settings"]) == 3
    assert (project.path / "junit.xml").read_text().count('name="mad.score"') == 3
    result.stdout.fnmatch_lines(["*MAD score*"])


DEAD = """
    import pytest
    from models import Tiny

    class Dead(Tiny):
        def forward(self, tokens_BT):
            return super().forward(tokens_BT.clamp(max=10**6)) + 0 * self.spare

        def __init__(self, vocab_size):
            super().__init__(vocab_size)
            import torch
            self.spare = torch.nn.Parameter(torch.ones(vocab_size))

    @pytest.fixture
    def mad_model():
        return Dead
"""


def test_the_marker_switches_a_contract_off_with_a_reason_that_the_report_shows(own, project):
    """Of this test only: the next one still asks."""
    source = """
    @pytest.mark.mad(tasks=["memorization"], contracts=["gradients=off:the spare row is for later"])
    def test_off(mad_result):
        assert mad_result.passed, mad_result.explain()

    @pytest.mark.mad(tasks=["memorization"])
    def test_on(mad_result):
        assert "contract gradients is broken" in mad_result.explain()
    """
    result = own(DEAD, source, options=["--mad-json=out.json", "-n", "0"])
    result.assert_outcomes(passed=4)
    result = own(DEAD, source, options=["--mad-json=out.json", "-k", "test_off"])
    found = project.results()["architectures"]["Dead"]["settings"]["memorization[baseline]"]
    said = "contract gradients switched off: the spare row is for later"
    assert found["detail"].endswith(f"; {said}") and found["note"] == said
    assert sum(said in line for line in result.outlines) == 2  # in the table, below each of the two settings
