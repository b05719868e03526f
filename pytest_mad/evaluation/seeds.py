"""One seed after the other, as many as the requirement takes, and what each of them has shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_mad.gate.case import Ask, Seed, ask_next
from pytest_mad.gate.speed import Steps, steps_to_mark
from pytest_mad.presets.setting import Setting

from .requirement import Requirement

if TYPE_CHECKING:
    from pytest_mad.training.trial import IsLate, LateError

    from .sweep import Sweep

    #: Trains the sweep of a seed, but for a first trial that is late.
    RunSweep = Callable[[int, IsLate], Sweep]

Curve = Sequence[tuple[int, float]]
#: Digits of an accuracy in a report; steps are those that its reader would find.
_DIGITS = 4


class OpenCaseError(Exception):
    """The time ran out behind seeds that were cut because they were late, and none has a score; one line."""


@dataclass
class Seeds:
    """What the seeds of a setting have shown by now."""

    sweeps: list[Sweep] = field(default_factory=list)
    #: first trials that were cut, of seeds that have no sweep
    late: list[LateError] = field(default_factory=list)
    #: numbers of seeds whose training gave no score
    lost: list[int] = field(default_factory=list)
    #: against a baseline, seed by seed
    seen: list[Seed] = field(default_factory=list)


def shown(curve: Curve) -> tuple[tuple[int, float], ...]:
    """A curve as reports have it."""
    return tuple((step, round(accuracy, _DIGITS)) for step, accuracy in curve)


def steps_of(setting: Setting, mark: float, curve: Curve) -> Steps:
    """The steps in which a trial of this curve reached the mark."""
    needed = setting.trivial + mark * (setting.oracle - setting.trivial)
    return steps_to_mark(shown(curve), needed, setting.recipe.num_validation_examples)


def steps_of_sweep(setting: Setting, mark: float, sweep: Sweep) -> Steps:
    """The same of a sweep's trial at the recipe's first point; None also where that diverged."""
    first = (trial.curve for trial in sweep.trials if trial.point == setting.recipe.points[0])
    return next((steps_of(setting, mark, curve) for curve in first), None)


def late_behind(setting: Setting, mark: float, last: int) -> IsLate:
    """Whether a trial is evaluated behind this step, and had not reached the mark by then."""

    def is_late(curve: Curve) -> bool:
        if curve[-1][0] <= last:
            return False
        steps = steps_of(setting, mark, curve)
        return steps is None or steps > last

    return is_late


def run_seeds(setting: Setting, requirement: Requirement, run_sweep: RunSweep) -> Seeds:
    """Sweep one seed after the other until the case is closed; fewer where the time runs out behind the first.

    Against a baseline the next seed is tried when one gives no score: an unchanged architecture may diverge as rarely
    as it did before. Anything else than a score is an error elsewhere.
    """
    from pytest_mad.training.trial import OutOfTimeError

    found = Seeds()
    against = requirement.floor is not None and not requirement.record
    try:
        _compare(setting, requirement, run_sweep, found) if against else _all(requirement, run_sweep, found)
    except OutOfTimeError as error:
        if found.late and not found.sweeps:
            undecided = f"late, and undecided whether it is slower, behind {found.late[-1].steps} steps"
            raise OpenCaseError(f"{undecided}; {error}") from None
        if not found.sweeps or requirement.record:  # half a recording is none
            raise
    found.sweeps.sort(key=lambda sweep: sweep.seed)
    return found


def _all(requirement: Requirement, run_sweep: RunSweep, found: Seeds) -> None:
    from pytest_mad.training.trial import never

    for seed in range(requirement.first_seed, requirement.first_seed + requirement.seeds):
        found.sweeps.append(run_sweep(seed, never))


def _compare(setting: Setting, requirement: Requirement, run_sweep: RunSweep, found: Seeds) -> None:
    """Train what the case asks for; a seed that was cut may be asked for again."""
    from pytest_mad.training.trial import OutOfTimeError, TrialError

    assert requirement.floor is not None
    lost: list[TrialError] = []
    while (ask := ask_next(found.seen, requirement.floor, requirement.pace)) is not None:
        try:
            seed = _train(ask, setting, requirement, run_sweep, found)
        except OutOfTimeError:
            raise
        except TrialError as error:
            lost.append(error)
            found.lost.append(requirement.first_seed + ask.seed)
            seed = Seed(None, 0, None)
        found.seen[ask.seed : ask.seed + 1] = [seed]
    if not found.sweeps:
        raise lost[-1]


def _train(ask: Ask, setting: Setting, requirement: Requirement, run_sweep: RunSweep, found: Seeds) -> Seed:
    """One seed, which is cut where the case says so."""
    from pytest_mad.training.trial import LateError, never

    number, mark = requirement.first_seed + ask.seed, requirement.mark
    is_late = never if ask.cut_at is None or mark is None else late_behind(setting, mark, ask.cut_at)
    try:
        sweep = run_sweep(number, is_late)
    except LateError as late:
        found.late.append(late)
        return Seed(None, late.steps, None, was_cut=True)
    found.late[:] = [late for late in found.late if late.seed != number]
    found.sweeps.append(sweep)
    steps = None if mark is None else steps_of_sweep(setting, mark, sweep)
    trained = next((trial.steps for trial in sweep.trials if trial.point == setting.recipe.points[0]), 0)
    return Seed(steps, trained, setting.normalized(sweep.accuracies().accuracy))
