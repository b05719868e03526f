"""TARGET -> Architecture -> model: what a factory may be, and the adapters for what it may return."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pytest_mad.common.errors import first_line

from .architecture import Architecture, TargetError, accepted_keywords, check_name, from_factory, placed

if TYPE_CHECKING:
    from pytest_mad.presets.setting import Setting

#: What the width and the length are called in the layers of this field; the first that a class accepts is used.
WIDTH_KEYWORDS = ("dim", "d_model", "hidden_size", "embed_dim")
LENGTH_KEYWORDS = ("max_length", "max_len", "l_max", "seq_len")


def from_target(value: str) -> Architecture:
    """``[NAME=]module:factory`` or ``[NAME=]path/to/file.py:factory``; the folder to import from is on ``sys.path``.

    Raises :class:`TargetError`.
    """
    given, target = split_name(value)
    factory, default, module = load_target(target)
    return from_factory(factory, name=check_name(given or default), source=target, found_in=module)


def from_layers(value: str) -> Architecture:
    """``[NAME=]a,b,c``: a stack of registered layers in the standard backbone."""
    given, stack = split_name(value)
    names = [name.strip() for name in stack.split(",")]
    from pytest_mad.layers import build_layer, layer_names
    from pytest_mad.layers.registry import UnknownLayerError

    for name in names:
        if name not in layer_names():
            try:
                build_layer(name)
            except UnknownLayerError as error:
                raise TargetError(str(error)) from None

    def layers(setting: Setting) -> list[Any]:
        return [build_layer(name, dim=setting.width, max_length=setting.params.seq_len) for name in names]

    return _in_backbone(check_name(given or "-".join(names)), stack, layers)


def from_mixer(value: str) -> Architecture:
    """``[NAME=]module:Class``: a bare sequence mixer, twice, each time with a SwiGLU behind it."""
    given, target = split_name(value)
    mixer, default, module = load_target(target)
    accepted = accepted_keywords(mixer, (*WIDTH_KEYWORDS, *LENGTH_KEYWORDS), target)
    width = next((key for key in WIDTH_KEYWORDS if key in accepted), None)
    length = next((key for key in LENGTH_KEYWORDS if key in accepted), None)
    if width is None:
        raise TargetError(f"{target} takes none of {', '.join(WIDTH_KEYWORDS)}, so its width cannot be set")

    def layers(setting: Setting) -> list[Any]:
        from pytest_mad.layers import build_layer

        from .wrappers import BareMixer

        size: dict[str, int] = {width: setting.width} | ({length: setting.params.seq_len} if length else {})
        swiglu = [build_layer("swiglu", dim=setting.width, max_length=setting.params.seq_len) for _ in range(2)]
        return [layer for channel in swiglu for layer in (BareMixer(mixer(**size), target), channel)]

    return _in_backbone(check_name(given or default), target, layers, **placed(mixer, module))


def _in_backbone(name: str, source: str, layers: Callable[[Setting], list[Any]], **place: Any) -> Architecture:
    def build(setting: Setting) -> Any:
        from .backbones import AutoEncoder, LanguageModel

        backbone = AutoEncoder if setting.task.bottleneck else LanguageModel
        params = setting.params
        return backbone(layers(setting), dim=setting.width, vocab_size=params.vocab_size, max_length=params.seq_len)

    return Architecture(name=name, source=source, build=build, knows_task=True, **place)


#: How an architecture is made of its text on the command line, by its flag.
TARGETS: dict[str, Callable[[str], Architecture]] = {
    "--mad-arch": from_target,
    "--mad-layers": from_layers,
    "--mad-mixer": from_mixer,
}


def split_name(value: str) -> tuple[str | None, str]:
    """``NAME=TARGET`` into both; a TARGET alone has no name."""
    name, separator, target = value.partition("=")
    return (check_name(name), target) if separator else (None, value)


def load_target(target: str) -> tuple[Any, str, str]:
    """The callable that TARGET names, its default name, and the module it was found in; raises :class:`TargetError`."""
    place, separator, attribute = target.rpartition(":")
    if not separator or not place or not attribute:
        raise TargetError(f"{target!r} must be module:factory or path/to/file.py:factory")
    module = _import_file(place) if place.endswith(".py") else _import_module(place)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [n for n in dir(found) if not n.startswith("__")], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TargetError(f"{place} has no attribute {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise TargetError(f"{target} is of type {type(found).__name__}, but must be a function that builds a model")
    if not inspect.isclass(found) and hasattr(found, "state_dict"):
        raise TargetError(f"{target} is a model, but must be the function that builds it")
    stem = Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]
    return found, stem if attribute == "make_model" else f"{stem}.{attribute}", module.__name__


def _import_module(name: str) -> ModuleType:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if name == missing or name.startswith(missing + "."):
            raise TargetError(f"there is no module {name!r} on sys.path or in the current directory") from None
        raise TargetError(f"module {name!r} needs {missing!r}, which is not installed") from error
    except (Exception, SystemExit) as error:  # a script without a __main__ guard exits
        raise TargetError(f"importing {name!r} raised {type(error).__name__}: {first_line(error)}") from error


def _import_file(path: str) -> ModuleType:
    file = Path(path).resolve()
    if not file.is_file():
        raise TargetError(f"there is no file {path}")
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    name = f"_mad_{file.stem}_{digest}" if file.stem in sys.modules else file.stem
    known = sys.modules.get(file.stem)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise TargetError(f"importing {path} raised {type(error).__name__}: {first_line(error)}") from error
    return module
