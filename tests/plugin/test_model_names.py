"""What models of users' own tests are called in reports: one name each, and never one name for two."""

from __future__ import annotations

import inspect

import pytest

SIZED = """
    import dataclasses, functools
    import pytest
    from torch import nn

    class Small(nn.Module):
        def __init__(self, vocab_size, dim=4):
            super().__init__()
            self.net = nn.Sequential(nn.Embedding(vocab_size, dim), nn.Linear(dim, vocab_size))

        def forward(self, tokens):
            return self.net(tokens)

    class Other(Small):
        pass

    def sized(dim):
        def build(vocab_size):
            return Small(vocab_size, dim)
        return build

    class Factory:
        calls = 0

        def __init__(self, dim):
            self.dim = dim

        def __call__(self, vocab_size):
            Factory.calls += 1
            self.called = Factory.calls
            return Small(vocab_size, self.dim)

        def build(self, vocab_size):
            return self(vocab_size)

    @dataclasses.dataclass
    class Config:
        dim: int
"""
HEAD = """
    import functools
    import pytest
    from sized import *

    pytestmark = pytest.mark.mad(tasks=["memorization"], preset="one.toml", contracts=["gradients=off:quick"])
"""
MEASURE = """
    def test_{name}(mad_result):
        assert mad_result.accuracy is not None
"""


def fixture(model, arguments=""):
    return f"@pytest.fixture\ndef mad_model({arguments}):\n    return {model}\n"


@pytest.fixture
def own(project):
    """Run test files of the user's, each put together from its parts; what the result file has, by name."""
    project.pytester.syspathinsert()
    project.write(sized=SIZED)
    tiny = (project.path / "tiny.toml").read_text().replace("vary = { vocab_size = [24] }\n", "")
    (project.path / "one.toml").write_text(tiny)

    def run(*options, **files):
        for name, parts in files.items():
            project.write(**{f"test_{name}": "\n".join(map(inspect.cleandoc, (HEAD, *parts)))})
        (project.path / "out.json").unlink(missing_ok=True)
        names = [f"test_{name}.py" for name in files]
        result = project.bare("-rA", "--mad-json=out.json", *names, *options)
        found = project.results()["architectures"] if (project.path / "out.json").exists() else {}
        return result, {name: one["parameters"] for name, one in found.items()}

    return run


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_parameters_of_the_fixture_name_its_models(own, workers):
    model = """
    @pytest.fixture(params=[2, 8], ids=["narrow", "wide one"])
    def mad_model(request):
        return functools.partial(Small, dim=request.param)
    """
    result, found = own(*workers, a=[model, MEASURE.format(name="a")])
    result.assert_outcomes(passed=2)
    assert sorted(found) == ["Small.narrow", "Small.wide_one"]
    assert found["Small.narrow"] < found["Small.wide_one"]


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ('"mad_model", [Small, Other]', ["Other", "Small"]),
        ('"mad_model", [Small, functools.partial(Small, dim=8)], ids=["a", "b"]', ["Small.a", "Small.b"]),
        ('"mad_model", [lambda vocab_size: Small(vocab_size), lambda vocab_size: Other(vocab_size)]', None),
        ('"mad_model", [sized(2), sized(8)]', None),
        ('"mad_model, seed", [(Small, 0), (sized(8), 1)], ids=["é/x", "y"]', None),
        ('"mad_model", [pytest.param(Small, id="first"), pytest.param(Small, id="second")]', None),
    ],
)
def test_parameters_of_the_test_name_its_models(own, parameters, names):
    """Names are fit for ids whatever the parameters are called; a function's own name is not said twice."""
    argument = ", seed" if "seed" in parameters else ""
    measure = inspect.cleandoc(MEASURE.format(name="a")).replace("mad_result)", f"mad_result{argument})")
    test = f"@pytest.mark.parametrize({parameters})\n{measure}"
    result, found = own(a=[test])
    result.assert_outcomes(passed=2)
    assert len(found) == 2 and names in (None, sorted(found))


def test_parameters_of_a_class_and_of_what_the_fixture_asks_for_name_its_models(own):
    """Also through another fixture, and through ``getfixturevalue``; those of nobody the model asks do not."""
    fixtures = """
    @pytest.fixture(params=[2, 8])
    def dim(request):
        return request.param

    @pytest.fixture
    def options(dim):
        return {"dim": dim}

    @pytest.fixture
    def mad_model(options):
        return functools.partial(Small, **options)

    @pytest.mark.parametrize("unrelated", ["x", "y"])
    class TestSizes:
        def test_a(self, unrelated, mad_result):
            assert mad_result.architecture in ("Small.2", "Small.8")
    """
    result, found = own(a=[fixtures])
    result.assert_outcomes(passed=4)
    assert sorted(found) == ["Small.2", "Small.8"]
    dynamic = """
    @pytest.fixture
    def mad_model(request):
        return functools.partial(Small, dim=request.getfixturevalue("dim"))

    @pytest.mark.parametrize("dim", [2, 8])
    def test_b(dim, mad_result):
        assert mad_result.architecture == f"Small.{dim}"
    """
    result, found = own(b=[dynamic])
    result.assert_outcomes(passed=2)


def test_tests_that_share_a_parametrized_model_share_its_name(own):
    model = """
    @pytest.fixture(params=[2, 8])
    def mad_model(request):
        return functools.partial(Small, dim=request.param)
    """
    threshold = '@pytest.mark.mad(tasks=["memorization"], preset="one.toml", threshold=0)'
    again = f"{threshold}\n{inspect.cleandoc(MEASURE.format(name='b'))}"
    result, found = own(a=[model, MEASURE.format(name="a"), again])
    result.assert_outcomes(passed=4)
    assert sorted(found) == ["Small.2", "Small.8"]


# -- one name for two -------------------------------------------------------------------------------------------------

TWO = {
    "classes": (
        "class Mine(Small):\n    pass\n" + fixture("Mine"),
        "\n\nclass Mine(Small):\n    size = 3\n" + fixture("Mine"),
    ),
    "lambdas": tuple(fixture(f"lambda vocab_size: Small(vocab_size, {n})") for n in (2, 8)),
    "partials": tuple(fixture(f"functools.partial(Small, dim={n})") for n in (2, 8)),
    "a class and a partial of it": tuple(fixture(model) for model in ("Small", "functools.partial(Small, dim=8)")),
    "closures": tuple(fixture(f"sized({n})") for n in (2, 8)),
    "instances": tuple(fixture(f"Factory({n})") for n in (2, 8)),
    "methods": tuple(fixture(f"Factory({n}).build") for n in (2, 8)),
    "configs": tuple(
        fixture(f"functools.partial(lambda vocab_size, config: Small(vocab_size, config.dim), config=Config({n}))")
        for n in (2, 8)
    ),
}


@pytest.mark.parametrize("workers", [[], ["-n2", "--dist=loadfile"]])
@pytest.mark.parametrize("what", TWO)
def test_two_models_of_one_name_are_an_error_that_names_both_places(own, what, workers):
    """One row, of the first; no mean over both. In workers nobody but the controller sees both."""
    first, second = TWO[what]
    result, found = own(*workers, a=[first, MEASURE.format(name="a")], b=[second, MEASURE.format(name="b")])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    line = next(line for line in result.outlines if line.startswith("two models are called "))
    assert "test_a.py::test_a" in line and "test_b.py::test_b" in line and "give one of them another name" in line
    assert len(found) == 1
    failed = [name for name, outcome in own_outcomes(result).items() if outcome == "failed"]
    assert len(failed) >= 1 and len({name.partition("::")[0] for name in failed}) == 1


def own_outcomes(result):
    from tests.plugin.conftest import Project

    return Project.outcomes(result)


def test_the_line_says_where_the_models_are_written(own):
    first, second = TWO["classes"]
    result, _ = own(a=[first, MEASURE.format(name="a")], b=[second, MEASURE.format(name="b")])
    line = next(line for line in result.outlines if line.startswith("two models are called "))
    assert "Mine (test_a.py, line " in line and "Mine (test_b.py, line " in line


def test_two_factories_of_the_command_line_s_name_are_two(own):
    """A test's model and the suite's."""
    model = fixture("functools.partial(Small, dim=8)")
    result, found = own(
        "--mad-arch=Small=sized:Small",
        "--mad-preset=one.toml",
        "mad::Small::memorization",
        a=[model, MEASURE.format(name="a")],
    )
    assert any("two models are called 'Small'" in line for line in result.outlines) and list(found) == ["Small"]


SAME = {
    "a class": fixture("Small"),
    "a partial that is made anew": fixture("functools.partial(Small, dim=2)"),
    "a closure that is made anew": fixture("sized(2)"),
    "an instance that counts its calls": "factory = Factory(2)\n" + fixture("factory"),
    "its method": "factory = Factory(2)\n" + fixture("factory.build"),
    "an object without a repr": fixture("functools.partial(lambda vocab_size, at: Small(vocab_size), at=object())"),
    "paths of the test's own": fixture(
        "functools.partial(lambda vocab_size, a, b: Small(vocab_size), a=tmp_path, b=str(tmp_path))",
        arguments="tmp_path",
    ),
    "what pytest gives the test": fixture(
        "lambda vocab_size: Small(vocab_size) if request and monkeypatch else 0", arguments="request, monkeypatch"
    ),
    "sets": fixture('functools.partial(lambda vocab_size, at: Small(vocab_size), at={"a", "b", "c"})'),
}


@pytest.mark.parametrize("what", SAME)
def test_one_model_seen_twice_is_one(own, what):
    """By several tests, in one process and in two."""
    both = [SAME[what], MEASURE.format(name="a"), MEASURE.format(name="b")]
    for workers in ([], ["-n2", "--dist=load"]):
        result, found = own(*workers, a=both)
        result.assert_outcomes(passed=2)
        assert len(found) == 1


def test_a_model_of_a_shared_file_is_one_for_all_who_ask_for_it(own):
    """From a fixture, by the command line, and beside the suite."""
    options = ["--mad-arch=Small=sized:Small", "--mad-preset=one.toml", "mad::Small::memorization"]
    model = fixture("Small")
    result, found = own(*options, a=[model, MEASURE.format(name="a")], b=[MEASURE.format(name="b")])
    assert not any("two models" in line for line in result.outlines) and list(found) == ["Small"]
    result, found = own(*options[:2], "-n2", a=[model, MEASURE.format(name="a")], b=[MEASURE.format(name="b")])
    result.assert_outcomes(passed=2)
    assert list(found) == ["Small"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("Small(16)", "mad_model: Small is a model, but must be the function that builds it"),
        ("'sized:Small'", "mad_model: str is of type str, but must be a function that builds a model"),
    ],
)
def test_what_the_fixture_gives_is_a_function_that_builds_models(own, given, says):
    result, found = own(a=[fixture(given), MEASURE.format(name="a")])
    result.assert_outcomes(errors=1)
    assert not found and any(says in line for line in result.outlines)
