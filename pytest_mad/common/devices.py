"""CUDA devices by their names, as the caller or nvidia-smi gives them.

A name is an opaque string: an index, a ``GPU-...`` UUID, a ``MIG-...`` id. torch is never asked: in the controller of
xdist it would open devices that are the workers'.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import subprocess

import pytest

from pytest_mad.suite import options

VISIBLE = "CUDA_VISIBLE_DEVICES"
_NAME = re.compile(r"\d+|(GPU|MIG)-\S+")
#: Seconds that a driver may take to wake up.
_PATIENCE = 30


def chosen_devices(config: pytest.Config) -> list[str]:
    """What ``--mad-gpus`` picks of the devices that are there; none with ``--mad-device=cpu``."""
    wanted = options.value(config, "mad_gpus")
    if options.value(config, "mad_device") == "cpu":
        if config.getoption("mad_gpus") is not None:
            raise pytest.UsageError(
                f"--mad-gpus={config.getoption('mad_gpus')}: and --mad-device=cpu: leave one of them out"
            )
        return []
    found = visible_devices()
    if wanted == "auto":
        return found
    picked = [_pick(found, name) for name in wanted]
    if len(set(picked)) < len(picked):
        raise pytest.UsageError(f"--mad-gpus={','.join(wanted)}: names a device twice")
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


def visible_devices() -> list[str]:
    """The caller's own list, else what nvidia-smi finds. As for CUDA, a list ends at what is no device (``0,-1,1``)."""
    given = os.environ.get(VISIBLE)
    if given is None:
        return list(_from_nvidia_smi(shutil.which("nvidia-smi")))
    return list(itertools.takewhile(_NAME.fullmatch, map(str.strip, given.split(","))))


@functools.cache
def _from_nvidia_smi(program: str | None) -> tuple[str, ...]:
    """Asked once per process: a driver may take a second to answer."""
    if program is None:
        return ()
    try:
        done = subprocess.run([program, "-L"], capture_output=True, check=True, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):  # a driver that does not run: no device
        return ()
    return tuple(listed(done.stdout.decode(errors="replace")))


def listed(text: str) -> list[str]:
    """The UUIDs in what ``nvidia-smi -L`` prints; a GPU that is cut into MIG instances stands for them."""
    found: list[str] = []
    for name in re.findall(r"UUID: ((?:GPU|MIG)-[^\s)]+)", text):
        if name.startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()
        found.append(name)
    return found


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
