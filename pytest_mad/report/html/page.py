"""What the HTML report says, in the order in which it says it. The templates say how it looks."""

from __future__ import annotations

import math
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import mean
from typing import Any

from pytest_mad.common.text import (
    NOTHING,
    accuracy_text,
    count_text,
    difference_text,
    number_text,
    score_text,
    seconds_text,
)
from pytest_mad.report.means import counted_for, mad_score_name, mad_score_notes, mad_score_text, parameters_text
from pytest_mad.results.gaps import headline, part
from pytest_mad.results.result import (
    ArchitectureResult,
    Best,
    ContractResult,
    Run,
    SettingResult,
    TrialResult,
    metric_name,
)
from pytest_mad.results.verdicts import fails, history, is_warning

from .figures import is_best, learning_curves, scatter
from .parts import (
    SIGNS,
    WORST_FIRST,
    Architecture,
    Case,
    Check,
    Compared,
    Facts,
    Ids,
    Mean,
    Page,
    Row,
    TrialRow,
    counted,
    outcome,
)

#: Normalised scores at which the next shade begins; below the first one, guessing is as good.
SHADES = (0.0, 0.25, 0.5, 0.75, 0.95)
#: Of one architecture, so many failing items stand at the top at once; the others are a click away.
SHOWN_AT_ONCE = 12
BASELINE = "baseline"


def page(run: Run) -> Page:
    """The report of a run."""
    found = run.architectures
    ids = Ids()
    architectures = [_architecture(name, one, ids) for name, one in found.items()]
    cases = [case for one in architectures for case in one.cases]
    checks = [check for one in architectures for check in one.checks]
    tasks = list(dict.fromkeys(case.task for case in cases))
    scored = {name: one for name, one in found.items() if one.mad_score is not None}
    placed = {
        name: (one.state_size, one.mad_score)
        for name, one in found.items()
        if one.state_size is not None and one.mad_score is not None
    }
    return Page(
        preset=run.preset,
        headline=headline(cut_short=run.cut_short, shards=run.shards) + outcome(cases, checks),
        has_failed=any(one.has_failed for one in architectures),
        tallies=[("settings", _tally(cases)), ("contracts", _tally(checks))],
        architectures=architectures,
        tasks=tasks,
        metric=metric_name(one for found in run.architectures.values() for one in found.settings.values()),
        compared=_compared(architectures, found, tasks) if len(architectures) > 1 else [],
        scatter=scatter(placed, _called(found[name] for name in placed)),
        of_a_part=[
            f"{name} ({own})" for name, one in found.items() if one.mad_score is not None and (own := part(one))
        ],
        without_state_size=[name for name, one in found.items() if one.state_size is None],
        no_score=[name for name, one in found.items() if one.state_size is not None and name not in scored],
        environment=[(key, NOTHING if value is None else str(value)) for key, value in asdict(run.environment).items()],
        command=run.command,
    )


def _called(scored: Iterable[ArchitectureResult]) -> str:
    """What their scores are called, if all are called the same."""
    names = {mad_score_name(one) for one in scored}
    return names.pop() if len(names) == 1 else "MAD score"


def _tally(items: Sequence[Case | Check]) -> list[tuple[str, int]]:
    """How often each verdict was given, the worst first."""
    verdicts = [item.verdict for item in items]
    return [(verdict, verdicts.count(verdict)) for verdict in SIGNS if verdict in verdicts]


# -- one architecture -------------------------------------------------------------------------------------------------


def _architecture(name: str, found: ArchitectureResult, ids: Ids) -> Architecture:
    own_id = ids.new(name)
    settings = found.settings
    cases = _in_order([_case(setting, one, ids.new(name, setting)) for setting, one in settings.items()], settings)
    columns = list(dict.fromkeys([BASELINE, *(case.knob for case in cases)]))
    return Architecture(
        id=own_id,
        name=name,
        facts=_facts(found),
        score=accuracy_text(found.mad_score),
        score_notes=mad_score_notes(found),
        normalized=accuracy_text(found.mad_score_normalized),
        metric=found.metric,
        columns=columns,
        rows=_rows(cases, columns, found.task_scores),
        cases=cases,
        checks=sorted(
            (_check(contract, one) for contract, one in found.contracts.items()),
            key=lambda check: WORST_FIRST.index(check.verdict),
        ),
        checks_id=ids.new(name, "contracts"),
    )


def _facts(found: ArchitectureResult) -> Facts:
    """The line under an architecture's name."""
    settings = found.settings.values()
    facts = [("parameters", parameters_text(found))]
    if settings:
        state_size = found.state_size
        facts += [
            ("state size", "not stated" if state_size is None else count_text(state_size)),
            (mad_score_name(found), mad_score_text(found)),
            ("normalised", accuracy_text(found.mad_score_normalized)),
            ("trained for", seconds_text(sum(one.seconds for one in settings))),
        ]
    return facts


def _rows(cases: list[Case], columns: list[str], task_scores: Mapping[str, float]) -> list[Row]:
    cells: dict[str, dict[str, list[Case]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        cells[case.task][case.knob].append(case)
    return [
        Row(task, [own[column] for column in columns], accuracy_text(task_scores.get(task)))
        for task, own in cells.items()
    ]


def _check(name: str, found: ContractResult) -> Check:
    """A contract that warns holds, and is shown as a warning."""
    verdict = "warning" if is_warning(found) else found.verdict
    told = filter(None, ("; ".join(found.warned) or found.detail, history(found)))
    return Check(name, verdict, "; ".join(told), fails(found))


# -- one setting ------------------------------------------------------------------------------------------------------


def _case(setting: str, found: SettingResult, own_id: str) -> Case:
    name = setting.removeprefix(found.task).removeprefix("[").removesuffix("]")
    knob, _, value = name.partition("=")
    return Case(
        id=own_id,
        task=found.task,
        name=name,
        knob=knob,
        value=value,
        verdict=found.verdict,
        note="counts as a pass" if found.verdict != "pass" and found.passed else "",
        is_failing=fails(found),
        detail="; ".join(filter(None, (found.detail, history(found)))),
        score=score_text(found.normalized),
        shade=_shade(found.normalized),
        facts=_case_facts(found),
        curves=learning_curves(found, _curve_label(setting, found)),
        trials=[_trial_row(trial, found.best) for trial in found.trials],
        params=[(key, str(value)) for key, value in found.params.items()],
        run=_run(found),
    )


def _in_order(cases: list[Case], settings: Mapping[str, SettingResult]) -> list[Case]:
    """By task; the baseline first, then each knob, from the value closest to the baseline's to the farthest one.

    Farther is harder, and this does not ask in which direction a knob is hard.
    """
    base = {one.task: one.params for one in settings.values()}
    base |= {case.task: dict(case.params) for case in cases if case.knob == BASELINE}
    tasks = list(dict.fromkeys(case.task for case in cases))
    knobs = list(dict.fromkeys([BASELINE, *(case.knob for case in cases)]))
    return sorted(
        cases, key=lambda c: (tasks.index(c.task), knobs.index(c.knob), _away(c.value, base[c.task].get(c.knob)))
    )


def _away(value: str, base: Any) -> float:
    """How far a knob's value is from the baseline's; what is no number comes last, as it came."""
    try:
        distance = abs(float(value) - float(base))
    except (TypeError, ValueError, OverflowError):
        return math.inf
    return distance if math.isfinite(distance) else math.inf


def _shade(normalized: float | None) -> int | None:
    return None if normalized is None else bisect(SHADES, normalized)


def _case_facts(found: SettingResult) -> Facts:
    needed, normalized, baseline = found.needed, found.normalized, found.baseline
    difference = None if needed is None or normalized is None else normalized - needed
    facts = [
        ("normalised", score_text(normalized)),
        ("baseline’s floor" if baseline else "threshold", score_text(needed)),
        ("difference", difference_text(difference)),
        ("accuracy", accuracy_text(found.accuracy)),
        *([("compat", accuracy_text(found.accuracy_compat))] if found.metric == "compat" else []),
        ("trivial", accuracy_text(found.trivial)),
        ("oracle", accuracy_text(found.oracle)),
    ]
    if baseline:
        drawn = f"lowest of {baseline.seeds} seeds {number_text(baseline.lowest)}, less {baseline.margin:g}"
        facts.append(("baseline", f"{baseline.source}: {drawn}"))
    if len(found.scores) > 1:
        seeds = ", ".join(f"{score_text(score)} (seed {seed})" for seed, score in found.scores)
        facts.append(("seeds", seeds))
    return facts + _speed_facts(found)


def _speed_facts(found: SettingResult) -> Facts:
    """How soon each seed learned, and how soon the recorded ones did."""
    if found.mark is None:
        return []
    cut = {trial.seed: f"above {trial.steps:,}, cut" for trial in found.trials if trial.stopped == "late"}
    told = [count_text(steps) if steps else cut.get(seed, "not learned") for seed, steps in found.steps]
    facts = [(f"steps to {found.mark:g}", ", ".join(told))]
    if found.pace:
        solved, seeds = found.pace.solved, counted(len(found.pace.recorded), "seed")
        facts.append(("recorded steps", f"{solved[0]:,} to {solved[-1]:,} in {seeds}"))
    return facts


def _curve_label(setting: str, found: SettingResult) -> str:
    """What a picture of learning curves says to those who do not see it."""
    ends = [f"{trial.stopped} at step {trial.steps}" for trial in found.trials]
    last = [trial.curve[-1][1] for trial in found.trials if trial.curve]
    best = f", the best ends at {max(last):.3f}" if last else ""
    return f"Validation accuracy of {setting} by step: {', '.join(ends)}{best}."


def _trial_row(trial: TrialResult, best: Best | None) -> TrialRow:
    point = [("seed", str(trial.seed))]
    point += [("lr", number_text(trial.lr)), ("weight decay", number_text(trial.weight_decay))]
    last = trial.curve[-1][1] if trial.curve else None
    return TrialRow(point, count_text(trial.steps), trial.stopped, accuracy_text(last), is_best(trial, best))


def _run(found: SettingResult) -> str:
    """Where and how a setting was trained."""
    steps = sum(trial.steps for trial in found.trials)
    stored = ", from the store" if found.stored else ""
    return (
        f"{counted(len(found.trials), 'trial')}, {steps:,} steps, {seconds_text(found.seconds)}, "
        f"{found.device}, engine {found.engine}{stored}; task version {found.task_version}"
    )


# -- several architectures --------------------------------------------------------------------------------------------


def _compared(
    architectures: list[Architecture], found: Mapping[str, ArchitectureResult], tasks: list[str]
) -> list[Compared]:
    """The highest MAD score first, those without one last."""
    ordered = sorted(architectures, key=lambda a: -(found[a.name].mad_score or -1.0))
    return [
        Compared(
            architecture=one,
            means=list(_means(one, found[one.name], tasks)),
            parameters=count_text(found[one.name].parameters),
            counted_for=counted_for(found[one.name]),
            state_size=count_text(found[one.name].state_size),
        )
        for one in ordered
    ]


def _means(architecture: Architecture, found: ArchitectureResult, tasks: list[str]) -> Iterator[Mean]:
    """Of each task: MAD's score, the shade of the normalised one, and the worst verdict of its settings."""
    settings = found.settings.values()
    for task in tasks:
        own = [one for one in settings if one.task == task]
        cases = [case for case in architecture.cases if case.task == task]
        failing = [case for case in cases if case.is_failing]
        worst = min((case.verdict for case in failing or cases), key=WORST_FIRST.index, default=None)
        note = f"{len(failing)} of {len(cases)}" if failing and len(cases) > 1 else ""
        normalized = [one.normalized for one in own if one.normalized is not None]
        shade = _shade(mean(normalized)) if normalized else None
        yield Mean(task, accuracy_text(found.task_scores.get(task)), shade, worst, note)
