"""What the plugin costs a project that does not use it: collection with it against ``-p no:mad``.

    python -m benchmarks.speed.plugin_tax [--pairs 60]

Collects a made-up project of 40 files in interleaved pairs of fresh processes, prints the median ratio with its
95 % interval, and writes ``benchmarks/results/plugin_tax.json``.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import command_line
from benchmarks.record import save

FILES, TESTS = 40, 25


def collect(project: Path, *options: str) -> float:
    """Seconds of one pytest process that collects the project."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options]
    started = time.perf_counter()
    subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def median_interval(values: list[float], draws: int = 5_000) -> tuple[float, float, float]:
    """Median and its 95 % bootstrap interval."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    pairs = parser.parse_args().pairs

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        tests = "\n".join(f"def test_{i}():\n    pass\n" for i in range(TESTS))
        for i in range(FILES):
            (project / f"test_{i}.py").write_text(tests, encoding="utf-8")
        collect(project), collect(project, "-p", "no:mad")  # warm caches
        ratios = []
        for i in range(pairs):
            order = [(), ("-p", "no:mad")] if i % 2 == 0 else [("-p", "no:mad"), ()]
            seconds = {options: collect(project, *options) for options in order}
            ratios.append(seconds[()] / seconds["-p", "no:mad"])
    median, low, high = median_interval(ratios)
    print(f"with the plugin / without: median {median:.3f} (95 % interval {low:.3f} to {high:.3f}, {pairs} pairs)")
    save("plugin_tax", pairs=pairs, median=round(median, 4), interval=[round(low, 4), round(high, 4)])


if __name__ == "__main__":
    main()
