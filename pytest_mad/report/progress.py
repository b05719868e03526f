"""What is said while settings train: a line that is rewritten on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pytest_mad.common.text import round_down
from pytest_mad.results.result import ContractResult, ItemResult
from pytest_mad.results.verdicts import attempt, is_warning

#: Seconds from one line of a log to the next, at least: a setting is evaluated when it is.
LOG_EVERY = 30.0
clock = time.monotonic

#: A name cut shorter than this no longer tells which setting is meant.
_SHORTEST_NAME = 12


class Work(NamedTuple):
    """A setting to train, as far as progress depends on it."""

    architecture: str
    #: what the live line calls the setting
    name: str
    #: proportional to the time of a trial
    cost: float
    most_seeds: int
    #: of all recipe points and seeds
    most_trials: int
    may_end_early: bool


@dataclass
class Course:
    """How fast a setting trains, by the times of its evaluations."""

    work: Work
    #: the trial that runs, counted from 1; its last evaluation, its steps in all, and the time of that evaluation
    trial: int = 0
    step: int = 0
    total: int = 0
    at: float = 0.0
    #: steps from one evaluation of a trial to the next, and what they took: what is around a trial is not its speed
    steps: int = 0
    seconds: float = 0.0

    def evaluated(self, step: int, total: int, now: float) -> None:
        """Take note of an evaluation; where steps begin again, so does another trial."""
        if self.trial and step > self.step:
            self.steps += step - self.step
            self.seconds += now - self.at
        else:
            self.trial += 1
        self.step, self.total, self.at = step, total, now

    def whole(self) -> float:
        """Seconds of the setting if none of its trials ends early; 0 while nothing is known."""
        return self._seconds(self.total * self.work.most_trials)

    def left(self) -> float:
        """The same, of what is left."""
        later = max(0, self.work.most_trials - self.trial)
        return self._seconds(self.total - self.step + self.total * later)

    def _seconds(self, steps: int) -> float:
        return self.seconds / self.steps * steps if self.steps else 0.0


def time_left(courses: Sequence[Course], later: Sequence[Work]) -> str:
    """The time that training takes at most from now on, or nothing where that is not known.

    ``courses`` are the settings that trained so far, the last of which trains now; ``later`` those that have not begun.
    They are known by their costs, beside those of the same architecture's settings that trained. What the speed of
    another architecture is, nothing tells before it trains: until then only the time for this one is given.
    """
    now, architecture = courses[-1], courses[-1].work.architecture
    rates = {work.architecture: _seconds_per_cost(courses, work.architecture) for work in (now.work, *later)}
    scope = "left" if all(rates.values()) else f"for {architecture}"
    later = [work for work in later if scope == "left" or work.architecture == architecture]
    if not rates[architecture]:
        return ""
    seconds = now.left() if now.steps else now.work.cost * rates[architecture]
    seconds += sum(work.cost * rates[work.architecture] for work in later)
    bound = "at most " if any(work.may_end_early for work in (now.work, *later)) else ""
    return f"{bound}{duration(seconds)} {scope}" if seconds else ""


def _seconds_per_cost(courses: Iterable[Course], architecture: str) -> float:
    """What a unit of cost takes; 0 while nothing is known."""
    own = [course for course in courses if course.work.architecture == architecture and course.steps]
    cost = sum(course.work.cost for course in own)
    return sum(course.whole() for course in own) / cost if cost else 0.0


def duration(seconds: float) -> str:
    """``0:42``, ``12:10`` or ``1:05:09``, rounded up: who is told a bound must not wait longer."""
    minutes, rest = divmod(-int(-seconds // 1), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count_text(number: int, total: int) -> str:
    """``[ 3/16]``, as wide for every number up to the total; nothing where there is nothing to count."""
    return f"[{number:{len(str(total))}}/{total}]" if total > 1 else ""


def live_text(
    *, place: str, name: str, seed: str, step: int, total: int, accuracy: float, left: str, width: int
) -> str:
    """The longest text that fits: shorter words first, then a shorter name, then less.

    ``place`` is the setting's number, ``seed`` that of its seed. What is empty is left out.
    """
    steps, score = f"{step:{len(str(total))}}/{total}", f"accuracy {accuracy:.3f}"
    room = width - len("  ".join(filter(None, (f"{place} ", seed, steps, score, left))))
    whole, short = (f"{place} {one}".strip() for one in (name, _shortened(name, room)))
    forms = (
        (whole, seed, f"step {steps}", f"validation {score}", left),
        (whole, seed, f"step {steps}", score, left),
        (whole, seed, steps, score, left),
        (short, seed, steps, score, left),
        (seed, steps, score, left),
        (steps, score, left),
        (steps, score),
        (steps,),
    )
    texts = ("  ".join(filter(None, form)).strip() for form in forms)
    return next((text for text in texts if len(text) <= width), "")


def _shortened(name: str, room: int) -> str:
    """Both ends of a name, the task and what is varied, if enough of them can be seen."""
    if len(name) <= room:
        return name
    head, tail = (room - 2) // 2, (room - 1) // 2
    return f"{name[:head]}..{name[-tail:]}" if room >= _SHORTEST_NAME else ""


@contextlib.contextmanager
def live_progress(
    config: Any, works: Sequence[Work], number: int, courses: list[Course]
) -> Iterator[Callable[[int, int, int, float], None] | None]:
    """A function that tells of an evaluation; None where nobody would read it.

    It takes the number of the seed, counted from 1, the step, all steps of the trial, and the accuracy.
    It rewrites one line of a terminal; in a log file, whose lines stay, it adds one every `LOG_EVERY` seconds.
    ``config`` is pytest's, ``works`` all settings of the run, of which the one with this number, from 1 on, trains.
    ``courses`` are those that trained before, to which this one is added. An xdist worker has no terminal reporter, and
    its controller hears of a setting when it has finished.
    """
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or reporter.verbosity < 0:
        yield None
        return
    course, column = Course(works[number - 1]), reporter._tw.width_of_current_line
    courses.append(course)
    is_alone = len({work.architecture for work in works}) == 1
    name = course.work.name if is_alone else f"{course.work.architecture}::{course.work.name}"
    is_named = reporter.isatty and reporter.verbosity > 0  # pytest wrote the whole node id, and will count the tests
    pace, seeds = Pace(clock()), course.work.most_seeds

    def show(seed: int, step: int, total: int, accuracy: float) -> None:
        course.evaluated(step, total, clock())
        if not (reporter.isatty or pace.is_due(course.at)):
            return
        text = live_text(
            place="" if is_named else count_text(number, len(works)),
            name="" if is_named else name,
            seed=f"seed {seed:{len(str(seeds))}}/{seeds}" if seeds > 1 else "",
            step=step,
            total=total,
            accuracy=accuracy,
            left=time_left(courses, works[number:]),
            width=reporter._tw.fullwidth - column - 1 if reporter.isatty else sys.maxsize,
        )
        if reporter.isatty:
            _show_behind_cursor(config, text)
        else:
            _log(config, reporter, text)

    try:
        yield show
    finally:
        if reporter.isatty:
            _show_behind_cursor(config, "")


@dataclass
class Pace:
    """When the next line of a log is due."""

    #: when the last one was, or the beginning
    last: float

    def is_due(self, now: float) -> bool:
        """Whether it is; then the time begins anew."""
        if now - self.last < LOG_EVERY:
            return False
        self.last = now
        return True


def _log(config: Any, reporter: Any, text: str) -> None:
    """A line of its own, past pytest's capture.

    With ``-v`` pytest writes the test's name again, in front of its outcome, where it finds another text before it.
    """
    before = "\n" if reporter._tw.width_of_current_line else ""
    after = "" if reporter.verbosity > 0 else "\n"
    with _uncaptured(config):
        reporter.write(f"{before}{text}{after}", flush=True)
    if reporter.verbosity > 0:
        reporter.currentfspath = -2


def _show_behind_cursor(config: Any, text: str) -> None:
    """Replace what stands behind the cursor and leave the cursor where it is.

    This goes past pytest's capture, and past its own count of what is on the line.
    """
    with _uncaptured(config):
        sys.stdout.write(f"\x1b7\x1b[K{text}\x1b8")
        sys.stdout.flush()


def _uncaptured(config: Any) -> contextlib.AbstractContextManager[None]:
    capture = config.pluginmanager.getplugin("capturemanager")
    found: contextlib.AbstractContextManager[None] = (
        capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
    )
    return found


def finished_line(result: ItemResult, place: str = "") -> str:
    """One line about a finished setting, with its place among all, or about a contract."""
    verdict = f"{result.verdict.upper()} {attempt(result)}".rstrip()
    if isinstance(result, ContractResult):
        item = f"mad::{result.architecture}::contract[{result.contract}]"
        warning = "  warning" if is_warning(result) else ""
        return f"{item}  {verdict}{warning}  {_took(result)}"
    score = "" if result.normalized is None else f"  {round_down(result.normalized):.3f}"
    steps = "".join(f"  {trial.stopped} at step {trial.steps}" for trial in result.trials[-1:])
    item = f"{place} mad::{result.architecture}::{result.setting}".lstrip()
    return f"{item}  {verdict}{score}{steps}  {_took(result)}"


def _took(result: ItemResult) -> str:
    return "stored" if result.stored else f"{result.seconds:.1f} s"
