"""One table of options: command line, ini twin, default, help and parser; and what can be said of them unparsed.

Imported by every pytest run, so `Options`, the parsed values, are in a file of their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import option_values as values


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option. ``parse`` turns its text into its value and raises ``ValueError`` with what would be right."""

    flag: str
    help: str
    #: the attribute of `Options` that it fills, where that is not called like the flag
    fills: str | None = None
    metavar: str | None = None
    parse: Callable[[str], Any] = str
    default: Any = None
    repeatable: bool = False
    switch: bool = False
    #: may be set in the ini file, under the same name with underscores
    ini: bool = False
    #: several names in one text; in an ini file they may also be a list
    names: bool = False
    #: a path: documented with ``=`` only, because pytest takes a second word for a test path
    path: bool = False

    @property
    def name(self) -> str:
        """What pytest calls it, on the command line and in the ini file."""
        return self.flag[2:].replace("-", "_")

    @property
    def attribute(self) -> str:
        return self.fills or self.name.removeprefix("mad_")

    def written(self, given: Any) -> str:
        """How it is written to have this value of pytest's: True, a text, or a list of texts."""
        if self.switch:
            return self.flag
        return " ".join(f"{self.flag}={text}" for text in (given if self.repeatable else [given]))


OPTIONS = (
    Option(
        flag="--mad-arch",
        metavar="[NAME=]TARGET",
        repeatable=True,
        help="Train and judge the models of this factory: module:factory or path/to/file.py:factory. Repeatable.",
    ),
    Option(
        flag="--mad-layers",
        metavar="[NAME=]A,B,C",
        repeatable=True,
        help="Judge a stack of registered layers in the standard backbone, e.g. mh-attention,swiglu. Repeatable.",
    ),
    Option(
        flag="--mad-mixer",
        metavar="[NAME=]MODULE:CLASS",
        repeatable=True,
        help="Judge a bare sequence mixer (B,T,D)->(B,T,D), stacked with SwiGLU in the standard backbone. Repeatable.",
    ),
    Option(
        flag="--mad-preset",
        metavar="NAME|FILE.toml",
        default="smoke",
        ini=True,
        path=True,
        help="Settings, thresholds and recipe: smoke, ci, paper or a TOML file. Default: smoke.",
    ),
    Option(flag="--mad-tasks", metavar="A,B", parse=values.names, ini=True, names=True, help="Only these tasks."),
    Option(
        flag="--mad-threshold",
        fills="thresholds",
        metavar="[TASK[SETTING]=]X",
        parse=values.threshold,
        repeatable=True,
        ini=True,
        help="Normalised score to reach, over the preset's. Repeatable.",
    ),
    Option(
        flag="--mad-lr",
        fills="lrs",
        metavar="[TASK[SETTING]=]X[,Y]",
        parse=values.rates,
        repeatable=True,
        ini=True,
        help="Learning rates to try in this order, over the preset's. Repeatable.",
    ),
    Option(
        flag="--mad-contract",
        fills="contracts",
        metavar="NAME=fail|warn|off:REASON",
        parse=values.contract,
        repeatable=True,
        ini=True,
        help="What a broken contract does, e.g. lengths=fail or 'gradients=off:two experts are spare'. Repeatable.",
    ),
    Option(
        flag="--mad-max-params",
        metavar="N",
        parse=values.whole_number(1),
        ini=True,
        help="Parameters that a model may have at most; the budget contract fails one with more.",
    ),
    Option(
        flag="--mad-max-state",
        metavar="N",
        parse=values.whole_number(0),
        ini=True,
        help="Floats of state per sequence that a model may have at most, by its state_size().",
    ),
    Option(
        flag="--mad-seeds",
        metavar="N",
        parse=values.whole_number(1),
        ini=True,
        help="Seeds per setting. Default: 1, all of which must reach the threshold; with a baseline as many as the "
        "preset's gate says, of which one must reach the floor.",
    ),
    Option(
        flag="--mad-first-seed",
        metavar="S",
        parse=values.whole_number(0),
        ini=True,
        help="Where seeds begin. Default: 0, or behind the recorded seeds of a baseline.",
    ),
    Option(
        flag="--mad-baseline",
        metavar="FILE.json|NAME",
        ini=True,
        path=True,
        help="Compare with recorded scores instead of thresholds: a file, or a baseline that comes with the package.",
    ),
    Option(
        flag="--mad-margin",
        metavar="X",
        parse=values.margin,
        ini=True,
        help="How far below the baseline still passes. Default: the preset's, 0.03.",
    ),
    Option(
        flag="--mad-update-baseline",
        metavar="FILE.json",
        parse=Path,
        path=True,
        help="Measure with full sweeps and enough seeds, and merge the scores into this baseline.",
    ),
    Option(
        flag="--mad-inconclusive",
        metavar="fail|pass",
        parse=values.one_of("fail", "pass"),
        default="fail",
        ini=True,
        help="What a case counts as that was still open when the time ran out. Default: fail.",
    ),
    Option(
        flag="--mad-slower",
        metavar="fail|warn|pass",
        parse=values.one_of("fail", "warn", "pass"),
        default="fail",
        ini=True,
        help="What an architecture counts as that learns a setting, but later than its baseline did. Default: fail.",
    ),
    Option(
        flag="--mad-device",
        metavar="auto|cpu|cuda",
        parse=values.one_of("auto", "cpu", "cuda"),
        default="auto",
        ini=True,
        help="Where to train. Default: auto, CUDA where there is one.",
    ),
    Option(
        flag="--mad-gpus",
        metavar="auto|0,2|UUIDs",
        parse=values.gpus,
        default="auto",
        ini=True,
        help="Which CUDA devices the workers of -n share, of those in CUDA_VISIBLE_DEVICES or that nvidia-smi finds: "
        "numbers, from 0, or UUIDs. A single process takes the first. Default: auto, all.",
    ),
    Option(
        flag="--mad-trials-per-gpu",
        metavar="K",
        parse=values.whole_number(1),
        default=2,
        ini=True,
        help="Trials that a device takes side by side: -n auto starts as many workers per device. Default: 2.",
    ),
    Option(
        flag="--mad-engine",
        metavar="auto|loop|vmap",
        parse=values.one_of("auto", "loop", "vmap"),
        default="auto",
        ini=True,
        help="How trials are trained: one after the other, or those of a sweep stacked into one model. Default: auto, "
        "the loop.",
    ),
    Option(
        flag="--mad-executor",
        metavar="inline|ray",
        parse=values.one_of("inline", "ray"),
        default="inline",
        ini=True,
        help="Where trials run: in this process or the workers of xdist, or in the workers of Ray. Default: inline.",
    ),
    Option(
        flag="--mad-ray-address",
        metavar="ADDR",
        ini=True,
        help="The cluster for --mad-executor=ray: host:port, ray://host:port or auto. Default: a Ray of its own, on "
        "this machine.",
    ),
    Option(
        flag="--mad-timeout",
        metavar="SECONDS",
        parse=values.seconds,
        ini=True,
        help="Wall-clock budget per setting; running out of it is verdict error, with -n also in code that hangs.",
    ),
    Option(
        flag="--mad-store",
        metavar="DIR",
        parse=Path,
        ini=True,
        path=True,
        help="Where results are kept, and found again for an unchanged architecture. Default: .pytest_mad in the "
        "rootdir.",
    ),
    Option(flag="--mad-no-store", switch=True, ini=True, help="Train everything, and keep nothing."),
    Option(
        flag="--mad-data",
        metavar="DIR",
        parse=Path,
        ini=True,
        path=True,
        help="Use MAD-Lab's published data from this folder instead of generated data.",
    ),
    Option(flag="--mad-json", metavar="FILE", parse=Path, path=True, help="Write all results to this file."),
    Option(
        flag="--mad-html",
        metavar="FILE",
        parse=Path,
        path=True,
        help="Write a report to read: one self-contained HTML file.",
    ),
    Option(
        flag="--mad-benchmark-json",
        metavar="FILE",
        parse=Path,
        path=True,
        help="Write scores for github-action-benchmark, as customBiggerIsBetter.",
    ),
    Option(
        flag="--mad-shard",
        metavar="I/N",
        parse=values.shard,
        help="Run the I-th of N parts of the suite, which take about the same time: for a CI matrix.",
    ),
)

#: What pytest calls the options that switch the suite on.
SWITCHES = ("mad_arch", "mad_layers", "mad_mixer")

#: What trains nothing was an option once, and is a command.
COMMANDS = {"--mad-list": "list", "--mad-merge": "merge", "--mad-compare": "compare"}

#: Attributes of the options that name a report file, which is written at the end.
REPORTS = ("json", "html", "benchmark_json")


def register(parser: pytest.Parser) -> None:
    """Add every option, and its ini twin, to pytest's parser."""
    group = parser.getgroup("mad", "MAD capability tests for sequence-model architectures")
    for option in OPTIONS:
        if option.switch:
            group.addoption(option.flag, action="store_true", default=False, help=option.help)
        else:
            action = "append" if option.repeatable else "store"
            group.addoption(option.flag, action=action, metavar=option.metavar, default=None, help=option.help)
        if option.ini:
            kind = (
                "bool" if option.switch else "linelist" if option.repeatable else "args" if option.names else "string"
            )
            parser.addini(option.name, f"{option.flag}: {option.help}", type=kind, default=None)  # type: ignore[arg-type]
    for gone in COMMANDS:
        group.addoption(gone, action="append", nargs="?", const="", default=None, help=argparse.SUPPRESS)
    parser.addini("mad_junit", "Write mad.* properties into JUnit reports.", type="bool", default=True)


def refuse_commands(config: pytest.Config) -> None:
    """Raise ``pytest.UsageError`` for an option whose place a command has taken."""
    for gone, command in COMMANDS.items():
        if config.getoption(gone[2:].replace("-", "_")) is not None:
            raise pytest.UsageError(f"{gone}: is a command now: pytest-mad {command} (see pytest-mad {command} --help)")


def flag(attribute: str) -> str:
    """How an option is written."""
    return _row(attribute).flag


def _row(attribute: str) -> Option:
    return next(option for option in OPTIONS if option.attribute == attribute)


def on_command_line(config: pytest.Config) -> dict[str, str]:
    """Options that the command line itself gives, by their attributes, as they are written there."""
    given = ((option, config.getoption(option.name)) for option in OPTIONS)
    return {option.attribute: option.written(one) for option, one in given if one not in (None, False)}


def is_given(config: pytest.Config, attribute: str) -> bool:
    """Whether the command line or the ini file gives this option."""
    option = _row(attribute)
    return attribute in on_command_line(config) or bool(option.ini and config.getini(option.name))


def writes_junit(config: pytest.Config) -> bool:
    """Of the ini file alone: whether JUnit reports get our properties."""
    return bool(config.getini("mad_junit"))


def is_active(config: pytest.Config) -> bool:
    """Whether one of the options that switch the suite on was given."""
    return any(config.getoption(name) for name in SWITCHES)


def switches(config: pytest.Config) -> str:
    """Those options, as they are written."""
    given = on_command_line(config)
    return " ".join(
        given[option.attribute] for option in OPTIONS if option.name in SWITCHES and option.attribute in given
    )


def second_word_paths(args: list[str]) -> list[str]:
    """Flags whose path was given as a second word, which pytest takes for a test path."""
    return [o.flag for o in OPTIONS if o.path and o.flag in args]
