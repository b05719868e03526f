"""xdist: the order of items, how many workers ``auto`` means, and what each worker finds in its environment."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_mad.common.devices import VISIBLE, visible_devices

from .option_table import on_command_line
from .options import options_of

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
    return len(chosen_devices(config)) * options_of(config).trials_per_gpu or cores()


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


def chosen_devices(config: pytest.Config) -> list[str]:
    """What ``--mad-gpus`` picks of the devices that are there; none with ``--mad-device=cpu``."""
    options, written = options_of(config), on_command_line(config)
    if options.device == "cpu":
        if "gpus" in written:
            raise pytest.UsageError(f"{written['gpus']}: and --mad-device=cpu: leave one of them out")
        return []
    found = visible_devices()
    if options.gpus == "auto":
        return found
    picked = [_pick(found, name) for name in options.gpus]
    if len(set(picked)) < len(picked):
        raise pytest.UsageError(f"--mad-gpus={','.join(options.gpus)}: names a device twice")
    return picked


def _pick(found: list[str], name: str) -> str:
    """A number is a place among those that are there, as it is for torch; anything else is the device's own name."""
    picked = found[int(name) :] if name.isdecimal() else [one for one in found if one == name]
    if not picked:
        there = ", ".join(f"{place} ({one})" for place, one in enumerate(found))
        raise pytest.UsageError(
            f"--mad-gpus={name}: {f'must be of the devices here: {there}' if found else 'there is no CUDA device here'}"
        )
    return picked[0]


def use_first(config: pytest.Config, devices: list[str]) -> None:
    """Let this process see the first device only, until pytest ends. torch looks when CUDA is first used."""
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = devices[0]

    def restore() -> None:
        if before is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = before

    config.add_cleanup(restore)
