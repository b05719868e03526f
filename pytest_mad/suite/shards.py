"""``--mad-shard=I/N``: which of the suite's items a job runs, and what result files say of shards.

Jobs of a CI matrix know nothing of each other, so the cut is a pure function of what all of them know: the ids of all
items, before ``-k`` and the like, and the committed estimates of their cost.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Mapping
from typing import NamedTuple

from pytest_mad.results.result import Shards


class Shard(NamedTuple):
    """The ``part``-th of ``of`` parts of a suite, counted from 1."""

    part: int
    of: int

    def __str__(self) -> str:
        return f"{self.part}/{self.of}"

    def own(self, costs: Mapping[str, float]) -> set[str]:
        """Ids of the items that belong to this shard, of all with their costs."""
        return {item for item, part in assign(costs, self.of).items() if part == self.part}

    def of_suite(self, items: Mapping[str, object]) -> Shards:
        """What a result file says: which part it has, and of which suite."""
        return Shards(suite=digest(items), of=self.of, parts=(self.part,))


def assign(costs: Mapping[str, float], shards: int) -> dict[str, int]:
    """The shard of each item, from 1 on: longest first, each to the shard that has least so far.

    No shard gets more than an equal share and the longest item. Ties go by number of items and by name, so that the
    order of ``costs`` does not matter.
    """
    loads = [(0.0, 0, shard) for shard in range(1, shards + 1)]  # ascending, which makes it a heap
    found = {}
    for item in sorted(costs, key=lambda one: (-costs[one], one)):
        load, items, found[item] = loads[0]
        heapq.heapreplace(loads, (load + costs[item], items + 1, found[item]))
    return found


def digest(items: Mapping[str, object]) -> str:
    """Tells suites apart: shards of two belong together if their items, and what is asked of each, are the same."""
    text = json.dumps(items, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
