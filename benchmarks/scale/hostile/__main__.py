"""What bad input comes to: at least ten thousand generated ones, of every kind that users can give.

    python -m benchmarks.scale.hostile [--count 10000] [--commands 300] [--seed 0] [--kinds preset,store] [--no-save]

``--count`` inputs meet parsers, readers, contracts and trainings in this process, ``--commands`` whole commands in
temporary folders, two at a time, by what they are about. The same seed gives the same inputs. A defect is: an exception
that the API does not document; a message that is not one line of printable characters; a global of the process that is
left changed; a hang; a damaged file that gives another result; a report that is half written, or a temporary file left
over. Of a command also ``INTERNALERROR``, a traceback with frames of ours, more than one ``ERROR:`` line, and an exit
code that is not 0, 1, 2 or 4, or 0 where the model must fail.

Prints a line per kind, and each defect with its input, and writes ``benchmarks/results/hostile.json``, a section per
kind.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import command_line
from benchmarks.record import update

from . import commands, files, models, options, stored
from .judging import OUTCOMES, Kind, Met, drawn, meet

KINDS: tuple[Kind, ...] = (*options.KINDS, *files.KINDS, *stored.KINDS, *models.KINDS)
#: Inputs per kind, if there are enough in all.
LEAST = 300
_LONGEST = 300


def in_process(kind: Kind, count: int, seed: int) -> list[tuple[Any, Met]]:
    """What so many inputs of a kind came to; each in an empty folder."""
    found, home = [], os.getcwd()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, given in enumerate(drawn(kind.inputs, count, seed)):
            folder = Path(os.path.realpath(name), f"{number}")
            folder.mkdir()
            os.chdir(folder)
            try:
                found.append((given, meet(kind, given, folder)))
            finally:
                os.chdir(home)
                shutil.rmtree(folder, ignore_errors=True)
    return found


def row(found: list[tuple[Any, Met]], seconds: float) -> dict[str, Any]:
    """A kind as it is saved."""
    counts = Counter(met.outcome for _, met in found)
    defects = [{"input": shown(given), "defect": met.defect} for given, met in found if met.defect]
    told = {outcome: counts[outcome] for outcome in OUTCOMES}
    return {"count": len(found), **told, "seconds": round(seconds, 1), "defects": defects}


def shown(given: Any) -> str:
    text = ascii(given)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def counts(total: int, kinds: tuple[Kind, ...]) -> dict[str, int]:
    """Inputs by kind: as their shares are, and no fewer than `LEAST` of a run that is large enough."""
    least = min(LEAST, total // len(kinds))
    return {kind.name: max(least, round(total * kind.share / sum(k.share for k in kinds))) for kind in kinds}


def main() -> int:
    parser = command_line(__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--commands", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", help="only these, with commas between them")
    parser.add_argument("--no-save", dest="save", action="store_false", help="only print")
    arguments = parser.parse_args()
    plans = {f"command: {name}": name for name in commands.PLANS}
    wanted = arguments.kinds.split(",") if arguments.kinds else [*(kind.name for kind in KINDS), *plans]
    chosen = tuple(kind for kind in KINDS if kind.name in wanted)
    rows: dict[str, dict[str, Any]] = {}
    torch.set_num_threads(1)
    prepare()
    for kind in chosen:
        started = time.monotonic()
        found = in_process(kind, counts(arguments.count, chosen)[kind.name], arguments.seed)
        rows[kind.name] = tell(kind.name, row(found, time.monotonic() - started))
    for kind_name in [name for name in plans if name in wanted and arguments.commands]:
        started = time.monotonic()
        found = commands.run_all(plans[kind_name], arguments.commands, arguments.seed)
        rows[kind_name] = tell(kind_name, row(found, time.monotonic() - started))
    total, defects = (
        sum(numbers) for numbers in zip(*((r["count"], len(r["defects"])) for r in rows.values()), strict=True)
    )
    print(f"{total:,} inputs, {defects} defects")
    if arguments.save:
        update("hostile", **{name: {"seed": arguments.seed, **one} for name, one in rows.items()})
    return int(defects > 0)


def prepare() -> None:
    """Train once: what torch and its compiler leave in the environment at first is theirs."""
    models.measured()
    stored.expected()


def tell(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """Print a kind."""
    told = ", ".join(f"{outcome} {row[outcome]:,}" for outcome in OUTCOMES)
    print(f"{name:18} {row['count']:6,}: {told}, defects {len(row['defects'])}; {row['seconds']:.0f} s", flush=True)
    for one in row["defects"]:
        print(f"    {one['defect']}\n        {one['input']}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
