"""The pooled test of speed, at the end of a run: a failed test for an architecture that is late over all settings."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_mad.gate.judge import Verdict
from pytest_mad.results.result import SettingResult
from pytest_mad.results.verdicts import pooled

from .arguments import ROOT
from .items import SlowerWarning


def report_late(session: pytest.Session, settings: Iterable[SettingResult]) -> None:
    """Add a failed test for each architecture that the pooled test calls slower, or warn, as the settings say.

    It has no item: what it judges is known when all items have run, and in the controller alone.
    """
    settings = list(settings)
    for name in dict.fromkeys(result.architecture for result in settings):
        own = [result for result in settings if result.architecture == name]
        failing, warning = pooled(own), pooled(own, ("fail", "warn"))
        if failing and failing.outcome == "slower":
            _fail(session.config, name, failing)
        elif warning and warning.outcome == "slower" and not _warns(session.config, f"{name}: {_line(warning)}"):
            _fail(session.config, name, warning)


def _line(found: Verdict) -> str:
    return f"slower: {found.detail}"


def _fail(config: pytest.Config, name: str, found: Verdict) -> None:
    config.hook.pytest_runtest_logreport(report=_failed(f"{ROOT}::{name}::speed", _line(found)))


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
