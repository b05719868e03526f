"""How fast the data of MAD's 66 settings is generated: 12,800 + 1,280 sequences each, mode ``fixed``.

    python -m benchmarks.speed.datagen [--workers 2]

Prints a line per setting in sequences per second, and the wall time of all settings on that many processes; writes
``benchmarks/results/datagen.json``.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace

import numpy as np

from benchmarks.command import command_line
from benchmarks.record import save
from pytest_mad.presets.reading import settings

TRAIN, TEST = 12_800, 1_280


def generate(name: str) -> tuple[str, float]:
    """Seconds for the train and test data of one setting."""
    setting = settings("paper")[name]
    task, params = setting.task, replace(setting.params, mode="fixed")
    started = time.perf_counter()
    task.generate(params, TRAIN, np.random.default_rng(0), "train")
    task.generate(params, TEST, np.random.default_rng(1), "test")
    return name, time.perf_counter() - started


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--workers", type=int, default=2)
    workers = parser.parse_args().workers

    names = sorted(settings("paper"), key=lambda n: -settings("paper")[n].params.seq_len)
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        seconds = dict(pool.imap_unordered(generate, names, chunksize=1))
    wall = time.perf_counter() - started

    for name in settings("paper"):
        print(f"{name:52} {(TRAIN + TEST) / seconds[name]:12,.0f} sequences/s  {seconds[name]:6.2f} s")
    print(f"{len(names)} settings on {workers} processes: {wall:.1f} s (with start-up)")
    rates = {name: round((TRAIN + TEST) / seconds[name]) for name in names}
    save("datagen", workers=workers, wall_seconds=round(wall, 1), sequences_per_second=rates)


if __name__ == "__main__":
    main()
