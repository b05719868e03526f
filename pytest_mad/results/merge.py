"""Several result files as one: their settings and contracts side by side, and what is missing among them.

What was measured twice must have been measured alike. Nothing is averaged and nothing chosen: two scores of one
setting are a contradiction, which only the user can resolve.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pytest_mad.common.files import FileError
from pytest_mad.common.packages import minor

from . import verdicts
from .gaps import absent
from .result_file import result_file

#: The content of a result file, or a setting or contract of it.
Record = dict[str, Any]
Files = Mapping[str, Record]
Kind = Literal["settings", "contracts"]
#: Of two measurements of one setting these may differ: a stored result takes no time.
_OF_THE_RUN = ("seconds", "stored", "device")


class Merged(NamedTuple):
    """One report made of several."""

    #: in the form of a result file
    content: Record
    #: settings and contracts with the names that stand around them in a file, as a run has them
    settings: list[Record]
    contracts: list[Record]
    #: what puts the scores' agreement in doubt, a line each
    warnings: list[str]

    @property
    def missing(self) -> list[str]:
        """The shards that no file has: ``shards 2-3 of 4``."""
        return list(map(absent, self.content["shards"]))

    @property
    def is_complete(self) -> bool:
        return not (self.content["shards"] or self.content["cut_short"])

    @property
    def failing(self) -> int:
        """How many settings and contracts fail."""
        return sum(map(verdicts.fails, self.settings + self.contracts))

    @property
    def exit_code(self) -> int:
        """0 if everything is there and passed; otherwise 1."""
        return int(self.failing > 0 or not self.is_complete)


def merge(files: Files, command: str = "") -> Merged:
    """Join the contents of result files, by their names, as ``read_results`` gives them.

    ``command`` is what joins them; it stands behind the commands that measured. Raises
    ``FileError`` with one line that names both files where two of them contradict each other.
    """
    preset = _preset(files)
    settings, contracts = (_once(files, kind) for kind in ("settings", "contracts"))
    if not (settings or contracts):
        raise FileError(f"{' and '.join(files)} hold no results")
    contents = list(files.values())
    content = result_file(
        settings,
        preset,
        contracts,
        "\n".join(dict.fromkeys(filter(None, (*(one["command"] for one in contents), command)))),
        cut_short=any(one["cut_short"] for one in contents),
        shards=joined(shard for one in contents for shard in one["shards"]),
    )
    return Merged(content | {"environment": _environment(contents)}, settings, contracts, list(_warnings(contents)))


def _preset(files: Files) -> str:
    (first, content), *others = files.items()
    for name, other in others:
        if other["preset"] != content["preset"]:
            raise FileError(f"{first} has preset {content['preset']!r}, but {name} has {other['preset']!r}")
    return str(content["preset"])


# -- settings and contracts -----------------------------------------------------------------------------------------


def _once(files: Files, kind: Kind) -> list[Record]:
    """Every setting or contract of all files, in order; what stands in several must be the same in them."""
    found: dict[tuple[str, str], tuple[str, Record]] = {}
    for file, content in files.items():
        for architecture, name, record in _records(content, kind):
            first, known = found.setdefault((architecture, name), (file, record))
            differing = [key for key in known if key not in _OF_THE_RUN and known[key] != record[key]]
            if differing:
                raise FileError(_contradiction(f"{architecture}, {name}", differing, (first, known), (file, record)))
    return [found[key][1] for key in sorted(found, key=_natural)]


def _records(content: Record, kind: Kind) -> Iterator[tuple[str, str, Record]]:
    """Architecture, name and record, which has both and what stands with the architecture in the file."""
    for architecture, one in content["architectures"].items():
        outside = {"architecture": architecture, "preset": content["preset"]}
        if kind == "settings":
            outside |= {"parameters": one["parameters"], "state_size": one["state_size"]}
        for name, record in one[kind].items():
            yield architecture, name, outside | {kind.removesuffix("s"): name} | record


def _contradiction(what: str, differing: list[str], *found: tuple[str, Record]) -> str:
    """What differs that says most: scores before verdicts before anything else."""
    known = [key for key in ("normalized", "accuracy", "verdict") if key in differing] or differing
    told = [f"{known[0]} {record[known[0]]!r:.60} in {file}" for file, record in found]
    return f"{what} was measured twice, with {', but '.join(told)}"


def _natural(key: tuple[str, str]) -> tuple[Any, ...]:
    """Tasks by name, in each the baseline first, and 32 before 128."""
    architecture, name = key
    task, _, rest = name.partition("[")
    digits = [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,18})", rest)]
    return architecture, task, not rest.startswith("baseline"), digits


# -- where it was measured ------------------------------------------------------------------------------------------


def _environment(contents: list[Record]) -> Record:
    """All that was there, by name; a shard without items has no device."""
    found = {key: _several(one["environment"][key] for one in contents) for key in contents[0]["environment"]}
    return {key: ", ".join(values) or ("" if key in ("python", "device") else None) for key, values in found.items()}


def _several(values: Iterator[str | None]) -> list[str]:
    return sorted({part for value in values if value for part in value.split(", ")})


def _warnings(contents: list[Record]) -> Iterator[str]:
    """As in a comparison: scores only repeat under one minor version of torch and one class of device."""
    found = _environment(contents)
    torch = sorted({minor(one) for one in (found["torch"] or "").split(", ")})
    differing = [("torch", ", ".join(torch)), ("device", found["device"]), ("pytest-mad", found["plugin"] or "")]
    told = [f"{name} {values}" for name, values in differing if ", " in values]
    if told:
        yield f"measured with {'; '.join(told)}: scores may differ for this alone"


def joined(shards: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Shards of one suite together, without the suites that are complete."""
    parts = defaultdict(set)
    for shard in shards:
        parts[shard["suite"], shard["of"]].update(shard["parts"])
    return [
        {"suite": suite, "of": of, "parts": sorted(own)} for (suite, of), own in sorted(parts.items()) if len(own) < of
    ]
