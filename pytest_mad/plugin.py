"""pytest hooks and nothing else; each calls one plain function.

Every pytest run in an environment where this plugin is installed loads this module: it imports the standard library
and pytest only. What needs torch or NumPy is imported when the suite, or a test with a mad fixture, asks for it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mad import hookspecs
from pytest_mad.suite import option_table
from pytest_mad.suite.fixtures import mad_model, mad_result, mad_setting
from pytest_mad.suite.session import SESSION, Session

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["mad_model", "mad_result", "mad_setting"]


def pytest_addoption(parser: pytest.Parser) -> None:
    option_table.register(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    for flag in option_table.second_word_paths(args):
        warning = pytest.PytestConfigWarning(f"write {flag}=PATH: pytest takes a second word for a test path")
        with contextlib.suppress(pytest.PytestConfigWarning):  # where the project makes errors of warnings
            early_config.issue_config_time_warning(warning, stacklevel=2)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "mad(preset=None, tasks=None, threshold=None, slower=None, contracts=()): which MAD settings mad_result and "
        "mad_setting run through, what learning slower than the baseline does, and how contracts are asked.",
    )
    config.stash[SESSION] = session = Session(config)
    config.pluginmanager.register(session.records, "mad-records")
    session.configure()
    session.extend_pytest_html()


def pytest_report_header(config: pytest.Config) -> list[str]:
    return config.stash[SESSION].header()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mad_setting" in metafunc.fixturenames:
        from pytest_mad.suite.fixtures import parametrize

        parametrize(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[SESSION].add_items(session, items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.config.stash[SESSION].records.complete(item, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    return (yield from session.config.stash[SESSION].running(session))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    records = config.stash[SESSION].records
    if records:
        from pytest_mad.suite.outputs import print_annotations, print_recorded, print_tables

        if terminalreporter.verbosity >= 0:
            print_tables(config, records, terminalreporter)
        print_recorded(records, terminalreporter)
        for trouble in records.hook_troubles:
            terminalreporter.write_line(trouble, yellow=True)
        print_annotations(config, records, terminalreporter)
    for remark in config.stash[SESSION].remarks():
        terminalreporter.write_line(remark, yellow=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[SESSION].finish(session)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    # xdist asks before pytest_configure, so there is no session yet.
    if not option_table.is_active(config) or "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    from pytest_mad.suite.xdist import auto_workers

    return auto_workers(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    config.stash[SESSION].distribute(specs)
