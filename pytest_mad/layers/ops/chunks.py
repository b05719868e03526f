"""What the parallel forms share: sequences cut into chunks, attention inside a chunk, a state carried between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FORGOTTEN = -60.0  # e^-60 leaves nothing that a float could tell from nothing


def halvable_size(length: int, most: int) -> int:
    """The chunk for sequences of this length: a power of two, no longer than they need and at most ``most``."""
    return min(most, 1 << (length - 1).bit_length())


def split(x_BTHK: Tensor, size: int) -> Tensor:
    """``(B, T, H, K) -> (B, H, N, size, K)``: N chunks, the last one filled up with zeros.

    A zero is neutral everywhere: an empty key writes nothing, and a log decay of zero keeps all.
    """
    missing = -x_BTHK.shape[1] % size
    x_BTHK = F.pad(x_BTHK, (0, 0, 0, 0, 0, missing)) if missing else x_BTHK
    batch, length, heads, width = x_BTHK.shape
    return x_BTHK.reshape(batch, length // size, size, heads, width).permute(0, 3, 1, 2, 4)


def split_decay(g_BTHK: Tensor, size: int) -> Tensor:
    """`split` for log decays, of which those beyond `FORGOTTEN` would only round away the others in a sum."""
    return split(g_BTHK.clamp(min=FORGOTTEN), size)


def join(x_BHNCV: Tensor, length: int) -> Tensor:
    """``(B, H, N, C, V) -> (B, length, H, V)``: the inverse of `split`."""
    return x_BHNCV.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :length]


def decayed_scores(q_RCK: Tensor, k_SCK: Tensor, until_CK: Tensor) -> Tensor:
    """``(..., R, C, S, C)``: ``sum_c q_ric k_sjc exp(until_ic - until_jc)`` for j <= i, and 0 for j > i.

    R kinds of queries meet S kinds of keys. ``until_CK`` is the log decay from the chunk's beginning up to and with
    each token, per channel or (K = 1) per head. Only differences that are at most zero are exponentiated: one of the
    two alone may be beyond what a float can hold. With one decay per head, all C x C differences are taken; with one
    per channel, half a chunk asks the other half across the border between them, and each half itself in the same way.
    (Two such levels are in section 4.3 of Yang et al., arXiv 2312.06635.)
    """
    size = q_RCK.shape[-2]
    if until_CK.shape[-1] == 1:
        # on the diagonal a constant: else its gradients, which cancel, leave their rounding to the others'
        past_CC = torch.ones(size, size, dtype=torch.bool, device=q_RCK.device).tril(-1)
        rest_CC = until_CK.new_full((size, size), float("-inf")).triu(1)
        decay_CC = torch.where(past_CC, until_CK - until_CK.mT, rest_CC).exp()
        return _scores(q_RCK, k_SCK) * decay_CC[..., None, :, None, :]
    if size == 1:
        return _scores(q_RCK, k_SCK)
    (q_early, q_late), (k_early, k_late), (early, late) = (halves(x).unbind(-3) for x in (q_RCK, k_SCK, until_CK))
    own = decayed_scores(torch.stack([q_early, q_late], -4), torch.stack([k_early, k_late], -4), halves(until_CK))
    border = early[..., -1:, :]
    asked, told = (late - border).exp(), (border - early).exp()
    across = _scores(q_late * asked[..., None, :, :], k_early * told[..., None, :, :])
    own_early, own_late = own.unbind(-5)
    upper = torch.cat([own_early, torch.zeros_like(own_early)], -1)
    return torch.cat([upper, torch.cat([across, own_late], -1)], -3)


def bounded_scores(q_RCK: Tensor, k_SCK: Tensor, until_CK: Tensor) -> Tensor:
    """`decayed_scores` in one product, where a whole chunk keeps at least e^``FORGOTTEN``.

    Both sides decay from the middle of the chunk, so that no exponent is beyond half of that.
    """
    size = until_CK.shape[-2]
    middle = until_CK[..., size // 2, None, :]
    asked, told = (until_CK - middle).exp(), (middle - until_CK).exp()
    scores = _scores(q_RCK * asked[..., None, :, :], k_SCK * told[..., None, :, :])
    future_CC = torch.ones(size, size, dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future_CC[:, None], 0.0)


def _scores(q_RIK: Tensor, k_SJK: Tensor) -> Tensor:
    """``(..., R, I, S, J)``: every query times every key."""
    scores = q_RIK.flatten(-3, -2) @ k_SJK.flatten(-3, -2).mT
    return scores.reshape(*q_RIK.shape[:-1], *k_SJK.shape[-3:-1])


def halves(x_CK: Tensor) -> Tensor:
    """``(..., C, K) -> (..., 2, C / 2, K)``."""
    return x_CK.reshape(*x_CK.shape[:-2], 2, -1, x_CK.shape[-1])


def later(x_CK: Tensor) -> Tensor:
    """``(..., C, K)``, each row one further down, and zeros above: what was there before the token itself came."""
    return F.pad(x_CK[..., :-1, :], (0, 0, 1, 0))


def sooner(x_CK: Tensor) -> Tensor:
    """``(..., C, K)``, each row one further up, and zeros below."""
    return F.pad(x_CK[..., 1:, :], (0, 0, 0, 1))


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
