"""What one training step of every sequence mixer costs, against multi-head attention.

    python -m benchmarks.speed.layers [--pairs 15] [--only NAME ...]

Two blocks of norm, mixer, norm, SwiGLU, and a head; batch 32, length 128, width 64, 8 heads where a layer has heads,
one thread. Steps of the mixer's model and of attention's alternate. Prints a table, the ratio being the median over
pairs with its 95 % interval, and writes ``benchmarks/results/layers.json``; with ``--only`` it prints and does not
write. Ends with an error if a ratio is above the limit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.command import command_line
from benchmarks.record import save
from pytest_mad.architectures.backbones import LanguageModel
from pytest_mad.layers import build_layer, layer_names
from pytest_mad.layers.mixer import Mixer

from .plugin_tax import median_interval

BATCH, LENGTH, DIM, HEADS, VOCAB = 32, 128, 64, 8, 16
BASELINE = "mh-attention"
LIMIT = 4.0
WARM_UP = 2


def main() -> None:
    mixers = [name for name in layer_names() if not is_channel_mixer(name)]
    parser = command_line(__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=mixers, metavar="NAME")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    print(f"{'layer':26} {'ms':>7}  {'ratio':>5}  {'95 % interval':>13}  {'parameters':>10}  {'state':>6}")
    measured = {}
    for name in arguments.only or mixers:
        measured[name] = measure(name, arguments.pairs)
        print_row(name, measured[name])
    if not arguments.only:
        setting = {"batch": BATCH, "length": LENGTH, "dim": DIM, "heads": HEADS, "blocks": 2}
        save("layers", setting=setting, pairs=arguments.pairs, baseline=BASELINE, limit=LIMIT, layers=measured)
    slow = [name for name, row in measured.items() if row["ratio"] > LIMIT]
    if slow:
        sys.exit(f"more than {LIMIT:g} times {BASELINE}: {', '.join(slow)}")


def is_channel_mixer(name: str) -> bool:
    return name in ("mlp", "swiglu", "moe-mlp") or name.endswith("-channel-mixer")


def build(name: str) -> Mixer:
    """With 8 heads, unless the layer has none, or one by its name."""
    layer = build_layer(name, DIM, LENGTH)
    if getattr(layer, "num_heads", 1) > 1:
        layer = build_layer(name, DIM, LENGTH, num_heads=HEADS)
    assert isinstance(layer, Mixer)
    return layer


def measure(name: str, pairs: int) -> dict[str, Any]:
    step, baseline = training_step(name), training_step(BASELINE)
    for _ in range(WARM_UP):
        step(), baseline()
    own, ratios = [], []
    for i in range(pairs):
        first, second = (step, baseline) if i % 2 == 0 else (baseline, step)
        seconds = {first: clocked(first), second: clocked(second)}
        own.append(seconds[step])
        ratios.append(seconds[step] / seconds[baseline])
    ratio, low, high = median_interval(ratios)
    layer = build(name)
    return {
        "milliseconds": round(1e3 * sorted(own)[pairs // 2], 1),
        "ratio": round(ratio, 3),
        "interval": [round(low, 3), round(high, 3)],
        "parameters": sum(parameter.numel() for parameter in layer.parameters()),
        "state": layer.state_size(),
    }


def training_step(name: str) -> Callable[[], None]:
    """A function that takes one step of AdamW, always on the same batch."""
    torch.manual_seed(0)
    layers = [layer for _ in range(2) for layer in (build(name), build_layer("swiglu", DIM, LENGTH))]
    model = LanguageModel(layers, dim=DIM, vocab_size=VOCAB, max_length=LENGTH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    tokens, targets = torch.randint(VOCAB, (2, BATCH, LENGTH))

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def clocked(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def print_row(name: str, row: dict[str, Any]) -> None:
    low, high = row["interval"]
    state = "grows" if row["state"] is None else f"{row['state']:,}"
    print(f"{name:26} {row['milliseconds']:7.1f}  {row['ratio']:5.2f}  {low:5.2f} to {high:4.2f}"
          f"  {row['parameters']:10,}  {state:>6}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
