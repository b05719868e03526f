"""What verdicts mean for every report alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeGuard

from pytest_mad.gate.judge import SlowerMode, Verdict
from pytest_mad.gate.pool import FirstSeed, judge_pool

from .result import ContractResult, ItemResult, SettingResult


def passes(result: ItemResult | None) -> bool:
    """Whether this is there and passed."""
    return result is not None and result.passed


def fails(result: ItemResult | None) -> bool:
    """Whether this is there and fails its run."""
    return result is not None and result.verdict != "skipped" and not result.passed


def is_warning(result: ItemResult) -> TypeGuard[ContractResult]:
    """Whether this is a broken contract that passes because it only warns."""
    return isinstance(result, ContractResult) and result.passed and bool(result.warned)


def pooled(settings: Iterable[SettingResult], modes: Sequence[SlowerMode] = ("fail",)) -> Verdict | None:
    """What the first new seeds of one architecture's settings say together; None where no baseline can be asked.

    Of the settings in which a verdict ``slower`` counts as one of ``modes``: what is allowed in one is not held against
    all together.
    """
    own = {one.setting: one for one in settings if one.pace and one.steps and one.slower in modes}
    return judge_pool([FirstSeed(one.pace, one.steps[0][1]) for one in own.values() if one.pace])


def attempt(result: ItemResult) -> str:
    """At which attempt an item that ran again got its verdict: ``at attempt 2``; nothing for one that ran once."""
    return f"at attempt {len(result.attempts) + 1}" if result.attempts else ""


def history(result: ItemResult) -> str:
    """The same in a sentence with what came before; nothing for an item that ran once."""
    if not result.attempts:
        return ""
    verdict = "passed" if result.verdict == "pass" else result.verdict
    earlier = (f"attempt {i}: {one.verdict}: {one.detail}" for i, one in enumerate(result.attempts, 1))
    return "; ".join((f"{verdict} {attempt(result)}", *earlier))
