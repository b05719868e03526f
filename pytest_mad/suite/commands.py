"""``--mad-list``: the settings of the preset, without training."""

from __future__ import annotations

import pytest

from pytest_mad.presets.reading import PresetError

from . import options
from .plan import chosen_settings


def print_settings(config: pytest.Config) -> int:
    """One id per line with its levels; returns the exit code. A usage error where there is no room for a score."""
    chosen = chosen_settings(config)
    try:
        for setting in chosen.values():
            setting.normalized(0.0)
    except PresetError as error:
        raise pytest.UsageError(f"--mad-preset={options.value(config, 'mad_preset')}: {error}") from None
    width = max(map(len, chosen))
    print(f"{'setting':{width}}  oracle  trivial  threshold")
    for name, setting in chosen.items():
        threshold = "-" if setting.threshold is None else f"{setting.threshold:.2f}"
        print(f"{name:{width}}  {setting.oracle:6.4f}  {setting.trivial:7.4f}  {threshold:>9}")
    return 0
