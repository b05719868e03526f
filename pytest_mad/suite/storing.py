"""Where a run keeps its results, and what went wrong there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_mad.common.files import is_there
from pytest_mad.store.folder import open_store

from .option_table import on_command_line
from .options import options_of


def store_path(config: pytest.Config) -> Path | None:
    """Where results are kept; None where nothing is."""
    options = options_of(config)
    if options.no_store:
        if "store" in on_command_line(config):
            raise pytest.UsageError(f"--mad-store={options.store}: and --mad-no-store: leave one of them out")
        return None
    folder = Path(config.invocation_params.dir, options.store) if options.store else config.rootpath / ".pytest_mad"
    if is_there(folder) and not folder.is_dir():
        raise pytest.UsageError(f"--mad-store={folder}: is no folder")
    return folder


def store_trouble(config: pytest.Config) -> str | None:
    """What went wrong with the store in this process."""
    folder = store_path(config)
    return open_store(folder).trouble if folder else None
