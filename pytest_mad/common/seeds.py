"""Seeds: each is derived from what is being drawn, so order, worker count and global state cannot matter."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np


def derive_seed(*what: object) -> int:
    """A 63-bit seed from plain values that name what is drawn, e.g. ``("data", task, version, params, seed)``."""
    text = json.dumps(what, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*what: Any) -> np.random.Generator:
    """A NumPy generator seeded from what is drawn."""
    return np.random.default_rng(derive_seed(*what))
