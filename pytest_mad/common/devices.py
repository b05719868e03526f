"""CUDA devices by their names, as the caller or nvidia-smi gives them, as far as torch sees them.

A name is an opaque string: an index, a ``GPU-...`` UUID, a ``MIG-...`` id. torch is asked for their number alone, and
only where there is a name: it has that from the driver's management library, so that the controller of xdist does not
open devices that are the workers'.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import subprocess
import warnings

VISIBLE = "CUDA_VISIBLE_DEVICES"
_NAME = re.compile(r"\d+|(GPU|MIG)-\S+")
#: Seconds that a driver may take to wake up.
_PATIENCE = 30


def visible_devices() -> list[str]:
    """Those of :func:`listed_devices` that are there: a variable may be another machine's, torch built for the CPU."""
    names = listed_devices()
    count = _seen_by_torch() if names else 0
    # of the instances of a GPU that is cut up CUDA shows a process one, but each worker has another
    is_cut_up = any(name.startswith("MIG-") for name in names)
    return names if count and is_cut_up else names[:count]


def listed_devices() -> list[str]:
    """The caller's own list, else what nvidia-smi finds. As for CUDA, a list ends at what is no device (``0,-1,1``)."""
    given = os.environ.get(VISIBLE)
    if given is None:
        return list(_from_nvidia_smi(shutil.which("nvidia-smi")))
    return list(itertools.takewhile(_NAME.fullmatch, map(str.strip, given.split(","))))


def _seen_by_torch() -> int:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a driver that is too old, or not there
        return torch.cuda.device_count()


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
