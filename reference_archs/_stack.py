"""How every reference architecture is put together: registered layers in the standard backbone."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from pytest_mad.architectures.backbones import AutoEncoder, LanguageModel
from pytest_mad.layers import build_layer


def stack(
    layers: Sequence[str],
    *,
    task: str,
    vocab_size: int,
    max_length: int,
    dim: int,
    embedding_std: float,
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> nn.Module:
    """The layers by name, each with MAD's default configuration but for ``config[name]``.

    ``compression`` gets MAD's autoencoder, every other task the language model.
    """
    built = [build_layer(name, dim=dim, max_length=max_length, **(config or {}).get(name, {})) for name in layers]
    backbone = AutoEncoder if task == "compression" else LanguageModel
    return backbone(built, dim=dim, vocab_size=vocab_size, max_length=max_length, embedding_std=embedding_std)


#: As `smoke` and `ci` build the layers and mixers of users.
small_stack = functools.partial(stack, dim=64, embedding_std=0.1)
#: As MAD does.
paper_stack = functools.partial(stack, dim=128, embedding_std=0.02)
