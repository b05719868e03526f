"""An architecture: a named way to build a model, and what a factory may be."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_mad.common.errors import type_name
from pytest_mad.common.text import NAME, printable

from .namespace import Namespace
from .source import source_digest

if TYPE_CHECKING:
    from pytest_mad.presets.setting import Setting


#: The keywords of MAD-Lab's contract.
FACTORY_KEYWORDS = ("task", "vocab_size", "max_length")


class TargetError(ValueError):
    """A TARGET that cannot be found or cannot be a factory; the message is one line, whatever it was called."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A named way to build a model: ``build(setting) -> nn.Module``, whatever object that returns."""

    name: str
    #: the command-line text or the function's name, for reports
    source: str
    build: Callable[[Setting], Any]
    #: whether the factory knows the task, and so may build its own autoencoder for ``compression``
    knows_task: bool
    #: where the factory is written and where it was found, to know its source by
    modules: tuple[str, ...] = ()
    #: digest of that source when it was loaded
    loaded: str | None = None
    #: file of the factory and its line there, for annotations
    file: str | None = None
    line: int | None = None
    #: where the modules of its file are found
    namespace: Namespace | None = None
    #: what importing it changed of the process, and was put back
    changed: tuple[str, ...] = ()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run its code among its own modules, and leave the process as it was: no architecture decides on another."""
        import torch

        from pytest_mad.common.globals import put_back, random_states_put_back

        modules = self.namespace.entered() if self.namespace else contextlib.nullcontext()
        with random_states_put_back(), put_back(), torch.enable_grad(), modules:
            yield


def check_factory(factory: Any, label: str) -> None:
    """Raise :class:`TargetError` for what is no function that builds a model."""
    if not callable(factory):
        raise TargetError(f"{label} is of type {type_name(factory)}, but must be a function that builds a model")
    if not inspect.isclass(factory) and hasattr(factory, "state_dict"):
        raise TargetError(f"{label} is a model, but must be the function that builds it")


def from_factory(
    factory: Any, *, name: str | None = None, source: str | None = None, found_in: str | None = None
) -> Architecture:
    """An architecture from a function in MAD-Lab's form, called with the keywords that its signature accepts.

    Raises :class:`TargetError` for what is no such function.
    """
    label = source or printable(str(getattr(factory, "__qualname__", type(factory).__name__)))
    check_factory(factory, label)
    accepted = accepted_keywords(factory, FACTORY_KEYWORDS, label)

    def build(setting: Setting) -> Any:
        keywords = {
            "task": setting.task_name,
            "vocab_size": setting.params.vocab_size,
            "max_length": setting.params.seq_len,
        }
        given = {key: keywords[key] for key in accepted}
        # functools.singledispatch wants the first one without its name
        first = [given.pop(accepted[0])] if accepted and hasattr(factory, "dispatch") else []
        return factory(*first, **given)

    named = factory.func if isinstance(factory, functools.partial) else factory
    default = getattr(named, "__name__", type(named).__name__)
    if default == "make_model" and source is None:
        default = getattr(named, "__module__", default).rpartition(".")[2]
    return Architecture(
        name=name or re.sub(r"[^A-Za-z0-9_.-]+", "_", default),
        source=label,
        build=build,
        knows_task="task" in accepted,
        **placed(named, found_in),
    )


def check_name(name: str) -> str:
    """The name, if node ids can bear it."""
    if not NAME.fullmatch(name):
        raise TargetError(f"the name {name!r} may only have letters, digits, '_', '.' and '-'")
    return name


def check_unique(architectures: Iterable[Architecture]) -> None:
    """Raise :class:`TargetError` when two architectures have one name."""
    seen: dict[str, str] = {}
    for architecture in architectures:
        if architecture.name in seen:
            raise TargetError(
                f"{seen[architecture.name]} and {architecture.source} are both named {architecture.name!r}; "
                "give one of them another name with NAME=TARGET"
            )
        seen[architecture.name] = architecture.source


def accepted_keywords(factory: Any, offered: tuple[str, ...], label: str) -> list[str]:
    """Which of the offered keywords the callable takes; :class:`TargetError` when it needs others."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # builtins without a signature
        return list(offered)
    variadic = [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    by_keyword = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [
        p.name
        for p in parameters
        if p.default is p.empty and p not in variadic and (p not in by_keyword or p.name not in offered)
    ]
    if unknown:
        raise TargetError(
            f"{label} requires {', '.join(map(repr, unknown))}, but is called with {', '.join(offered)} only; "
            "give the rest default values"
        )
    if offered == FACTORY_KEYWORDS and any(p.kind is p.VAR_KEYWORD for p in variadic):
        return list(offered)
    return [p.name for p in by_keyword if p.name in offered]


def placed(factory: Any, found_in: str | None) -> dict[str, Any]:
    """Where a factory is written, as far as it knows, behind its decorators; and what its source is by now."""
    written_in = getattr(factory, "__module__", None) or type(factory).__module__
    told: set[object] = {written_in, found_in or written_in}
    modules = tuple(sorted(name for name in told if isinstance(name, str)))  # a user's class may say anything
    source: dict[str, Any] = {"modules": modules, "loaded": source_digest(modules)}
    try:
        factory = inspect.unwrap(factory)
        file = inspect.getsourcefile(factory)
    except (TypeError, ValueError):  # an instance with __call__, a builtin; decorated in a circle
        return source
    code = getattr(factory, "__code__", None)
    line = getattr(code, "co_firstlineno", None) or vars(factory).get("__firstlineno__")  # a class's, since Python 3.13
    return source | {"file": file, "line": line}
