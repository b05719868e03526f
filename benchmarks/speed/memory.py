"""Memory of the host: does a run of many settings need more than one of few, and what does the longest data take?

    python -m benchmarks.speed.memory [--rounds 5]

Trains the six tasks of the smoke preset for 100 steps each, round after round under another seed, in one process with a
store, and prints the peak of resident memory after each round: the first round has seen every size, so later ones
should add nothing. Then, in fresh processes, it generates the data of the paper preset's settings with 1,024 tokens,
and prints what that adds. Writes ``benchmarks/results/memory.json``. POSIX only.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import save
from pytest_mad.architectures.targets import from_target
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.setting import run_and_judge
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting

ARCHITECTURE = "reference_archs.transformer:make_model"
STEPS = 100


def peak() -> float:
    """MiB of resident memory that this process had at most."""
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def shortened(setting: Setting) -> Setting:
    return replace(setting, recipe=replace(setting.recipe, steps=STEPS, solved_at=2.0))


def rounds(count: int, answers: Connection) -> None:
    """Peaks after each round, in a process that did nothing else."""
    architecture, chosen = from_target(ARCHITECTURE), [shortened(s) for s in settings("smoke").values()]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            for setting in chosen:
                found = run_and_judge(architecture, setting, RunOptions(first_seed=seed, store=Path(folder))).result
                assert found.normalized is not None, found.detail
            answers.send(peak())


def data_of(name: str, answers: Connection) -> None:
    """What the data of one setting adds to the peak."""
    from pytest_mad.training.data import load_data

    setting = settings("paper")[name]
    before = peak()
    data = load_data(setting, 0)
    held = sum(array.nbytes for batch in data for array in batch) / 2**20
    answers.send((peak() - before, held))


def asked(function: Callable[..., None], *arguments: object, answers: int = 1) -> list[Any]:
    """What a function sends from a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(*arguments, sender))
    process.start()
    found = [receiver.recv() for _ in range(answers)]
    process.join()
    return found


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    count = parser.parse_args().rounds
    peaks = [round(mib, 1) for mib in asked(rounds, count, answers=count)]
    for number, mib in enumerate(peaks, start=1):
        print(f"{6 * number:3} settings trained: peak {mib:7.1f} MiB")
    longest = {}
    for name, setting in settings("paper").items():
        if setting.params.seq_len == 1024:
            ((added, held),) = asked(data_of, name)
            longest[name] = {"peak_mib": round(added, 1), "held_mib": round(held, 1)}
            print(f"{name:48} adds {added:7.1f} MiB at its peak, {held:.1f} MiB are kept")
    save("memory", steps=STEPS, peaks_mib=peaks, longest=longest)


if __name__ == "__main__":
    main()
