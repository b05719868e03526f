"""Every form in which an architecture can be named runs through the console script, with and without workers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).with_name("project")
ROOT = Path(__file__).parents[2]

#: Default or given name of every architecture, and how it is asked for.
FORMS = {
    "forms": "--mad-arch=forms:make_model",
    "forms.without_task": "--mad-arch=forms:without_task",
    "forms.any_keywords": "--mad-arch=forms:any_keywords",
    "with-defaults_2.0": "--mad-arch=with-defaults_2.0=forms:with_defaults",
    "forms.Network": "--mad-arch=forms:Network",
    "other": "--mad-arch=folder/other.py:make_model",
    "other.plain": "--mad-arch=folder/other.py:plain",
    "file": "--mad-arch=file=./folder/other.py:make_model",
    "inner": "--mad-arch=package.inner:make_model",
    "inner.Factory.small": "--mad-arch=package.inner:Factory.small",
    "linear_attention": "--mad-arch=reference_archs.linear_attention:make_model",
    "mh-attention-swiglu": "--mad-layers=mh-attention,swiglu",
    "stack": "--mad-layers=stack=linear-attention, mlp",
    "forms.Mixer": "--mad-mixer=forms:Mixer",
    "tuple": "--mad-mixer=tuple=forms:TupleMixer",
}
TRANSFORMERS = {
    "forms.llama": "--mad-arch=forms:llama",
    "forms.gpt2": "--mad-arch=forms:gpt2",
    "forms.mamba": "--mad-arch=forms:mamba",
    "readme": "--mad-arch=readme:make_model",
}
(README,) = re.findall(
    r"^```python\n(from transformers .*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
#: A model without a vector to decode.
TABLE = {"table": "--mad-arch=table=models:table"}
HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Exit code, output and architectures of two runs: in one process, and with ``-n 2``."""
    folder = tmp_path_factory.mktemp("forms")
    for file in PROJECT.glob("*.*"):
        shutil.copy(file, folder)
    (folder / "readme.py").write_text(README)
    (folder / "folder").mkdir()
    (folder / "folder" / "other.py").write_text("from beside import make_model, plain")
    (folder / "folder" / "beside.py").write_text("from models import make_model, plain")
    (folder / "package").mkdir()
    inner = "from models import make_model\n\nclass Factory:\n    small = make_model\n"
    (folder / "package" / "inner.py").write_text(inner)

    script = shutil.which("pytest", path=os.path.dirname(sys.executable))
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    forms = FORMS | TABLE | (TRANSFORMERS if HAS_TRANSFORMERS else {})

    def run(*arguments):
        command = [script, "-p", "no:hypothesispytest", "-p", "no:anyio", "--mad-preset=forms.toml"]
        command += ["--mad-json=out.json", *forms.values(), *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        file = folder / "out.json"
        found = json.loads(file.read_text())["architectures"] if file.exists() else {}
        file.unlink(missing_ok=True)
        return done.returncode, done.stdout + done.stderr, found

    return {"one process": run(), "two workers": run("-n", "2")}


@pytest.fixture(params=["one process", "two workers"])
def run(request, runs):
    return runs[request.param]


def verdicts(found, names):
    return {name: {key: s["verdict"] for key, s in found[name]["settings"].items()} for name in names}


PASSED = {"memorization[baseline]": "pass", "compression[baseline]": "pass"}


def test_every_form_of_architecture_runs(run):
    """Modules in the current directory and in packages, files, factories with all or some keywords, layers, mixers."""
    code, output, found = run
    assert code == pytest.ExitCode.OK, output
    assert verdicts(found, FORMS) == dict.fromkeys(FORMS, PASSED), output


def test_transformers_models_run(run):
    """Llama, GPT-2 and Mamba, built from a tiny config; and the README's example, as it stands there."""
    pytest.importorskip("transformers")
    _, output, found = run
    assert verdicts(found, TRANSFORMERS) == dict.fromkeys(TRANSFORMERS, PASSED), output


def test_a_skipped_setting_is_reported_with_its_reason(run):
    """Not a failure, and the architecture's other settings are measured."""
    _, output, found = run
    assert verdicts(found, TABLE) == {"table": PASSED | {"compression[baseline]": "skipped"}}
    assert "compression needs one vector to decode" in output


def test_workers_give_every_form_the_same_scores(runs):
    """Bit for bit, whatever the model is made of."""
    one, two = (
        {
            (name, setting): (s["accuracy"], s["accuracy_compat"], s["sequence_accuracy"], s["trials"])
            for name, architecture in found.items()
            for setting, s in architecture["settings"].items()
        }
        for _, _, found in runs.values()
    )
    assert one == two and len(one) == 2 * len(FORMS | TABLE | (TRANSFORMERS if HAS_TRANSFORMERS else {}))


def test_every_form_has_its_own_model(runs):
    """Parameters tell which backbone was built: mixers and layers at the preset's width, factories as they come."""
    _, _, found = runs["one process"]
    sizes = {name: architecture["parameters"] for name, architecture in found.items()}
    assert sizes["forms"] == sizes["forms.without_task"] == sizes["other"] == sizes["inner"] == sizes["forms.Network"]
    assert sizes["forms.Mixer"] == sizes["tuple"] > sizes["forms"]
    assert sizes["mh-attention-swiglu"] > 4 * 32 * 32 > sizes["forms"]
