"""Softmax attention against the reference of flash-attn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_mad.layers.ops.attention import attention
from tests.packages.comparing import assert_same
from tests.packages.drawing import Draw, draws, examples
from tests.packages.installed import load


@given(draws(), st.none() | st.integers(1, 70), st.integers(0, 20))
@examples
def test_attention(draw: Draw, window: int | None, past: int):
    """Their window counts the keys besides the query's own."""
    attention_ref = load("flash_attn.utils.testing.attention_ref")

    def ours(q, k, v):
        return attention(q, k, v, window=window)

    def theirs(q, k, v):
        return attention_ref(q, k, v, causal=True, window_size=(None if window is None else window - 1, 0))[0]

    q, k, v = (draw.normal(draw.B, length, draw.H, draw.K) for length in (draw.T, draw.T + past, draw.T + past))
    assert_same(ours, theirs, q, k, v)
