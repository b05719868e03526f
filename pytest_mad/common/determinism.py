"""The same numbers every time: seeds for what users' code draws, and one thread for what a CPU adds up."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from .seeds import derive_seed


@contextlib.contextmanager
def seeded(*what: object) -> Iterator[None]:
    """Seed torch, NumPy and ``random`` from what is drawn, and restore their states afterwards."""
    seed = derive_seed(*what)
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        # Without a list torch forks, and warns of, every device of the machine.
        with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """One thread on a CPU: sums come in one order, so a trial has the same result in every process."""
    threads = torch.get_num_threads()
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)
