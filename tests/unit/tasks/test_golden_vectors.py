"""The slow oracle gives MAD-Lab's own sequences: the golden vectors of the task specification, section 5."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tests.oracles import slow_instances as slow

SEED = 12345


def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def tokens(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def scored(targets: npt.NDArray[np.int64]) -> dict[int, int]:
    return {place: int(targets[place]) for place in np.flatnonzero(targets != slow.IGNORE).tolist()}


def test_in_context_recall_in_evaluation() -> None:
    """In-context recall asks for the values of keys that were shown before, and for the probe's."""
    inputs, targets = slow.in_context_recall(rng(), vocab_size=16, seq_len=24, is_training=False)
    assert inputs.tolist() == tokens("1 14 2 9 6 13 5 15 3 14 2 9 4 12 1 14 1 14 1 14 5 15 5")
    assert scored(targets) == {10: 9, 14: 14, 16: 14, 18: 14, 20: 15, 22: 15}


def test_in_context_recall_in_training() -> None:
    """In training the same sequence asks for every next token."""
    inputs, targets = slow.in_context_recall(rng(), vocab_size=16, seq_len=24, is_training=True)
    assert inputs.tolist() == tokens("1 14 2 9 6 13 5 15 3 14 2 9 4 12 1 14 1 14 1 14 5 15 5")
    assert targets.tolist() == [*inputs.tolist()[1:], 15]


def test_noisy_in_context_recall() -> None:
    """Noisy recall replaces whole slots by noise, which is never asked for."""
    inputs, targets = slow.in_context_recall(
        rng(), vocab_size=32, seq_len=24, is_training=False, noise_vocab_size=16, frac_noise=0.4
    )
    assert inputs.tolist() == tokens("19 19 6 15 22 25 25 19 5 13 1 13 26 20 3 11 5 13 17 27 27 17 5")
    assert scored(targets) == {16: 13, 22: 13}


def test_fuzzy_in_context_recall() -> None:
    """Fuzzy recall asks for all value tokens of the probe, here one that was never shown."""
    inputs, targets = slow.fuzzy_in_context_recall(
        rng(), vocab_size=16, seq_len=32, is_training=False, k_motif_size=3, v_motif_size=3
    )
    assert inputs.tolist() == tokens("15 15 15 6 1 0 9 10 12 2 0 6 8 11 2 4 5 14 6 5 3 8 3 5 4 13 9 14 4 1 5 13")
    assert scored(targets) == {30: 13, 31: 9}


def test_memorization_map_of_fifteen_tokens() -> None:
    """Keys and values are both shuffled; the map lists its keys in shuffled order."""
    expected = {0: 13, 1: 8, 2: 14, 3: 11, 4: 9, 5: 7, 6: 10}
    assert slow.memorization_map(15, SEED) == expected


def test_memorization_map_of_the_baseline() -> None:
    """MAD's baseline vocabulary of 256 gives 127 keys in a known order."""
    mapping = slow.memorization_map(255, SEED)
    assert list(mapping.items())[:4] == [(120, 175), (0, 239), (101, 249), (119, 185)]
    assert len(mapping) == 127


def test_memorization() -> None:
    """Memorization asks for the mapped value at each insert token."""
    inputs, targets = slow.memorization(rng(), vocab_size=16, seq_len=8, map_seed=SEED)
    assert inputs.tolist() == tokens("3 15 6 15 0 15 3 15")
    assert scored(targets) == {1: 11, 3: 10, 5: 13, 7: 11}


def test_compression() -> None:
    """Compression asks for its input."""
    inputs, targets = slow.compression(rng(), vocab_size=16, seq_len=12)
    assert inputs.tolist() == tokens("10 3 11 4 3 11 9 10 14 5 12 15")
    assert targets.tolist() == inputs.tolist()


def test_selective_copying() -> None:
    """Selective copying places its blanks with a generator of its own, and asks for the content at the end."""
    layout = np.random.RandomState(SEED)
    inputs, targets = slow.selective_copying(rng(), layout, vocab_size=16, seq_len=20, num_tokens_to_copy=4)
    assert inputs.tolist() == tokens("14 9 14 14 14 14 14 14 3 14 14 14 14 11 4 15 14 14 14 14")
    assert scored(targets) == {16: 9, 17: 3, 18: 11, 19: 4}
