"""The records of a run, from the whole down to one trial: Run, ArchitectureResult, SettingResult, TrialResult.

They cross processes and files: frozen, of plain values, converted by :mod:`pytest_mad.common.records` alone. The
annotations are the form of the result file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

from pytest_mad.common.records import (
    Between,
    Count,
    CurvePoint,
    Named,
    Positive,
    Score,
    Seed,
    SeedScore,
    SeedSteps,
    Share,
    WrongError,
    require,
)
from pytest_mad.common.text import NAME
from pytest_mad.gate.judge import Floor, Outcome, SlowerMode
from pytest_mad.gate.speed import Pace

PlainName = Annotated[str, Named(NAME, "names have letters, digits and _.- only")]
TaskName = Annotated[str, Named(re.compile(r"[^\[\]]+"), "tasks have no brackets in their names")]
#: A task, and in brackets ``baseline`` or what differs from it.
SettingId = Annotated[
    str,
    Named(re.compile(r"[^\[\]]+\[[^\[\]]+\]"), "settings are named task[baseline] or task[parameter=value]"),
]
#: What MAD's score is made of: the accuracy of tokens, or MAD-Lab's macro average.
Metric = Literal["accuracy", "compat"]
ResultT = TypeVar("ResultT", bound="SettingResult | ContractResult")
#: Verdicts of settings that were not trained to the end.
_SCORELESS = ("error", "fail", "skipped")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """One trial of a setting's sweep."""

    lr: Positive
    weight_decay: Positive
    seed: Seed
    steps: Count
    #: *late*: cut, because it was later than all that a baseline recorded, and had not learned
    stopped: Literal["solved", "hopeless", "budget", "late"]
    #: validation accuracy by step
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """Which trial's score counts."""

    lr: Positive
    weight_decay: Positive
    seed: Seed

    def is_of(self, trial: TrialResult) -> bool:
        """Whether it is this one."""
        return (trial.lr, trial.weight_decay, trial.seed) == (self.lr, self.weight_decay, self.seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What came of an item before it ran again."""

    verdict: Outcome
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingResult:
    """One setting of one architecture. Scores are None where training gave none."""

    architecture: str
    setting: str
    task: str
    task_version: Annotated[int, Between(0)]
    params: dict[str, Any]
    preset: str
    #: how many settings the whole preset has of each task; empty where nobody knows
    preset_tasks: Mapping[TaskName, Count] = field(default_factory=dict)
    verdict: Outcome
    detail: str = ""
    #: of held-out tokens, between 0 and 1
    accuracy: Share | None = None
    #: MAD-Lab's macro average
    accuracy_compat: Share | None = None
    #: which of the two the recipe publishes
    metric: Metric = "accuracy"
    #: of sequences that are right at every scored token
    sequence_accuracy: Share | None = None
    #: (accuracy - trivial) / (oracle - trivial)
    normalized: Score | None = None
    oracle: Share
    trivial: Share
    threshold: Share | None = None
    #: what the baseline requires: where it comes from, its floor and how that was drawn
    baseline: Floor | None = None
    #: normalised score of each seed that was trained to an end, in order
    scores: tuple[SeedScore, ...] = ()
    #: the normalised score from which the setting counts as learned; null where nothing says
    mark: Share | None = None
    #: of each seed the steps to the mark at the recipe's first point, in order; null where it was not reached
    steps: tuple[SeedSteps, ...] = ()
    #: what the baseline requires of these steps; null where it is not compared by them
    pace: Pace | None = None
    #: what the verdict ``slower`` counts as
    slower: SlowerMode = "fail"
    #: digest of the recipe, which baselines are only compared under
    recipe: str = ""
    best: Best | None = None
    trials: tuple[TrialResult, ...] = ()
    parameters: Count | None = None
    state_size: Count | None = None
    seconds: Positive = 0.0
    #: of training alone, on a CPU of its thread's own time: the median over the trials
    seconds_per_step: Positive | None = None
    stored: bool = False
    device: str = "cpu"
    engine: str = "loop"
    #: what the verdict does not say and a reader must know: a contract that was switched off, and why
    note: str = ""
    #: ``inconclusive`` counts as a pass
    tolerant: bool = False
    #: earlier ones, in order; what stands above is the last
    attempts: tuple[Attempt, ...] = ()

    def __post_init__(self) -> None:
        """What fields must be to each other: no pass without a score."""
        task = self.setting.partition("[")[0]
        require(self.task == task, self.task, repr(task), "task")
        if self.accuracy is None:
            require(self.normalized is None, self.normalized, "null where accuracy is", "normalized")
            expected = "error, fail or skipped where there is no score"
            require(self.verdict in _SCORELESS, self.verdict, expected, "verdict")
        else:
            require(self.normalized is not None, None, "a number where accuracy is", "normalized")

    @property
    def name(self) -> str:
        """What it is of, beside the architecture."""
        return self.setting

    @property
    def passed(self) -> bool:
        """Whether the verdict is a pass, or counts as one: an open case, or a later one, where options say so."""
        if self.verdict == "slower":
            return self.slower != "fail"
        return self.verdict == "pass" or (self.verdict == "inconclusive" and self.tolerant)

    @property
    def published(self) -> float | None:
        """The accuracy that counts in MAD's score, by the recipe's metric."""
        return self.accuracy_compat if self.metric == "compat" else self.accuracy

    @property
    def learned(self) -> int | None:
        """Median steps to the mark over the seeds, of two the later; None where half of them did not reach it."""
        ordered = sorted((steps for _, steps in self.steps), key=lambda steps: (steps is None, steps))
        return ordered[len(ordered) // 2] if ordered else None

    @property
    def learned_text(self) -> str:
        """The same for a table: ``>570`` where seeds were cut before they got there; nothing where they never did."""
        if self.learned:
            return f"{self.learned:,}"
        return f">{max(cut):,}" if (cut := [one.steps for one in self.trials if one.stopped == "late"]) else ""

    @property
    def needed(self) -> float | None:
        """The normalised score to reach: the baseline's floor or the threshold, or none."""
        return self.baseline.floor if self.baseline else self.threshold

    def explain(self) -> str:
        """One sentence with the numbers in it."""
        return f"{self.architecture}, {self.setting}: {self.reason()}"

    def reason(self) -> str:
        """The same where it is known which setting of which architecture is meant."""
        levels = f"; trivial {self.trivial:.3f}, oracle {self.oracle:.3f}"
        accuracy = "" if self.accuracy is None else f" (accuracy {self.accuracy:.3f}{levels})"
        return f"{self.verdict}: {self.detail}{accuracy}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ContractResult:
    """One contract of one architecture."""

    architecture: str
    contract: str
    verdict: Outcome
    detail: str = ""
    #: how it is broken, where that only warns and the verdict is a pass
    warned: tuple[str, ...] = ()
    seconds: Positive = 0.0
    #: whether the verdict came from the store
    stored: bool = False
    #: earlier ones, in order; what stands above is the last
    attempts: tuple[Attempt, ...] = ()

    @property
    def name(self) -> str:
        """What it is of, beside the architecture."""
        return self.contract

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"

    def explain(self) -> str:
        """One sentence."""
        return f"{self.architecture}, contract {self.contract}: {self.reason()}"

    def reason(self) -> str:
        """The same where it is known which contract of which architecture is meant."""
        return f"{self.verdict}: {self.said}"

    @property
    def said(self) -> str:
        """What there is to say of it beside the verdict."""
        return "; ".join(filter(None, (self.detail, *(f"warning: {one}" for one in self.warned))))


def metric_name(settings: Iterable[SettingResult]) -> str:
    """What settings publish: ``accuracy``, ``compat``, or ``accuracy and compat`` where their recipes differ."""
    return " and ".join(sorted({one.metric for one in settings})) or "accuracy"


#: What an item of the suite leaves.
ItemResult = SettingResult | ContractResult


def after(before: ItemResult | None, result: ResultT) -> ResultT:
    """The result of an item that ran before, with the attempts up to then."""
    if before is None:
        return result
    return replace(result, attempts=(*before.attempts, Attempt(verdict=before.verdict, detail=before.detail)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchitectureResult:
    """Everything that was measured of one architecture."""

    #: of its largest model: vocabulary and length of a setting may change it
    parameters: Count | None
    state_size: Count | None
    #: by the metric of the recipes, as is the MAD score
    task_scores: Mapping[TaskName, Share]
    mad_score: Share | None
    #: the same by either metric, whichever is published
    mad_score_accuracy: Share | None
    mad_score_compat: Share | None
    mad_score_normalized: Score | None
    contracts: Mapping[PlainName, ContractResult]
    settings: Mapping[SettingId, SettingResult]

    @property
    def largest(self) -> str | None:
        """The first setting whose model has that many parameters; None where no setting knows its own."""
        counts = ((name, one.parameters) for name, one in self.settings.items())
        return next((name for name, count in counts if count is not None and count == self.parameters), None)

    @property
    def metric(self) -> str:
        """What the MAD score is made of."""
        return metric_name(self.settings.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Shards:
    """Some parts of a suite that is shared between jobs; without all of them there is no MAD score."""

    #: digest of the suite's items
    suite: str
    of: Annotated[int, Between(1, 10_000)]
    parts: tuple[Annotated[int, Between(1)], ...]

    def __post_init__(self) -> None:
        for i, part in enumerate(self.parts):
            if part > self.of:
                raise WrongError(
                    f"is {part}, but must be a whole number of at least 1 and at most {self.of}", "parts", i
                )
        is_right = len(self.parts) > 0 and list(self.parts) == sorted(set(self.parts))
        require(is_right, list(self.parts), "at least one number, ascending", "parts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """What scores may depend on."""

    torch: str | None
    python: str
    device: str
    plugin: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """All results of a run, or of several that were merged."""

    preset: str
    #: how many settings it has of each task, whichever of them this run took; empty where nobody knows
    preset_tasks: Mapping[TaskName, Count]
    #: what reproduces it
    command: str
    #: by Ctrl-C or ``-x``: then there are no MAD scores
    cut_short: bool
    shards: tuple[Shards, ...]
    environment: Environment
    architectures: Mapping[PlainName, ArchitectureResult]
