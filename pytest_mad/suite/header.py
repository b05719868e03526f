"""What pytest's header says of the suite: what will be measured, where, and what an earlier run died of."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from pytest_mad.common.devices import VISIBLE, listed_devices, visible_devices
from pytest_mad.evaluation.requirement import pace_of
from pytest_mad.gate import Gate, false_alarm_bound
from pytest_mad.gate.rule import POOLED

from .keys import PLAN
from .marks import left_behind
from .options import options_of
from .plan import Plan
from .selection import item_costs, shard_costs
from .xdist import cores, worker_count


def header(config: pytest.Config, devices: Sequence[str]) -> list[str]:
    """All lines. ``devices`` are those of this run."""
    plan, options = config.stash[PLAN], options_of(config)
    names = ", ".join(a.name for a in plan.architectures)
    count = f"{len(plan.settings)} setting{'' if len(plan.settings) == 1 else 's'}"
    lines = [f"mad: {names}; preset {plan.preset}, {count}; one thread per process on a CPU"]
    lines += gate_lines(plan)
    if plan.shard:
        lines.append(_shard_line(plan))
    if options.executor == "inline":  # Ray says itself where it runs, once it does
        lines += device_lines(devices, worker_count(config), options.trials_per_gpu)
        lines += [] if options.device == "cpu" else unseen_lines()
    return lines + left_behind(config)


def gate_lines(plan: Plan) -> list[str]:
    """What is said of a comparison with a baseline, or of a recording."""
    lines, one = [], next(iter(plan.settings.values())).gate
    if plan.run.baseline:
        margin = one.margin if plan.run.margin is None else plan.run.margin
        lines.append(f"mad: baseline {plan.run.baseline.source}, margin {margin:g}; {_comparison(plan, one)}")
    if plan.run.record:
        lines.append(f"mad: recording {plan.run.seeds or one.baseline_seeds} seeds per setting, without thresholds")
    return lines


def _comparison(plan: Plan, gate: Gate) -> str:
    """How often a comparison is wrong about an unchanged architecture, and how many seeds that takes."""
    assert plan.run.baseline
    names = [architecture.name for architecture in plan.architectures]
    looked_up = [plan.run.baseline.find(name, setting) for name in names for setting in plan.settings]
    missing = sum(found is None for found in looked_up)
    if missing:
        return f"it lacks {missing} of {len(looked_up)} settings"
    by_architecture = [_chance(plan, name) for name in names]
    chance, timed = max(one for one, _ in by_architecture), min(count for _, count in by_architecture)
    seeds = plan.run.seeds or max(gate.seeds, gate.speed_seeds if timed else 0)
    flags = f"flags an unchanged architecture in at most {chance:.2%} of runs"
    return f"up to {seeds} new seeds per setting; {flags}{_speed(plan, timed)}"


def _speed(plan: Plan, timed: int) -> str:
    """In which settings speed is not judged, and why; nothing where it is in all."""
    assert plan.run.baseline
    if timed == len(plan.settings):
        return ""
    if plan.run.baseline.is_shipped:
        return "; speed is told and not judged, for the baseline is another architecture's"
    why = "the others have too few recorded seeds, or too many that never reached the mark"
    return f", speed in {timed} of {len(plan.settings)} settings: {why}"


def _chance(plan: Plan, architecture: str) -> tuple[float, int]:
    """The sum of all levels of an architecture's rules, and how many settings are compared by their steps."""
    assert plan.run.baseline
    chance, recorded = 0.0, list[int]()
    for setting in plan.settings.values():
        found = plan.run.baseline.find(architecture, setting.id)
        assert found
        pace = pace_of(setting, plan.run, found[1])
        chance += false_alarm_bound(len(found[1].scores), plan.run.seeds or setting.gate.seeds)
        chance += pace.false_alarms if pace else 0.0
        recorded += [len(pace.recorded)] if pace else []
    return chance + (POOLED if len(recorded) > 1 else 0.0), len(recorded)


def _shard_line(plan: Plan) -> str:
    """How much of the suite this job runs."""
    own, total = len(shard_costs(plan)), len(item_costs(plan))
    nothing = "" if own else ", which is no failure: there are fewer items than shards"
    return f"mad: shard {plan.shard}: {own} of {total} contracts and settings{nothing}"


def device_lines(devices: Sequence[str], workers: int, share: int) -> list[str]:
    """Which worker has which device; for a single process one line of advice where others would stay idle.

    ``share`` is how many trials a device is meant to take side by side.
    """
    if not workers:
        return [*(f"mad: this process trains on {device}" for device in devices[:1]), *_advice(devices, share)]
    lines = [
        f"mad: {', '.join(f'gw{i}' for i in range(first, workers, len(devices)))} on {device}"
        for first, device in enumerate(devices[:workers])
    ]
    if devices and workers > len(devices) * share:
        most = -(-workers // len(devices))
        lines.append(f"mad: up to {most} workers share a device, more than --mad-trials-per-gpu={share}")
    return lines


def unseen_lines() -> list[str]:
    """A line where more devices are named than torch sees: a variable of another machine, a torch for the CPU."""
    named, seen = len(listed_devices()), len(visible_devices())
    if seen >= named:
        return []
    source = f"{VISIBLE} names" if VISIBLE in os.environ else "nvidia-smi finds"
    count = f"{named} CUDA device{'' if named == 1 else 's'}"
    return [f"mad: {source} {count}, but torch sees {seen or 'none, so this runs on the CPU'}"]


def _advice(devices: Sequence[str], share: int) -> list[str]:
    if not devices:
        return [f"mad: add -n auto to train on {cores()} cores at a time"] if cores() > 1 else []
    trials, gpus = len(devices) * share, "1 GPU" if len(devices) == 1 else f"{len(devices)} GPUs"
    return [f"mad: add -n auto to train {trials} settings at a time on {gpus}"] if trials > 1 else []
