"""Hooks of a project's conftest.py, and pytest's own features, that were written with test functions in mind."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

OUTPUT, SETTING = "mad::models::contract[output]", "mad::models::memorization[baseline]"
ORDINARY = "test_ordinary.py::test_ordinary"
HERE = ("--mad-arch=models:make_model", "--mad-preset=tiny.toml", OUTPUT, SETTING, "test_ordinary.py")


@pytest.fixture
def mixed(project):
    project.write(test_ordinary='def test_ordinary(tmp_path):\n    """What it is for."""\n')
    return project


COLLECTED = {
    "fixtures": """
        if "database" in item.fixturenames:
            item.add_marker("slow")
        item.fixturenames.insert(0, "tmp_path")
    """,
    "function": """
        assert callable(item.function) and item.function.__name__ and item.function.__module__ and item.function.__doc__
        assert isinstance(item.function.__globals__, dict) and item.function.__code__.co_firstlineno > 0
        assert not inspect.iscoroutinefunction(item.function) and not inspect.isgeneratorfunction(item.function)
        assert inspect.getdoc(item.function) == inspect.getdoc(item.obj)
        assert Path(inspect.getsourcefile(item.function)).is_file() and "def " in inspect.getsource(item.function)
        assert not getattr(item.function, "pytestmark", None)
        inspect.signature(item.obj)
    """,
    "module": """
        assert item.module.__name__ == item.function.__module__ and Path(item.module.__file__).is_file()
        assert item.cls is None and item.instance is None
        assert getattr(item.module, "pytestmark", None) is None
        assert sys.modules[item.module.__name__] is item.module
    """,
    "parents": """
        assert item.getparent(pytest.Module).obj is item.module and item.getparent(pytest.Module).name
        assert item.getparent(pytest.File).path.is_file() and item.getparent(pytest.Class) is None
        assert item.getparent(pytest.Session) is item.session and item.getparent(pytest.Item) is item
        assert item.getparent(type(item)) is item and item.getparent(pytest.Collector) is not None
        assert item.parent.obj.__name__ and item.parent.module is item.module and item.parent.cls is None
    """,
    "parameters": """
        if hasattr(item, "callspec"):
            assert item.callspec.params == {} and item.callspec.indices == {} and item.callspec.id == ""
            assert list(item.callspec.marks) == []
        assert item.originalname and "[" not in item.originalname and item.name.startswith(item.originalname)
    """,
    "places": """
        assert item.path.exists() and item.fspath.basename == item.path.name and str(item.fspath)
        file, line, name = item.reportinfo()
        assert str(file) and line + 1 and name
        file, line, name = item.location
        assert file.lower() and line + 1 and name
    """,
    "marks": """
        assert item.get_closest_marker("slow") is None and list(item.iter_markers("slow")) == []
        item.add_marker(pytest.mark.slow)
        assert item.get_closest_marker("slow").name == "slow" and "slow" in item.keywords
    """,
    "order": """
        items.sort(key=lambda one: (one.module.__name__, one.location[1], one.function.__qualname__, one.nodeid))
    """,
}
SMALL = """
    import inspect, sys
    from pathlib import Path
    import pytest

    def pytest_configure(config):
        config.addinivalue_line("markers", "slow: takes long")
"""


def conftest(hook, body):
    """A hook with this body for every item."""
    head = {
        "pytest_collection_modifyitems": "    def pytest_collection_modifyitems(config, items):\n      for item in items:",
        "pytest_itemcollected": "    def pytest_itemcollected(item):\n      if True:",
        "pytest_runtest_setup": "    def pytest_runtest_setup(item):\n      if True:",
        "pytest_runtest_teardown": "    def pytest_runtest_teardown(item, nextitem):\n      if True:",
    }
    return f"{SMALL}\n{head[hook]}{body}"


@pytest.mark.parametrize("workers", [[], ["-n1"]])
@pytest.mark.parametrize("what", COLLECTED)
def test_a_hook_that_looks_at_collected_items_finds_what_functions_have(mixed, what, workers):
    mixed.write(conftest=conftest("pytest_collection_modifyitems", COLLECTED[what]))
    result = mixed.bare(*HERE, "-rA", "-p", "no:rerunfailures", *workers)
    assert mixed.outcomes(result) == dict.fromkeys((OUTPUT, SETTING, ORDINARY), "passed")
    assert "INTERNALERROR" not in result.stdout.str()


@pytest.mark.parametrize("hook", ["pytest_itemcollected", "pytest_runtest_setup", "pytest_runtest_teardown"])
def test_so_do_hooks_around_a_single_item(mixed, hook):
    body = "".join(text for name, text in COLLECTED.items() if name not in ("order", "marks"))
    mixed.write(conftest=conftest(hook, body) + "\n        assert isinstance(item.funcargs, dict)")
    result = mixed.bare(*HERE, "-rA")
    assert mixed.outcomes(result) == dict.fromkeys((OUTPUT, SETTING, ORDINARY), "passed")


def test_a_hook_that_makes_reports_finds_them_too(mixed):
    """As recipes for screenshots and descriptions do, under ``call`` and with a failure."""
    mixed.write(
        conftest="""
        import pytest

        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_makereport(item, call):
            outcome = yield
            report = outcome.get_result()
            report.description = str(item.function.__doc__)
            report.nodeid.encode("utf-8").decode("unicode_escape")
            setattr(item, "rep_" + report.when, report)
            if report.when == "call" and report.failed and "page" in item.fixturenames:
                item.funcargs["page"].screenshot()
            if report.when == "call":
                item.user_properties.append(("described", report.description))
        """
    )
    result = mixed.bare(*HERE, "-rA", "mad::models::in-context-recall", "--junitxml=out.xml")
    assert sorted(mixed.outcomes(result).values()) == ["failed", "passed", "passed", "passed"]
    cases = list(ET.parse(mixed.path / "out.xml").iter("testcase"))
    found = {case.get("name"): case.find("properties/property[@name='described']") for case in cases}
    assert len(found) == 4 and all(one is not None and one.get("value") for one in found.values())


def test_a_function_that_a_hook_wraps_is_what_runs(mixed):
    mixed.write(
        conftest="""
        import functools

        def pytest_collection_modifyitems(items):
            for item in items:
                item.obj = told(item, item.obj)

        def told(item, function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                print("wrapped", item.nodeid)
                return function(*args, **kwargs)
            return wrapper
        """
    )
    result = mixed.bare(*HERE, "-s")
    result.assert_outcomes(passed=3)
    assert sum("wrapped" in line for line in result.outlines) == 3


def test_items_that_a_hook_gives_other_ids_run(mixed):
    """The recipe that names tests after their docstrings."""
    mixed.write(
        conftest="""
        def pytest_itemcollected(item):
            node, parent = item.obj, item.parent.obj
            prefix = parent.__doc__.strip() if parent.__doc__ else parent.__class__.__name__
            suffix = node.__doc__.strip() if node.__doc__ else node.__name__
            item._nodeid = ": ".join((prefix.splitlines()[0], suffix))
        """
    )
    result = mixed.bare(*HERE, "--mad-json=out.json")
    result.assert_outcomes(passed=3)
    found = mixed.results()["architectures"]["models"]
    assert list(found["contracts"]) == ["output"] and list(found["settings"]) == ["memorization[baseline]"]


# -- pytest itself ----------------------------------------------------------------------------------------------------


def test_pytest_shows_items_as_it_did(mixed):
    shown = mixed.bare(*HERE, "--setup-show", "--durations=0", "-vv", "--durations-min=0")
    shown.assert_outcomes(passed=3)
    assert any(OUTPUT in line and "fixtures used" not in line for line in shown.outlines)
    shown.stdout.fnmatch_lines(["*slowest durations*", f"*call *{SETTING.replace('[', '[[]')}*"])
    fixtures = mixed.bare(*HERE, "--fixtures-per-test")
    assert fixtures.ret == 0 and "fixtures used by test_ordinary" in fixtures.stdout.str()
    assert "memorization" not in fixtures.stdout.str().partition("collected")[2]
    assert mixed.bare(*HERE, "--fixtures").ret == 0


def test_fixtures_of_wide_scope_are_set_up_once(mixed):
    """pytest puts the tests that share one together; items without parameters do not stand between them."""
    mixed.write(
        test_wide="""
        import pytest

        @pytest.fixture(params=[1, 2], scope="session")
        def wide(request):
            print("set up", request.param)
            return request.param

        def test_first(wide): pass
        def test_second(wide): pass
        """
    )
    result = mixed.bare(*HERE, "test_wide.py", "-s")
    result.assert_outcomes(passed=7)
    assert sum("set up" in line for line in result.outlines) == 2


def test_reports_name_no_line(mixed):
    """There is none: GitHub would annotate, and JUnit point at, the first line of something else."""
    mixed.write(
        conftest="""
        def pytest_runtest_logreport(report):
            assert report.location[1] is None or report.nodeid.startswith("test_ordinary"), report.location
        """
    )
    mixed.bare(*HERE).assert_outcomes(passed=3)


@pytest.mark.parametrize("condition", ["sys.platform == 'x'", "config.getoption('collectonly')", "os.sep == 'x'"])
def test_conditions_of_marks_are_evaluated(mixed, condition):
    mixed.write(
        conftest=f"""
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.skipif({condition!r}, reason="not here"))
        """
    )
    mixed.bare(*HERE).assert_outcomes(passed=3)


@pytest.mark.parametrize("dist", ["load", "loadscope", "loadfile", "loadgroup", "worksteal", "each"])
def test_workers_share_items_in_every_way_that_xdist_knows(mixed, dist):
    result = mixed.bare(*HERE, "-n2", f"--dist={dist}", "--mad-json=out.json")
    result.assert_outcomes(passed=6 if dist == "each" else 3)
    assert list(mixed.results()["architectures"]["models"]["settings"]) == ["memorization[baseline]"]
