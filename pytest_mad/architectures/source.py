"""The source of an architecture: every file of the user's that its factory reaches, and what else is installed."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from pytest_mad.common.packages import HERE, version

#: Of a folder: code, and the committed levels, through which a score is normalised.
_COMPUTED_WITH = ("*.py", "levels.json")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def source_digest(modules: Iterable[str], others: Iterable[str] = ()) -> str | None:
    """A digest of the files of these modules, and of all that they import; None where one of these has no file.

    Files of the standard library do not count. Of an installed package its version and the list of digests do that the
    installer left: what is installed from a working copy changes without another version. ``others`` are reached too;
    they need no file.
    """
    try:
        return _source_digest(list(modules), others)
    except Exception:  # a file that was deleted meanwhile, or nested too deeply to be parsed
        return None


def _source_digest(modules: list[str], others: Iterable[str]) -> str | None:
    files: set[str] = set()
    installed: set[str] = set()
    waiting = [*modules, *others]
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        place = _file(name)
        if place is None:
            if name in modules:  # written in a notebook or at a prompt
                return None
            continue
        if _is_ours(place):
            files.add(code_digest("layers", "architectures/backbones.py"))
        elif _is_installed(place):
            installed.add(name.partition(".")[0])
        elif not _is_standard(place):
            files.add(hashlib.sha256(place.read_bytes()).hexdigest())
            new = set(_imported(name, place, place.stat().st_mtime_ns)) - seen
            seen |= new
            waiting += new
    versions = sorted(f"{package} {_version(package)}" for package in installed)
    return hashlib.sha256("\n".join([*sorted(files), *versions]).encode()).hexdigest()[:32]


@functools.cache
def code_digest(*rooms: str) -> str:
    """A digest of files and folders of this package: what is computed with other code is another thing."""
    digest = hashlib.sha256()
    for room in rooms:
        place = HERE / room
        files = (file for kind in _COMPUTED_WITH for file in place.rglob(kind)) if place.is_dir() else (place,)
        for file in sorted(files):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


@functools.cache
def is_users(module: str) -> bool:
    """Whether a module is neither installed, nor the standard library's, nor ours."""
    place = _file(module)
    return place is not None and is_users_file(place)


def is_users_file(place: Path) -> bool:
    """The same of a file."""
    return not (_is_ours(place) or _is_installed(place) or _is_standard(place))


@functools.lru_cache(maxsize=4096)
def _imported(name: str, place: Path, written: int) -> tuple[str, ...]:
    """Names of modules that a file may import, anywhere in it; some may be names of something else."""
    try:
        tree = ast.parse(place.read_bytes())
    except (SyntaxError, ValueError):  # an extension module
        return ()
    return tuple(_names(tree, name, place))


def _names(tree: ast.Module, name: str, place: Path) -> Iterator[str]:
    package = name if place.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from _with_parents(base)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            yield node.value  # importlib.import_module("layers.attention")


def _with_parents(name: str) -> Iterator[str]:
    """``a.b.c``, ``a.b`` and ``a``: importing the first runs all three."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _file(name: str) -> Path | None:
    """Where a module is written, whether or not it is loaded; nothing is imported."""
    loaded = sys.modules.get(name)
    spec = None if loaded else _spec(name)
    place = getattr(loaded, "__file__", None) or (spec and spec.origin)
    return Path(place).resolve() if place and Path(place).is_file() else None


def _spec(name: str) -> ModuleSpec | None:
    package = name.rpartition(".")[0]
    folders = _folders(package) if package else None
    if package and not folders:
        return None
    try:
        return PathFinder.find_spec(name, folders)
    except Exception:  # a name that is none, or what other import hooks raise
        return None


def _folders(package: str) -> list[str]:
    """Where a package's modules are looked for; a namespace has several, and no file."""
    loaded = sys.modules.get(package)
    try:
        if loaded is not None:
            return list(getattr(loaded, "__path__", ()))
        spec = _spec(package)
        return list(spec.submodule_search_locations or ()) if spec else []
    except Exception:  # a namespace looks its parents up, which need not be there
        return []


def _is_ours(place: Path) -> bool:
    return place.is_relative_to(HERE)


def _is_installed(place: Path) -> bool:
    return any(place.is_relative_to(folder) for folder in _installed_in())


def _is_standard(place: Path) -> bool:
    return any(place.is_relative_to(folder) for folder in _standard())


@functools.cache
def _installed_in() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    folders = (paths["purelib"], paths["platlib"], site.getusersitepackages(), *site.getsitepackages())
    return tuple({Path(folder).resolve() for folder in folders})


@functools.cache
def _standard() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple(Path(paths[name]).resolve() for name in ("stdlib", "platstdlib"))


@functools.cache
def _version(package: str) -> str:
    """Of the distributions that a top-level package comes with, with a digest of what was installed."""
    found = []
    for name in _distributions().get(package, []):
        record = hashlib.sha256((distribution(name).read_text("RECORD") or "").encode()).hexdigest()
        found.append(f"{version(name)} {record}")
    return ", ".join(found)


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return {package: sorted(set(names)) for package, names in packages_distributions().items()}
