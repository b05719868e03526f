"""What hooks of other plugins and of conftest files expect of every item, though strictly only test functions have it.

An item without a function, a module or fixtures that lacks these attributes ends the whole run with an internal error,
ordinary tests included. The function is a real one, and running it runs the item.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from .arguments import ROOT
from .keys import OWN_ID


@dataclass
class NoParameters:
    """The ``callspec`` of an item that is not parametrized: empty, in every version of pytest's own."""

    params: dict[str, object] = field(default_factory=dict)
    indices: dict[str, int] = field(default_factory=dict)
    marks: list[pytest.Mark] = field(default_factory=list)
    id: str = ""
    _arg2scope: dict[str, Any] = field(default_factory=dict)
    _idlist: tuple[str, ...] = ()

    def getparam(self, name: str) -> object:
        raise ValueError(name)


class InModule:
    """Of an item and of its parent: where a test function would be."""

    cls = None
    instance = None

    @property
    def module(self) -> ModuleType:
        return sys.modules[__name__]


class LookAlike(InModule, pytest.Item):
    """An item with all that a test function has."""

    def __init__(self, description: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        #: what a hook may have made of ``nodeid``
        self.stash[OWN_ID] = self.nodeid
        self.originalname = self.name.partition("[")[0]
        self.fixturenames: list[str] = []
        self.funcargs: dict[str, object] = {}
        self.callspec = NoParameters()
        self.function = self._function(description)
        #: a hook may put another in its place, as around a test function
        self.obj: Any = self.function
        self._stand_in: pytest.Module | None = None

    def measure(self) -> None:
        """What the item does."""
        raise NotImplementedError

    def runtest(self) -> None:
        self.obj()

    def _initrequest(self) -> None:
        """What a test function does before it runs again, with fixtures: plugins that repeat tests call it."""
        self.funcargs = {}

    def _function(self, description: str) -> FunctionType:
        def test() -> None:
            self.measure()

        test.__name__ = test.__qualname__ = self.originalname
        test.__doc__ = description
        assert isinstance(test, FunctionType)
        return test

    def getparent(self, cls: Any) -> Any:
        """As of any node; a module that stands beside the tree where there is none above."""
        found = super().getparent(cls)
        if found is not None or not issubclass(pytest.Module, cls):
            return found
        if self._stand_in is None:
            module: Any = pytest.Module.from_parent(self.session, path=Path(__file__), nodeid=ROOT)
            module.obj = self.module
            self._stand_in = module
        return self._stand_in

    def reportinfo(self) -> tuple[str, int | None, str]:
        return ROOT, 0, self.stash[OWN_ID]
