"""The record of one setting: score, verdict and how it came about, in plain values that cross processes and files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_mad.gate.judge import Outcome


@dataclass(frozen=True, kw_only=True)
class Result:
    """One setting of one architecture. Scores are None where training gave none."""

    architecture: str
    setting: str
    task: str
    task_version: int
    params: dict[str, Any]
    preset: str
    verdict: Outcome
    detail: str = ""
    #: of held-out tokens, between 0 and 1
    accuracy: float | None = None
    #: MAD-Lab's macro average
    accuracy_compat: float | None = None
    #: of sequences that are right at every scored token
    sequence_accuracy: float | None = None
    #: (accuracy - trivial) / (oracle - trivial)
    normalized: float | None = None
    oracle: float
    trivial: float
    threshold: float | None = None
    #: what the baseline asks for: where it comes from, its line and how that was drawn
    baseline: dict[str, Any] | None = None
    #: normalised score of each seed that was trained, in order: [seed, score]
    scores: list[list[float]] = field(default_factory=list)
    #: digest of the recipe, which baselines are only compared under
    recipe: str = ""
    best: dict[str, Any] | None = None
    trials: list[dict[str, Any]] = field(default_factory=list)
    parameters: int | None = None
    state_size: int | None = None
    seconds: float = 0.0
    stored: bool = False
    device: str = "cpu"
    engine: str = "loop"

    #: what the verdict does not say and a reader must know: a contract that was switched off, and why
    note: str = ""
    #: ``inconclusive`` counts as a pass
    tolerant: bool = False

    @property
    def passed(self) -> bool:
        """Whether the verdict is a pass, or open where an open case counts as one."""
        return self.verdict == "pass" or (self.verdict == "inconclusive" and self.tolerant)

    def explain(self) -> str:
        """One sentence with the numbers in it."""
        return f"{self.architecture}, {self.setting}: {self.reason()}"

    def reason(self) -> str:
        """The same where it is known which setting of which architecture is meant."""
        levels = f"; trivial {self.trivial:.3f}, oracle {self.oracle:.3f}"
        accuracy = "" if self.accuracy is None else f" (accuracy {self.accuracy:.3f}{levels})"
        return f"{self.verdict}: {self.detail}{accuracy}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        return cls(**data)


@dataclass(frozen=True, kw_only=True)
class ContractResult:
    """One contract of one architecture."""

    architecture: str
    contract: str
    verdict: str
    detail: str = ""
    seconds: float = 0.0
    #: whether the verdict came from the store
    stored: bool = False

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"

    @property
    def is_warning(self) -> bool:
        """Whether it is broken, and passes because it only warns."""
        return self.passed and bool(self.detail)

    def explain(self) -> str:
        """One sentence."""
        return f"{self.architecture}, contract {self.contract}: {self.reason()}"

    def reason(self) -> str:
        """The same where it is known which contract of which architecture is meant."""
        return f"{self.verdict}: {self.detail}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
