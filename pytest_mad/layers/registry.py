"""The table of layers: names, default configs, and how a layer is built from them."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, TypeVar

from torch import nn

from pytest_mad.layers.modules.checks import check_counts

LayerT = TypeVar("LayerT", bound=type[nn.Module])

ENTRY_POINT_GROUP = "pytest_mad.layers"

# Keys that say the same thing in two ways. Giving one of them replaces the default that is written in the other.
_ALTERNATIVES = (("num_heads", "head_dim"),)


class UnknownLayerError(ValueError):
    """No layer is registered under this name."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    layer: type[nn.Module]
    defaults: dict[str, Any]


_REGISTRY: dict[str, _Entry] = {}


def register_layer(name: str, **default_config: Any) -> Callable[[LayerT], LayerT]:
    """Register the decorated class as layer ``name``, built with ``default_config`` unless the caller says otherwise.

    The decorator can be stacked: one class under several names, each with its own defaults.

    Raises:
        ValueError: another class has this name already.
    """

    def register(layer: LayerT) -> LayerT:
        known = _REGISTRY.get(name)
        if known is not None and _identity(known.layer) != _identity(layer):
            raise ValueError(f"layer {name!r} is already registered by {'.'.join(_identity(known.layer))}")
        _REGISTRY[name] = _Entry(layer=layer, defaults=default_config)
        return layer

    return register


def layer_names() -> list[str]:
    """The names of all registered layers, sorted."""
    _load_all()
    return sorted(_REGISTRY)


def build_layer(name: str, dim: int = 128, max_length: int = 128, **config: Any) -> nn.Module:
    """Build layer ``name`` for inputs ``(B, T, dim)`` with T up to ``max_length``.

    ``config`` goes over the layer's registered defaults, which are those of MAD at ``dim=128``.

    Raises:
        UnknownLayerError: no layer has this name.
        ValueError: the layer has no such config key, or cannot be built with these values.
    """
    _load_all()
    entry = _REGISTRY.get(name)
    if entry is None:
        raise UnknownLayerError(f"unknown layer {name!r}: {_suggestion(name)}")
    _check_keys(name, entry.layer, config)
    check_counts(dim=dim, max_length=max_length)
    return entry.layer(dim=dim, max_length=max_length, **_merge(entry.defaults, config))


def _identity(layer: type[nn.Module]) -> tuple[str, str]:
    """Equal for a class and for the same class after its module was loaded again."""
    return layer.__module__, layer.__qualname__


def _suggestion(name: str) -> str:
    names = sorted(_REGISTRY)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"the layers are {', '.join(names)}"


def _check_keys(name: str, layer: type[nn.Module], config: dict[str, Any]) -> None:
    parameters = inspect.signature(layer).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    valid = [key for key in parameters if key not in ("dim", "max_length")]
    for key in config:
        if key not in valid:
            raise ValueError(f"layer {name!r} has no config key {key!r}; its keys are {', '.join(valid) or 'none'}")


def _merge(defaults: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """``config`` over ``defaults``, where a default gives way to its alternative as well."""
    replaced = {key for group in _ALTERNATIVES if any(key in config for key in group) for key in group}
    return {**{key: value for key, value in defaults.items() if key not in replaced}, **config}


@functools.cache
def _load_all() -> None:
    """Import what registers layers: every module of this package, then the entry points of other packages."""
    package = importlib.import_module("pytest_mad.layers")
    for module in pkgutil.iter_modules(package.__path__, prefix="pytest_mad.layers."):
        importlib.import_module(module.name)
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = entry_point.load()
        except Exception as error:  # somebody else's broken package must not take our own layers away
            warnings.warn(f"layers of entry point {entry_point.value!r} are missing: {error!r}", stacklevel=2)
            continue
        if isinstance(loaded, type) and entry_point.name not in _REGISTRY:
            register_layer(entry_point.name)(loaded)
