"""Bad input that only running can tell: a failed item with one line, and every other item goes on."""

from __future__ import annotations

import pickle
import shutil
import zipfile

import numpy as np
import pytest

from pytest_mad import settings
from pytest_mad.training.published import folder_name

BASELINE = "memorization[baseline]"

#: What is said of each factory in ``project/bad.py``.
SAYS = {
    "raises": "bad:raises raised ValueError: a vocabulary of 16 is too much for me",
    "not_a_module": "bad:not_a_module returned dict, but must return a torch.nn.Module",
    "nothing": "bad:nothing returned NoneType, but must return a torch.nn.Module",
    "NoParameters": "the model of bad:NoParameters has no parameters to train",
    "Rank": "wrong rank: the model of bad:Rank gives (2, 16), but must give (2, 8, 16)",
    "Length": "wrong length: the model of bad:Length gives (2, 7, 16), but must give (2, 8, 16)",
    "Vocabulary": "wrong vocabulary: the model of bad:Vocabulary gives (2, 8, 17), but must give (2, 8, 16)",
    "NoTensor": "the model of bad:NoTensor returned list, but must return logits (2, 8, 16) or an object with .logits",
    "Crash": "the model of bad:Crash raised RuntimeError for tokens (2, 8): mat1 and mat2 shapes cannot be multiplied",
    "NaN": "finite",  # whichever contract says so first
    "LaterNaN": "the loss is nan at step 10",
    "LaterInf": "the loss is inf at step 10",
    "LaterCrash": "training raised IndexError: lost my way",
    "DeviceMemory": "out of memory: make the model or the preset's batch_size smaller (CUDA out of memory. Tried",
    "HostMemory": "out of memory: make the model or the preset's batch_size smaller",
    "AtOnce": "out of memory: make the model or the preset's batch_size smaller",
}
#: What a contract finds is a property of the model, not an accident.
FAILS = {"NaN"}
#: Where the user's own code raised, its frames are shown above our line.
SHOWS = {
    "raises": "in helper",
    "Crash": "in forward",
    "LaterCrash": "in then",
    "DeviceMemory": "in then",
    "HostMemory": "in then",
    "AtOnce": "in forward",
}


def sections(result):
    """Lines below each failure's heading, by architecture."""
    found, lines = {}, None
    for line in result.outlines:
        if line.startswith("_") and "mad::" in line:
            lines = found.setdefault(line.split("::")[1], [])
        elif line.startswith("="):
            lines = None
        elif lines is not None and line:
            lines.append(line)
    return found


@pytest.fixture
def run(project):
    """Run these architectures on one setting: pytest's result, their verdicts, and what is shown of each failure."""

    def run(*targets, options=()):
        architectures = [f"--mad-arch={target}" for target in targets]
        result = project.run(*architectures, "-k", "memorization and baseline", "--mad-json=out.json", *options)
        text = result.stdout.str() + result.stderr.str()
        assert "INTERNALERROR" not in text and result.ret == pytest.ExitCode.TESTS_FAILED
        found = project.results()["architectures"]
        return result, {name: a["settings"][BASELINE] for name, a in found.items()}, sections(result)

    return run


def test_a_bad_model_is_an_error_of_its_items_only(run):
    """One line each says what is wrong and what would be right; the sound model behind them all still passes."""
    result, found, shown = run(*(f"{name}=bad:{name}" for name in SAYS), "sound=models:make_model")
    result.assert_outcomes(failed=len(SAYS), passed=1)
    assert found["sound"]["verdict"] == "pass"
    for name, says in SAYS.items():
        detail = found[name]["detail"]
        verdict = "fail" if name in FAILS else "error"
        assert found[name]["verdict"] == verdict and says in detail and "\n" not in detail, name
        assert found[name]["accuracy"] is None and found[name]["normalized"] is None, name
        assert shown[name][-1] == f"{verdict}: {detail}"
        assert f"FAILED mad::{name}::{BASELINE} - {verdict}: " in result.stdout.str()
        if name in SHOWS:
            assert any("bad.py" in line and SHOWS[name] in line for line in shown[name]), name
            assert not any("pytest_mad/" in line for line in shown[name]), name
        else:
            assert len(shown[name]) == 1, name


def test_not_a_number_is_not_called_a_look_into_the_future(run):
    """A model that gives NaN is told so before training, whatever guard and contracts would make of it."""
    _, found, _ = run("bad:NaN")
    detail = found["bad.NaN"]["detail"]
    assert "not causal" not in detail and "see each other" not in detail and found["bad.NaN"]["trials"] == []


def test_a_mixer_that_changes_the_shape_is_named(project, run):
    """For a mixer it is the mixer's shape that is wrong, not the logits'."""
    project.write(
        mixers="""
        from torch import nn

        class Narrow(nn.Linear):
            def __init__(self, dim):
                super().__init__(dim, dim // 2)

        class Nothing(nn.Linear):
            def __init__(self, dim):
                super().__init__(dim, dim)

            def forward(self, x):
                return None
        """
    )
    options = ["--mad-mixer=mixers:Narrow", "--mad-mixer=mixers:Nothing"]
    _, found, _ = run(options=options)
    narrow = "mixer mixers:Narrow turned (2, 8, 16) into (2, 8, 8), but must keep the shape"
    assert found["mixers.Narrow"]["detail"] == narrow
    assert found["mixers.Nothing"]["verdict"] == "error" and "mixers:Nothing" in found["mixers.Nothing"]["detail"]


def test_one_recipe_point_that_diverges_does_not_lose_the_others(project, run):
    """A sweep keeps what trained; only if no point gives a score it is an error. The contract of finite numbers, which
    looks at the largest learning rate, is switched off.
    """
    preset = (project.path / "tiny.toml").read_text()
    (project.path / "tiny.toml").write_text(preset.replace("{ lr = 5e-2 }", "{ lr = 1e38 }, { lr = 5e-2 }"))
    off = "--mad-contract=finite=off:one point is meant to diverge"
    result = project.models(f"mad::models::{BASELINE}", off, "--mad-json=out.json")
    assert result.ret == pytest.ExitCode.OK
    setting = project.results()["architectures"]["models"]["settings"][BASELINE]
    assert setting["best"]["lr"] == 0.05 and setting["accuracy"] == 1.0


@pytest.fixture
def published(project):
    """A folder in MAD-Lab's layout with sound data for the memorization baseline; the path of the setting's folder."""
    setting = settings(str(project.path / "tiny.toml"))[BASELINE]
    folder = project.path / "data" / folder_name(setting.task, setting.params)
    for split, n in (("train", 64), ("test", 32)):
        batch = setting.task.generate(setting.params, n, np.random.default_rng(0), split)
        (folder / split).mkdir(parents=True)
        np.save(folder / split / "inputs.npy", batch.inputs)
        np.save(folder / split / "targets.npy", batch.targets)
    return folder


def test_published_data_is_read(project, published):
    """The sound data that the next test breaks."""
    arguments = ["--mad-data=data", "--mad-json=published.json", f"mad::models::{BASELINE}"]
    project.models(*arguments).assert_outcomes(passed=1)
    (setting,) = project.results("published.json")["architectures"]["models"]["settings"].values()
    assert setting["params"]["mode"] == "compat"  # judged by the levels of MAD-Lab's data


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def garble(path):
    path.write_bytes(b"this is not an array")


def pickled(path):
    path.write_bytes(pickle.dumps([1, 2, 3]))


def objects(path):
    np.save(path, np.array([[object()] * 8] * 64), allow_pickle=True)


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inputs.npy", b"")


def floats(path):
    np.save(path, np.zeros((64, 8)))


def shorter(path):
    np.save(path, np.zeros((63, 8), dtype=np.int64))


def large_tokens(path):
    np.save(path, np.full((64, 8), 16, dtype=np.int64))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncate, "is not a readable .npy file"),
        (lambda path: path.write_bytes(b""), "is not a readable .npy file"),
        (garble, "is not a readable .npy file"),
        (pickled, "pickle"),
        (objects, "is not a readable .npy file"),
        (zipped, "is not a readable .npy file"),
        (floats, "holds float64, but must hold integers"),
        (shorter, "has shape (63, 8), but this setting needs (64, 8)"),
        (large_tokens, "has tokens from 16 to 16, but the vocabulary has 16"),
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: shutil.rmtree(path.parents[1]), "has no folder t-M_vs-16_sl-8_ntr-64_nte-32"),
    ],
)
def test_broken_published_data_is_an_error_that_names_the_file(run, published, damage, says):
    """One line; nothing in the file is run."""
    path = published / "train" / "inputs.npy"
    damage(path)
    _, found, shown = run("models:make_model", options=["--mad-data=data"])
    detail = found["models"]["detail"]
    assert found["models"]["verdict"] == "error" and says in detail and found["models"]["trials"] == []
    assert str(path) in detail or not path.parent.exists()
    assert shown["models"] == [f"error: {detail}"]
