"""The table of layers: names, default configs, and how a layer is built from them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from pytest_mad.common.registry import Registry, UnknownNameError
from pytest_mad.layers.modules.checks import check_counts

LayerT = TypeVar("LayerT", bound=type[nn.Module])


# Keys that say the same thing in two ways. Giving one of them replaces the default that is written in the other.
_ALTERNATIVES = (("num_heads", "head_dim"),)


class UnknownLayerError(UnknownNameError):
    """No layer is registered under this name."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    layer: type[nn.Module]
    defaults: dict[str, Any]


def _load_own() -> None:
    """Every module of this package."""
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__, prefix=f"{__package__}."):
        importlib.import_module(module.name)


def _join(name: str, loaded: Any) -> None:
    """An entry point may name a class, which then has the entry point's name, unless that is registered already."""
    if isinstance(loaded, type) and not _LAYERS.has(name):
        register_layer(name)(loaded)


_LAYERS: Registry[_Entry] = Registry(
    "layer", __package__, _load_own, group="pytest_mad.layers", join=_join, unknown=UnknownLayerError
)


def register_layer(name: str, **default_config: Any) -> Callable[[LayerT], LayerT]:
    """Register the decorated class as layer ``name``, built with ``default_config`` unless the caller says otherwise.

    The decorator can be stacked: one class under several names, each with its own defaults.

    Raises:
        ValueError: another class has this name already.
    """

    def register(layer: LayerT) -> LayerT:
        _LAYERS.add(name, _Entry(layer=layer, defaults=default_config), layer)
        return layer

    return register


def layer_names() -> list[str]:
    """The names of all registered layers, sorted."""
    return sorted(_LAYERS.names())


def build_layer(name: str, dim: int = 128, max_length: int = 128, **config: Any) -> nn.Module:
    """Build layer ``name`` for inputs ``(B, T, dim)`` with T up to ``max_length``.

    ``config`` goes over the layer's registered defaults, which are those of MAD at ``dim=128``.

    Raises:
        UnknownLayerError: no layer has this name.
        ValueError: the layer has no such config key, or cannot be built with these values.
    """
    entry = _LAYERS[name]
    _check_keys(name, entry.layer, config)
    check_counts(dim=dim, max_length=max_length)
    return entry.layer(dim=dim, max_length=max_length, **_merge(entry.defaults, config))


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
