"""The gate's two numbers: how often it flags an unchanged architecture, and how many planted defects it finds.

    python -m benchmarks.gate [--jobs 2] [--minutes M] [--only NAME,NAME] [--until STAGE]

False alarms come from the seeds that ``benchmarks.calibration.calibrate`` recorded. Detection measures the changes of
``benchmarks.gate.defects``: contracts, trials, and comparisons with the recorded seeds of what was changed. Each is
kept in ``benchmarks/results/gate.json`` as soon as it is there and not measured again. After M minutes no further one
is begun; the next call goes on. Prints a row per change and the totals.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import RESULTS, save

from .defects import PLANTED, Planted
from .pieces import (
    Missing,
    Piece,
    Pieces,
    against_baseline,
    against_threshold,
    baselines,
    by_cost,
    lookup,
    measure,
    preset,
    recorded,
    slowness,
    truth,
)
from .report import print_report, report

#: What a piece is measured for, in the order of urgency.
STAGES = ("contracts", "truth", "found", "compared", "steps", "flagged")
#: Rough seconds beside the transformer's.
SLOWNESS = {"transformer": 1.0, "grouped_queries": 1.0, "experts": 2.0, "deltanet": 2.0, "gated_deltanet": 2.0,
            "mamba": 4.0, "hyena": 4.0}  # fmt: skip


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--only", help="names of changes, with commas between them")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last of the questions to answer")
    arguments = parser.parse_args()
    asked = STAGES[: STAGES.index(arguments.until) + 1]
    names = arguments.only.split(",") if arguments.only else list(PLANTED)
    pieces = read_pieces()
    run([PLANTED[name] for name in names], pieces, arguments.jobs, 60 * arguments.minutes, asked)
    print_report(write(pieces))


def read_pieces() -> dict[str, Any]:
    """What earlier calls measured."""
    file = RESULTS / "gate.json"
    pieces: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["pieces"] if file.exists() else {}
    return pieces


def write(pieces: Pieces) -> dict[str, Any]:
    """The report beside the pieces that it is made of."""
    found = report(pieces, RESULTS)
    save("gate", **found, pieces=dict(pieces))
    return found


def run(planted: list[Planted], pieces: dict[str, Any], jobs: int, seconds: float, asked: Sequence[str]) -> None:
    """Measure what is missing, the first things first, until nothing is or the time is up."""
    deadline = time.monotonic() + seconds
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[dict[str, Any]], Piece] = {}
        while True:
            for piece in needed(planted, pieces, asked, {piece.planted for piece in running.values()}):
                if len(running) == jobs or time.monotonic() > deadline:
                    break
                running[pool.submit(measure, piece)] = piece
            if not running:
                break
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                piece = running.pop(done)
                pieces[piece.key] = done.result()
                print_piece(piece, pieces[piece.key])
            save("gate", pieces=pieces)


def needed(planted: list[Planted], pieces: Pieces, asked: Sequence[str], busy: set[str]) -> Iterator[Piece]:
    """The next piece of every change that still needs one and has none under way, first things first."""
    open_ = []
    for number, change in enumerate(planted):
        wanted = None if change.name in busy else next_piece(change, pieces)
        if wanted is not None and wanted[0] in asked:
            stage, piece = wanted
            open_.append((rank(change, stage, piece), number, piece))
    yield from (piece for *_, piece in sorted(open_))


def rank(change: Planted, stage: str, piece: Piece) -> tuple[int, float]:
    """First what is lost and whether a run finds it, then what is late and whether it does; each cheapest first."""
    cost = preset()[piece.setting].cost if piece.setting else 0.0
    return STAGES.index(stage), cost * SLOWNESS[change.base]


def next_piece(change: Planted, pieces: Pieces) -> tuple[str, Piece] | None:
    """What is missing, and for which question; None if all is known.

    A change that breaks a hard contract is a defect, and found: it needs no training. Nor does one that lost a
    capability need to be asked how late it is.
    """
    get, chosen = lookup(change, pieces), by_cost()
    stage, is_lost, can_compare = "contracts", False, change.base in baselines()
    try:
        if recorded(Piece(change.name), pieces)["broken"]:
            return None
        if not change.is_refactoring:
            stage = "truth"
            is_lost = truth(get, chosen).setting is not None
        if is_lost:
            stage = "found"
            against_threshold(get, chosen)
        if can_compare:
            stage = "compared"
            against_baseline(change, get, chosen)
        if can_compare and not is_lost and not change.is_refactoring:
            stage = "steps"
            slowness(change, get, chosen)
        stage = "flagged"
        against_threshold(get, chosen)
    except Missing as missing:
        return stage, missing.piece
    return None


def print_piece(piece: Piece, record: dict[str, Any]) -> None:
    if piece.setting:
        score = "-" if record["normalized"] is None else f"{record['normalized']:.3f}"
        print(f"{piece.key:80} {record['verdict']:6} {score:>6} {record['steps']:5} steps {record['seconds']:6.1f} s",
              flush=True)  # fmt: skip
    else:
        broken = record["broken"] or "none" + "".join(f", warns {name}" for name in record["warnings"])
        print(f"{piece.key:80} {broken} {record['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
