"""Versions of installed packages, without importing them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

#: The folder of this package: what lies in it is our code, in tracebacks, stacks and digests.
HERE = Path(__file__).parents[1]


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
