"""Every form in which an architecture can be named, in models that take no time to train."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from models import Tiny, previous
from torch import Tensor, nn


def make_model(task: str, vocab_size: int, max_length: int) -> nn.Module:
    """MAD-Lab's form, by keywords."""
    assert task in ("memorization", "compression") and max_length in (4, 8)
    return Tiny(vocab_size)


def without_task(*, vocab_size: int, max_length: int) -> nn.Module:
    assert max_length in (4, 8)
    return Tiny(vocab_size)


def any_keywords(**keywords: object) -> nn.Module:
    assert sorted(keywords) == ["max_length", "task", "vocab_size"]
    return Tiny(keywords["vocab_size"])


def with_defaults(vocab_size: int, width: int = 16, *, depth: int = 1) -> nn.Module:
    assert (width, depth) == (16, 1)
    return Tiny(vocab_size)


class Network(Tiny):
    """A class is a factory too; this one returns an output object."""

    def __init__(self, vocab_size: int, max_length: int) -> None:
        super().__init__(vocab_size)

    def forward(self, tokens_BT: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=super().forward(tokens_BT), loss=None)


class Mixer(nn.Module):
    """(B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(previous(x_BTD))


class TupleMixer(Mixer):
    """As fla's layers: another name for the width, a length, and more than one output."""

    def __init__(self, hidden_size: int, mode: str = "chunk", max_len: int | None = None) -> None:
        assert hidden_size == 32 and max_len in (4, 8) and mode == "chunk"
        super().__init__(hidden_size)

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, None, dict[str, Tensor]]:
        return super().forward(x_BTD), None, {"state": torch.zeros(1)}


def llama(vocab_size: int, max_length: int) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=max_length,
        )
    )


def gpt2(vocab_size: int, max_length: int) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab_size,
            n_positions=max_length,
            n_embd=16,
            n_layer=1,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def mamba(vocab_size: int) -> nn.Module:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(vocab_size=vocab_size, hidden_size=16, state_size=4, num_hidden_layers=1))
