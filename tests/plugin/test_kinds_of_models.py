"""Models as users bring them: of any precision, lazy, placed already, with more than the data needs."""

from __future__ import annotations

import pytest

BASE = """
import copy
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, vocab_size, dim=16):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, dim)
        self.mix = nn.Linear(dim, dim)
        self.head = nn.Linear(dim, vocab_size)

    def hidden(self, tokens):
        x = self.embed(tokens)
        return x + self.mix(torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1))

    def forward(self, tokens):
        return self.head(self.hidden(tokens))
"""

SOUND = {
    "float64": "def build(vocab_size): return Tiny(vocab_size).double()",
    "bfloat16": "def build(vocab_size): return Tiny(vocab_size).bfloat16()",
    "half of it in bfloat16": """
class build(Tiny):
    def __init__(self, vocab_size):
        super().__init__(vocab_size)
        self.mix.to(torch.float64)

    def hidden(self, tokens):
        x = self.embed(tokens)
        return x + self.mix(torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1).double()).float()
""",
    "a lazy head": """
class build(Tiny):
    def __init__(self, vocab_size):
        super().__init__(vocab_size)
        self.head = nn.LazyLinear(vocab_size)
""",
    "made with the first input": """
class build(Tiny):
    def forward(self, tokens):
        if not hasattr(self, 'extra'):
            self.extra = nn.Linear(16, 16)
        return self.head(self.extra(self.hidden(tokens)))
""",
    "writes into its input": """
class build(Tiny):
    def forward(self, tokens):
        tokens.bitwise_xor_(1)
        return super().forward(tokens)
""",
    "to() refuses": """
class build(Tiny):
    def to(self, *args, **kwargs):
        raise RuntimeError('a dispatched model stays where it is')
""",
    "to() returns nothing": """
class build(Tiny):
    def to(self, *args, **kwargs):
        super().to(*args, **kwargs)
""",
    "cannot be copied": """
class build(Tiny):
    def __deepcopy__(self, memo):
        raise TypeError('a handle cannot be copied')
""",
    "weight norm": """
def build(vocab_size):
    model = Tiny(vocab_size)
    with __import__('warnings').catch_warnings():
        __import__('warnings').simplefilter('ignore')
        nn.utils.weight_norm(model.mix)
    return model
""",
    "frozen parts": """
def build(vocab_size):
    model = Tiny(vocab_size)
    model.mix.weight.requires_grad_(False)
    model.scale = nn.Parameter(torch.arange(4), requires_grad=False)
    return model
""",
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_model_is_measured(project, kind):
    """Compression too, through the plugin's decoder. What a contract warns of must not fail it here."""
    project.write(kinds=BASE + SOUND[kind])
    result = project.bare(
        "--mad-arch=kinds:build", "--mad-preset=compression.toml", "--mad-json=compression.json", "-Wdefault"
    )
    assert result.ret == 0, result.stdout.str()
    result = project.run("--mad-arch=kinds:build", "--mad-tasks=memorization", "--mad-json=out.json", "-Wdefault")
    assert result.ret == 0, result.stdout.str()
    for name in ("out.json", "compression.json"):
        [found] = project.results(name)["architectures"].values()
        assert all(one["accuracy"] is not None for one in found["settings"].values())
        assert {one["verdict"] for one in found["contracts"].values()} <= {"pass", "skipped"}


REFUSED = {
    "meta": (
        "def build(vocab_size):\n    with torch.device('meta'):\n        return Tiny(vocab_size)",
        "on the device meta and hold no numbers",
    ),
    "wrapped": ("def build(vocab_size): return nn.DataParallel(Tiny(vocab_size))", "is wrapped by DataParallel"),
    "all frozen": (
        "def build(vocab_size): return Tiny(vocab_size).requires_grad_(False)",
        "has no parameters to train: all have requires_grad=False",
    ),
    "sparse": (
        """
class build(Tiny):
    def __init__(self, vocab_size):
        super().__init__(vocab_size)
        self.embed = nn.Embedding(vocab_size, 16, sparse=True)
""",
        "the gradient of embed.weight of kinds:build is sparse",
    ),
    "wider than the vocabulary": (
        "def build(vocab_size): return Tiny(50)",
        "gives (2, 8, 50), but must give (2, 8, 16): return the first 16 of them, logits[..., :16]",
    ),
    "a generator": ("def build(vocab_size): yield Tiny(vocab_size)", "returned generator, but must return"),
    "a message that cannot be read": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\ndef build(vocab_size): raise Odd",
        "raised Odd: (its message cannot be read: ValueError)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_measured_is_one_line(project, kind):
    """Said by the first contract; the others and the setting only point to it."""
    code, says = REFUSED[kind]
    project.write(kinds=BASE + code)
    result = project.run("--mad-arch=kinds:build", "--mad-tasks=memorization", "--mad-json=out.json")
    result.assert_outcomes(failed=3, skipped=10)
    [found] = project.results()["architectures"].values()
    assert says in found["contracts"]["output"]["detail"]
    assert found["settings"]["memorization[baseline]"]["detail"] == (
        "there is no model, see mad::kinds.build::contract[output]"
    )


LEAVES = {
    "skips": ("import pytest; pytest.skip('no kernels on this machine')", "skipped"),
    "imports or skips": ("import pytest; pytest.importorskip('no_such_kernels')", "skipped"),
    "skips as unittest does": ("import unittest; raise unittest.SkipTest('no kernels')", "skipped"),
    "exits": ("raise SystemExit('usage: train.py')", "error"),
    "exits as if all were well": ("import sys; sys.exit(0)", "error"),
    "ends pytest": ("import pytest; pytest.exit('enough', returncode=0)", "error"),
    "fails a test": ("import pytest; pytest.fail('no model')", "error"),
    "ends a generator": ("raise GeneratorExit", "error"),
}


@pytest.mark.parametrize("kind", LEAVES)
@pytest.mark.parametrize("place", ["factory", "forward"])
def test_what_leaves_a_factory_or_a_model_is_a_verdict(project, kind, place):
    """Of its items; the run goes on, and its files are written."""
    statement, verdict = LEAVES[kind]
    code = {
        "factory": f"def build(vocab_size):\n    {statement}",
        "forward": f"class build(Tiny):\n    def forward(self, tokens):\n        {statement}",
    }[place]
    project.write(kinds=BASE + code)
    result = project.run(
        "--mad-arch=kinds:build", "--mad-arch=models:make_model", "--mad-tasks=memorization", "--mad-json=out.json"
    )
    assert result.ret == (0 if verdict == "skipped" else 1), result.stdout.str()
    found = project.results()["architectures"]
    assert {one["verdict"] for one in found["kinds.build"]["settings"].values()} == {verdict}
    assert {one["verdict"] for one in found["models"]["settings"].values()} == {"pass"}


@pytest.mark.parametrize("kind", LEAVES)
def test_what_leaves_a_module_is_a_skip_or_one_line(project, kind):
    """A skip of all its items, which does not look like a pass; or a usage error."""
    statement, verdict = LEAVES[kind]
    project.write(kinds=f"{statement}\ndef build(vocab_size): pass")
    result = project.run("--mad-arch=kinds:build", "--mad-tasks=memorization", "--mad-json=out.json")
    if verdict == "skipped":
        assert result.ret == 0 and "Traceback" not in result.stderr.str()
        [found] = project.results()["architectures"].values()
        assert {one["verdict"] for one in found["settings"].values()} == {"skipped"}
        assert found["settings"]["memorization[baseline]"]["detail"].startswith("kinds asks to be skipped: ")
    else:
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert [line for line in result.stderr.lines if line.startswith("ERROR: --mad-arch=kinds:build: importing")]


UNPRINTABLE = {
    "colours": ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    "a clear screen": ("\x1bc gone", r"\x1bc gone"),
    "a bell and a null": ("ding\a\0", r"ding\x07\x00"),
    "half a pair": ("half \ud800", r"half \ud800"),
    "a line end of its own": ("one\x85two", r"one\x85two"),
    "the other direction": ("abc\u202edef", r"abc\u202edef"),
    "a return": ("shown\rhidden", "shown"),
}


@pytest.mark.parametrize("kind", UNPRINTABLE)
def test_what_a_terminal_would_obey_is_escaped_everywhere(project, kind, monkeypatch):
    """Terminal, JUnit, JSON, HTML and summary: none is lost, and none holds the character."""
    message, shown = UNPRINTABLE[kind]
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    project.write(kinds=f"def build(vocab_size): raise ValueError({message!a})")
    result = project.run(
        "--mad-arch=kinds:build",
        "--mad-tasks=memorization",
        "--mad-json=out.json",
        "--mad-html=out.html",
        "--junitxml=out.xml",
    )
    assert result.ret == 1
    assert f"raised ValueError: {shown}" in result.stdout.str()
    for name in ("out.json", "out.html", "out.xml", "summary.md"):
        text = (project.path / name).read_text(encoding="utf-8")
        assert text and not set(text) & set(message) - set(map(chr, range(32, 127))), name


NAMED = {
    "a=b/net.py": None,
    "lr=0.1,dim=64/net.py": None,
    "runs [best]/net.py": None,
    "time 10:30/net.py": None,
    "with space/my net.py": "my net.build",
    "überblick/netz.py": None,
    "модель.py": "модель.build",
    "net-2.py": None,
    "2024.py": None,
    "a.b.py": None,
    "types.py": None,
    "x=y.py": "x=y.build",
}


@pytest.mark.parametrize("path", NAMED)
def test_a_path_is_a_path_whatever_its_name(project, path):
    """It works as it is, or the line says how to write it; with a name before it, it works."""
    file = project.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(BASE + "build = Tiny")
    as_it_is = project.run(f"--mad-arch={path}:build", "--collect-only", "-q")
    if NAMED[path] is None:
        assert as_it_is.ret == 0, as_it_is.stderr.str()
    else:
        assert as_it_is.ret == pytest.ExitCode.USAGE_ERROR
        [line] = [line for line in as_it_is.stderr.lines if line.startswith("ERROR: ")]
        assert f"{NAMED[path]!r} cannot be its name" in line and f"use NAME={path}:build" in line
    named = project.run(f"--mad-arch=best={path}:build", "--mad-tasks=memorization")
    assert named.ret == 0, named.stdout.str()
