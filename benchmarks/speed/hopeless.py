"""Would a rule that ends hopeless trials early have ended one that still reached what was asked?

    python -m benchmarks.speed.hopeless

Reads every learning curve that ``python -m benchmarks.calibration.calibrate`` recorded for the ``smoke`` preset, lets a
grid of rules watch it, and writes ``benchmarks/results/hopeless.json``. Nothing is trained. Three kinds of rules:

- *level*: after a share of the budget the normalised validation accuracy has never exceeded a level. This is what a
  recipe's ``hopeless_after`` and ``hopeless_below`` say.
- *stalled*: no new best within the last share of the budget, and the best is below a level.
- *slow*: from a share of the budget on, rising from the trivial level so many times as fast as on average so far would
  not reach the threshold by the end.

A *false stop* is a trial that was solved, or reached its threshold, and would have been ended before. Only trials that
were under way when a rule may speak for the first time can be stopped by it: they are its evidence, and the interval of
its false-stop rate is about them. What a rule saves is counted in steps of the trials that never reached what was
asked.

What 1,020 trials of 17 architectures show: 106 of 125 rules stop none wrongly, but the interval of their rate reaches
1.2 % at best: to show less than 1 % takes 368 trials under way. And all of these draw their embeddings at 0.1. A small
Llama that draws them at its default of 0.02 is at the trivial level of noisy recall after 35 % of the budget, and has
solved it after 82 % (one seed, not recorded). So no rule is shown to be safe, and ``smoke`` has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.calibration.calibrate import is_known
from benchmarks.calibration.scoreboard import ARCHITECTURES
from benchmarks.command import command_line
from benchmarks.gate.rates import rate
from benchmarks.record import RESULTS, save
from pytest_mad import settings
from pytest_mad.presets.setting import Setting

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
FACTORS = (1, 2, 4, 8)
#: A pass as late as that is where rules are dangerous.
LATE = 0.5


class Evaluation(NamedTuple):
    """What a rule sees: shares are of the budget of steps, accuracies are normalised."""

    step: int
    share: float
    best: float
    #: since when it is the best
    since: float
    threshold: float


class Course(NamedTuple):
    """A recorded trial."""

    architecture: str
    task: str
    #: whether it was solved, or reached the threshold
    reached: bool
    evaluations: tuple[Evaluation, ...]

    @property
    def steps(self) -> int:
        return self.evaluations[-1].step


class Rule(NamedTuple):
    """``kind(first, second)``, as the kinds are described above."""

    kind: str
    #: of the budget, before which it does not speak
    share: float
    #: a level, or a factor
    other: float

    def is_hopeless(self, seen: Evaluation) -> bool:
        if seen.share < self.share:
            return False
        if self.kind == "level":
            return seen.best <= self.other
        if self.kind == "stalled":
            return round(seen.share - seen.since, 9) >= self.share and seen.best < self.other
        return seen.best * (1 + self.other * (1 - seen.share) / seen.share) < seen.threshold

    def stops(self, course: Course) -> int | None:
        """The step at which it ends the trial. The last evaluation ends it anyway, solved or not."""
        return next((seen.step for seen in course.evaluations[:-1] if self.is_hopeless(seen)), None)

    def may_stop(self, course: Course) -> bool:
        """Whether the trial was under way when the rule could speak for the first time."""
        return any(seen.share >= self.share for seen in course.evaluations[:-1])

    def __str__(self) -> str:
        return f"{self.kind}({self.share:g}, {self.other:g})"


RULES = (
    *(Rule("level", *two) for two in product(SHARES, LEVELS)),
    *(Rule("stalled", *two) for two in product(SHARES[:7], LEVELS[1:])),
    *(Rule("slow", *two) for two in product(SHARES, FACTORS)),
)


def course(record: dict[str, Any], setting: Setting) -> Course:
    """What the rules see of a recorded trial."""
    (trial,) = record["trials"]
    budget = setting.recipe.total_steps(setting.params.num_train_examples)
    threshold = 1.0 if setting.threshold is None else setting.threshold
    seen: list[Evaluation] = []
    for step, accuracy in trial["curve"]:
        now, share = setting.normalized(accuracy), step / budget
        best, since = (seen[-1].best, seen[-1].since) if seen and seen[-1].best >= now else (now, share)
        seen.append(Evaluation(step, share, best, since, threshold))
    reached = trial["stopped"] == "solved" or record["normalized"] >= threshold
    return Course(record["architecture"], setting.task_name, reached, tuple(seen))


def recorded(files: Iterable[Path]) -> tuple[list[Course], list[str]]:
    """All trials that were trained as the preset says today, and the names of the others."""
    known, found, outdated = settings("smoke"), [], []
    for file in sorted(files):
        for name, record in json.loads(file.read_text(encoding="utf-8"))["trials"].items():
            setting = known.get(record["setting"])
            if setting is not None and is_known(record, setting):
                found.append(course(record, setting))
            else:
                outdated.append(f"{record['architecture']}, {name}")
    return found, outdated


def judge(rule: Rule, courses: Sequence[Course]) -> dict[str, Any]:
    """False stops and savings of one rule."""
    reached = [one for one in courses if one.reached]
    lost = [one for one in courses if not one.reached]
    wrong = [one for one in reached if rule.stops(one) is not None]
    spared = sum(one.steps - (rule.stops(one) or one.steps) for one in lost)
    return {
        "kind": rule.kind,
        "share": rule.share,
        "factor" if rule.kind == "slow" else "level": rule.other,
        "false_stops": rate(len(wrong), len(reached)),
        "false_stops_of_those_under_way": rate(len(wrong), sum(map(rule.may_stop, reached))),
        "stopped_wrongly": sorted({f"{one.architecture}, {one.task}" for one in wrong}),
        "steps_saved": round(spared / max(1, sum(one.steps for one in lost)), 4),
    }


def late_passes(courses: Sequence[Course], scoreboard: dict[str, Any]) -> dict[str, float]:
    """Passes of the scoreboard that took more than the share `LATE` of the budget, of which there is no curve."""
    budgets = {s.task_name: s.recipe.total_steps(s.params.num_train_examples) for s in settings("smoke").values()}
    recorded_ones = {(one.architecture, one.task) for one in courses}
    shares = {
        (name, task): found["steps"] / budgets[task]
        for name, architecture in scoreboard.items()
        for task, found in architecture["tasks"].items()
        if found["verdict"] == "pass"
    }
    late = {one: share for one, share in shares.items() if share > LATE and one not in recorded_ones}
    return {f"{name}, {task}": round(share, 2) for (name, task), share in sorted(late.items())}


def row(rule: Rule, found: dict[str, Any]) -> str:
    of_all, evidence = found["false_stops"], found["false_stops_of_those_under_way"]
    interval = "-" if evidence["interval"] is None else "{:.3f} to {:.3f}".format(*evidence["interval"])
    false, under_way = of_all["count"], evidence["of"]
    return f"{rule!s:20} {false:12} {under_way:10}   {interval:15} {found['steps_saved']:12.1%}"


def main() -> None:
    command_line(__doc__).parse_args()
    courses, outdated = recorded(RESULTS.glob("calibrate-smoke-*.json"))
    judged = {rule: judge(rule, courses) for rule in RULES}
    scoreboard = json.loads((RESULTS / "scoreboard.json").read_text(encoding="utf-8"))["architectures"]
    missing = [name for name in ARCHITECTURES if name not in {one.architecture for one in courses}]
    late = late_passes(courses, scoreboard)
    trials = {
        name: {"reached": sum(one.reached for one in own), "not reached": sum(not one.reached for one in own)}
        for name in sorted({one.architecture for one in courses})
        if (own := [one for one in courses if one.architecture == name])
    }
    save(
        "hopeless",
        trials=trials,
        outdated=outdated,
        rules=list(judged.values()),
        architectures_without_curves=missing,
        late_passes_without_curves=late,
    )
    print(f"{'rule':20} {'false stops':>12} {'under way':>10}   {'95 % interval':15} {'steps saved':>12}")
    for rule, found in judged.items():
        print(row(rule, found))
    print(f"\n{summary(courses, judged.values())}")
    print(f"out of date: {'; '.join(outdated) or 'none'}")
    print(f"without curves: {', '.join(missing) or 'none'}; recorded by")
    print("  python -m benchmarks.calibration.calibrate --arch reference_archs.NAME:make_model --seeds 10")
    print(f"of them, passes that took more than {LATE:.0%} of the budget: {json.dumps(late)[1:-1] or 'none'}")


def summary(courses: Sequence[Course], judged: Iterable[dict[str, Any]]) -> str:
    """How sure one can be of the rules that stopped no trial wrongly."""
    reached = sum(one.reached for one in courses)
    rates = [found["false_stops_of_those_under_way"] for found in judged]
    highest = [one["interval"][1] for one in rates if one["count"] == 0 and one["of"]]
    sure = f"the narrowest interval of their rates reaches to {min(highest):.1%}" if highest else "so none is safe"
    trials = f"{reached} trials reached what was asked, {len(courses) - reached} did not"
    return f"{trials}; {len(highest)} of {len(rates)} rules stopped none of them wrongly, {sure}"


if __name__ == "__main__":
    main()
