"""No architecture decides on another: their modules, what they change of the process, and their models are apart."""

from __future__ import annotations

import json
import textwrap

import pytest

TINY = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, vocab_size, dim=16):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, dim)
        self.head = nn.Linear(dim, vocab_size)

    def forward(self, tokens):
        x = self.embed(tokens)
        return self.head(x + torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1))
"""

#: Files of two checkouts, ``{dim}`` being what differs; and the TARGET in each.
CHECKOUTS = {
    "a sibling": (
        {"net.py": "from parts import Tiny\ndef build(vocab_size): return Tiny(vocab_size, {dim})"},
        "net.py",
    ),
    "a sibling, imported when it is built": (
        {"net.py": "def build(vocab_size):\n    from parts import Tiny\n    return Tiny(vocab_size, {dim})"},
        "net.py",
    ),
    "a number in a sibling": (
        {
            "sizes.py": "DIM = {dim}",
            "net.py": "import sizes\nfrom parts import Tiny\ndef build(vocab_size): return Tiny(vocab_size, sizes.DIM)",
        },
        "net.py",
    ),
    "a folder without __init__.py": (
        {
            "lib/sizes.py": "DIM = {dim}",
            "net.py": "from lib.sizes import DIM\nfrom parts import Tiny\ndef build(vocab_size): return Tiny(vocab_size, DIM)",
        },
        "net.py",
    ),
    "a path of its own": (
        {
            "lib/sizes.py": "DIM = {dim}",
            "net.py": (
                "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent / 'lib'))\n"
                "def build(vocab_size):\n    from sizes import DIM\n    from parts import Tiny\n"
                "    return Tiny(vocab_size, DIM)"
            ),
        },
        "net.py",
    ),
    "a package with relative imports": (
        {
            "zoo/__init__.py": "",
            "zoo/sizes.py": "DIM = {dim}",
            "zoo/deep/__init__.py": "",
            "zoo/deep/net.py": (
                "from ..sizes import DIM\nfrom parts import Tiny\ndef build(vocab_size): return Tiny(vocab_size, DIM)"
            ),
        },
        "zoo/deep/net.py",
    ),
    "the __init__.py of a package": (
        {
            "zoo/sizes.py": "DIM = {dim}",
            "zoo/__init__.py": "from .sizes import DIM\nfrom parts import Tiny\ndef build(vocab_size): return Tiny(vocab_size, DIM)",
        },
        "zoo/__init__.py",
    ),
}
#: Of Tiny, with a vocabulary of 24.
WEIGHTS = {dim: 24 * dim + 24 * (dim + 1) for dim in (8, 12)}


def write(project, files, dim):
    for name, text in {"parts.py": TINY, **files}.items():
        path = project.path / f"of_{dim}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{dim}", str(dim)))


@pytest.mark.parametrize("order", [(8, 12), (12, 8)])
@pytest.mark.parametrize("kind", CHECKOUTS)
def test_two_checkouts_are_two_models(project, kind, order):
    """Whichever comes first; neither finds the other's files."""
    files, target = CHECKOUTS[kind]
    for dim in order:
        write(project, files, dim)
    targets = [f"--mad-arch=v{dim}=of_{dim}/{target}:build" for dim in order]
    result = project.run(*targets, "-k", "memorization", "--mad-json=out.json")
    assert result.ret == 0, result.stdout.str()
    found = project.results()["architectures"]
    assert {name: one["parameters"] for name, one in found.items()} == {f"v{dim}": WEIGHTS[dim] for dim in order}


def test_a_module_that_a_conftest_has_is_not_taken_for_a_sibling(project):
    """It lies below the folder, and has the sibling's name."""
    (project.path / "lib").mkdir()
    (project.path / "lib/parts.py").write_text("raise_if_used = None")
    (project.path / "parts.py").write_text(TINY)
    (project.path / "net.py").write_text("from parts import Tiny as build")
    project.write(conftest="import sys\nsys.path.insert(0, 'lib')\nimport parts\nsys.path.remove('lib')")
    assert project.run("--mad-arch=net.py:build", "--mad-tasks=memorization").ret == 0
    assert project.run("--mad-arch=net.py:build", "--mad-tasks=memorization", "-n1").ret == 0


def test_a_name_with_two_places_is_an_error(project):
    """One was imported before, by a conftest.py; the other is what the user sees."""
    (project.path / "lib").mkdir()
    (project.path / "lib/twice.py").write_text(TINY)
    (project.path / "twice.py").write_text(TINY)
    project.write(conftest="import sys\nsys.path.insert(0, 'lib')\nimport twice\nsys.path.remove('lib')")
    result = project.run("--mad-arch=twice:Tiny")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    [line] = [line for line in result.stderr.lines if line.startswith("ERROR: ")]
    assert str(project.path / "twice.py") in line and "lib/twice.py" in line


CHANGES = {
    "default dtype": "torch.set_default_dtype(torch.float64)",
    "default device": "torch.set_default_device('meta')",
    "grad mode": "torch.set_grad_enabled(False)",
    "deterministic algorithms": "torch.use_deterministic_algorithms(True)",
    "number of threads": "torch.set_num_threads(3)",
    "random state": "torch.manual_seed(5)",
    "warnings filters": "import warnings; warnings.simplefilter('ignore')",
    "anomaly detection": "torch.autograd.set_detect_anomaly(True)",
    "precision of float32 products": "torch.set_float32_matmul_precision('medium')",
    "floating-point errors": "import numpy; numpy.seterr(all='raise')",
    "flushing of denormal numbers": "torch.set_flush_denormal(True)",
}
LOUD = """
from quiet import Tiny
import torch
def factory(vocab_size):
    model = Tiny(vocab_size)
    {change}
    return model
"""


@pytest.mark.parametrize("place", ["in the factory", "at import", "in the model"])
@pytest.mark.parametrize("what", CHANGES)
def test_what_a_factory_changes_is_put_back_and_named(project, what, place, request):
    """The next architecture has the scores that it has alone."""
    indented = textwrap.indent(CHANGES[what], "        ")
    project.write(
        quiet=TINY,
        loud={
            "in the factory": LOUD.format(change=CHANGES[what]),
            "at import": f"import torch\nfrom quiet import Tiny as factory\n{CHANGES[what]}",
            "in the model": (
                "import torch\nfrom quiet import Tiny\n\nclass factory(Tiny):\n    def forward(self, tokens):\n"
                f"        logits = super().forward(tokens)\n{indented}\n        return logits\n"
            ),
        }[place],
    )
    alone = project.run("--mad-arch=quiet=quiet:Tiny", "-k", "memorization and baseline", "--mad-json=alone.json")
    assert alone.ret == 0
    result = project.run(
        "--mad-arch=loud:factory", "--mad-arch=quiet=quiet:Tiny", "--mad-tasks=memorization", "--mad-json=out.json"
    )
    found = project.results()["architectures"]
    curves = [
        one["quiet"]["settings"]["memorization[baseline]"]["trials"]
        for one in (found, project.results("alone.json")["architectures"])
    ]
    assert curves[0] == curves[1]
    told = json.dumps(found["loud.factory"]["contracts"]["globals-unchanged"])
    assert what in told or (place != "in the factory" and what in ("random state", "warnings filters")), told
    assert ("not even for its own factory" in told) is (place == "at import" and what in told), told
    assert result.ret in (0, 1) and "INTERNALERROR" not in result.stdout.str()


SAME = {
    "a cache": "import functools\nfrom quiet import Tiny\nbuild = functools.cache(Tiny)",
    "a model of the module": "from quiet import Tiny\nMODEL = Tiny(16)\ndef build(vocab_size): return MODEL",
    "a part of the module": (
        "from quiet import Tiny\nfrom torch import nn\nHEAD = nn.Linear(16, 16)\n"
        "def build(vocab_size):\n    model = Tiny(16)\n    model.head = HEAD\n    return model"
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_a_model_that_is_not_new_is_said_once(project, kind):
    """In these words; not as a puzzle about random numbers."""
    project.write(quiet=TINY, again=SAME[kind])
    result = project.run("--mad-arch=again:build", "--mad-tasks=memorization", "--mad-json=out.json")
    result.assert_outcomes(failed=3, skipped=10)
    contracts = project.results()["architectures"]["again.build"]["contracts"]
    assert contracts["output"]["verdict"] == "error"
    assert "each call must build a new model" in contracts["output"]["detail"]
    assert {one["detail"] for name, one in contracts.items() if name != "output"} == {
        "there is no model to check: see contract output"
    }
