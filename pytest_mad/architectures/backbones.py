"""The two models that MAD puts around a stack of layers: a language model, and an autoencoder for compression.

Source: Poli et al., Mechanistic Design and Scaling of Hybrid Architectures, arXiv 2403.17844.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pytest_mad.layers.mixer import Mixer, State
from pytest_mad.layers.modules.norms import RMSNorm

Norm = Callable[[int], nn.Module]
PositionEmbeds = Callable[[int, int], "nn.Embedding | Tensor"]
Pooling = Literal["last", "avg", "cls"]

INIT_STD = 0.02


class Trunk(nn.Module):
    """Embedding and residual stack, shared by both models: ``x <- x + layer(norm(x))`` for every layer.

    Args:
        layers: sequence mixers and channel mixers in order, each ``(B, T, D) -> (B, T, D)``.
        dim: width D.
        vocab_size: number of token ids.
        max_length: longest input.
        norm: called with ``dim``, once per layer.
        position_embeds: called with ``(max_length, dim)``; its table is added to the token embeddings. None: no table.
        dropout: on the embeddings.
        embedding_std: standard deviation of the token embeddings before training; MAD's is 0.02. At 0.1 or 0.2 a
            transformer learns recall in a fraction of the steps (`python -m benchmarks.calibration.recipes`).
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        *,
        dim: int,
        vocab_size: int,
        max_length: int,
        norm: Norm = RMSNorm,
        position_embeds: PositionEmbeds | None = None,
        dropout: float = 0.0,
        embedding_std: float = INIT_STD,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.token_embeds = nn.Embedding(vocab_size, dim)
        nn.init.normal_(self.token_embeds.weight, std=embedding_std)
        self.positions_TD: Tensor | None
        self._set_positions(position_embeds, (max_length, dim))
        self.dropout = nn.Dropout(dropout)
        self.norms = nn.ModuleList(norm(dim) for _ in layers)
        self.layers = nn.ModuleList(layers)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """``(B, T) int64 -> (B, T, D)``."""
        return self.mix(self.embed(tokens_BT))

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """``(B, T) int64 -> (B, T, D)``: what enters the first layer."""
        length = tokens_BT.shape[1]
        if length > self.max_length:
            raise ValueError(f"the input has {length} tokens, the model was built with max_length={self.max_length}")
        x_BTD: Tensor = self.token_embeds(tokens_BT)
        if self.positions_TD is not None:
            x_BTD = x_BTD + self.positions_TD[:length]
        x_BTD = self.dropout(x_BTD)
        return x_BTD

    def mix(self, x_BTD: Tensor) -> Tensor:
        """``(B, T, D) -> (B, T, D)``: all layers, each with its residual."""
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x_BTD = x_BTD + layer(norm(x_BTD))
        return x_BTD

    def init_state(self, batch: int) -> list[State]:
        """The states of all layers before the first token of ``batch`` sequences, and where the sequences are."""
        position = torch.zeros((), dtype=torch.int64)  # on the CPU, where it is looked at
        return [{"position": position}, *(_mixer(layer).init_state(batch) for layer in self.layers)]

    def step(self, tokens_B: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        """``(B,) int64 -> (B, D)``: the next token; and the states behind it."""
        position = int(states[0]["position"])
        if position >= self.max_length:
            raise ValueError(f"this is token {position + 1}, the model was built with max_length={self.max_length}")
        x_BD: Tensor = self.token_embeds(tokens_B)
        if self.positions_TD is not None:
            x_BD = x_BD + self.positions_TD[position]
        x_BD = self.dropout(x_BD)
        behind: list[State] = [{"position": torch.tensor(position + 1)}]
        for norm, layer, state in zip(self.norms, self.layers, states[1:], strict=True):
            y_BD, after = _mixer(layer).step(norm(x_BD), state)
            x_BD = x_BD + y_BD
            behind.append(after)
        return x_BD, behind

    def state_size(self) -> int | None:
        """Floats kept per sequence between tokens; None if they grow with it, or if a layer cannot say."""
        total = 0
        for layer in self.layers:
            size = layer.state_size() if isinstance(layer, Mixer) else None
            if size is None:
                return None
            total += size
        return total

    def _set_positions(self, position_embeds: PositionEmbeds | None, shape: tuple[int, int]) -> None:
        """A table that was made to be trained becomes a parameter, a fixed one a buffer."""
        made = None if position_embeds is None else position_embeds(*shape)
        table = made.weight if isinstance(made, nn.Embedding) else made
        if table is not None and table.shape != shape:
            raise ValueError(f"position_embeds must give shape {shape}, not {tuple(table.shape)}")
        if isinstance(table, nn.Parameter):
            self.positions_TD = table
        else:
            self.register_buffer("positions_TD", table)


class LanguageModel(nn.Module):
    """Trunk, norm and an untied linear head with bias; MAD's model for every task except compression.

    Only the head's bias is set (to zero): what a layer does to its own parameters stays as it is.
    Arguments: see `Trunk`.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        *,
        dim: int,
        vocab_size: int,
        max_length: int,
        norm: Norm = RMSNorm,
        position_embeds: PositionEmbeds | None = None,
        dropout: float = 0.0,
        embedding_std: float = INIT_STD,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.trunk = Trunk(
            layers,
            dim=dim,
            vocab_size=vocab_size,
            max_length=max_length,
            norm=norm,
            position_embeds=position_embeds,
            dropout=dropout,
            embedding_std=embedding_std,
        )
        self.norm = norm(dim)
        self.head = nn.Linear(dim, vocab_size)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """``(B, T) int64 -> logits (B, T, V)``."""
        logits_BTV: Tensor = self.head(self.hidden(tokens_BT))
        return logits_BTV

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        """``(B, T) int64 -> (B, T, D)``: what the head reads."""
        x_BTD: Tensor = self.norm(self.trunk(tokens_BT))
        return x_BTD

    def encode(self, tokens_BT: Tensor) -> Tensor:
        """``(B, T) int64 -> (B, D)``: the whole sequence in one vector, the last one that the head reads."""
        return self.hidden(tokens_BT)[:, -1]

    def init_state(self, batch: int) -> list[State]:
        """See `Trunk`."""
        return self.trunk.init_state(batch)

    def step(self, tokens_B: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        """``(B,) int64 -> logits (B, V)`` of the next token, token by token; and the states behind it."""
        x_BD, states = self.trunk.step(tokens_B, states)
        logits_BV: Tensor = self.head(self.norm(x_BD))
        return logits_BV, states

    def state_size(self) -> int | None:
        """See `Trunk`."""
        return self.trunk.state_size()


class Decoder(nn.Module):
    """Logits for every position from one vector: ``(B, D) -> (B, max_length, V)``.

    The vector plus a fixed table of positions, then twice norm -> linear -> gelu, then norm -> linear: each position on
    its own, so that everything it knows of the sequence comes through the vector.

    Args:
        dim: width D, even.
        vocab_size: number of token ids V.
        max_length: number of positions.
        norm: called with ``dim``.
    """

    def __init__(self, dim: int, vocab_size: int, max_length: int, norm: Norm = RMSNorm) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.positions_TD: Tensor
        self.register_buffer("positions_TD", sincos_table(max_length, dim), persistent=False)
        self.mlp = nn.Sequential(norm(dim), nn.Linear(dim, dim), nn.GELU(), norm(dim), nn.Linear(dim, dim), nn.GELU())
        self.norm = norm(dim)
        self.head = nn.Linear(dim, vocab_size)
        self.apply(_redraw_linear)

    def forward(self, pooled_BD: Tensor, length: int | None = None) -> Tensor:
        """``(B, D) -> logits (B, length, V)``, ``length`` being max_length unless given."""
        x_BTD = pooled_BD[:, None] + self.positions_TD[:length]
        logits_BTV: Tensor = self.head(self.norm(self.mlp(x_BTD)))
        return logits_BTV


class AutoEncoder(nn.Module):
    """Trunk, one vector, `Decoder`; MAD's model for compression.

    The logits have as many positions as the tokens and depend on them through the pooled vector alone.

    Args:
        layers: see `Trunk`; built for ``max_length + 1`` if ``pooling="cls"``, which appends a learned vector.
        pooling: the output at the last position, the mean over positions, or the output at the appended vector.
        compat: redraw every linear map inside the layers too, as MAD-Lab does: weights N(0, 0.02), biases 0. This wipes
            out what layers rely on (Mamba's step sizes, Hedgehog's identity), so only published scores ask for it.
        dim, vocab_size, max_length, norm, position_embeds, dropout, embedding_std: see `Trunk`.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        *,
        dim: int,
        vocab_size: int,
        max_length: int,
        norm: Norm = RMSNorm,
        pooling: Pooling = "last",
        position_embeds: PositionEmbeds | None = None,
        dropout: float = 0.0,
        embedding_std: float = INIT_STD,
        compat: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of {', '.join(get_args(Pooling))}, not {pooling!r}")
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.pooling = pooling
        self.trunk = Trunk(
            layers,
            dim=dim,
            vocab_size=vocab_size,
            max_length=max_length,
            norm=norm,
            position_embeds=position_embeds,
            dropout=dropout,
            embedding_std=embedding_std,
        )
        self.cls_D = nn.Parameter(torch.randn(dim)) if pooling == "cls" else None
        self.decoder = Decoder(dim, vocab_size, max_length, norm)
        if compat:
            self.trunk.apply(_redraw_linear)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """``(B, T) int64 -> logits (B, T, V)``."""
        logits_BTV: Tensor = self.decoder(self.encode(tokens_BT), tokens_BT.shape[1])
        return logits_BTV

    def encode(self, tokens_BT: Tensor) -> Tensor:
        """``(B, T) int64 -> (B, D)``: the pooled vector."""
        x_BTD = self.trunk.embed(tokens_BT)
        if self.cls_D is not None:
            x_BTD = torch.cat([x_BTD, self.cls_D.expand(len(x_BTD), 1, -1)], dim=1)
        x_BTD = self.trunk.mix(x_BTD)
        return x_BTD.mean(1) if self.pooling == "avg" else x_BTD[:, -1]

    def state_size(self) -> int | None:
        """The encoder's: see `Trunk`."""
        return self.trunk.state_size()


class WholeSequencesError(TypeError):
    """A layer that is no `Mixer`, so that there is no running it token by token."""


def _users_class(layer: nn.Module) -> str:
    """Of a mixer of the user's, which is wrapped."""
    return type(getattr(layer, "mixer", layer)).__name__


def _mixer(layer: nn.Module) -> Mixer:
    if not isinstance(layer, Mixer):
        raise WholeSequencesError(f"{_users_class(layer)} runs over whole sequences only, and has no step form")
    return layer


def sincos_table(max_length: int, dim: int) -> Tensor:
    """(max_length, dim): sines in the first half, cosines in the second, at frequencies 10000^(-i / (dim/2 - 1)).

    Source: Vaswani et al., arXiv 1706.03762, section 3.5, with the halves side by side.
    """
    if dim < 4 or dim % 2:
        raise ValueError(f"dim must be even and at least 4, not {dim}")
    half = dim // 2
    frequency = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / (half - 1))
    angle = torch.arange(max_length, dtype=torch.float64)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()


def _redraw_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
