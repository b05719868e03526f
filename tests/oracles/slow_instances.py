"""The six MAD tasks, one sequence at a time: slow, plain, and faithful to MAD-Lab draw by draw.

Every function consumes its generator in the same order as MAD-Lab does, so that a generator seeded like MAD-Lab's gives
MAD-Lab's sequence. `mended=True` repairs what pytest-mad's mode "fixed" repairs, and is otherwise the same process.
All return one pair (inputs, targets) of int64 vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

IGNORE = -100

Ints = npt.NDArray[np.int64]
Pair = tuple[Ints, Ints]
Motif = tuple[int, ...]


class Tape:
    """A sequence under construction: its tokens, and which of them an evaluation asks for."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.asked: list[bool] = []

    def __len__(self) -> int:
        return len(self.tokens)

    def write(self, tokens: Iterable[int], asked: bool = False) -> None:
        for token in tokens:
            self.tokens.append(int(token))
            self.asked.append(asked)

    def next_token_pair(self, is_training: bool) -> Pair:
        """Predict each next token: all of them in training, only the asked ones in evaluation."""
        tokens = np.array(self.tokens, dtype=np.int64)
        wanted = tokens if is_training else np.where(self.asked, tokens, IGNORE)
        return tokens[:-1], wanted[1:]


def pick(rng: np.random.Generator, options: Sequence[int]) -> int:
    return options[int(rng.integers(len(options)))]


def pick_noise(rng: np.random.Generator, options: Sequence[int], n: int) -> list[int]:
    return [options[i] for i in rng.integers(len(options), size=n)]


# In-context recall, with and without noise.


def in_context_recall(
    rng: np.random.Generator,
    *,
    vocab_size: int,
    seq_len: int,
    is_training: bool,
    multi_query: bool = True,
    noise_vocab_size: int = 0,
    frac_noise: float = 0.0,
    mended: bool = False,
) -> Pair:
    """Key-value pairs that repeat, then one known key again. Length seq_len - 1 (seq_len with a single query).

    MAD-Lab fails (IndexError here) in the rare sequence whose slots are all noise; mended, the protected slot is never
    the last one.
    """
    usable = vocab_size - noise_vocab_size - (0 if multi_query else 1)
    keys, values, noise = range(usable // 2), range(usable // 2, usable), range(usable, usable + noise_vocab_size)
    slots = seq_len // 2
    protected = rng.integers(slots - 1 if mended else slots)

    tape = Tape()
    value_of: dict[int, int] = {}
    for slot in range(slots - 1):
        if frac_noise > 0 and slot != protected and rng.random() < frac_noise:
            tape.write(pick_noise(rng, noise, 2))
            continue
        key = pick(rng, keys)
        known = key in value_of
        if not known:
            value_of[key] = pick(rng, values)
        tape.write([key])
        tape.write([value_of[key]], asked=known and multi_query)

    if not value_of:
        raise IndexError("no key was shown")
    probe = pick(rng, list(value_of))
    tape.write([] if multi_query else [vocab_size - 1])
    tape.write([probe])
    tape.write([value_of[probe]], asked=True)
    return tape.next_token_pair(is_training)


# Fuzzy in-context recall.


@cache
def all_motifs(tokens: range, size: int) -> tuple[Motif, ...]:
    """Every ordered choice of `size` distinct tokens, in lexicographic order."""
    return tuple(permutations(tokens, size))


class Motifs:
    """The motifs of each allowed size in a random order, made new for every sequence as MAD-Lab does."""

    def __init__(self, rng: np.random.Generator, tokens: range, sizes: Sequence[int]) -> None:
        self.sizes = list(sizes)
        self.of_size: dict[int, list[Motif]] = {}
        for size in sizes:
            shuffled = list(all_motifs(tokens, size))
            rng.shuffle(shuffled)
            self.of_size[size] = shuffled

    def pick(self, rng: np.random.Generator, size: int) -> Motif:
        motifs = self.of_size[size]
        return motifs[rng.integers(len(motifs))]


def fuzzy_in_context_recall(
    rng: np.random.Generator,
    *,
    vocab_size: int,
    seq_len: int,
    is_training: bool,
    multi_query: bool = True,
    k_motif_size: int = 3,
    v_motif_size: int = 3,
    noise_vocab_size: int = 0,
    frac_noise: float = 0.0,
    mended: bool = False,
) -> Pair:
    """Keys and values of several tokens, padded on the left to seq_len.

    MAD-Lab may never show the probe before it asks for it, as the offset may lie where the body does not reach. Mended,
    it lies at least one longest pair before the body's end.
    """
    pad = vocab_size - (1 if multi_query else 2)
    usable = pad - noise_vocab_size
    noise = range(usable, pad)
    keys = Motifs(rng, range(usable // 2), range(1, k_motif_size + 1) if is_training else [k_motif_size])
    values = Motifs(rng, range(usable // 2, usable), range(1, v_motif_size + 1))

    def key_size() -> int:
        return pick(rng, keys.sizes) if is_training else k_motif_size

    probe_key_size, probe_value_size = key_size(), pick(rng, values.sizes)
    probe_key, probe_value = keys.pick(rng, probe_key_size), values.pick(rng, probe_value_size)
    probe_size = len(probe_key) + len(probe_value)
    offset = int(rng.integers(seq_len - 2 * probe_size))
    longest_pair = k_motif_size + v_motif_size
    body_end = seq_len - probe_size - longest_pair
    if mended:
        offset = min(offset, max(0, body_end - longest_pair))

    tape = Tape()
    shown: dict[Motif, Motif] = {}
    while len(tape) < body_end:
        next_key_size, next_value_size = key_size(), pick(rng, values.sizes)
        if len(tape) >= offset and probe_key not in shown:
            shown[probe_key] = probe_value
            tape.write(probe_key + probe_value)
        elif frac_noise > 0 and rng.random() < frac_noise:
            tape.write(pick_noise(rng, noise, next_key_size + next_value_size))
        else:
            key = keys.pick(rng, next_key_size)
            known = key in shown
            if key == probe_key:
                shown[key] = probe_value
            elif not known:
                shown[key] = values.pick(rng, next_value_size)
            tape.write(key)
            tape.write(shown[key], asked=known and multi_query)

    tape.write([] if multi_query else [vocab_size - 1])
    tape.write(probe_key)
    tape.write(probe_value, asked=True)

    padded = Tape()
    padded.write([pad] * (seq_len + 1 - len(tape)))
    padded.tokens += tape.tokens
    padded.asked += tape.asked
    return padded.next_token_pair(is_training)


# Memorization.


def memorization_map(usable: int, seed: int) -> dict[int, int]:
    """The fixed key -> value map over `usable` tokens, in the order in which MAD-Lab lists its keys."""
    rng = np.random.default_rng(seed)
    keys, values = list(range(usable // 2)), list(range(usable // 2, usable))
    rng.shuffle(keys)
    rng.shuffle(values)
    return dict(zip(keys, values, strict=False))


def memorization(
    rng: np.random.Generator,
    *,
    vocab_size: int,
    seq_len: int,
    map_seed: int = 12345,
    noise_vocab_size: int = 0,
    frac_noise: float = 0.0,
    mended: bool = False,
) -> Pair:
    """Keys, each followed by the insert token, at which the key's value is due. Length seq_len, alike in every phase.

    MAD-Lab's map takes no account of the noise vocabulary; mended, keys and values leave it out.
    """
    insert = vocab_size - 1
    noise = range(insert - noise_vocab_size, insert)
    value_of = memorization_map(insert - noise_vocab_size if mended else insert, map_seed)
    keys = list(value_of)

    inputs: list[int] = []
    targets: list[int] = []
    protected = rng.integers(seq_len // 2)
    for slot in range(seq_len // 2):
        if frac_noise > 0 and slot != protected and rng.random() < frac_noise:
            inputs += pick_noise(rng, noise, 2)
            targets += [IGNORE, IGNORE]
        else:
            key = pick(rng, keys)
            inputs += [key, insert]
            targets += [IGNORE, value_of[key]]
    return np.array(inputs, dtype=np.int64), np.array(targets, dtype=np.int64)


# Compression.


def compression(
    rng: np.random.Generator,
    *,
    vocab_size: int,
    seq_len: int,
    noise_vocab_size: int = 0,
    frac_noise: float = 0.0,
    mended: bool = False,
) -> Pair:
    """Random content and the compression token, to be given back. Mended, noise is not asked for."""
    usable = vocab_size - 1 - noise_vocab_size
    noise = range(usable, vocab_size - 1)
    inputs = [int(token) for token in rng.integers(usable, size=seq_len - 1)] + [vocab_size - 1]
    targets = list(inputs)
    for place in range(seq_len - 1 if frac_noise > 0 else 0):
        if rng.random() < frac_noise:
            inputs[place] = pick(rng, noise)
            targets[place] = IGNORE if mended else inputs[place]
    return np.array(inputs, dtype=np.int64), np.array(targets, dtype=np.int64)


# Selective copying.


def selective_copying(
    rng: np.random.Generator,
    layout: np.random.RandomState,
    *,
    vocab_size: int,
    seq_len: int,
    num_tokens_to_copy: int,
) -> Pair:
    """Content among blanks, the copy token, and as many blanks as there is content to write.

    MAD-Lab places the blanks with NumPy's global generator; here it is the argument `layout`.
    """
    copy, blank, n = vocab_size - 1, vocab_size - 2, num_tokens_to_copy
    content = [int(token) for token in rng.integers(vocab_size - 2, size=n)]
    goes_before = layout.randint(n, size=seq_len - 2 * n - 1).tolist()

    inputs: list[int] = []
    for place, token in enumerate(content):
        inputs += [blank] * goes_before.count(place) + [token]
    inputs += [copy] + [blank] * n
    targets = [IGNORE] * (seq_len - n) + content
    return np.array(inputs, dtype=np.int64), np.array(targets, dtype=np.int64)
