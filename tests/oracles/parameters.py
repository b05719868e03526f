"""Hypothesis strategies for the tasks' parameters: small, odd, with and without noise, in both modes.

There is always something to choose from: more than one key, value and pair.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pytest_mad.tasks import get_task

#: The same examples in every run, and nothing written.
steady = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def make_params(name: str, **overrides: Any) -> Any:
    """Parameters of the named task; the others are MAD's baseline."""
    params: Any = get_task(name).Params
    return params(**overrides)


seeds = st.integers(0, 2**32 - 2)
splits = st.sampled_from(["train", "validation", "test"])
held_out = st.sampled_from(["validation", "test"])
modes = st.sampled_from(["fixed", "compat"])


def _noise(draw: st.DrawFn, always: bool = False) -> dict[str, Any]:
    """A noise vocabulary, used or not, or none."""
    tokens = draw(st.integers(1 if always else 0, 4))
    share = draw(st.sampled_from([0.1, 0.3, 0.5, 0.9] + ([] if always else [0.0]))) if tokens else 0.0
    return {"noise_vocab_size": tokens, "frac_noise": share}


@st.composite
def _recall(draw: st.DrawFn, noisy: bool) -> dict[str, Any]:
    common = {
        "multi_query": draw(st.booleans()),
        "supervise": draw(st.sampled_from(["every-token", "answers"])),
        **_noise(draw, always=noisy),
    }
    usable = draw(st.integers(4, 13))
    vocab_size = usable + common["noise_vocab_size"] + (not common["multi_query"])
    return {**common, "vocab_size": vocab_size, "seq_len": 2 * draw(st.integers(3, 20))}


@st.composite
def _fuzzy(draw: st.DrawFn) -> dict[str, Any]:
    k_motif_size, v_motif_size = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    common = {
        "multi_query": draw(st.booleans()),
        "supervise": draw(st.sampled_from(["every-token", "answers"])),
        "k_motif_size": k_motif_size,
        "v_motif_size": v_motif_size,
        **_noise(draw),
    }
    usable = max(4, 2 * k_motif_size, 2 * v_motif_size) + draw(st.integers(0, 5))
    vocab_size = usable + common["noise_vocab_size"] + (1 if common["multi_query"] else 2)
    # A single pair whose value is a single token would leave no choice.
    shortest = 3 * k_motif_size + 4 if v_motif_size == 1 else 2 * (k_motif_size + v_motif_size) + 1
    seq_len = shortest + draw(st.integers(0, 30))
    return {**common, "vocab_size": vocab_size, "seq_len": seq_len}


@st.composite
def _memorization(draw: st.DrawFn) -> dict[str, Any]:
    noise = _noise(draw)
    vocab_size = draw(st.integers(4, 20)) + noise["noise_vocab_size"] + 1
    return {**noise, "vocab_size": vocab_size, "seq_len": 2 * draw(st.integers(1, 12)), "map_seed": draw(seeds)}


@st.composite
def _compression(draw: st.DrawFn) -> dict[str, Any]:
    noise = _noise(draw)
    vocab_size = draw(st.integers(2, 15)) + noise["noise_vocab_size"] + 1
    return {**noise, "vocab_size": vocab_size, "seq_len": draw(st.integers(2, 25))}


@st.composite
def _copying(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(2, 8))
    seq_len = 2 * n + 2 + draw(st.integers(0, 20))
    return {"vocab_size": draw(st.integers(4, 15)), "seq_len": seq_len, "num_tokens_to_copy": n}


OVERRIDES = {
    "in-context-recall": _recall(noisy=False),
    "noisy-in-context-recall": _recall(noisy=True),
    "fuzzy-in-context-recall": _fuzzy(),
    "memorization": _memorization(),
    "compression": _compression(),
    "selective-copying": _copying(),
}


@st.composite
def params_of(draw: st.DrawFn, name: str) -> Any:
    """Valid parameters of the named task."""
    return make_params(name, mode=draw(modes), **draw(OVERRIDES[name]))


any_task = st.sampled_from(sorted(OVERRIDES)).flatmap(lambda name: st.tuples(st.just(name), params_of(name)))
