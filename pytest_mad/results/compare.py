"""Two result files side by side: what passed in A and is not shown to pass in B.

A comparison says no more than its evidence does. A verdict was given by the rule of its run, with as many seeds as that
takes, so verdicts decide. Scores differ from seed to seed: their differences are shown with the number of seeds behind
them, and decide nothing. What was measured otherwise is not compared at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

from pytest_mad.common.packages import minor
from pytest_mad.common.text import round_down

from .result import ArchitectureResult, ContractResult, ItemResult, Run, SettingResult
from .verdicts import fails, passes

#: Of verdicts: *worse* passed in A only, *better* in B only, *same* in both or in neither.
Mark = Literal["worse", "better", "same", "only in A", "only in B", "not comparable"]
_MISSING = "none"
Item = TypeVar("Item", SettingResult, ContractResult)


@dataclass(frozen=True, slots=True)
class Row(Generic[Item]):
    """One setting or contract in both files; None where a file lacks it."""

    name: str
    a: Item | None
    b: Item | None
    mark: Mark
    #: why it is not comparable
    why: str = ""
    #: passed in A, and is not shown to pass in B
    is_lost: bool = False

    @property
    def is_bad(self) -> bool:
        """Whether exit code 1 is this row's doing."""
        return self.is_lost or fails(self.b)


AnyRow = Row[ContractResult] | Row[SettingResult]


class Pair(NamedTuple):
    """One architecture in both files, perhaps under two names; None where a file lacks it."""

    a: ArchitectureResult | None
    b: ArchitectureResult | None
    name: str
    contracts: tuple[Row[ContractResult], ...]
    settings: tuple[Row[SettingResult], ...]

    @property
    def rows(self) -> tuple[AnyRow, ...]:
        return (*self.contracts, *self.settings)

    @property
    def has_comparable_means(self) -> bool:
        """Whether both MAD scores are means over the same settings, measured in the same way."""
        is_scored = [(bool(scores(row.a)), bool(scores(row.b))) for row in self.settings]
        is_same = all(a == b for a, b in is_scored) and all(row.mark != "not comparable" for row in self.settings)
        return is_same and len(self.metrics) < 2

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the MAD scores are made of: of both, or A's and B's. A file of schema 1 has plain accuracy always."""
        return tuple(dict.fromkeys(one.metric for one in (self.a, self.b) if one))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs, and their architectures side by side."""

    a: Run
    b: Run
    #: what puts all of it in doubt, a line each
    warnings: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def rows(self) -> tuple[AnyRow, ...]:
        return tuple(row for pair in self.pairs for row in pair.rows)

    @property
    def exit_code(self) -> int:
        """1 if something that passed in A is not shown to pass in B, or if anything fails in B; otherwise 0."""
        return int(any(row.is_bad for row in self.rows))


def compare(a: Run, b: Run) -> Comparison:
    """Compare two runs.

    Architectures are compared by name; if each file has exactly one, these two are, whatever their names.

    A setting passed if its verdict is ``pass``, or ``inconclusive`` in a run that was told to let that pass. It is *not
    comparable* if preset, task version, parameters or recipe differ; if it passes in one file, but would not by what
    the other asked for (a lower threshold makes no model better); or if one run skipped it and the other did not pass
    it. What passed in A is *lost* if B has no comparable pass of it: it fails, was skipped, is missing or is not
    comparable.

    A contract is lost if B breaks it or lacks it; not if B skips it, which takes a stated reason and fails no run.
    """
    pairs = tuple(_pair(a, b, *names) for names in _names(list(a.architectures), list(b.architectures)))
    return Comparison(a=a, b=b, warnings=tuple(_warnings(a, b, pairs)), pairs=pairs)


def scores(result: ItemResult | None) -> list[float]:
    """The normalised score of each seed; one score where an early version did not write them all."""
    if not isinstance(result, SettingResult) or result.normalized is None:
        return []
    return [score for _, score in result.scores] or [result.normalized]


# -- which with which -----------------------------------------------------------------------------------------------


def _names(a: list[str], b: list[str]) -> list[tuple[str, str]]:
    """Names of architectures that belong together; both are the same where only one file has it."""
    if len(a) == len(b) == 1:
        return [(a[0], b[0])]
    return [(name, name) for name in dict.fromkeys((*a, *b))]


def _pair(a: Run, b: Run, name_a: str, name_b: str) -> Pair:
    one, other = a.architectures.get(name_a), b.architectures.get(name_b)
    preset = _differing("preset", a.preset, b.preset)
    return Pair(
        one,
        other,
        name_a if name_a == name_b else f"{name_a} -> {name_b}",
        tuple(_contract(*found) for found in _both(*(side.contracts if side else {} for side in (one, other)))),
        tuple(_setting(*found, preset) for found in _both(*(side.settings if side else {} for side in (one, other)))),
    )


def _both(a: Mapping[str, Item], b: Mapping[str, Item]) -> Iterator[tuple[str, Item | None, Item | None]]:
    """Everything that one of the two has, by name."""
    for name in dict.fromkeys((*a, *b)):
        yield name, a.get(name), b.get(name)


# -- marks ----------------------------------------------------------------------------------------------------------


def _setting(name: str, a: SettingResult | None, b: SettingResult | None, preset: list[str]) -> Row[SettingResult]:
    if a is None or b is None:
        return _alone(name, a, b)
    why = ", ".join(preset + _measured_otherwise(a, b)) or _required_less(a, b) or _skipped(a, b)
    mark: Mark = "not comparable" if why else _by_verdict(a, b)
    return Row(name, a, b, mark, why, is_lost=passes(a) and mark not in ("same", "better"))


def _contract(name: str, a: ContractResult | None, b: ContractResult | None) -> Row[ContractResult]:
    if a is None or b is None:
        return _alone(name, a, b)
    is_skipped = a.verdict != b.verdict and "skipped" in (a.verdict, b.verdict)
    mark: Mark = "not comparable" if is_skipped else _by_verdict(a, b)
    return Row(name, a, b, mark, is_lost=mark == "worse")


def _alone(name: str, a: Item | None, b: Item | None) -> Row[Item]:
    return Row(name, a, b, "only in A" if b is None else "only in B", is_lost=passes(a))


def _by_verdict(a: ItemResult, b: ItemResult) -> Mark:
    if passes(a) == passes(b):
        return "same"
    return "worse" if passes(a) else "better"


def _skipped(a: SettingResult, b: SettingResult) -> str:
    """Where one was skipped and the other did not pass there is nothing to compare."""
    skipped = [side for side, one in zip("AB", (a, b), strict=True) if one.verdict == "skipped"]
    return f"skipped in {skipped[0]}" if len(skipped) == 1 and not passes(a) and not passes(b) else ""


def _measured_otherwise(a: SettingResult, b: SettingResult) -> list[str]:
    """What scores are only compared under, where it differs. An early version did not write recipes."""
    was, now = a.params, b.params
    differing = _differing("task_version", a.task_version, b.task_version)
    for name in dict.fromkeys((*was, *now)):
        differing += _differing(name, was.get(name, _MISSING), now.get(name, _MISSING))
    return differing + (_differing("recipe", a.recipe, b.recipe) if a.recipe and b.recipe else [])


def _differing(name: str, a: object, b: object) -> list[str]:
    return [] if a == b else [f"{name} {a} -> {b}"]


def _required_less(a: SettingResult, b: SettingResult) -> str:
    """Why a pass is none by what the other file asked for. That B passes and was asked for more takes nothing away."""
    (one, side), (other, its) = ((b, "B"), (a, "A")) if passes(b) else ((a, "A"), (b, "B"))
    if not passes(one) or _requirement(one) == _requirement(other) or _meets(one, other):
        return ""
    needed = "nothing" if one.needed is None else f"{one.needed:.3f}"
    score = round_down(one.normalized or 0.0)
    return f"{side} asked for {needed}, and its {score:.3f} does not reach the {other.needed:.3f} that {its} asked for"


def _requirement(result: SettingResult) -> tuple[bool, float | None]:
    """What a setting had to reach, and whether a baseline's floor or a threshold."""
    return result.baseline is not None, result.needed


def _meets(result: SettingResult, other: SettingResult) -> bool:
    """Whether the scores would do there: all of them for a threshold, the best one for a floor, as the gate has it."""
    telling = max(scores(result)) if other.baseline else min(scores(result))
    return other.needed is None or telling >= other.needed


# -- warnings -------------------------------------------------------------------------------------------------------


def _warnings(a: Run, b: Run, pairs: tuple[Pair, ...]) -> Iterator[str]:
    """Scores are only promised to repeat under one minor version of torch and one class of device."""
    machines = [(minor(one.environment.torch or ""), one.environment.device) for one in (a, b)]
    differing = []
    for name, was, now in zip(("torch", "device"), *machines, strict=True):
        if was and now:  # contracts alone have no device
            differing += _differing(name, was, now)
    if differing:
        yield f"{', '.join(differing)}: scores may differ for this alone"
    both = [(row.a, row.b) for pair in pairs for row in pair.settings if row.a and row.b]
    if any(bool(one.recipe) != bool(other.recipe) for one, other in both):
        yield "recipes are known for one file only, and taken to be the same"
