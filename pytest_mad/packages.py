"""Versions of installed packages, without importing them."""

from __future__ import annotations

from importlib import metadata


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
