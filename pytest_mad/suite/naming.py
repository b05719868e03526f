"""What a test's model is called: its factory's name, and pytest's ids of the parameters that the model depends on."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from types import CodeType
from typing import Any

import pytest

from pytest_mad.architectures.architecture import Architecture, from_factory

from .identity import identity
from .keys import MODEL

#: By what a fixture reaches parameters that it does not name.
_REACHING = {"getfixturevalue", "callspec", "funcargs"}


def named(model: Any, item: pytest.Item) -> Architecture:
    """The architecture that a test judges; leaves word on the item which model that is."""
    if isinstance(model, Architecture):
        architecture = model
    else:
        architecture = from_factory(model)
        given = model.func if isinstance(model, functools.partial) else model
        ids = [one for one in parameter_ids(item) if one != getattr(given, "__name__", None)]
        names = (architecture.name, re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(ids)))
        architecture = replace(architecture, name=".".join(filter(None, names)))
    item.stash[MODEL] = identity(item.config, architecture, model).text()
    return architecture


def parameter_ids(item: Any) -> list[str]:
    """pytest's ids of the parameters that ``mad_model`` is one of or depends on, in order."""
    callspec = getattr(item, "callspec", None)
    parameters = [name for name in callspec.params if name != "mad_setting"] if callspec else []
    related = _related(item, parameters)
    if not callspec or not related:
        return []
    ids = list(callspec._idlist)
    if len(ids) == len(callspec.params):
        return [one for name, one in zip(callspec.params, ids, strict=True) if name in related]
    setting = callspec.params.get("mad_setting")  # one id for several parameters: nobody knows which is whose
    return [one for one in ids if one != getattr(setting, "id", None)]


def _related(item: Any, parameters: list[str]) -> set[str]:
    """Those parameters that ``mad_model`` asks for, itself or through other fixtures."""
    fixtures: dict[str, Any] = item._fixtureinfo.name2fixturedefs
    asked, waiting = set[str](), ["mad_model"]
    reaches_any = False
    while waiting:
        name = waiting.pop()
        if name not in asked:
            asked.add(name)
            for one in fixtures.get(name) or ():
                waiting += one.argnames
                reaches_any |= bool(_REACHING & _names(getattr(one.func, "__code__", None)))
    return {name for name in parameters if reaches_any or name in asked}


def _names(code: CodeType | None) -> set[str]:
    """All attributes that some code uses, its inner functions' too."""
    if code is None:
        return set()
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return set(code.co_names).union(*map(_names, inner))
