"""What the comparison of steps should find, from the recorded seeds alone.

    python -m benchmarks.gate.prediction

Per base with recorded seeds and per setting: the spread of the steps to the mark, as the standard deviation of their
logarithms, and the share of runs in which a slowdown of 1.5, 2 or 3 times would be found. Writes
``benchmarks/results/prediction.json``. It was first committed before any change was compared with a baseline.
"""

from __future__ import annotations

from typing import Any

from benchmarks.command import command_line
from benchmarks.record import save
from pytest_mad.gate.power import pooled_power, power, spread
from pytest_mad.gate.speed import Pace

from .pieces import baselines, by_cost, pace

TIMES = (1.5, 2.0, 3.0)


def main() -> None:
    command_line(__doc__).parse_args()
    found = {base: of_base(base) for base in baselines()}
    save("prediction", bases=found)
    print(f"{'base':18} {'setting':34} sigma  " + "  ".join(f"{times:g}x".rjust(5) for times in TIMES))
    for base, table in found.items():
        for name, one in table.items():
            sigma = "" if one["sigma"] is None else f"{one['sigma']:.2f}"
            print(f"{base:18} {name:34} {sigma:5}  " + "  ".join(f"{share:5.2f}" for share in one["power"]))


def of_base(base: str) -> dict[str, Any]:
    """The settings, cheapest first, and the pooled test."""
    paces: list[Pace] = []
    found: dict[str, Any] = {}
    for setting in by_cost():
        asked = pace(base, setting)
        if asked is not None:
            paces.append(asked)
            shares = [power(asked, times) for times in TIMES]
            found[setting.id] = {"sigma": round(spread(asked.recorded), 3), "power": shares}
    found["pooled"] = {"sigma": None, "power": [pooled_power(paces, times) for times in TIMES]}
    return found


if __name__ == "__main__":
    main()
