"""What the command line or Python may name as an architecture, and the line that refuses anything else."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.architectures.architecture import TargetError, check_name, check_unique, from_factory
from pytest_mad.architectures.targets import from_layers, from_target
from tests.oracles.parameters import steady
from tests.unit.tiny import make_setting

SETTING = make_setting()
ALL = {"task": "memorization", "vocab_size": 32, "max_length": 8}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder of modules on the import path; both forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "zoo.py").write_text(ZOO)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").write_text("")
    (tmp_path / "pack/inner.py").write_text(ZOO)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] not in ("pytest_mad", "torch"):
            del sys.modules[name]


ZOO = """
import functools

def make_model(vocab_size):
    return ("make_model", vocab_size)

def make_mdl(vocab_size):
    return "make_mdl"

class Zebra:
    def __init__(self, vocab_size, max_length=3):
        self.sizes = (vocab_size, max_length)

    @staticmethod
    def small(vocab_size):
        return ("small", vocab_size)

part = functools.partial(make_model)
number = 5
"""


@pytest.mark.parametrize(
    ("value", "name", "made"),
    [
        ("zoo:make_model", "zoo", ("make_model", 32)),
        ("pack.inner:make_model", "inner", ("make_model", 32)),
        ("zoo:make_mdl", "zoo.make_mdl", "make_mdl"),
        ("zoo:Zebra.small", "zoo.Zebra.small", ("small", 32)),
        ("zoo:part", "zoo.part", ("make_model", 32)),
        ("zoo.py:make_model", "zoo", ("make_model", 32)),
        ("./pack/inner.py:make_model", "inner", ("make_model", 32)),
        ("pack/inner.py:make_mdl", "inner.make_mdl", "make_mdl"),
        ("My-1.0_a=zoo:make_model", "My-1.0_a", ("make_model", 32)),
        ("a=zoo.py:make_mdl", "a", "make_mdl"),
    ],
)
def test_a_target_names_a_factory_in_a_module_or_a_file(value, name, made):
    """NAME= goes over the default: the module's last component, and the factory unless it is make_model."""
    architecture = from_target(value)
    assert architecture.name == name
    assert architecture.build(SETTING) == made
    assert architecture.source == value.rpartition("=")[2]


def test_an_absolute_file_may_import_its_neighbours(project, tmp_path_factory):
    """Its own folder becomes importable."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "neighbour_of_lab.py").write_text("WORD = 'hello'")
    (elsewhere / "lab.py").write_text("from neighbour_of_lab import WORD\ndef make_model():\n    return WORD")
    assert from_target(f"{elsewhere}/lab.py:make_model").build(SETTING) == "hello"


def test_two_files_of_one_name_are_two_modules(project):
    """And a file loaded twice is one."""
    (project / "pack/zoo.py").write_text("def make_model():\n    return 'the other zoo'")
    assert from_target("zoo:make_model").build(SETTING) == ("make_model", 32)
    assert from_target("pack/zoo.py:make_model").build(SETTING) == "the other zoo"
    assert from_target("zoo.py:make_model").build(SETTING) == ("make_model", 32)
    assert from_target("zoo.py:Zebra").file == from_target("zoo:Zebra").file == str(project / "zoo.py")


REFUSED = {
    "zoo": "must be module:factory or path/to/file.py:factory",
    "zoo:": "must be module:factory",
    ":make_model": "must be module:factory",
    "": "must be module:factory",
    "a=": "must be module:factory",
    "zooo:make_model": "there is no module 'zooo'",
    "pack.outer:make_model": "there is no module 'pack.outer'",
    "zoo.inner:make_model": "there is no module 'zoo.inner'",
    "nowhere.py:make_model": "there is no file nowhere.py",
    "pack:make_model": "pack has no attribute 'make_model'",
    "zoo:make_modle": "no attribute 'make_modle'; did you mean 'make_model'?",
    "zoo.py:make_modle": "no attribute 'make_modle'; did you mean 'make_model'?",
    "zoo:Zebra.smal": "no attribute 'smal'; did you mean 'small'?",
    "zoo:number": "zoo:number is of type int, but must be a function",
    "a b=zoo:make_model": "the name 'a b' may only have letters, digits, '_', '.' and '-'",
    "=zoo:make_model": "the name '' may only have letters",
    "a::b=zoo:make_model": "the name 'a::b' may only have letters",
    ".zoo:make_model": "",
}


@pytest.mark.parametrize("value", REFUSED)
def test_a_target_that_is_no_factory_is_refused_in_one_line(value):
    """With the nearest name where there is one."""
    with pytest.raises(TargetError) as caught:
        from_target(value)
    assert REFUSED[value] in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


BROKEN_MODULES = {
    "needs another package": ("import no_such_package_xyz", "'no_such_package_xyz'"),
    "needs a part of one": ("import os.no_such_part", "os.no_such_part"),
    "has a syntax error": ("def make_model(:", "SyntaxError"),
    "raises": ("raise ValueError('bad\\nluck')", "ValueError: bad"),
    "exits": ("import sys; sys.exit('bye')", "SystemExit"),
}


@pytest.mark.parametrize("place", ["broken:make_model", "broken.py:make_model"])
@pytest.mark.parametrize("what", BROKEN_MODULES)
def test_a_module_that_cannot_be_imported_is_refused_in_one_line(project, place, what):
    """The user's own error is its cause, so that its traceback can be shown; nothing half-imported stays behind."""
    text, message = BROKEN_MODULES[what]
    (project / "broken.py").write_text(text)
    with pytest.raises(TargetError) as caught:
        from_target(place)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.__cause__ is not None
    assert "broken" not in sys.modules


def test_a_missing_package_is_not_mistaken_for_a_missing_module(project):
    """The two look alike to Python, and lead a user to different places."""
    (project / "broken.py").write_text("import no_such_package_xyz")
    with pytest.raises(TargetError, match="needs 'no_such_package_xyz'"):
        from_target("broken:make_model")
    with pytest.raises(TargetError, match="there is no module 'no_such_package_xyz'"):
        from_target("no_such_package_xyz:make_model")


def test_a_model_is_not_the_function_that_builds_it(project):
    """It is callable, but must not be called with a vocabulary size."""
    (project / "made.py").write_text("from torch import nn\nmodel = nn.Linear(2, 2)")
    with pytest.raises(TargetError, match="made:model is a model, but must be the function that builds it"):
        from_target("made:model")


class OnlyVocabulary:
    def __init__(self, vocab_size):
        self.given = {"vocab_size": vocab_size}


class Callable:
    def __call__(self, task, *, max_length):
        return SimpleNamespace(given={"task": task, "max_length": max_length})


FACTORIES = {
    "all three": (lambda task, vocab_size, max_length: locals(), set(ALL)),
    "one": (lambda vocab_size: locals(), {"vocab_size"}),
    "none": (lambda: locals(), set()),
    "any": (lambda **keywords: keywords, set(ALL)),
    "one and any": (lambda max_length, **keywords: keywords | {"max_length": max_length}, set(ALL)),
    "keyword only": (lambda *, vocab_size, task: locals(), {"vocab_size", "task"}),
    "defaults of its own": (lambda vocab_size, dim=64, max_length=3: locals(), {"vocab_size", "max_length", "dim"}),
    "positional rest": (lambda vocab_size, *rest: {"vocab_size": vocab_size}, {"vocab_size"}),
    "dispatched": (functools.singledispatch(lambda vocab_size, max_length: locals()), {"vocab_size", "max_length"}),
    "partial": (functools.partial(lambda dim, vocab_size: locals(), 64), {"vocab_size", "dim"}),
}


@pytest.mark.parametrize("kind", FACTORIES)
def test_a_factory_is_called_with_the_keywords_that_it_accepts(kind):
    """MAD-Lab's three, or fewer; what it does not name it does not get."""
    factory, expected = FACTORIES[kind]
    architecture = from_factory(factory)
    given = architecture.build(SETTING)
    assert set(given) == expected
    assert {key: given[key] for key in ALL if key in expected} == {k: v for k, v in ALL.items() if k in expected}
    assert architecture.knows_task is ("task" in expected)


def test_classes_and_callable_objects_are_factories():
    """Anything with a signature; what has none gets all three."""
    assert from_target("zoo:Zebra").build(SETTING).sizes == (32, 8)
    assert from_factory(dict).build(SETTING) == ALL
    assert from_factory(OnlyVocabulary).build(SETTING).given == {"vocab_size": 32}
    assert from_factory(Callable()).build(SETTING).given == {"task": "memorization", "max_length": 8}


@pytest.mark.parametrize(
    ("factory", "named"),
    [
        (lambda hidden, vocab_size: None, "'hidden'"),
        (lambda vocab_size, *, depth: None, "'depth'"),
        (lambda hidden, **keywords: None, "'hidden'"),
        (lambda a, b: None, "'a', 'b'"),
        (lambda vocab_size, /: None, "'vocab_size'"),
    ],
)
def test_a_factory_that_requires_more_is_refused_before_it_is_called(factory, named):
    """The line names what it would need, and what it is called with."""
    with pytest.raises(TargetError) as caught:
        from_factory(factory, name="mine", source="zoo:mine")
    message = str(caught.value)
    assert f"zoo:mine requires {named}" in message
    assert "task, vocab_size, max_length" in message
    assert len(message.splitlines()) == 1


# The place of this factory is asked.
def make_model(vocab_size):
    return vocab_size


def tiny_transformer(vocab_size):
    return vocab_size


@pytest.mark.parametrize(
    ("factory", "name"),
    [
        (make_model, "test_architecture"),
        (tiny_transformer, "tiny_transformer"),
        (OnlyVocabulary, "OnlyVocabulary"),
        (Callable(), "Callable"),
        (lambda: 0, "_lambda_"),
        (functools.partial(tiny_transformer, 5), "tiny_transformer"),
    ],
)
def test_a_factory_given_in_python_is_named_after_itself(factory, name):
    """Or after its module, if it is called make_model; node ids can bear the name."""
    architecture = from_factory(factory)
    assert architecture.name == name == check_name(architecture.name)
    assert from_factory(factory, name="other").name == "other"


@steady
@given(st.text(max_size=6))
def test_a_name_is_letters_digits_and_three_signs(name):
    """Nothing else enters node ids, JSON keys and HTML; line ends at its end neither."""
    allowed = name != "" and all(c.isascii() and (c.isalnum() or c in "_.-") for c in name)
    if allowed:
        assert check_name(name) == name
    else:
        with pytest.raises(TargetError, match="may only have letters") as caught:
            check_name(name)
        assert len(str(caught.value).splitlines()) == 1


def test_a_default_name_that_node_ids_cannot_bear_is_refused(project):
    """The file must be given a name with NAME=."""
    (project / "my model.py").write_text("def make_model():\n    return 1")
    with pytest.raises(TargetError, match="'my model'"):
        from_target("my model.py:make_model")
    assert from_target("mine=my model.py:make_model").build(SETTING) == 1


def test_two_architectures_of_one_name_are_refused():
    """The line names both, and the way out."""
    one, other = from_target("zoo:make_model"), from_target("zoo.py:make_model")
    check_unique([one, from_target("other=zoo:make_model")])
    with pytest.raises(
        TargetError, match=r"^zoo:make_model and zoo\.py:make_model are both named 'zoo'; .*NAME=TARGET"
    ):
        check_unique([one, from_target("other=zoo:make_model"), other])


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def test_the_place_of_a_factory_is_known_where_there_is_one():
    """For annotations: file and line of the function itself, behind what is wrapped around it."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    place = (
        __file__,
        1 + lines.index("def make_model(vocab_size):", lines.index("# The place of this factory is asked.")),
    )
    for factory in (make_model, functools.partial(make_model, vocab_size=1), decorated(make_model)):
        architecture = from_factory(factory)
        assert (architecture.file, architecture.line) == place

    class Built:
        def __call__(self, vocab_size):
            pass

    for unplaced in (from_factory(Built()), from_layers("swiglu")):
        assert unplaced.file is unplaced.line is None
    assert from_factory(decorated(decorated(Built))).file == __file__


def test_a_factory_that_says_nonsense_of_its_module_is_a_factory_still():
    """Its source is then not known by that module, and nothing else is lost."""

    def factory(vocab_size):
        return vocab_size

    factory.__module__ = 3
    architecture = from_factory(factory, name="odd", found_in="models")
    assert architecture.modules == ("models",)
    assert architecture.build(make_setting()) == 32
