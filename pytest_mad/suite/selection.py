"""Which of the suite's items run, and what they cost."""

from __future__ import annotations

import difflib

import pytest

from pytest_mad.executors.ray.units import CONTRACT_COST

from .arguments import ROOT
from .plan import Plan


def item_costs(plan: Plan) -> dict[str, float]:
    """Committed estimates of all items by node id, in order."""
    contracts = {f"contract[{name}]": CONTRACT_COST for name in plan.run.contracts.names()}
    own = contracts | {setting.id: setting.cost for setting in plan.settings.values()}
    return {f"{ROOT}::{a.name}::{item}": cost for a in plan.architectures for item, cost in own.items()}


def item_identities(plan: Plan) -> dict[str, object]:
    """What every item asks, by node id: whatever else could tell two suites apart whose costs are the same."""
    found: dict[str, object] = dict(item_costs(plan))
    for architecture in plan.architectures:
        for setting in plan.settings.values():
            asked = [setting.cost, setting.threshold, plan.run.seeds, plan.run.first_seed]
            found[f"{ROOT}::{architecture.name}::{setting.id}"] = [*asked, setting.identity()]
    return found


def shard_costs(plan: Plan) -> dict[str, float]:
    """The same of the items that this job runs: all, or its shard's."""
    costs = item_costs(plan)
    own = plan.shard.own(costs) if plan.shard else costs
    return {item: cost for item, cost in costs.items() if item in own}


def selected(plan: Plan, prefixes: list[str]) -> list[str]:
    """Node ids of the items that this job has and these arguments select."""
    return [item for item in shard_costs(plan) if matches(item, prefixes)]


def matches(node_id: str, prefixes: list[str]) -> bool:
    """Whether an item is selected by node-id arguments: its id, all settings of its task, its architecture, or all."""
    task = node_id.partition("[")[0]
    return any(p in (node_id, task) or node_id.startswith(p + "::") for p in prefixes)


def check_selection(ids: list[str], prefixes: list[str]) -> None:
    """Raise ``pytest.UsageError`` for a ``mad::...`` argument that selects nothing."""
    for prefix in prefixes:
        if prefix != "mad" and not any(matches(node_id, [prefix]) for node_id in ids):
            near = difflib.get_close_matches(prefix, ids, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(ids)}"
            raise pytest.UsageError(f"{prefix} is none of the suite's items; {hint}")
