"""What each planted change was expected to do, written down before its steps were measured.

Changes that were tried under an earlier rule, which knew scores only, had shown by then whether they break a contract
or lose a capability. What they do to the steps was measured for none, but for single seeds of some.
"""

from __future__ import annotations

#: By class: breaks a hard contract, loses a capability, learns at least half as slowly again, or none of these.
EXPECTED: dict[str, frozenset[str]] = {
    "contract": frozenset(
        {
            "mask one ahead", "mask one behind", "masked after the softmax", "mask of ones instead of infinity",
            "softmax over queries", "softmax over heads", "softmax over the batch", "scores left out",
            "heads made of time", "all heads read the first group", "detached values", "dropout left on",
            "norm over time", "norm over the batch", "detached norms", "detached embedding", "last layer skipped",
            "SwiGLU times zero", "decay that never decays", "detached beta", "no beta", "convolution one ahead",
            "state not reset", "no rates", "no gate", "detached steps", "steps without softplus",
            "no skip connection", "read backwards", "batch and time confused",
            "convolution that wraps around", "filters one late", "detached filters", "filters without the skip",
            "inner gate left out", "no short convolution", "all queries read the first group",
            "detached keys of the groups", "groups made of time", "the same experts for all", "router over time",
            "router over the batch", "detached router", "hard choice of one expert", "noise on the router left on",
            "tokens dropped from a full expert", "experts chosen blindly", "filters cut after eight lags",
        }
    ),
    "lost": frozenset(
        {
            "first token masked as padding", "truncated window", "window of four in the second block",
            "blocks of four", "rotary on queries only", "no rotary", "eight neighbours share a position",
            "dropout of 0.9", "noise on the embeddings", "norm multiplies instead of divides",
            "second block reads the embedding", "output one late", "token ids halved", "token ids clipped at 5",
            "weights drawn thirty times too large", "state reset between chunks", "state detached between chunks",
            "outer gate added", "turned by the head", "keys not turned",
        }
    ),
    "slower": frozenset(
        {
            "window of twelve", "sigmoid instead of softmax", "keys rotated the other way",
            "positions anew every four tokens", "no scale", "scaled twice", "scores saturated", "no norm",
            "norm with an epsilon of 1", "tied layers", "all layers tied", "no residual",
            "layers scaled by a hundredth", "stream scaled by a tenth", "SwiGLU without its activation",
            "old value not taken out", "decay with the wrong sign", "decay a hundred times too fast",
            "delta rule with the wrong sign", "no norm of queries and keys", "rates with the wrong sign",
            "filters read backwards", "one filter for all channels", "filters divided by the length",
            "skip at every lag", "filters without decay", "filters without sines", "inner gate added",
            "keys averaged over the groups", "queries averaged in each group", "keys of length one",
            "scale a sixteenth of what it was", "values one position late", "second group near",
            "experts divided twice", "experts without activation", "sigmoid router",
        }
    ),
    "harmless": frozenset(
        {
            "keys one position late", "scores with the wrong sign", "mean over the heads",
            "norm behind the residual", "frozen attention", "frozen embedding", "frozen norms",
            "residual of the norm", "SwiGLU with the wrong sign", "convolution one late", "decay in the step only",
            "gate with the wrong sign", "worst experts", "routed one late", "weighted twice",
        }
    ),
}  # fmt: skip


def expected(name: str) -> str:
    """The class of a change that is no refactoring."""
    return next(kind for kind, names in EXPECTED.items() if name in names)
