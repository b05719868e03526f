"""Two result files side by side: what passed in A and is not shown to pass in B.

A comparison says no more than its evidence does. A verdict was given by the rule of its run, with as many seeds as that
takes, so verdicts decide. Scores differ from seed to seed: their differences are shown with the number of seeds behind
them, and decide nothing. What was measured otherwise is not compared at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pytest_mad.common.packages import minor
from pytest_mad.common.text import round_down

from . import verdicts

#: A setting, a contract or an architecture of a result file.
Record = dict[str, Any]
#: Of verdicts: *worse* passed in A only, *better* in B only, *same* in both or in neither.
Mark = Literal["worse", "better", "same", "only in A", "only in B", "not comparable"]
_MISSING = "none"


class Row(NamedTuple):
    """One setting or contract in both files; None where a file lacks it."""

    name: str
    a: Record | None
    b: Record | None
    mark: Mark
    #: why it is not comparable
    why: str = ""
    #: passed in A, and is not shown to pass in B
    is_lost: bool = False

    @property
    def is_bad(self) -> bool:
        """Whether exit code 1 is this row's doing."""
        return self.is_lost or fails(self.b)


class Pair(NamedTuple):
    """One architecture in both files, perhaps under two names; None where a file lacks it."""

    a: Record | None
    b: Record | None
    name: str
    contracts: tuple[Row, ...]
    settings: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.contracts + self.settings

    @property
    def has_comparable_means(self) -> bool:
        """Whether both MAD scores are means over the same settings, measured in the same way."""
        is_scored = [(bool(scores(row.a)), bool(scores(row.b))) for row in self.settings]
        return all(a == b for a, b in is_scored) and all(row.mark != "not comparable" for row in self.settings)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two result files, and their architectures side by side."""

    a: dict[str, Any]
    b: dict[str, Any]
    #: what puts all of it in doubt, a line each
    warnings: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for pair in self.pairs for row in pair.rows)

    @property
    def exit_code(self) -> int:
        """1 if something that passed in A is not shown to pass in B, or if anything fails in B; otherwise 0."""
        return int(any(row.is_bad for row in self.rows))


def compare(a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    """Compare the contents of two result files, as ``read_results`` gives them.

    Architectures are compared by name; if each file has exactly one, these two are, whatever their names.

    A setting passed if its verdict is ``pass``, or ``inconclusive`` in a run that was told to let that pass. It is *not
    comparable* if preset, task version, parameters or recipe differ; if it passes in one file, but would not by what
    the other asked for (a lower threshold makes no model better); or if one run skipped it and the other did not pass
    it. What passed in A is *lost* if B has no comparable pass of it: it fails, was skipped, is missing or is not
    comparable.

    A contract is lost if B breaks it or lacks it; not if B skips it, which takes a stated reason and fails no run.
    """
    pairs = tuple(_pair(a, b, *names) for names in _names(list(a["architectures"]), list(b["architectures"])))
    return Comparison(a=a, b=b, warnings=tuple(_warnings(a, b, pairs)), pairs=pairs)


def passed(record: Record | None) -> bool:
    """Whether a setting or contract is there and passed."""
    return record is not None and verdicts.passes(record)


def fails(record: Record | None) -> bool:
    """Whether a setting or contract is there and fails its own run."""
    return record is not None and verdicts.fails(record)


def scores(record: Record | None) -> list[float]:
    """The normalised score of each seed; one score where an early version did not write them all."""
    if record is None or record["normalized"] is None:
        return []
    return [score for _, score in record["scores"]] or [record["normalized"]]


# -- which with which -----------------------------------------------------------------------------------------------


def _names(a: list[str], b: list[str]) -> list[tuple[str, str]]:
    """Names of architectures that belong together; both are the same where only one file has it."""
    if len(a) == len(b) == 1:
        return [(a[0], b[0])]
    return [(name, name) for name in dict.fromkeys((*a, *b))]


def _pair(a: dict[str, Any], b: dict[str, Any], name_a: str, name_b: str) -> Pair:
    one, other = a["architectures"].get(name_a), b["architectures"].get(name_b)
    preset = _differing("preset", a["preset"], b["preset"])
    return Pair(
        one,
        other,
        name_a if name_a == name_b else f"{name_a} -> {name_b}",
        tuple(_contract(*found) for found in _both(one, other, "contracts")),
        tuple(_setting(*found, preset) for found in _both(one, other, "settings")),
    )


def _both(a: Record | None, b: Record | None, kind: str) -> Iterator[tuple[str, Record | None, Record | None]]:
    """Everything that one of the two has, by name."""
    in_a, in_b = ({} if one is None else one[kind] for one in (a, b))
    for name in dict.fromkeys((*in_a, *in_b)):
        yield name, in_a.get(name), in_b.get(name)


# -- marks ----------------------------------------------------------------------------------------------------------


def _setting(name: str, a: Record | None, b: Record | None, preset: list[str]) -> Row:
    if a is None or b is None:
        return _alone(name, a, b)
    why = ", ".join(preset + _measured_otherwise(a, b)) or _asked_less(a, b) or _skipped(a, b)
    mark: Mark = "not comparable" if why else _by_verdict(a, b)
    return Row(name, a, b, mark, why, is_lost=passed(a) and mark not in ("same", "better"))


def _contract(name: str, a: Record | None, b: Record | None) -> Row:
    if a is None or b is None:
        return _alone(name, a, b)
    is_skipped = a["verdict"] != b["verdict"] and "skipped" in (a["verdict"], b["verdict"])
    mark: Mark = "not comparable" if is_skipped else _by_verdict(a, b)
    return Row(name, a, b, mark, is_lost=mark == "worse")


def _alone(name: str, a: Record | None, b: Record | None) -> Row:
    return Row(name, a, b, "only in A" if b is None else "only in B", is_lost=passed(a))


def _by_verdict(a: Record, b: Record) -> Mark:
    if passed(a) == passed(b):
        return "same"
    return "worse" if passed(a) else "better"


def _skipped(a: Record, b: Record) -> str:
    """Where one was skipped and the other did not pass there is nothing to compare."""
    skipped = [side for side, one in zip("AB", (a, b), strict=True) if one["verdict"] == "skipped"]
    return f"skipped in {skipped[0]}" if len(skipped) == 1 and not passed(a) and not passed(b) else ""


def _measured_otherwise(a: Record, b: Record) -> list[str]:
    """What scores are only compared under, where it differs. An early version did not write recipes."""
    was, now = a["params"], b["params"]
    differing = _differing("task_version", a["task_version"], b["task_version"])
    for name in dict.fromkeys((*was, *now)):
        differing += _differing(name, was.get(name, _MISSING), now.get(name, _MISSING))
    return differing + (_differing("recipe", a["recipe"], b["recipe"]) if a["recipe"] and b["recipe"] else [])


def _differing(name: str, a: Any, b: Any) -> list[str]:
    return [] if a == b else [f"{name} {a} -> {b}"]


def _asked_less(a: Record, b: Record) -> str:
    """Why a pass is none by what the other file asked for. That B passes and was asked for more takes nothing away."""
    (one, side), (other, its) = ((b, "B"), (a, "A")) if passed(b) else ((a, "A"), (b, "B"))
    own, asked = requirement(one), requirement(other)
    if not passed(one) or own == asked or _meets(one, asked):
        return ""
    needed = "nothing" if own[1] is None else f"{own[1]:.3f}"
    score = round_down(one["normalized"])
    return f"{side} asked for {needed}, and its {score:.3f} does not reach the {asked[1]:.3f} that {its} asked for"


def requirement(record: Record) -> tuple[str, float | None]:
    """What a setting had to reach: the line of a baseline, or a threshold or none."""
    baseline = record["baseline"]
    return ("line", baseline["line"]) if baseline else ("threshold", record["threshold"])


def _meets(record: Record, asked: tuple[str, float | None]) -> bool:
    """Whether the scores would do: all of them for a threshold, the best one for a line, as the gate has it."""
    kind, needed = asked
    telling = max(scores(record)) if kind == "line" else min(scores(record))
    return needed is None or telling >= needed


# -- warnings -------------------------------------------------------------------------------------------------------


def _warnings(a: dict[str, Any], b: dict[str, Any], pairs: tuple[Pair, ...]) -> Iterator[str]:
    """Scores are only promised to repeat under one minor version of torch and one class of device."""
    machines = [(minor(one["environment"]["torch"] or ""), one["environment"]["device"]) for one in (a, b)]
    differing = []
    for name, was, now in zip(("torch", "device"), *machines, strict=True):
        if was and now:  # contracts alone have no device
            differing += _differing(name, was, now)
    if differing:
        yield f"{', '.join(differing)}: scores may differ for this alone"
    both = [(row.a, row.b) for pair in pairs for row in pair.settings if row.a and row.b]
    if any(bool(one["recipe"]) != bool(other["recipe"]) for one, other in both):
        yield "recipes are known for one file only, and taken to be the same"
