"""An architecture that was only rewritten keeps its stored trials; one that computes something else is trained again."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from pytest_mad.architectures.targets import from_target
from pytest_mad.evaluation.sweep import run_sweep
from pytest_mad.presets.recipe import Point
from pytest_mad.store.folder import Store
from pytest_mad.store.identity import identify
from pytest_mad.training.trial import TrialError
from tests.unit.tiny import CPU, make_setting

MODEL = '''"""A small attention model."""
import math
import torch
from torch import nn
from edited_helpers import WIDTH, rms


class Attention(nn.Module):
    def __init__(self, dim, heads=2):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        batch, length, dim = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        y = scores.masked_fill(future, -1e9).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(batch, length, dim))


class Model(nn.Module):
    def __init__(self, vocab_size, dim=WIDTH):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, dim)
        self.attention = Attention(dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)
        self.head = nn.Linear(dim, vocab_size)

    def forward(self, tokens):
        x = self.embed(tokens)
        x = x + self.attention(rms(x))
        x = x + self.down(torch.relu(self.up(rms(x))))
        return self.head(rms(x))


def make_model(vocab_size):
    return Model(vocab_size)
'''
HELPERS = """WIDTH = 16
EPSILON = 1e-6


def rms(x):
    return x * (x.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
"""
ATTEND = """        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        y = scores.masked_fill(future, -1e9).softmax(-1) @ v
"""
LAST = "        return self.head(rms(x))\n"
INIT = "        self.head = nn.Linear(dim, vocab_size)\n"
SETTING = make_setting(steps=60, evaluate_every=20)

CAPPED = """        y = self.head(rms(x))
        return y.where(y.abs() < LATE, LATE * (y / LATE).tanh())
"""
COUNTED = """        {}
        return self.head(rms(x)) * (1 if {} < 40 else 0.5)
"""

#: what is replaced, and by what; in the file that has it
USED_AGAIN = {
    "nothing": ("", ""),
    "a comment": (LAST, "        # the logits\n" + LAST),
    "a docstring": ("    def forward(self, tokens):\n", '    def forward(self, tokens):\n        """Logits."""\n'),
    "other quotes and line breaks": ("(self, dim, heads=2):", "(\n        self,\n        dim,\n        heads=2,\n    ):"),
    "a local renamed": ("scores", "similarity"),
    "a class renamed": ("class Attention", "class SelfAttention"),
    "an argument renamed": ("def forward(self, tokens):\n        x = self.embed(tokens)",
                            "def forward(self, ids):\n        x = self.embed(ids)"),
    "a parameter that is never used": ("dim=WIDTH):", "dim=WIDTH, dropout=0.5):"),
    "an import that is never used": ("import math\n", "import math\nimport itertools\n"),
    "a global constant that is never used": ("EPSILON = 1e-6\n", "EPSILON = 1e-6\nHEADS = 7\n"),
    "the order of two imports": ("import torch\nfrom torch import nn\n", "from torch import nn\nimport torch\n"),
    "another name of one operation": ("torch.relu(", "nn.functional.relu("),
    "a faster formula": (ATTEND, "        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)\n"),
    "a square as a product": ("x.square()", "(x * x)"),
    "a root as a power": (".rsqrt()", " ** -0.5"),
    "a factor pulled into the query": ("q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])",
                                       "(q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)"),
}  # fmt: skip

TRAINED_AGAIN = {
    "another initialisation": (INIT, INIT + "        nn.init.normal_(self.head.weight, std=0.1)\n"),
    "the scale of an initialisation": (INIT, INIT + "        self.embed.weight.data.mul_(1.01)\n"),
    "epsilon's power of ten, in another file": ("1e-6", "1e-5"),
    "epsilon's power of ten, downwards": ("1e-6", "1e-7"),
    "one head more": ("heads=2", "heads=4"),
    "a wider model": ("WIDTH = 16", "WIDTH = 24"),
    "one layer more": ("        x = x + self.down(", "        x = x + self.attention(rms(x))\n        x = x + self.down("),
    "a clamp that binds late": (LAST, "        return self.head(rms(x)).clamp(-LATE, LATE)\n"),
    "a soft cap that binds late": (LAST, CAPPED),
    "a branch that only evaluation takes": (LAST, "        return self.head(rms(x)) * (1 if self.training else 1.001)\n"),
    "a branch that only training takes": (LAST, "        return self.head(rms(x)) * (1.001 if self.training else 1)\n"),
    "dropout": (LAST, "        return self.head(nn.functional.dropout(rms(x), 0.1, self.training))\n"),
    "a schedule by a counter": (LAST, COUNTED.format("self.steps = getattr(self, 'steps', 0) + self.training", "self.steps")),
    "a schedule by a buffer": ((INIT, INIT + "        self.register_buffer('steps', torch.zeros(()))\n"),
                               (LAST, COUNTED.format("self.steps += self.training", "self.steps"))),
    "a schedule by a global": ((LAST, COUNTED.format("globals()['STEPS'] += self.training", "STEPS")), ("import math\n", "import math\nSTEPS = 0\n")),
    "a schedule by a class's attribute": (LAST, COUNTED.format("Model.steps = getattr(Model, 'steps', 0) + self.training", "self.steps")),
    "a gradient that is cut": ("x = x + self.attention(rms(x))", "x = x + self.attention(rms(x)).detach()"),
    "a window in place of all that was": ("triu(1)", "triu(1) | torch.ones(length, length).tril(-3).bool()"),
    "another scale": ("math.sqrt(q.shape[-1])", "q.shape[-1]"),
    "another activation": ("torch.relu(", "nn.functional.gelu("),
    "a residual left out": ("x = x + self.down(", "x = self.down("),
    "a changed helper in another file": ("x.square().mean", "x.abs().mean"),
}  # fmt: skip


@pytest.fixture
def load(tmp_path, monkeypatch):
    """The architecture of an edited pair of files, as a new process would import it."""
    before, path = set(sys.modules), list(sys.path)

    def loaded(*replacements, name="edited_model", late=1e9):
        for module in set(sys.modules) - before:
            if module.startswith("edited_"):
                del sys.modules[module]
        texts = {f"{name}.py": f"LATE = {late}\n{MODEL}" if late < 1e9 else MODEL, "edited_helpers.py": HELPERS}
        for old, new in replacements:
            assert any(old in text for text in texts.values()), old
            texts = {file: text.replace(old, new) for file, text in texts.items()}
        folder = tmp_path / f"edit-{len(list(tmp_path.glob('edit-*')))}"
        folder.mkdir()
        for file, text in texts.items():
            (folder / file).write_text(text)
        monkeypatch.syspath_prepend(folder)
        return from_target(f"{folder / name}.py:make_model")

    yield loaded
    sys.path[:] = path
    for module in [m for m in sys.modules if m.startswith(("edited_", "_mad_edited_"))]:
        del sys.modules[module]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a store in which the architecture as it is written above was trained."""
    return tmp_path_factory.mktemp("store")


def sweep(architecture, store):
    return run_sweep(architecture, SETTING, 0, device=CPU, store=store)


@pytest.fixture
def store(trained, load, tmp_path):
    """A copy of it."""
    if not list(trained.glob("trial-*")):
        assert not sweep(load(), Store(trained)).stored
    return Store(shutil.copytree(trained, tmp_path / "store"))


def pairs(edit):
    return edit if isinstance(edit[0], tuple) else (edit,)


@pytest.mark.parametrize("name", USED_AGAIN)
def test_what_is_only_rewritten_is_used_again(load, store, name):
    edit = USED_AGAIN[name]
    if name == "a class renamed":
        edit = (edit, ("= Attention(", "= SelfAttention("))
    found = sweep(load(*pairs(edit)), store)
    assert found.stored
    assert store.trouble is None


def test_a_moved_file_is_used_again(load, store):
    """The module has another name, and what it imports lies in another folder."""
    assert sweep(load(name="edited_elsewhere"), store).stored


@pytest.mark.parametrize("name", TRAINED_AGAIN)
def test_what_computes_something_else_is_trained_again(load, store, name):
    """Its scores are those of a run without a store, unless it draws on what other models left behind."""
    architecture = load(*pairs(TRAINED_AGAIN[name]), late=late_value(store))
    found = sweep(architecture, store)
    assert not found.stored
    if name not in ("a schedule by a global", "a schedule by a class's attribute"):
        assert sweep(architecture, None).best.curve == found.best.curve


def late_value(store):
    """A size that the logits reach at the end of the stored training, and not in its first steps."""
    (path,) = store.folder.glob("trial-*")
    (stored,) = store.find("trial", path.name.split("-")[1])
    early, late = (float(stored.tensors()[f"{when}.evaluation"].abs().max()) for when in ("start", "end"))
    assert late > 1.5 * early
    return (early + late) / 2


@pytest.mark.parametrize("name", ["a clamp that binds late", "a soft cap that binds late"])
def test_what_binds_late_does_not_show_in_the_first_steps(load, store, name):
    """So these two are really told by the stored weights."""

    def start(architecture):
        with architecture.entered():
            return identify(architecture, SETTING, SETTING.recipe.points[0], 0, None, CPU).start

    edited = load(*pairs(TRAINED_AGAIN[name]), late=late_value(store))
    assert start(edited).agrees(start(load()).values)


COUNTERS = {
    "an attribute": TRAINED_AGAIN["a schedule by a counter"],
    "a buffer": TRAINED_AGAIN["a schedule by a buffer"],
    "a global": TRAINED_AGAIN["a schedule by a global"],
    "a class's attribute": TRAINED_AGAIN["a schedule by a class's attribute"],
    "a frozen parameter": (
        (INIT, INIT + "        self.steps = nn.Parameter(torch.zeros(()), requires_grad=False)\n"),
        (LAST, COUNTED.format("self.steps += self.training", "self.steps")),
    ),
    "a parameter without a gradient": (
        (INIT, INIT + "        self.steps = nn.Parameter(torch.zeros(()))\n"),
        (LAST, COUNTED.format("self.steps.data += self.training", "self.steps.data")),
    ),
    "evaluations": (LAST, COUNTED.format("self.calls = getattr(self, 'calls', 0) + (not self.training)", "self.calls")),
    "a function's attribute": (
        (LAST, COUNTED.format("make_model.steps += self.training", "make_model.steps")),
        ("def make_model(vocab_size):\n", "def make_model(vocab_size):\n    make_model.steps = 0\n"),
    ),
}


@pytest.mark.parametrize("kind", COUNTERS)
def test_a_model_that_counts_keeps_its_trials_until_its_source_changes(load, tmp_path, kind):
    """No evidence of a few steps can tell what it does at step 40; that its source is the same can."""
    counting, kept = pairs(COUNTERS[kind]), Store(tmp_path / "store")
    assert not sweep(load(*counting), kept).stored
    if kind not in (
        "a global",
        "a class's attribute",
    ):  # which a second model of the process finds as the first left it
        assert sweep(load(*counting), kept).stored
    assert not sweep(load(*counting, ("40", "41")), kept).stored


SCALED = "        scores = q"
UNSEEN = {
    "half precision inside": (
        LAST,
        "        with torch.autocast('cpu', torch.bfloat16):\n            return self.head(rms(x)).float()\n",
    ),
    "an overflow of float32 alone": (LAST, "        return self.head(rms(x)) * 1e25 * 1e25 * 1e-25 * 1e-25\n"),
    "a branch by the size of the batch": (
        LAST,
        "        return self.head(rms(x)) * (0.5 if len(tokens) == 8 else 1)\n",
    ),
    "an assertion that trained weights break": (
        LAST,
        "        assert self.head.weight.abs().max() < 0.3 or self.training\n        return self.head(rms(x)) * 1.0\n",
    ),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_double_precision_or_few_rows_do_not_show_is_seen_too(load, store, name):
    edited = load(UNSEEN[name])
    try:
        assert not sweep(edited, store).stored
    except (ArithmeticError, RuntimeError, AssertionError, TrialError):  # it was trained, and broke
        assert name.startswith("an ")


def test_a_recurrent_layer_of_torchs_own_is_known_by_evidence(load, tmp_path):
    """Its list of weights, which move, is no hidden state."""
    kept, lstm = (
        Store(tmp_path / "store"),
        (
            ("self.attention = Attention(dim)", "self.attention = nn.LSTM(dim, dim, batch_first=True)"),
            ("self.attention(rms(x))", "self.attention(rms(x))[0]"),
        ),
    )
    assert not sweep(load(*lstm), kept).stored
    assert sweep(load(*lstm, (LAST, "        # the logits\n" + LAST)), kept).stored


def test_a_file_that_is_edited_while_it_trains_is_not_what_was_trained(load, tmp_path):
    """Neither the old code's results beside the new text, nor the other way round."""
    kept, architecture = Store(tmp_path / "store"), load()
    path = Path(architecture.file)
    text = path.read_text()

    def edit(step, total, accuracy):
        path.write_text(text.replace("triu(1)", "triu(1)  # edited"))

    run_sweep(architecture, SETTING, 0, device=CPU, store=kept, progress=edit)
    assert not list(kept.folder.glob("trial-*"))
    assert "edited while it ran" in kept.trouble
    late = load()
    Path(late.file).write_text(text + "# edited\n")
    assert not sweep(late, kept).stored
    with late.entered():
        assert identify(late, SETTING, SETTING.recipe.points[0], 0, None, CPU).source is None


def test_the_file_that_names_a_partial_belongs_to_the_source(load):
    """What is written there decides, wherever the function comes from."""
    wrapped = ("def make_model(vocab_size):", "def build(vocab_size):")
    partial = (
        "    return Model(vocab_size)\n",
        "    return Model(vocab_size)\n\nimport functools\nmake_model = functools.partial(edited_helpers.pad, build)\n",
    )
    helper = ("WIDTH = 16\n", "WIDTH = 16\n\ndef pad(function, vocab_size):\n    return function(vocab_size)\n")
    imports = ("import math\n", "import math\nimport edited_helpers\n")
    architecture = load(wrapped, partial, helper, imports)
    assert set(architecture.modules) == {"edited_helpers", "edited_model"}


def test_what_a_factory_reads_elsewhere_counts_too(load, tmp_path, monkeypatch):
    """The source is the same, but a file that it reads, or the environment, is not."""
    kept = Store(tmp_path / "store")
    scores = "        scores = q"
    reading = (scores, "        q = q * float(__import__('os').environ['SCALE'])\n" + scores)
    monkeypatch.setenv("SCALE", "1")
    architecture = load(reading)
    assert not sweep(architecture, kept).stored
    assert sweep(load(reading), kept).stored
    monkeypatch.setenv("SCALE", "1.001")
    assert not sweep(load(reading), kept).stored


def test_two_variants_do_not_take_each_others_place(load, tmp_path):
    """Who goes back and forth between two branches trains each of them once."""
    kept, wide = Store(tmp_path / "store"), ("math.sqrt(q.shape[-1])", "q.shape[-1]")
    for edits in ((), (wide,)):
        assert not sweep(load(*edits), kept).stored
    for edits in ((), (wide,), ()):
        assert sweep(load(*edits), kept).stored


def test_another_seed_point_setting_or_recipe_is_another_trial(load, store):
    architecture = load()
    for setting, seed in (
        (SETTING, 1),
        (make_setting(steps=60, evaluate_every=20, batch_size=4), 0),
        (make_setting(steps=60, evaluate_every=20, points=(Point(lr=0.02),)), 0),
        (
            make_setting(
                params={"vocab_size": 30, "seq_len": 8, "num_train_examples": 64}, steps=60, evaluate_every=20
            ),
            0,
        ),
    ):
        assert not run_sweep(architecture, setting, seed, device=CPU, store=store).stored
    threshold = make_setting(steps=60, evaluate_every=20, threshold=0.5)  # decides nothing about a trial
    assert run_sweep(architecture, threshold, 0, device=CPU, store=store).stored


def test_a_stored_sweep_is_what_was_trained(load, store):
    """Every number, and the trained model's causality, which is checked again."""
    fresh, found = sweep(load(), None), sweep(load(), store)
    assert found.stored
    assert (found.best.curve, found.best.test, found.best.validation, found.best.steps, found.best.stopped) == (
        fresh.best.curve, fresh.best.test, fresh.best.validation, fresh.best.steps, fresh.best.stopped,
    )  # fmt: skip
    assert (found.parameters, found.state_size) == (fresh.parameters, fresh.state_size)
