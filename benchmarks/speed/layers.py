"""What one training step of every sequence mixer costs, against multi-head attention.

    python -m benchmarks.speed.layers [--pairs 15] [--lengths 48,128] [--only NAME ...]
    python -m benchmarks.speed.layers --growth [--only NAME ...]

Two blocks of norm, mixer, norm, SwiGLU, and a head; batch 32, width 64, 8 heads where a layer has heads, one thread.
Steps of the mixer's model and of attention's alternate. Prints a table per length, the ratio being the median over
pairs with its 95 % interval, and writes ``benchmarks/results/layers.json``; with ``--only`` it prints and does not
write. Ends with an error that names those whose ratio is above the limit. ``--growth`` prints how many times as long a
step takes with 128, 256, 512 and 1,024 tokens as with 128, in batches of 4.
"""

from __future__ import annotations

import statistics
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
from pytest_mad.training.memory import keep_freed_memory

from .plugin_tax import median_interval

BATCH, DIM, HEADS, VOCAB = 32, 64, 8, 16
GROWING, GROWING_BATCH, REPEATS = (128, 256, 512, 1024), 4, 5
BASELINE = "mh-attention"
LIMIT = 1.5
WARM_UP = 2


def main() -> None:
    mixers = [name for name in layer_names() if not is_channel_mixer(name)]
    parser = command_line(__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--lengths", default="48,128")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--only", nargs="+", choices=mixers, metavar="NAME")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    keep_freed_memory()
    if arguments.growth:
        print_growth(arguments.only or mixers)
        return
    measured: dict[str, dict[str, Any]] = {}
    for length in map(int, arguments.lengths.split(",")):
        print(f"T={length:<24} {'ms':>7}  {'ratio':>5}  {'95 % interval':>13}  {'parameters':>10}  {'state':>6}")
        for name in arguments.only or mixers:
            row = measured.setdefault(name, {})[str(length)] = measure(name, arguments.pairs, length)
            print_row(name, row)
    if not arguments.only:
        setting = {"batch": BATCH, "dim": DIM, "heads": HEADS, "blocks": 2}
        save("layers", setting=setting, pairs=arguments.pairs, baseline=BASELINE, limit=LIMIT, layers=measured)
    slow = [f"{name} at T={t}" for name, rows in measured.items() for t, row in rows.items() if row["ratio"] > LIMIT]
    if slow:
        sys.exit(f"more than {LIMIT:g} times {BASELINE}: {', '.join(slow)}")


def print_growth(names: list[str]) -> None:
    """A row per layer: milliseconds of a step with the fewest tokens, and how many times as long it takes with more."""
    print(f"{'layer':26} {'ms':>7}" + "".join(f"{f'T={length}':>9}" for length in GROWING[1:]))
    for name in names:
        milliseconds = []
        for length in GROWING:
            step = training_step(name, length, GROWING_BATCH)
            step()
            milliseconds.append(1e3 * statistics.median(clocked(step) for _ in range(REPEATS)))
        ratios = "".join(f"{one / milliseconds[0]:9.1f}" for one in milliseconds[1:])
        print(f"{name:26} {milliseconds[0]:7.1f}{ratios}", flush=True)


def is_channel_mixer(name: str) -> bool:
    return name in ("mlp", "swiglu", "moe-mlp") or name.endswith("-channel-mixer")


def build(name: str, length: int) -> Mixer:
    """With 8 heads, unless the layer has none, or one by its name."""
    layer = build_layer(name, DIM, length)
    if getattr(layer, "num_heads", 1) > 1:
        layer = build_layer(name, DIM, length, num_heads=HEADS)
    assert isinstance(layer, Mixer)
    return layer


def measure(name: str, pairs: int, length: int) -> dict[str, Any]:
    step, baseline = training_step(name, length), training_step(BASELINE, length)
    for _ in range(WARM_UP):
        step(), baseline()
    own, ratios = [], []
    for i in range(pairs):
        first, second = (step, baseline) if i % 2 == 0 else (baseline, step)
        seconds = {first: clocked(first), second: clocked(second)}
        own.append(seconds[step])
        ratios.append(seconds[step] / seconds[baseline])
    ratio, low, high = median_interval(ratios)
    layer = build(name, length)
    return {
        "milliseconds": round(1e3 * sorted(own)[pairs // 2], 1),
        "ratio": round(ratio, 3),
        "interval": [round(low, 3), round(high, 3)],
        "parameters": sum(parameter.numel() for parameter in layer.parameters()),
        "state": layer.state_size(),
    }


def training_step(name: str, length: int, batch: int = BATCH) -> Callable[[], None]:
    """A function that takes one step of AdamW, always on the same batch."""
    torch.manual_seed(0)
    layers = [layer for _ in range(2) for layer in (build(name, length), build_layer("swiglu", DIM, length))]
    model = LanguageModel(layers, dim=DIM, vocab_size=VOCAB, max_length=length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    tokens, targets = torch.randint(VOCAB, (2, batch, length))

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
