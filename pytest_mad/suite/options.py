"""One table of options: command line, ini twin, default, help and parser."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option. ``parse`` turns its text into its value and raises ``ValueError`` with what would be right."""

    flag: str
    help: str
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
        return self.flag[2:].replace("-", "_")


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError("must be names with commas between them")
    return names


def _threshold(text: str) -> tuple[str | None, float]:
    where, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        raise ValueError("must be a number, or TASK=number, or TASK[SETTING]=number") from None
    if not 0 <= value <= 1:
        raise ValueError("must be from 0 to 1")
    return where or None, value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("must be a whole number of at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("must be a whole number of at least 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError("must be a number of seconds above 0")
    return value


def _device(text: str) -> str:
    if text not in ("auto", "cpu", "cuda"):
        raise ValueError("must be auto, cpu or cuda")
    return text


def _gpus(text: str) -> str | list[str]:
    names = [name.strip() for name in text.split(",")]
    if names == ["auto"]:
        return "auto"
    if not all(re.fullmatch(r"[0-9]+|(GPU|MIG)-\S+", name) for name in names):
        raise ValueError("must be auto, or numbers or UUIDs of devices with commas between them")
    return names


def _engine(text: str) -> str:
    if text not in ("auto", "loop", "vmap"):
        raise ValueError("must be auto, loop or vmap")
    return text


def _executor(text: str) -> str:
    if text not in ("inline", "ray"):
        raise ValueError("must be inline or ray")
    return text


def _margin(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise ValueError("must be a number from 0 to below 1")
    return value


def _inconclusive(text: str) -> str:
    if text not in ("fail", "pass"):
        raise ValueError("must be fail or pass")
    return text


def _two_files(text: str) -> tuple[str, str]:
    files = text.split(",")
    if len(files) != 2 or not all(files):
        raise ValueError("must be two result files with a comma between them")
    return files[0], files[1]


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    part, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= part <= of <= MOST_SHARDS:
        raise ValueError(f"must be I/N, such as 2/4: part I of N, counted from 1, and N at most {MOST_SHARDS:,}")
    return part, of


def contract(text: str) -> tuple[str, tuple[str, str]]:
    """``NAME=fail``, ``NAME=warn`` or ``NAME=off:REASON``."""
    name, _, mode = text.partition("=")
    what, _, reason = mode.partition(":")
    is_off = what == "off" and reason.strip()
    if not name or not (is_off or mode in ("fail", "warn")):
        raise ValueError("must be NAME=fail, NAME=warn or NAME=off:REASON")
    return name, (what, reason.strip())


#: No CI has matrices with more jobs.
MOST_SHARDS = 1_000

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
    Option(flag="--mad-tasks", metavar="A,B", parse=_names, ini=True, names=True, help="Only these tasks."),
    Option(
        flag="--mad-threshold",
        metavar="[TASK[SETTING]=]X",
        parse=_threshold,
        repeatable=True,
        ini=True,
        help="Normalised score to reach, over the preset's. Repeatable.",
    ),
    Option(
        flag="--mad-contract",
        metavar="NAME=fail|warn|off:REASON",
        parse=contract,
        repeatable=True,
        ini=True,
        help="What a broken contract does, e.g. lengths=fail or 'gradients=off:two experts are spare'. Repeatable.",
    ),
    Option(
        flag="--mad-max-params",
        metavar="N",
        parse=_count,
        ini=True,
        help="Parameters that a model may have at most; the budget contract fails one with more.",
    ),
    Option(
        flag="--mad-max-state",
        metavar="N",
        parse=_seed,
        ini=True,
        help="Floats of state per sequence that a model may have at most, by its state_size().",
    ),
    Option(
        flag="--mad-seeds",
        metavar="N",
        parse=_count,
        ini=True,
        help="Seeds per setting. Default: 1, all of which must reach the threshold; with a baseline as many as the "
        "preset's gate says, of which one must reach the line.",
    ),
    Option(
        flag="--mad-first-seed",
        metavar="S",
        parse=_seed,
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
        parse=_margin,
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
        parse=_inconclusive,
        default="fail",
        ini=True,
        help="What a case counts as that was still open when the time ran out. Default: fail.",
    ),
    Option(
        flag="--mad-device",
        metavar="auto|cpu|cuda",
        parse=_device,
        default="auto",
        ini=True,
        help="Where to train. Default: auto, CUDA where there is one.",
    ),
    Option(
        flag="--mad-gpus",
        metavar="auto|0,2|UUIDs",
        parse=_gpus,
        default="auto",
        ini=True,
        help="Which CUDA devices the workers of -n share, of those in CUDA_VISIBLE_DEVICES or that nvidia-smi finds: "
        "numbers, from 0, or UUIDs. A single process takes the first. Default: auto, all.",
    ),
    Option(
        flag="--mad-trials-per-gpu",
        metavar="K",
        parse=_count,
        default=2,
        ini=True,
        help="Trials that a device takes side by side: -n auto starts as many workers per device. Default: 2.",
    ),
    Option(
        flag="--mad-engine",
        metavar="auto|loop|vmap",
        parse=_engine,
        default="auto",
        ini=True,
        help="How trials are trained: one after the other, or those of a sweep stacked into one model. Default: auto, "
        "the loop.",
    ),
    Option(
        flag="--mad-executor",
        metavar="inline|ray",
        parse=_executor,
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
        parse=_seconds,
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
        help="Write a report to read: one self-contained HTML file. Needs jinja2.",
    ),
    Option(
        flag="--mad-benchmark-json",
        metavar="FILE",
        parse=Path,
        path=True,
        help="Write scores for github-action-benchmark, as customBiggerIsBetter.",
    ),
    Option(
        flag="--mad-list",
        switch=True,
        help="Print the preset's settings with oracle, trivial level and threshold, and train nothing.",
    ),
    Option(
        flag="--mad-shard",
        metavar="I/N",
        parse=_shard,
        help="Run the I-th of N parts of the suite, which take about the same time: for a CI matrix.",
    ),
    Option(
        flag="--mad-merge",
        metavar="FILE",
        repeatable=True,
        path=True,
        help="Join result files, those of shards for example, into one report, and train nothing. Exit code 1 if "
        "anything in them fails, or a shard is missing. Repeatable; 'shard-*.json' is all files that match.",
    ),
    Option(
        flag="--mad-compare",
        metavar="A,B",
        parse=_two_files,
        path=True,
        help="Compare two result files and train nothing. Exit code 1 if B fails, or lacks what passed in A.",
    ),
)

#: Options that name a report file, which is written at the end.
REPORTS = ("mad_json", "mad_html", "mad_benchmark_json")


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
    parser.addini("mad_junit", "Write mad.* properties into JUnit reports.", type="bool", default=True)


def value(config: pytest.Config, name: str) -> Any:
    """An option's parsed value: command line, else ini file, else default.

    Raises ``pytest.UsageError`` with one line that names the option, the text and what would be right.
    """
    option = next(o for o in OPTIONS if o.name == name)
    given = config.getoption(name)
    if option.switch:
        return given or (option.ini and config.getini(name))
    where = option.flag
    if given is None and option.ini:
        given = _from_ini(config, option)
        where = f"ini option {name}"
    if given is None:
        return [] if option.repeatable else option.default
    texts = given if option.repeatable else [given]
    values = [_parse(option, where, text) for text in texts]
    return values if option.repeatable else values[0]


def _from_ini(config: pytest.Config, option: Option) -> Any:
    """The ini twin's text; a path is relative to the ini file, as pytest's own are."""
    given = config.getini(option.name) or None
    if option.names and given is not None:
        given = ",".join(part.strip(",") for part in given)
    if isinstance(given, str):
        given = given.strip("\"'")  # TOML wants quotes, an ini file keeps them
    is_path = option.parse is Path or (option.path and str(given).endswith((".toml", ".json")))  # or a shipped name
    if given is not None and is_path and config.inipath is not None:
        return str(config.inipath.parent / given)
    return given


def _parse(option: Option, where: str, text: str) -> Any:
    try:
        return option.parse(text)
    except ValueError as error:
        raise pytest.UsageError(f"{where}={text}: {error}") from None


def flag(name: str) -> str:
    """How an option is written."""
    return f"--{name.replace('_', '-')}"


def is_active(config: pytest.Config) -> bool:
    """Whether one of the options that switch the suite on was given."""
    return any(config.getoption(name) for name in ("mad_arch", "mad_layers", "mad_mixer"))


def second_word_paths(args: list[str]) -> list[str]:
    """Flags whose path was given as a second word, which pytest takes for a test path."""
    return [o.flag for o in OPTIONS if o.path and o.flag in args]
