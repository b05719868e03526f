"""Whether the suite that an option asks for is among what runs; and what is said where it is not.

A green run that has measured nothing, without a word, must not be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from .arguments import ROOT, typed_paths
from .keys import OWN_ID
from .option_table import switches

#: Fixtures for which an architecture on the command line is there as well.
FIXTURES = {"mad_model", "mad_setting", "mad_result"}
#: pytest's options, and those of plugins that share a run between jobs or pick tests, which select items away.
SELECTING = (
    *("keyword", "markexpr", "deselect", "lf", "stepwise", "stepwise_skip"),
    *("picked", "splits", "num_shards", "test_group_count", "testmon"),
)
#: In ``workeroutput``, for the controller: whether a worker's tests use one of the fixtures, and what it misses.
SEEN = "mad_seen"


class Presence:
    """A plugin of runs that an option asks the suite of."""

    def __init__(self, config: pytest.Config, prefixes: Sequence[str], expected: int) -> None:
        self._config, self._prefixes, self._expected = config, prefixes, expected
        self._deselected: set[str] = set()
        self._uses_fixture = False
        #: what became of the suite's items where they are gone; and whether that may be the user's own selection
        self._gone, self._is_selection = "", False
        self._has_run = False

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._deselected |= {item.stash[OWN_ID] for item in items if OWN_ID in item.stash}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Look at what was collected. Raises ``pytest.UsageError``, so that nothing runs."""
        if self._config.option.collectonly:
            return
        self._has_run = True
        if self._config.pluginmanager.hasplugin("dsession"):  # its workers collect
            return
        self._uses_fixture = any(FIXTURES & set(getattr(item, "fixturenames", ())) for item in session.items)
        if self._expected and not any(OWN_ID in item.stash for item in session.items):
            self._note_absence()
        if hasattr(self._config, "workerinput"):
            seen = [self._uses_fixture, self._gone, self._is_selection]
            self._config.workeroutput[SEEN] = seen  # type: ignore[attr-defined]
        elif self.error:
            raise pytest.UsageError(self.error)

    def _note_absence(self) -> None:
        given = (getattr(self._config.option, name, None) for name in SELECTING)
        self._is_selection = any(
            one is True or one not in (None, False, "", [], 1) for one in given
        )  # one shard is all
        if len(self._deselected) < self._expected:
            self._gone = f"a pytest_collection_modifyitems of a conftest.py or plugin dropped {self._items}"
        elif not self._is_selection:
            self._gone = f"a conftest.py or plugin deselected {self._items}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take what a worker has seen; one that died says nothing."""
        uses_fixture, gone, is_selection = getattr(node, "workeroutput", {}).get(SEEN, (False, "", False))
        self._uses_fixture |= uses_fixture
        if gone:
            self._gone, self._is_selection = gone, is_selection

    def note_silence(self) -> None:
        """Note that items of the suite were collected, and the run has ended without a report of any."""
        if self._has_run and not (self._config.option.setuponly or self._config.option.setupplan):
            self._gone = f"a pytest_runtest_protocol of a conftest.py or plugin kept {self._items} from running"

    @property
    def _items(self) -> str:
        return "its only item" if self._expected == 1 else f"all {self._expected} of its items"

    @property
    def error(self) -> str:
        """What is wrong, in a line, or nothing."""
        return "" if self._is_selection else self._line()

    def _line(self) -> str:
        mend = f"{switches(self._config)} asks for it, but {self._gone}; keep items that have the marker mad"
        return f"MAD suite not run: {mend}" if self._gone else ""

    def remark(self) -> str:
        """What is no error but must be seen at any verbosity, in a line, or nothing."""
        if self._gone or self._prefixes or self._uses_fixture or not self._has_run:
            return self._line() if self._is_selection else ""
        first, *others = typed_paths(self._config)
        named = f"{first} and {len(others)} more are" if others else f"{first} is"
        beside = "them" if others else "that"
        return f"MAD suite not run: only {named} named on the command line; add {ROOT} to run it beside {beside}"
