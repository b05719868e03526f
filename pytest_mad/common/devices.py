"""CUDA devices by their names, as the caller or nvidia-smi gives them.

A name is an opaque string: an index, a ``GPU-...`` UUID, a ``MIG-...`` id. What torch sees counts: a list may be left
over from another machine, and a build of torch for CPUs sees no device. Its count opens none: in xdist's controller
they are the workers'.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import subprocess

VISIBLE = "CUDA_VISIBLE_DEVICES"
_NAME = re.compile(r"\d+|(GPU|MIG)-\S+")
#: Seconds that a driver may take to wake up.
_PATIENCE = 30


def visible_devices() -> list[str]:
    """The caller's own list, else what nvidia-smi finds, as far as torch sees it."""
    found = _named()
    count = seen_by_torch() if found else 0
    is_cut = any(name.startswith("MIG-") for name in found)  # a process sees one instance, whatever the list
    return found if count and is_cut else found[:count]


def seen_by_torch() -> int:
    """How many devices torch can use. Asked only where some are named: importing it takes a second."""
    import torch

    return torch.cuda.device_count()


def _named() -> list[str]:
    """As for CUDA, the caller's list ends at what is no device (``0,-1,1``)."""
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
