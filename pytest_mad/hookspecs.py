"""Hooks of pytest-mad that other plugins and a conftest.py may implement.

They are called in the controller alone: the only process, or with xdist the one that starts the workers. Mark an
implementation ``@pytest.hookimpl(optionalhook=True)`` where the project also runs without pytest-mad. What one raises
is shown as a line below the tables, and the run goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_mad.results.result import ContractResult, Run, SettingResult


def pytest_mad_setting(config: pytest.Config, result: SettingResult | ContractResult) -> None:
    """Called after each finished setting and contract, in the order in which they finish, once for each.

    A setting that a test of the user's own measures, through ``mad_result``, counts too. Learning curves are in
    ``result.trials``.
    """


def pytest_mad_finish(config: pytest.Config, run: Run) -> None:
    """Called once at the end, with all results; also after Ctrl-C, with what had finished.

    Not called where nothing was measured.
    """
