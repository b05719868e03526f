"""TARGETs and factories: what users import, and what it does once it runs."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from pytest_mad.architectures.architecture import Architecture, TargetError, from_factory
from pytest_mad.architectures.targets import from_layers, from_mixer, from_target, split_name
from pytest_mad.common.files import json_text, parse_json
from pytest_mad.common.packages import HERE
from pytest_mad.common.text import printable
from pytest_mad.contracts.base import contracts
from pytest_mad.evaluation.contract import check, run_contract
from pytest_mad.evaluation.options import ContractOptions, Mode, RunOptions
from pytest_mad.evaluation.setting import run_and_judge
from pytest_mad.results.result import ContractResult, SettingResult
from pytest_mad.results.result_file import run_from, run_of, to_json

from .damage import Strategy, arguments, byte_plan, damaged, texts
from .factories import ERRORS, Hostile, factory, must_fail, specs
from .judging import DefectError, Kind, check_line
from .presets import tiny

CPU = torch.device("cpu")
OFF = ContractOptions(modes=tuple((name, Mode("off", "not asked")) for name in contracts()))

# -- TARGETs ----------------------------------------------------------------------------------------------------------

#: Modules, with the place of what is drawn.
BODIES = (
    *(
        "raise ERROR",
        "def make_model(:",
        "make_model = 3",
        "make_model = None",
        "import no_such_module_at_all",
        "",
        "\x00",
    ),
    *(
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a\\nb')",
        "raise SystemExit",
        "from . import x",
        "import MODULE.x",
    ),
    *("import pytest; pytest.skip('a\\nb', allow_module_level=True)", "import pytest; pytest.exit('now\\n!')"),
    *("import pytest; pytest.importorskip('no_such\\x1b')", "import sys; sys.modules[__name__] = None"),
    *("import sys; sys.modules[__name__] = object()", "import sys; del sys.modules[__name__]", "__file__ = None"),
    *("def __getattr__(name): raise ERROR", "def __getattr__(name): return 3", "__name__ = 3", "__path__ = 3"),
    *("class make_model:\n    def __init__(self, a, b): pass", "class make_model:\n    __signature__ = 3"),
    *("class M(type):\n    def __call__(cls): raise ERROR\nclass make_model(metaclass=M): pass",),
    *("class C:\n    def __getattr__(self, name): raise ERROR\n    def __call__(self): pass\nmake_model = C()",),
    *("class C:\n    __module__ = 3\n    def __call__(self, vocab_size): pass\nmake_model = C()",),
    *("def make_model(vocab_size, /): pass", "make_model = print", "make_model = dict.get", "make_model = type"),
    *("def make_model(vocab_size): pass\nmake_model.__wrapped__ = make_model", "def make_model(*, width): pass"),
    *("def make_model(vocab_size): pass\nmake_model.__module__ = 3", "make_model = property(lambda self: 3)"),
    *(
        "from MODULE import make_model",
        "def f(): f()\nf()",
        "# -*- coding: no-such-code -*-",
        "# coding: utf-7\n+AGEA-",
    ),
    *("import torch; torch.set_default_dtype(torch.float64)\ndef make_model(vocab_size): pass",),
    *("import torch; torch.set_default_device('meta')\ndef make_model(vocab_size): pass",),
    *("import warnings; warnings.simplefilter('error')\ndef make_model(vocab_size): pass",),
    *("import torch, random; torch.manual_seed(0); random.seed(0)\ndef make_model(vocab_size): pass",),
    *("def make_model(vocab_size): pass", "class make_model:\n    def __init__(self, dim): pass", "x = (" * 300),
)
NAMES = ("", "x=", "=", "a b=", "a::b=", "é=", "x=y=", "-=", "\x1b=", "a\nb=", "../x=", "x" * 300 + "=")
WAYS = ("FILE:make_model", "MODULE:make_model", "FILE:make_modle", "FILE:a.b", "FILE:", "FILE", "MODULE:__file__")
written: Strategy = st.tuples(
    st.sampled_from(("arch", "mixer")),
    st.sampled_from(NAMES),
    st.sampled_from(WAYS),
    st.sampled_from(BODIES),
    st.tuples(st.sampled_from(sorted(ERRORS)), texts),
    st.one_of(*[st.none()] * 5, byte_plan),
)
unwritten: Strategy = st.tuples(
    st.sampled_from(("arch", "mixer", "layers", "split")),
    st.sampled_from(NAMES),
    st.one_of(arguments, st.tuples(arguments, arguments).map(":".join), arguments.map("{}.py:make_model".format)),
)
_MAKERS: dict[str, Any] = {"arch": from_target, "mixer": from_mixer, "layers": from_layers, "split": split_name}
_PREFIX = "from benchmarks.scale.hostile.factories import ERRORS\n"


def attempt_target(given: tuple[Any, ...], folder: Path) -> str:
    kind, name, way, *more = given
    module = f"hostile_{folder.name}"
    if more:
        (folder / f"{module}.py").write_bytes(source_of(module, *more))
        way = way.replace("FILE", f"{module}.py").replace("MODULE", module)
    path = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        made = _MAKERS[kind](name + way)
    finally:
        sys.path[:] = path
        sys.modules.pop(module, None)
    if isinstance(made, Architecture):
        check_line(made.name)
    return "valid"


def source_of(module: str, body: str, error: tuple[str, str], plan: Any) -> bytes:
    """The bytes of a module's file."""
    raised = "ERRORS[{!r}]({!r})".format(*error)
    source = body.replace("MODULE", module).replace("ERROR", raised).encode("utf-8", "surrogatepass")
    source = _PREFIX.encode() + source if b"ERRORS[" in source else source
    return damaged(source, plan) if plan else source


# -- factories --------------------------------------------------------------------------------------------------------

asked: Strategy = st.tuples(specs, st.sampled_from(("train", "train", "train", "all")))


def attempt_factory(given: tuple[tuple[str, ...], str], folder: Path) -> str:
    spec, how = given
    architecture = from_factory(factory(spec), name="hostile")
    setting = tiny()["memorization[baseline]"]
    contract, shown = run_contract(architecture, setting, "output", ContractOptions(), CPU)
    options = RunOptions(device="cpu", contracts=OFF if how == "train" else ContractOptions())
    measured = run_and_judge(architecture, setting, options)
    check.cache_clear()
    for text in (shown, measured.traceback):
        if printable(text, keep="\n\t") != text:
            raise DefectError(f"control characters in a traceback: {text[-200:]!r}")
        if f'File "{HERE}/' in text:
            raise DefectError(f"a traceback of ours: {text[-300:]!r}")
    check_results(measured.result, contract)
    for result in (contract, measured.result):
        if "HangError" in result.detail:
            raise DefectError("hangs")
    if measured.result.passed and must_fail(spec):
        raise DefectError("passes, but must not")
    return "valid" if measured.result.passed and contract.passed else "judged"


def check_results(setting: SettingResult, contract: ContractResult) -> None:
    """One line each, and a file that can be read again."""
    for line in (setting.detail, contract.detail, setting.reason(), *contract.warned):
        check_line(line)
    run = run_of([setting], "tiny", [contract])
    again = run_from(parse_json(json_text(to_json(run))))
    if again.architectures[setting.architecture].settings[setting.setting].detail != setting.detail:
        raise DefectError("its result file says something else")


def sound(vocab_size: int) -> torch.nn.Module:
    """A factory with nothing wrong."""
    return Hostile(("", ""), vocab_size)


@functools.cache
def measured() -> Any:
    """The content of the result file of a sound model."""
    architecture = from_factory(sound, name="model")
    results = [
        run_and_judge(architecture, one, RunOptions(device="cpu", contracts=OFF)).result for one in tiny().values()
    ]
    names = ("output", "finite", "lengths")
    asked = [
        run_contract(architecture, tiny()["memorization[baseline]"], one, ContractOptions(), CPU)[0] for one in names
    ]
    return parse_json(json_text(to_json(run_of(results, "tiny", asked, "pytest --mad-arch=model"))))


KINDS = (
    Kind(
        name="TARGET",
        inputs=st.one_of(written, written, unwritten),
        attempt=attempt_target,
        documented=(TargetError,),
        share=90,
        of_users=True,
    ),
    Kind(
        name="factory",
        inputs=asked,
        attempt=attempt_factory,
        documented=(TargetError,),
        share=60,
        of_users=True,
    ),
)
