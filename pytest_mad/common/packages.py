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


def minor(version: str) -> str:
    """``2.13`` of ``2.13.0+cpu``."""
    return ".".join(version.split(".")[:2])
