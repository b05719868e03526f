"""The options of a run, parsed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_mad.common.errors import first_line, shown
from pytest_mad.common.text import printable
from pytest_mad.gate.judge import SlowerMode

from .option_table import OPTIONS, REPORTS, Option, flag
from .option_values import ContractMode


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """One attribute per row of the table, which says what it means; paths are as the user wrote them."""

    arch: tuple[str, ...]
    layers: tuple[str, ...]
    mixer: tuple[str, ...]
    preset: str
    tasks: tuple[str, ...] | None
    #: for which task or setting, None for all, and how much
    thresholds: tuple[tuple[str | None, float], ...]
    #: for which task or setting, None for all, and which learning rates
    lrs: tuple[tuple[str | None, tuple[float, ...]], ...]
    contracts: tuple[ContractMode, ...]
    max_params: int | None
    max_state: int | None
    seeds: int | None
    first_seed: int | None
    baseline: str | None
    margin: float | None
    update_baseline: Path | None
    inconclusive: Literal["fail", "pass"]
    slower: SlowerMode
    device: Literal["auto", "cpu", "cuda"]
    gpus: Literal["auto"] | tuple[str, ...]
    trials_per_gpu: int
    engine: Literal["auto", "loop", "vmap"]
    executor: Literal["inline", "ray"]
    ray_address: str | None
    timeout: float | None
    store: Path | None
    no_store: bool
    data: Path | None
    json: Path | None
    html: Path | None
    benchmark_json: Path | None
    #: which part, from 1 on, and of how many
    shard: tuple[int, int] | None
    #: of the ini file alone, so it has no row
    junit: bool

    @property
    def targets(self) -> tuple[tuple[str, str], ...]:
        """Flag and text of each architecture, in the order of the kinds: factories, layer stacks, mixers."""
        kinds = {"arch": self.arch, "layers": self.layers, "mixer": self.mixer}
        return tuple((flag(kind), text) for kind, texts in kinds.items() for text in texts)

    @property
    def reports(self) -> dict[str, Path]:
        """The report files that are asked for, by their attributes."""
        return {name: getattr(self, name) for name in REPORTS if getattr(self, name) is not None}


_OPTIONS = pytest.StashKey[Options]()


def options_of(config: pytest.Config) -> Options:
    """The options of a run, parsed when somebody first asks; raises as :func:`parse` does."""
    if _OPTIONS not in config.stash:
        config.stash[_OPTIONS] = parse(config)
    return config.stash[_OPTIONS]


def parse(config: pytest.Config) -> Options:
    """Each option from the command line, else the ini file, else its default.

    Raises ``pytest.UsageError`` with one line that names the option, the text and what would be right.
    """
    values = {option.attribute: _value(config, option) for option in OPTIONS}
    return Options(junit=bool(_ini(config, "mad_junit")), **values)


def _value(config: pytest.Config, option: Option) -> Any:
    given, where = config.getoption(option.name), option.flag
    if option.switch:
        return bool(given or (option.ini and _ini(config, option.name)))
    if given is None and option.ini:
        given, where = _from_ini(config, option), f"ini option {option.name}"
    if option.repeatable:
        return tuple(_parsed(option, where, text) for text in given or ())
    return option.default if given is None else _parsed(option, where, given)


def _from_ini(config: pytest.Config, option: Option) -> Any:
    """The ini twin's text; a path is relative to the ini file, as pytest's own are."""
    given, is_list = _ini(config, option.name) or None, option.repeatable or option.names
    if given is not None and not all(isinstance(one, str) for one in (given if is_list else [given])):
        expected = "a list of texts" if is_list else "a text"
        raise pytest.UsageError(f"ini option {option.name}={shown(given)}: must be {expected}")
    if option.names and given is not None:
        given = ",".join(part.strip(",") for part in given)
    if isinstance(given, str):
        given = given.strip("\"'")  # TOML wants quotes, an ini file keeps them
    is_path = option.parse is Path or (option.path and str(given).endswith((".toml", ".json")))  # or a shipped name
    if given is not None and is_path and config.inipath is not None:
        return str(config.inipath.parent / given)
    return given


def _ini(config: pytest.Config, name: str) -> Any:
    """What pytest makes of the ini file's text; of one that it refuses, its reason and the option's name."""
    try:
        return config.getini(name)
    except (TypeError, ValueError, pytest.UsageError) as error:
        raise pytest.UsageError(f"ini option {name}: {first_line(error)}") from None


def _parsed(option: Option, where: str, text: str) -> Any:
    try:
        return option.parse(text)
    except ValueError as error:
        raise pytest.UsageError(printable(f"{where}={text}: {error}")) from None
