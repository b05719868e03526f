"""Whether the suite runs, with arguments from the command line, the ini file and the environment; and what is said where
it does not.
"""

from __future__ import annotations

import pytest

ARCH, TINY = "--mad-arch=models:make_model", "--mad-preset=tiny.toml"
PASSES, OTHER = "checks/test_one.py::test_passes", "checks/test_two.py::test_passes"
RECALL = "mad::models::in-context-recall[baseline]"
NOT_RUN = "MAD suite not run: "


@pytest.fixture
def mixed(project):
    """A project with two ordinary test files in a folder of their own."""
    (project.path / "checks").mkdir()
    for name in ("one", "two"):
        (project.path / "checks" / f"test_{name}.py").write_text("def test_passes(): pass\n")
    return project


def collected(project, *args):
    """Ordinary node ids that would run, and whether the suite would."""
    lines = project.bare("--collect-only", "-q", *args).outlines
    ids = [line for line in lines if "::" in line and " " not in line]
    return [one for one in ids if not one.startswith("mad::")], any(one.startswith("mad::") for one in ids)


def said(result):
    """The lines of ours about a suite that does not run, on either stream."""
    return [line for line in result.outlines + result.errlines if NOT_RUN in line]


@pytest.fixture(params=["ini", "environment"])
def addopts(request, mixed, monkeypatch):
    """Give these options permanently, in either way."""

    def give(*options):
        if request.param == "ini":
            mixed.pytester.makeini(f"[pytest]\naddopts = {' '.join(options)}\n")
        else:
            monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(options))

    return give


# -- which arguments count --------------------------------------------------------------------------------------------


def test_the_suite_alone_runs_where_the_command_line_asks_for_it_and_only_addopts_name_a_path(mixed, addopts):
    """As beside ``testpaths``."""
    addopts(TINY, "checks")
    assert collected(mixed, ARCH) == ([], True)
    assert collected(mixed, "--mad-layers=mh-attention,swiglu") == ([], True)
    assert collected(mixed, "--mad-mixer=forms:Mixer") == ([], True)


def test_the_suite_and_the_path_run_where_addopts_have_both(mixed, addopts):
    addopts(ARCH, TINY, "checks/test_one.py")
    assert collected(mixed) == ([PASSES], True)


def test_an_architecture_more_on_the_command_line_asks_for_the_suite_alone(mixed, addopts):
    addopts(ARCH, TINY, "checks")
    assert collected(mixed, "--mad-arch=other=models:plain") == ([], True)


@pytest.mark.parametrize("suite", ["mad", "mad::models::memorization"])
def test_the_suite_s_own_arguments_count_wherever_they_stand(mixed, addopts, suite):
    """Beside paths in ``addopts`` as pytest joins arguments: none of them drops another."""
    addopts(TINY, "checks/test_one.py")
    assert collected(mixed, ARCH, suite) == ([PASSES], True)
    addopts(ARCH, TINY, suite)
    assert collected(mixed) == ([], True)
    assert collected(mixed, "checks/test_two.py") == ([OTHER], True)


def test_arguments_from_a_file_are_typed(mixed, addopts):
    addopts(TINY, "checks")
    (mixed.path / "suite.txt").write_text(f"{ARCH}\n")
    assert collected(mixed, "@suite.txt") == ([], True)
    (mixed.path / "both.txt").write_text(f"{ARCH}\nchecks/test_one.py\n")
    ordinary, has_suite = collected(mixed, "@both.txt")
    assert ordinary and not has_suite


def test_packages_are_arguments_too(mixed, addopts):
    """With ``--pyargs``, also where one is called mad."""
    for name in ("checks", "mad"):
        folder = mixed.path / "src" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "test_inside.py").write_text("def test_inside(): pass\n")
    mixed.pytester.syspathinsert(mixed.path / "src")
    addopts(TINY, "--pyargs")
    for name in ("checks", "mad"):
        ordinary, has_suite = collected(mixed, ARCH, f"{name}.test_inside")
        assert len(ordinary) == 1 and not has_suite
    ordinary, has_suite = collected(mixed, ARCH, "mad")
    assert len(ordinary) == 1 and not has_suite
    assert collected(mixed, ARCH) == ([], True)


@pytest.mark.parametrize("where", [["--rootdir=elsewhere"], ["-c", "elsewhere/other.ini"], ["--rootdir", "elsewhere"]])
def test_another_rootdir_changes_nothing(mixed, where):
    (mixed.path / "elsewhere").mkdir()
    (mixed.path / "elsewhere" / "other.ini").write_text("[pytest]\naddopts = checks\n")
    mixed.pytester.makeini("[pytest]\naddopts = checks\n")
    assert collected(mixed, ARCH, TINY, *where) == ([], True)
    assert collected(mixed, ARCH, TINY, "mad", *where)[1]


def test_workers_run_what_one_process_would(mixed, addopts):
    addopts(TINY, "checks")
    result = mixed.bare(ARCH, "--mad-tasks=in-context-recall", "-n1", "-rA", "-k", "not contract")
    assert mixed.outcomes(result) == {RECALL: "failed"}


# -- a path as a second word ------------------------------------------------------------------------------------------


@pytest.fixture
def outside(mixed):
    """A folder with what an earlier run wrote, and an ini file that must not be taken for the project's."""
    folder = mixed.path.parent / "outside"
    folder.mkdir(exist_ok=True)
    for name in ("out.json", "pytest.ini"):
        (folder / name).unlink(missing_ok=True)
    (folder / "out.json").write_text("{}")
    mixed.pytester.makeini("[pytest]\nmad_preset = tiny.toml\nmad_tasks = memorization\n")
    return folder


@pytest.mark.parametrize("quiet", [[], ["-q"], ["-q", "-W", "ignore"], ["-W", "error"], ["-p", "no:warnings"]])
def test_a_second_word_that_loses_the_ini_file_is_told_at_any_verbosity(mixed, outside, quiet):
    """The suite runs, and a line says which file was not read and how to write the option."""
    result = mixed.bare(ARCH, "mad::models::contract[output]", "--mad-json", str(outside / "out.json"), *quiet)
    assert "1 passed" in result.outlines[-1]
    (line,) = (line for line in result.outlines if line.startswith("mad: write "))
    assert line.startswith(f"mad: write --mad-json={outside / 'out.json'}: ")
    assert line.endswith("so tox.ini was not read")


def test_a_second_word_that_brings_another_ini_file_is_told_as_well(mixed, outside):
    (outside / "pytest.ini").write_text("[pytest]\naddopts = -q\nmad_seeds = 2\n")
    result = mixed.bare(ARCH, "mad::models::contract[output]", "--mad-json", str(outside / "out.json"))
    (line,) = (line for line in result.outlines if line.startswith("mad: write "))
    assert line.endswith(f"so tox.ini was not read and {outside / 'pytest.ini'} was read")


def test_a_second_word_from_a_file_of_arguments_is_told_as_well(mixed, outside):
    (mixed.path / "arguments.txt").write_text(f"--mad-json\n{outside / 'out.json'}\n")
    result = mixed.bare(ARCH, "mad::models::contract[output]", "@arguments.txt")
    assert any(line.startswith("mad: write --mad-json=") for line in result.outlines)


@pytest.mark.parametrize("ini", ["", "[pytest]\nfilterwarnings = error\n"])
@pytest.mark.parametrize("words", [["--mad-json", "out.json"], ["--mad-preset", "tiny.toml"]])
def test_a_second_word_that_moves_nothing_runs_without_that_line(mixed, ini, words):
    mixed.pytester.makeini(ini)
    (mixed.path / "out.json").write_text("{}")
    result = mixed.bare(ARCH, TINY, "mad::models::contract[output]", *words)
    result.assert_outcomes(passed=1)
    assert not any(line.startswith("mad: write ") for line in result.outlines)


# -- other tests than the suite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [[], ["-q"], ["-qq"], ["-n1"]])
def test_a_run_of_other_tests_says_that_the_suite_did_not_run(mixed, addopts, quiet):
    addopts(ARCH, TINY)
    result = mixed.bare("checks/test_one.py", *quiet)
    result.assert_outcomes(passed=1) if "-qq" not in quiet else None
    assert result.ret == pytest.ExitCode.OK
    line = f"{NOT_RUN}only checks/test_one.py is named on the command line; add mad to run it beside that"
    assert said(result) == [line]


def test_the_same_where_the_command_line_has_both(mixed):
    result = mixed.bare(ARCH, TINY, "checks/test_one.py", "checks/test_two.py")
    line = f"{NOT_RUN}only checks/test_one.py and 1 more are named on the command line; add mad to run it beside them"
    assert result.ret == pytest.ExitCode.OK and said(result) == [line]


def test_pytest_s_own_exit_code_stays(mixed):
    (mixed.path / "checks" / "test_one.py").write_text("def test_fails(): assert 0\n")
    result = mixed.bare(ARCH, TINY, "checks/test_one.py")
    assert result.ret == pytest.ExitCode.TESTS_FAILED and len(said(result)) == 1
    result = mixed.bare(ARCH, TINY, "checks/test_one.py", "-k", "nothing")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED and len(said(result)) == 1


@pytest.mark.parametrize("fixture", ["mad_model", "mad_setting", "mad_result"])
@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_a_test_with_a_mad_fixture_is_what_the_option_is_for(mixed, fixture, workers):
    mixed.write(test_own=f"def test_own({fixture}): pass")
    result = mixed.bare(ARCH, TINY, "--mad-tasks=in-context-recall", "test_own.py", "checks", *workers)
    result.assert_outcomes(passed=3)
    assert said(result) == []


@pytest.mark.parametrize("arguments", [["--collect-only"], ["--collect-only", "-q"], ["--help"], ["--markers"]])
def test_what_runs_nothing_says_nothing_of_it(mixed, arguments):
    assert said(mixed.bare(ARCH, TINY, "checks", *arguments)) == []


# -- items that go missing --------------------------------------------------------------------------------------------

SILENT = """
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if "checks" in item.nodeid]
"""
REPORTING = """
def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=[item for item in items if "checks" not in item.nodeid])
    items[:] = [item for item in items if "checks" in item.nodeid]
"""
LATE = """
import pytest

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_collection_modifyitems(items):
    yield
    items[:] = [item for item in items if type(item).__module__ == "_pytest.python"]
"""
SWALLOWING = """
def pytest_runtest_protocol(item):
    return True if "checks" not in item.nodeid else None
"""


@pytest.mark.parametrize("conftest", [SILENT, REPORTING, LATE, SWALLOWING])
@pytest.mark.parametrize(
    "arguments", [["mad", "checks"], [], ["-q", "mad::models::memorization", "checks"], ["-n1", "mad", "checks"]]
)
def test_a_conftest_that_drops_the_suite_is_a_usage_error(mixed, conftest, arguments):
    """Nothing was measured, so nothing looks as if it had been."""
    mixed.write(conftest=conftest)
    result = mixed.bare(ARCH, TINY, "--mad-json=out.json", *arguments)
    (line,) = said(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert line.startswith(f"ERROR: {NOT_RUN}{ARCH} asks for it, but ") and "conftest.py" in line
    assert "INTERNALERROR" not in result.stdout.str() and "Traceback" not in result.stderr.str()
    assert "out.json" not in mixed.files()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-k", "passes", "mad", "checks"], pytest.ExitCode.OK),
        (["-m", "not mad", "mad", "checks"], pytest.ExitCode.OK),
        (["--deselect=mad", "mad", "checks"], pytest.ExitCode.OK),
        (["--deselect=mad"], pytest.ExitCode.NO_TESTS_COLLECTED),
        (["-n1", "-k", "passes", "mad", "checks"], pytest.ExitCode.OK),
        (["--mad-shard=40/40", "mad", "checks"], pytest.ExitCode.OK),
        (["--setup-only", "mad", "checks"], pytest.ExitCode.OK),
        (["--setup-plan"], pytest.ExitCode.OK),
        (["--fixtures-per-test", "mad", "checks"], pytest.ExitCode.OK),
        (["--collect-only", "-q"], pytest.ExitCode.OK),
    ],
)
def test_what_the_user_selected_away_is_pytest_s_own_affair(mixed, arguments, code):
    result = mixed.bare(ARCH, TINY, *arguments)
    assert result.ret == code and said(result) == []


def test_last_failed_may_select_the_suite_away(mixed):
    (mixed.path / "checks" / "test_one.py").write_text("def test_fails(): assert 0\n")
    mixed.bare(ARCH, TINY, "mad::models::contract[output]", "checks")
    for again in ("--lf", "--sw"):
        result = mixed.bare(ARCH, TINY, "mad::models::contract[output]", "checks", again)
        assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED) and said(result) == []


def test_a_skipped_suite_is_there(mixed):
    mixed.write(
        conftest="""
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.skip(reason="no time"))
        """
    )
    result = mixed.bare(ARCH, TINY, "mad", "checks")
    assert result.ret == pytest.ExitCode.OK and said(result) == []


@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_a_selection_beside_a_conftest_that_drops_items_unseen_is_told(mixed, workers):
    """Nobody knows which of the two it was: a line, and pytest's own exit code."""
    mixed.write(conftest=SILENT)
    result = mixed.bare(ARCH, TINY, "-m", "not slow", "mad", "checks", *workers)
    assert result.ret == pytest.ExitCode.OK
    assert len(said(result)) == 1


def test_a_run_that_ends_early_keeps_its_exit_code(mixed):
    """``-x`` behind an ordinary failure: the suite's turn never came, which the run says by itself."""
    (mixed.path / "checks" / "test_one.py").write_text("def test_fails(): assert 0\n")
    result = mixed.bare(ARCH, TINY, "-x", "checks", "mad")
    assert result.ret == pytest.ExitCode.TESTS_FAILED and said(result) == []
    (mixed.path / "checks" / "test_one.py").write_text("import nothing_of_that_name\n")
    result = mixed.bare(ARCH, TINY, "checks", "mad")
    assert result.ret == pytest.ExitCode.INTERRUPTED and said(result) == []
