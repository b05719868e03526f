"""How many seeds a comparison with a baseline takes, and how often it is wrong about an unchanged architecture."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from pytest_mad.common.errors import check_keys, require

#: What a whole preset may flag of unchanged architectures: by scores, by steps to the mark, by steps in all settings.
FALSE_ALARMS = 0.01
#: Of it, what scores take where a preset does not say otherwise, and what the steps of all settings together take.
SCORES, POOLED = 0.002, 0.002
#: Far more than any gate takes.
MOST_SEEDS = 10_000


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A preset's ``[gate]``: seeds that a baseline records, new seeds that may be tried, and the margin.

    Scores are bounded and often bimodal, so the rule knows their order only: an unchanged architecture regresses if all
    n new seeds fall below the lowest of B recorded ones, which of C(B + n, n) equally likely orders is one. Steps to
    the mark are compared by their ranks, of up to ``speed_seeds`` new seeds, at what the scores leave of the level.
    """

    baseline_seeds: int = 16
    seeds: int = 4
    speed_seeds: int = 8
    #: how far below the recorded seeds a score still passes
    margin: float = 0.03

    def __post_init__(self) -> None:
        for name in ("baseline_seeds", "seeds", "speed_seeds"):
            value = getattr(self, name)
            is_count = type(value) is int and 1 <= value <= MOST_SEEDS
            require(is_count, name, value, f"a whole number from 1 to {MOST_SEEDS:,}")
        is_number = isinstance(self.margin, int | float) and not isinstance(self.margin, bool)
        require(is_number and 0 <= self.margin < 1, "margin", self.margin, "a number from 0 to below 1")

    @classmethod
    def from_json(cls, data: dict[str, Any], num_settings: int) -> Gate:
        """A preset's table; what it does not state is enough for its number of settings, and for what it states."""
        gate = gate_for(num_settings)
        check_keys(data, asdict(gate), "gate key")
        gate = replace(gate, **data)
        for other, stated in (("seeds", "baseline_seeds"), ("baseline_seeds", "seeds")):
            while stated in data and other not in data and gate.false_alarms(num_settings) > FALSE_ALARMS:
                enough = f"more: {num_settings} settings would take more than {MOST_SEEDS:,} {other}"
                require(getattr(gate, other) < MOST_SEEDS, stated, data[stated], enough)
                gate = replace(gate, **{other: getattr(gate, other) + 1})
        return gate

    def false_alarms(self, num_settings: int) -> float:
        """The bound for the scores of a whole preset."""
        return num_settings * false_alarm_bound(self.baseline_seeds, self.seeds)


def speed_level(num_settings: int, baseline_seeds: int, seeds: int) -> float:
    """The level of one setting's steps: its part of what scores and the pooled test leave; 0 where they leave nothing.

    ``baseline_seeds`` were recorded, and ``seeds`` new ones may be tried against their scores.
    """
    return max(0.0, (FALSE_ALARMS - POOLED) / num_settings - false_alarm_bound(baseline_seeds, seeds))


def false_alarm_bound(baseline_seeds: int, seeds: int) -> float:
    """The largest probability with which an unchanged architecture regresses in one setting: 1/C(B + n, n).

    Exact where no two scores are equal, the margin is 0 and scores are exchangeable; ties and a margin lower it.
    """
    return 1 / orders(baseline_seeds, seeds)


def orders(baseline_seeds: int, seeds: int) -> int:
    """In how many ways the recorded and the new seeds may lie: C(B + n, n)."""
    return math.comb(baseline_seeds + seeds, seeds)


def gate_for(num_settings: int) -> Gate:
    """More new seeds for more settings, so that the scores of a whole preset stay under `SCORES`."""
    gate = Gate()
    while gate.false_alarms(num_settings) > SCORES:
        gate = replace(gate, seeds=gate.seeds + 1)
    return gate
