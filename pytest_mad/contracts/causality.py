"""The causality guard: a model that sees the future reads the answer, and its score means nothing.

It is asked twice: before training, on jittered weights (a leak behind a projection that starts at zero is invisible at
initialisation), and once more on the trained weights before a pass is given.
"""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from torch import Tensor, nn

from pytest_mad.architectures.jitter import jittered
from pytest_mad.common.seeds import generator
from pytest_mad.tasks.base import IntArray

from .base import ContractError, NotApplicableError, Subject, register_contract
from .checking import TOLERANCE, are_finite, below_top, size

_SEQUENCES = 2
_MOST_CUTS = 64


class NotFiniteError(ArithmeticError):
    """Logits that are NaN or infinite, which depend on nothing."""


@torch.no_grad()
def find_leak(model: nn.Module, vocab_size: int, length: int, device: torch.device) -> str | None:
    """One line that names the earliest position whose logits depend on a later token; None for a causal model.

    Random sequences of ``length`` tokens are cut at every position (at 64 of them in long sequences); behind the cut
    every token is replaced by another. The logits up to the cut must not move. Raises :class:`NotFiniteError`.
    """
    if length < 2 or vocab_size < 2:
        return None
    was_training = model.training
    model.eval()
    try:
        for sequence in range(_SEQUENCES):
            cuts, tokens = _cut_sequences(vocab_size, length, sequence)
            logits = _logits(model, tokens.to(device))
            leak = _describe(logits, cuts)
            if leak:
                return leak
        return None
    finally:
        model.train(was_training)


def _cut_sequences(vocab_size: int, length: int, sequence: int) -> tuple[IntArray, Tensor]:
    """Cuts (C,), and tokens (C + 1, T): one sequence as it is, then once per cut with other tokens behind the cut."""
    rng = generator("causality", vocab_size, length, sequence)
    cuts = np.arange(1, length)
    if len(cuts) > _MOST_CUTS:
        cuts = np.sort(rng.choice(cuts, size=_MOST_CUTS, replace=False))
    base = rng.integers(0, vocab_size, size=length)
    other = (base + rng.integers(1, vocab_size, size=(len(cuts), length))) % vocab_size
    changed = np.where(np.arange(length) < cuts[:, None], base, other)
    return cuts, torch.from_numpy(np.vstack([base, changed]))


def _logits(model: nn.Module, tokens: Tensor) -> Tensor:
    return torch.cat([model(rows).float() for rows in torch.split(tokens, 32)])


def _describe(logits: Tensor, cuts: IntArray) -> str | None:
    """Compare each changed sequence with the first one, before its cut."""
    if not are_finite(logits):
        raise NotFiniteError("the logits of random tokens are NaN or infinite")
    relative = below_top(logits)
    moved = (relative[1:] - relative[:1]).abs().amax(dim=-1).cpu() / size(relative).cpu()
    before_cut = torch.arange(moved.shape[1]) < torch.from_numpy(cuts)[:, None]
    leaks = (moved > TOLERANCE) & before_cut
    if not leaks.any():
        return None
    row, position = (int(i) for i in leaks.nonzero()[0])
    return (
        f"not causal: the logits at position {position} change by {float(moved[row, position]):.2g} of their size "
        f"when only tokens from position {int(cuts[row])} on change; is a causal mask or left padding missing?"
    )


@register_contract("causality")
def causality(subject: Subject) -> None:
    """No logits depend on a later token, neither with the first weights nor with any others."""
    if subject.bottleneck:
        raise NotApplicableError("an autoencoder may see all of its input")
    model = subject.build(0)
    for weights in (jittered(model, 0), contextlib.nullcontext()):
        with weights:
            try:
                leak = find_leak(model, subject.vocab_size, subject.length, subject.device)
            except NotFiniteError as error:
                raise ContractError(str(error)) from None
        if leak:
            raise ContractError(leak)
