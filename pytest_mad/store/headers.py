"""What a file of the store says in its header, of each kind: which model it is of, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from pytest_mad.common.records import Count, CurvePoint, WrongError, record
from pytest_mad.training.trial import Trial

from .folder import DamagedError, Stored

HeaderT = TypeVar("HeaderT", bound="Header")


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The model of a file, beside the evidence among its tensors."""

    #: digest of its source, and of what it carried at first beside its parameters; None where that cannot be known
    source: str | None
    hidden: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialHeader(Header):
    """A finished trial."""

    #: whether the evidence is enough to know the model by
    by_evidence: bool
    trial: Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointHeader(Header):
    """A trial under way, with the states of the random generators, as far as they are no tensors."""

    step: Count
    curve: tuple[CurvePoint, ...]
    #: name, position, whether there is a cached number, and that
    numpy: tuple[str, int, int, float]
    #: version, and a cached number
    python: tuple[int, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ContractHeader(Header):
    """A contract that holds, or does not apply."""

    verdict: Literal["pass", "skipped"]
    detail: str


def header_of(kind: type[HeaderT], stored: Stored) -> HeaderT:
    """The header of a file, which must be of this kind; raises :class:`DamagedError`."""
    try:
        return record(kind, stored.header)
    except WrongError as wrong:
        raise DamagedError(f"is damaged ({wrong})") from None
