"""What the parallel forms share: sequences cut into chunks, attention inside a chunk, a state carried between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EXPLICIT = 4  # chunks of this length compute every pair's decay


def split(x_BTHK: Tensor, size: int) -> Tensor:
    """``(B, T, H, K) -> (B, H, N, size, K)``: N chunks, the last one filled up with zeros.

    A zero is neutral everywhere: an empty key writes nothing, and a log decay of zero keeps all.
    """
    missing = -x_BTHK.shape[1] % size
    x_BTHK = F.pad(x_BTHK, (0, 0, 0, 0, 0, missing)) if missing else x_BTHK
    batch, length, heads, width = x_BTHK.shape
    return x_BTHK.reshape(batch, length // size, size, heads, width).permute(0, 3, 1, 2, 4)


def join(x_BHNCV: Tensor, length: int) -> Tensor:
    """``(B, H, N, C, V) -> (B, length, H, V)``: the inverse of `split`."""
    return x_BHNCV.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :length]


def decayed_scores(q_C: Tensor, k_C: Tensor, from_C: Tensor, since_C: Tensor, *, diagonal: int = 0) -> Tensor:
    """``(..., C, K) -> (..., C, C)``: ``sum_c q_ic k_jc exp(from_ic - since_jc)`` for j <= i + diagonal, 0 elsewhere.

    ``from_C`` and ``since_C`` are logarithms of decay, summed from the chunk's beginning, per channel or (K = 1) per
    head. Only their differences are exponentiated: these are at most zero, while either one alone may be beyond what
    a float holds.
    """
    if since_C.shape[-1] > 1 and q_C.shape[-2] > EXPLICIT:
        return _scores_of_halves(q_C, k_C, from_C, since_C, diagonal)
    size = q_C.shape[-2]
    future = torch.ones(size, size, dtype=torch.bool, device=q_C.device).triu(diagonal + 1)
    if since_C.shape[-1] == 1:
        return (q_C @ k_C.mT) * (from_C - since_C.mT).masked_fill(future, float("-inf")).exp()
    gap = (from_C[..., :, None, :] - since_C[..., None, :, :]).masked_fill(future[..., None], float("-inf"))
    return (q_C[..., :, None, :] * k_C[..., None, :, :] * gap.exp()).sum(-1)


def _scores_of_halves(q_C: Tensor, k_C: Tensor, from_C: Tensor, since_C: Tensor, diagonal: int) -> Tensor:
    """Each half on its own; and what the second sees of the first, through the decay at the border between them."""
    halves = [x.reshape(*x.shape[:-2], 2, -1, x.shape[-1]) for x in (q_C, k_C, from_C, since_C)]
    own = decayed_scores(*halves, diagonal=diagonal)
    (_, q_late), (k_early, _), (_, from_late), (since_early, _) = (x.unbind(-3) for x in halves)
    border = since_early[..., -1:, :]
    across = (q_late * (from_late - border).exp()) @ (k_early * (border - since_early).exp()).mT
    early, late = own.unbind(-3)
    return torch.cat([torch.cat([early, torch.zeros_like(early)], -1), torch.cat([across, late], -1)], -2)


def carry(kept_N: Tensor, written_N: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The states before each of N chunks, ``(B, H, N, K, V)``, and the one behind the last, ``(B, H, K, V)``.

    A chunk multiplies the state by ``kept_N``, ``(B, H, N, K, 1)`` if it decays or ``(B, H, N, K, K)`` if it is mixed,
    and adds ``written_N``. One short step per chunk.
    """
    apply = torch.mul if kept_N.shape[-1] == 1 else torch.matmul
    before = []
    for kept, written in zip(kept_N.unbind(2), written_N.unbind(2), strict=True):
        before.append(state)
        state = apply(kept, state) + written
    return torch.stack(before, 2), state
