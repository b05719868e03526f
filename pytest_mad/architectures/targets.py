"""TARGET -> Architecture: what the command line may name."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_mad.common.errors import SkippedError
from pytest_mad.common.files import is_file
from pytest_mad.common.text import NAME

from .architecture import Architecture, TargetError, accepted_keywords, check_factory, check_name, from_factory, placed
from .importing import import_file, import_module, package_place
from .namespace import Namespace

if TYPE_CHECKING:
    from pytest_mad.presets.setting import Setting

#: What the width and the length are called in the layers of this field; the first that a class accepts is used.
WIDTH_KEYWORDS = ("dim", "d_model", "hidden_size", "embed_dim")
LENGTH_KEYWORDS = ("max_length", "max_len", "l_max", "seq_len")


def from_target(value: str) -> Architecture:
    """``[NAME=]module:factory`` or ``[NAME=]path/to/file.py:factory``; the folder to import from is on ``sys.path``.

    Where the module asks to be skipped, so will everything of the architecture be. Raises :class:`TargetError`.
    """
    given, target = split_name(value)
    place = Place.of(target)
    name = given or place.default_name()
    try:
        found = load_target(target)
    except SkippedError as reason:
        return skipped(name, target, f"{place.module} asks to be skipped: {reason}")
    with found.entered():
        return replace(
            from_factory(found.factory, name=name, source=target, found_in=found.module),
            namespace=found.namespace,
            changed=found.changed,
        )


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
    place = Place.of(target)
    name = given or place.default_name()
    try:
        found = load_target(target)
    except SkippedError as reason:
        return skipped(name, target, f"{place.module} asks to be skipped: {reason}")
    mixer = found.factory
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

    with found.entered():
        own = placed(mixer, found.module) | {"namespace": found.namespace, "changed": found.changed}
        return _in_backbone(name, target, layers, **own)


def _in_backbone(name: str, source: str, layers: Callable[[Setting], list[Any]], **place: Any) -> Architecture:
    def build(setting: Setting) -> Any:
        from .backbones import AutoEncoder, LanguageModel

        backbone = AutoEncoder if setting.task.bottleneck else LanguageModel
        return backbone(
            layers(setting),
            dim=setting.width,
            vocab_size=setting.params.vocab_size,
            max_length=setting.params.seq_len,
            embedding_std=setting.embedding_std,
        )

    return Architecture(name=name, source=source, build=build, knows_task=True, **place)


#: How an architecture is made of its text on the command line, by its flag.
TARGETS: dict[str, Callable[[str], Architecture]] = {
    "--mad-arch": from_target,
    "--mad-layers": from_layers,
    "--mad-mixer": from_mixer,
}


def skipped(name: str, target: str, reason: str) -> Architecture:
    """An architecture of which nothing is measured, because its module says so."""

    def build(setting: Setting) -> Any:
        raise SkippedError(reason)

    return Architecture(name=name, source=target, build=build, knows_task=False)


def split_name(value: str) -> tuple[str | None, str]:
    """``NAME=TARGET`` into both; a TARGET alone has no name. A path may have an equals sign of its own."""
    name, separator, target = value.partition("=")
    is_path = is_file(Path(value.rpartition(":")[0])) or (not NAME.fullmatch(name) and re.search(r"[/\\]", name))
    return (None, value) if not separator or is_path else (check_name(name), target)


class Place(NamedTuple):
    """The two parts of a TARGET."""

    #: a dotted name, or the path of a file
    module: str
    attribute: str

    @classmethod
    def of(cls, target: str) -> Place:
        """Raises :class:`TargetError` for a text that has not both."""
        module, _, attribute = target.rpartition(":")
        if not module or not all(part.isidentifier() for part in attribute.split(".")):
            raise TargetError(f"{target!r} must be module:factory or path/to/file.py:factory")
        return cls(module, attribute)

    @property
    def is_file(self) -> bool:
        return self.module.endswith(".py")

    def default_name(self) -> str:
        """The module's last component, with the factory unless that is ``make_model``."""
        last = (
            package_place(Path(self.module).expanduser().absolute())[1][-1]
            if self.is_file
            else self.module.rpartition(".")[2]
        )
        name = last if self.attribute == "make_model" else f"{last}.{self.attribute}"
        if not NAME.fullmatch(name):
            signs = "names have letters of English, digits, '_', '.' and '-'"
            raise TargetError(f"{name!r} cannot be its name, because {signs}: use NAME={self.module}:{self.attribute}")
        return name


class Loaded(NamedTuple):
    """What a TARGET names."""

    factory: Any
    module: str
    #: what its file imports is kept apart
    namespace: Namespace | None
    #: what importing it changed of the process
    changed: tuple[str, ...]

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """Where its modules are found."""
        return self.namespace.entered() if self.namespace else contextlib.nullcontext()


def load_target(target: str) -> Loaded:
    """What TARGET names, which must be callable; raises :class:`TargetError`, or `SkippedError` as the module asks."""
    from pytest_mad.common.globals import put_back, random_states_put_back

    place = Place.of(target)
    namespace: Namespace | None = None
    with random_states_put_back(), put_back() as changed:
        if place.is_file:
            module, namespace = import_file(place.module)
        else:
            module = import_module(place.module)
    factory = _attribute(module, place)
    check_factory(factory, target)
    return Loaded(factory, module.__name__, namespace, tuple(changed))


def _attribute(module: ModuleType, place: Place) -> Any:
    found: Any = module
    for part in place.attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [n for n in dir(found) if not n.startswith("__")], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TargetError(f"{place.module} has no attribute {part!r}{hint}")
        found = getattr(found, part)
    return found
