"""The causality guard: a model that sees the future is stopped, before training or before a pass is given."""

from __future__ import annotations

import pytest

MODELS = """
    import torch
    from torch import nn

    from models import Tiny, previous
    from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
    from pytest_mad.layers import build_layer


    def causal(vocab_size, max_length):
        return attention(vocab_size, max_length, causal=True)


    def ahead(vocab_size, max_length):
        return attention(vocab_size, max_length, causal=False)


    def attention(vocab_size, max_length, causal):
        layers = [build_layer("mh-attention", dim=16, max_length=max_length, head_dim=8, causal=causal)]
        return LanguageModel(layers, dim=16, vocab_size=vocab_size, max_length=max_length)


    def autoencoder(task, vocab_size, max_length):
        layers = [build_layer("mh-attention", dim=16, max_length=max_length, head_dim=8, causal=False)]
        return AutoEncoder(layers, dim=16, vocab_size=vocab_size, max_length=max_length)


    class Leaky(Tiny):
        '''Sees the mean of the whole sequence, as much of it as ``opening`` says.'''

        def hidden(self, tokens):
            x = super().hidden(tokens)
            return x + self.opening() * self.embed(tokens).mean(1, keepdim=True)


    class ZeroProjection(Leaky):
        '''The leak stands behind a projection that starts at zero.'''

        def __init__(self, vocab_size):
            super().__init__(vocab_size)
            self.project = nn.Linear(16, 16)
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)

        def hidden(self, tokens):
            return Tiny.hidden(self, tokens) + self.project(self.embed(tokens).mean(1, keepdim=True))


    class Learned(Leaky):
        '''The gate is exactly shut at the start and when jittered: only training turns the volume up that opens it.'''

        def __init__(self, vocab_size):
            super().__init__(vocab_size)
            self.volume = nn.Parameter(torch.zeros(64))

        def opening(self):
            return torch.relu(self.volume.mean() - 0.15)

        def forward(self, tokens):
            return (1 + self.volume.mean()) * super().forward(tokens)


    class Shut(Learned):
        '''The same, with a gate that training never opens.'''

        def opening(self):
            return torch.relu(self.volume.mean() - 1e6)


    class LastToken(Tiny):
        '''Only the last position's token leaks, and only to the one before it.'''

        def hidden(self, tokens):
            x = super().hidden(tokens)
            ahead = torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)
            mask = torch.zeros(x.shape[1], 1)
            mask[-2] = 0.01
            return x + mask * ahead
"""


@pytest.fixture
def judge(project):
    """Results of these architectures on one setting, by name."""
    project.write(guarded=MODELS)

    def run(*names, options=("-k", "memorization and baseline")):
        architectures = [f"--mad-arch={name}=guarded:{name}" for name in names]
        project.run(*architectures, "--mad-json=out.json", *options)
        return {
            name: setting
            for name, found in project.results()["architectures"].items()
            for setting in found["settings"].values()
        }

    return run


def test_a_model_that_sees_the_future_is_stopped_before_training(judge, project):
    """Attention that may look ahead: verdict fail, no step trained, no score, and the earliest leak is named."""
    found = judge("ahead", "causal", options=[])["ahead"]
    assert found["verdict"] == "fail" and found["trials"] == [] and found["accuracy"] is None
    assert found["detail"] == "contract causality is broken, see mad::ahead::contract[causality]"
    contract = project.results()["architectures"]["ahead"]["contracts"]["causality"]
    assert contract["detail"].startswith("not causal: the logits at position 0 change by ")
    settings = project.results()["architectures"]["ahead"]["settings"]
    assert {s["verdict"] for s in settings.values()} == {"fail"} and len(settings) == 3
    assert {s["verdict"] for s in project.results()["architectures"]["causal"]["settings"].values()} <= {"pass", "fail"}
    assert all(s["trials"] for s in project.results()["architectures"]["causal"]["settings"].values())


@pytest.mark.parametrize(
    ("options", "finder"),
    [([], "contract causality is broken: "), (["--mad-contract=causality=off:a test of the guard"], "")],
    ids=["contract", "guard"],
)
def test_every_leak_is_found_before_training(judge, options, finder):
    """Behind a zero-initialised projection, and between a single pair of positions; whoever switches the contract off
    still has the guard.
    """
    found = judge("ZeroProjection", "LastToken", options=["-k", "memorization and baseline", *options])
    for name, setting in found.items():
        assert setting["verdict"] == "fail" and setting["trials"] == [], name
    leak = f"{finder}not causal: the logits at position"
    assert found["ZeroProjection"]["detail"].startswith(f"{leak} 0 change by ")
    last = 13 if finder else 6  # contracts are asked at the longest sequences of the preset
    assert found["LastToken"]["detail"].startswith(f"{leak} {last} change by ")


def test_a_leak_that_appears_through_training_gets_no_pass(judge):
    """It trains to a score that reaches the threshold, and is refused; with the gate still shut the same model passes."""
    found = judge("Learned", "Shut")
    assert found["Shut"]["verdict"] == "pass" and found["Shut"]["accuracy"] == 1.0
    assert found["Learned"]["verdict"] == "fail"
    assert found["Learned"]["detail"].startswith("after training, not causal: ")


def test_compression_is_exempt(judge, project):
    """An autoencoder sees everything: its answer is its input."""
    found = judge("autoencoder", "causal", "ahead", options=["--mad-preset=compression.toml"])
    assert {name: setting["verdict"] for name, setting in found.items()} == dict.fromkeys(found, "pass")
    assert len(found) == 3


def test_a_look_ahead_fails_the_run_with_one_line(judge, project):
    """The item fails like any other, and the line says what is wrong."""
    result = project.run("--mad-arch=guarded:ahead", "-k", "memorization and baseline")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    broken = "contract causality is broken: not causal: the logits at position 0 change by"
    result.stdout.fnmatch_lines([f"fail: {broken}*"])
    assert "Traceback" not in result.stdout.str()
