"""xdist: the order of items, how many workers ``auto`` means, and what each worker finds in its environment."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_mad.common.devices import VISIBLE, chosen_devices

from . import options

#: What a CPU trial needs no more than one of; read when NumPy and torch are imported.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def order(costs: list[float], workers: int) -> list[int]:
    """Indices of items in the order they should be sent out: the given order for a single process.

    xdist hands each of its workers two items at first (up to a dozen items per worker), and what stands behind a long
    one waits for it. So each of the longest, one per worker, is paired with one of the shortest: the i-th longest with
    the i-th shortest, of all items where there are many, of the first two per worker where the others are too few to
    fill what gaps remain. The rest follow longest first. Fewer items than two per worker it deals out one by one, round
    the workers: then the shortest of the long ones get company. A pure function of committed costs: every worker must
    collect the same order.
    """
    if workers < 2:
        return list(range(len(costs)))
    longest_first = sorted(range(len(costs)), key=lambda i: (-costs[i], i))
    if len(costs) < 2 * workers:
        return longest_first[:workers][::-1] + longest_first[workers:]
    end = len(costs) if len(costs) >= 4 * workers else 2 * workers
    long, short = longest_first[:workers], longest_first[end - workers : end]
    paired = [index for pair in zip(long, reversed(short), strict=True) for index in pair]
    return paired + longest_first[workers : end - workers] + longest_first[end:]


def cores() -> int:
    """Cores this process may use; containers often grant fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def auto_workers(config: pytest.Config) -> int:
    """What ``-n auto`` means: a worker per trial that the devices take side by side, or per core without a device."""
    return len(chosen_devices(config)) * options.value(config, "mad_trials_per_gpu") or cores()


def equip(specs: Sequence[Any], devices: list[str]) -> None:
    """Give each local worker its device, round robin, and one thread, unless the user said otherwise.

    ``specs`` are execnet's. It applies their environment before the worker imports anything, and xdist starts the
    replacement of a dead worker from the same spec, so that it inherits the device.
    """
    local = [spec for spec in specs if spec.popen]
    for spec, device in zip(local, itertools.cycle(devices), strict=False):
        spec.env.setdefault(VISIBLE, device)
    for spec, name in itertools.product(local, _THREADS):
        if name not in os.environ:
            spec.env.setdefault(name, "1")


def worker_count(config: pytest.Config) -> int:
    """How many workers xdist will start; 0 where it is absent or does not distribute."""
    if config.getoption("dist", "no") == "no" or not config.getoption("tx", None):
        return 0
    from xdist.workermanage import parse_tx_spec_config

    return len(parse_tx_spec_config(config))


def header_lines(devices: list[str], workers: int, share: int) -> list[str]:
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


def _advice(devices: list[str], share: int) -> list[str]:
    if not devices:
        return [f"mad: add -n auto to train on {cores()} cores at a time"] if cores() > 1 else []
    trials, gpus = len(devices) * share, "1 GPU" if len(devices) == 1 else f"{len(devices)} GPUs"
    return [f"mad: add -n auto to train {trials} settings at a time on {gpus}"] if trials > 1 else []
