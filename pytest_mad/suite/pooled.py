"""The pooled test of speed, at the end of a run: a failed test for an architecture that is late over all settings."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_mad.results.result import SettingResult
from pytest_mad.results.verdicts import pooled

from .arguments import ROOT
from .items import SlowerWarning
from .options import options_of


def report_late(session: pytest.Session, settings: Iterable[SettingResult]) -> None:
    """Add a failed test for each architecture that the pooled test calls slower, or warn, as the options say.

    It has no item: what it judges is known when all items have run, and in the controller alone.
    """
    settings, mode = list(settings), options_of(session.config).slower
    for name in dict.fromkeys(result.architecture for result in settings):
        found = pooled(result for result in settings if result.architecture == name)
        if found is None or found.outcome != "slower" or mode == "pass":
            continue
        line = f"slower: {found.detail}"
        if mode == "fail" or not _warns(session.config, f"{name}: {line}"):
            session.config.hook.pytest_runtest_logreport(report=_failed(f"{ROOT}::{name}::speed", line))


def _warns(config: pytest.Config, line: str) -> bool:
    """Warn, if the project makes no errors of warnings. No test runs that pytest could catch it in."""
    try:
        config.issue_config_time_warning(SlowerWarning(line), stacklevel=1)
    except SlowerWarning:
        return False
    return True


def _failed(nodeid: str, line: str) -> pytest.TestReport:
    name = nodeid.rpartition("::")[2]
    return pytest.TestReport(
        nodeid=nodeid, location=(ROOT, None, name), keywords={}, outcome="failed", longrepr=line, when="call"
    )
