"""What was typed and what only ``addopts`` say: which arguments are the suite's, and which words moved the rootdir.

Imported where an option of ours is given, also for tests of the user's own: it loads pytest and the standard library.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import inspect
import itertools
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from .option_table import OPTIONS, SWITCHES

ROOT = "mad"


# -- the suite's own --------------------------------------------------------------------------------------------------


def suite_arguments(config: pytest.Config) -> list[str]:
    """Take the suite's own arguments out of ``config.args`` and return them as node-id prefixes.

    ``mad::...`` is always the suite's, a bare ``mad`` unless there is such a directory or package. Where nobody names
    the suite it runs all the same, unless paths were typed: alone if an option that switches it on was typed, or if
    there is no path at all; else beside the paths of ``addopts``, which also have that option.
    """
    has_paths = config.args_source is pytest.Config.ArgsSource.ARGS
    own = [argument for argument in config.args if has_paths and _is_own(config, argument)]
    if own:
        config.args = [argument for argument in config.args if argument not in own]
        return own
    typed = _parsed(config, config.invocation_params.args)
    if typed.file_or_dir:
        return []
    if not has_paths or any(getattr(typed, name) for name in SWITCHES):
        config.args = []
    return [ROOT]


def typed_paths(config: pytest.Config) -> list[str]:
    """The positional arguments of the command line alone."""
    return list(_parsed(config, config.invocation_params.args).file_or_dir)


def _is_own(config: pytest.Config, argument: str) -> bool:
    if argument != ROOT:
        return argument.startswith(f"{ROOT}::")
    is_package = config.option.pyargs and importlib.util.find_spec(ROOT) is not None
    return not is_package and not (config.invocation_params.dir / ROOT).exists()


def _parsed(config: pytest.Config, words: Sequence[str | os.PathLike[str]]) -> argparse.Namespace:
    """What pytest's parser makes of these words, ``@file`` among them, as it does three times itself."""
    texts = [word for word in map(str, words) if word not in ("-h", "--help")]  # which older versions act on at once
    found, unknown = config._parser.parse_known_and_unknown_args(texts, argparse.Namespace())
    found.file_or_dir += [word for word in unknown if not word.startswith("-")]  # older argparse leaves some behind
    return found


# -- paths as second words --------------------------------------------------------------------------------------------


def moved_by_second_words(config: pytest.Config) -> str | None:
    """What values of our options did to the rootdir and the ini file, in a line; None where they changed nothing.

    pytest looks for both before it knows our options, and takes every second word that exists for a test path.
    """
    words = _first_words(config)
    flags = {option.flag for option in OPTIONS if not option.switch}
    pairs = [pair for pair in itertools.pairwise(words) if pair[0] in flags and _exists(pair[1])]
    if not pairs:
        return None
    root, ini = _without(config, words)
    if (root, ini) == (config.rootpath, config.inipath):
        return None
    named = functools.partial(_shortened, config)
    if ini == config.inipath:
        what = f"which made {named(config.rootpath)} the rootdir in place of {named(root)}"
    else:
        instead = f"{named(config.inipath)} was read" if config.inipath else ""
        what = "so " + " and ".join(filter(None, (f"{named(ini)} was not read" if ini else "", instead)))
    written = " ".join(f"{flag}={value}" for flag, value in pairs)
    return f"mad: write {written}: pytest took the second word for a test path, {what}"


def _shortened(config: pytest.Config, path: Path) -> Path:
    """Without the invocation directory, where it is below that."""
    folder = config.invocation_params.dir
    return path.relative_to(folder) if folder in path.parents else path


def _first_words(config: pytest.Config) -> list[str]:
    """What pytest looks at before it has read the ini file, with the lines of ``@file`` in its place."""
    found = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    for word in map(str, config.invocation_params.args):
        file = Path(config.invocation_params.dir, word[1:])
        found += file.read_text().splitlines() if word.startswith("@") and file.is_file() else [word]
    return found


def _exists(word: str) -> bool:
    """As pytest asks it: a name that no file system takes does not."""
    try:
        return os.path.exists(word.partition("::")[0])
    except ValueError:
        return False


def _without(config: pytest.Config, words: Sequence[str]) -> tuple[Path, Path | None]:
    """Rootdir and ini file as they are where options have their values: pytest's own search, with the paths alone."""
    from _pytest.config.findpaths import determine_setup

    known = _parsed(config, words)
    given = {
        "inifile": known.inifilename,
        "override_ini": known.override_ini,
        "args": known.file_or_dir,
        "rootdir_cmd_arg": known.rootdir or None,
        "invocation_dir": config.invocation_params.dir,
    }
    accepted = inspect.signature(determine_setup).parameters  # which differ from version to version
    root, ini, *_ = determine_setup(**{key: value for key, value in given.items() if key in accepted})
    return root, ini
