"""No hard contract accuses a sound architecture: the reference ones, Hugging Face's, and layers that torch has."""

from __future__ import annotations

import importlib.util
import pkgutil

import pytest
import torch
from torch import nn

import reference_archs
from pytest_mad.architectures.targets import from_layers, from_target
from pytest_mad.presets.reading import settings
from tests.unit.contracts.models import ALL, COMPRESSION, HARD, D, Model, Recurrent, all_broken

from . import test_gradients as gradients
from . import test_repeatability as repeatability

REFERENCES = [m.name for m in pkgutil.iter_modules(reference_archs.__path__) if not m.name.startswith("_")]
SMOKE = settings("smoke")
RECALL = SMOKE["in-context-recall[baseline]"]
SMOKE_COMPRESSION = SMOKE["compression[baseline]"]
#: Soft contracts that a reference architecture breaks, each for a reason.
KNOWN = {("striped_mh_hyena_moe", RECALL.id): {"autocast"}}  # a rounded score picks another expert


@pytest.mark.parametrize("setting", [RECALL, SMOKE_COMPRESSION], ids=lambda setting: setting.task_name)
@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_architecture_keeps_them(name, setting):
    """At the sizes at which they are trained."""
    found = all_broken(from_target(f"reference_archs.{name}:make_model"), setting)
    assert found.keys() == KNOWN.get((name, setting.id), set()), found


@pytest.mark.parametrize("task", [s.task_name for s in SMOKE.values() if s not in (RECALL, SMOKE_COMPRESSION)])
def test_the_transformer_keeps_them_in_every_other_setting(task):
    assert not all_broken(from_target("reference_archs.transformer:make_model"), SMOKE[f"{task}[baseline]"])


@pytest.mark.parametrize("stack", ["moe-mlp", "mh-attention,moe-mlp", "gsa,mlp"])
def test_stacks_of_layers_keep_them(stack):
    assert not all_broken(from_layers(stack), RECALL, HARD)


def gpt2(vocab_size, max_length):
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=vocab_size, n_positions=max_length, bos_token_id=0, eos_token_id=0, **sizes)
    )


def llama(vocab_size, max_length):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, max_position_embeddings=max_length, **sizes))


def mamba(vocab_size, max_length):
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(vocab_size=vocab_size, hidden_size=16, state_size=4, num_hidden_layers=1))


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
@pytest.mark.parametrize("setting", [RECALL, SMOKE_COMPRESSION], ids=lambda setting: setting.task_name)
@pytest.mark.parametrize("build", [gpt2, llama, mamba], ids=lambda build: build.__name__)
def test_hugging_face_models_keep_them(build, setting):
    """With dropout, tied weights, positions that are learned; and where the plugin's decoder replaces their head."""
    assert not all_broken(build, setting)


class TorchTransformer(Model):
    """torch's own encoder layer, with its dropout and its fast path in evaluation."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.layer = nn.TransformerEncoderLayer(D, 2, 2 * D, dropout=0.1, batch_first=True)

    def mix(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.layer(super().mix(x), mask, is_causal=True)


class LSTM(Model):
    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.lstm = nn.LSTM(D, D, num_layers=2, batch_first=True, dropout=0.1)

    def mix(self, x):
        return super().mix(x) + self.lstm(x)[0]


class Convolution(Model):
    """Padded on the left, and with a parametrization."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(D, D, 4, groups=D))

    def mix(self, x):
        return super().mix(x) + self.conv(nn.functional.pad(x.transpose(1, 2), (3, 0))).transpose(1, 2)


class AuxiliaryLoss(Model):
    """What a forward pass leaves behind has a graph, which cannot be copied."""

    auxiliary = None

    def mix(self, x):
        x = super().mix(x)
        self.auxiliary = x.square().mean()
        return x


class OutputObject(Model):
    def forward(self, tokens):
        return type("Output", (), {"logits": super().forward(tokens), "loss": None})()


class Frozen(Model):
    """A fixed table of positions, as a buffer."""

    def __init__(self, vocab_size, max_length):
        super().__init__(vocab_size, max_length)
        self.register_buffer("table", torch.randn(max_length, D))

    def mix(self, x):
        return super().mix(x + self.table[: x.shape[1]])


SMALL = [
    Model,
    Recurrent,
    TorchTransformer,
    LSTM,
    Convolution,
    AuxiliaryLoss,
    OutputObject,
    Frozen,
    gradients.ZeroHead,
    gradients.ZeroGains,
    gradients.RMSGains,
    gradients.ReLU,
    gradients.Experts,
    gradients.Tied,
    gradients.LearnedPositions,
    gradients.PaddedVocabulary,
    gradients.GRU,
    gradients.Complex,
    repeatability.Dropout,
    repeatability.LayerDrop,
    repeatability.Seeded,
    repeatability.WithBuffers,
]


@pytest.mark.parametrize("build", SMALL, ids=lambda build: build.__name__)
def test_small_sound_models_keep_them(build):
    assert not all_broken(build, contracts=HARD)


@pytest.mark.parametrize("build", [Model, TorchTransformer, gradients.Tied], ids=lambda build: build.__name__)
def test_small_sound_models_keep_them_for_compression(build):
    assert not all_broken(build, COMPRESSION, ALL)
