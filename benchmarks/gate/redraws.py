"""How often a comparison with a baseline flags an unchanged architecture: the whole rule, on really trained seeds.

    python -m benchmarks.gate.redraws [--base transformer] [--redraws 10000]

Of the seeds that ``benchmarks.calibration.calibrate`` recorded, each redraw takes B for every setting as the baseline
and the others, in random order, as new ones, and plays the comparison of scores and steps, with the pooled test at its
end. Redraws share seeds, so their rate is an estimate on these seeds and has no interval; the exact bound is beside it.
Prints also the runs that were really made of distinct seeds, behind the first B, and the training steps of passing runs
beside those of a rule that knows scores alone. Writes ``benchmarks/results/redraws.json``.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from benchmarks.calibration.calibrate import first_point_only, is_known, key, read
from benchmarks.command import command_line
from benchmarks.record import RESULTS, save
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.requirement import pace_of
from pytest_mad.evaluation.seeds import steps_of
from pytest_mad.gate import Floor, draw_floor, false_alarm_bound, judge_baseline
from pytest_mad.gate.baseline import Baseline, Entry
from pytest_mad.gate.case import Seed, ask_next, judge_case
from pytest_mad.gate.pool import FirstSeed, judge_pool
from pytest_mad.gate.rule import POOLED
from pytest_mad.gate.speed import Pace, Steps
from pytest_mad.presets.setting import Setting

from .pieces import PRESET, baselines, by_cost
from .rates import MOST_SEEDS, rate

#: A recording is redrawn once for so many runs.
RUNS_PER_RECORDING = 10
SUITES = 30


class Trained(NamedTuple):
    """A seed that was trained to its end."""

    steps: Steps
    trained: int
    score: float


class Played(NamedTuple):
    """A comparison of one setting."""

    outcome: str
    first: Steps
    steps: int


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--base", default="transformer")
    parser.add_argument("--redraws", type=int, default=10_000)
    arguments = parser.parse_args()
    seeds = {setting.id: recorded_seeds(arguments.base, setting) for setting in by_cost()}
    found = {
        "base": arguments.base,
        "seeds": {name: len(own) for name, own in seeds.items()},
        "bound": bound(),
        **redraw(arguments.base, seeds, arguments.redraws),
        **suites(arguments.base, seeds),
    }
    save("redraws", **found)
    for name, value in found.items():
        print(f"{name.replace('_', ' '):40} {value}")


def recorded_seeds(base: str, setting: Setting) -> list[Trained]:
    """Seeds 0, 1, 2, ..., up to the first that is missing."""
    trials = read(RESULTS / f"calibrate-{PRESET}-{base}.json")
    found: list[Trained] = []
    for seed in range(MOST_SEEDS):
        record = trials.get(key(setting, seed))
        if record is None or not is_known(record, first_point_only(setting)):
            break
        (trial,) = record["trials"]
        steps = steps_of(setting, setting.threshold or 0.0, trial["curve"])
        found.append(Trained(steps, trial["steps"], record["normalized"]))
    return found


def bound() -> float:
    """What the rules promise of a suite: scores and steps of each setting, and the pooled test."""
    paces = {setting.id: requirement("transformer", setting, _entry_of("transformer", setting))[1]
             for setting in by_cost()}  # fmt: skip
    of_scores = sum(false_alarm_bound(s.gate.baseline_seeds, s.gate.seeds) for s in by_cost())
    return round(of_scores + sum(pace.false_alarms for pace in paces.values() if pace) + POOLED, 5)


def _entry_of(base: str, setting: Setting) -> Entry:
    return baselines()[base][setting.id]


def requirement(base: str, setting: Setting, entry: Entry) -> tuple[Floor, Pace | None]:
    """What these recorded seeds ask of new ones."""
    gate = setting.gate
    floor = draw_floor(
        base, base, entry.scores, margin=gate.margin, most_seeds=gate.seeds, solved_at=setting.recipe.solved_at
    )
    return floor, pace_of(setting, RunOptions(baseline=Baseline(source=base, entries={})), entry)


def _recording(base: str, setting: Setting, seeds: Sequence[Trained]) -> Entry:
    scores, steps = tuple(seed.score for seed in seeds), tuple(seed.steps for seed in seeds)
    return replace(_entry_of(base, setting), scores=scores, steps=steps)


def play(new: Sequence[Trained], floor: Floor, pace: Pace | None) -> Played:
    """The comparison, seed by seed, with the trials that are there; one that it would cut is cut."""
    seen: list[Seed] = []
    trained = 0
    while (ask := ask_next(seen, floor, pace)) is not None:
        seed = new[ask.seed]
        is_late = ask.cut_at is not None and (seed.steps is None or seed.steps > ask.cut_at)
        cut = Seed(None, min(ask.cut_at or 0, seed.trained), None, was_cut=True)
        seen[ask.seed : ask.seed + 1] = [cut if is_late else Seed(seed.steps, seed.trained, seed.score)]
        trained += cut.trained if is_late else seed.trained
    return Played(judge_case(seen, floor, pace).outcome, seen[0].steps, trained)


def by_scores_alone(new: Sequence[Trained], floor: Floor) -> int:
    """The steps that the rule of scores takes."""
    for count in range(1, floor.most_seeds + 1):
        if judge_baseline([seed.score for seed in new[:count]], floor).outcome == "pass":
            break
    return sum(seed.trained for seed in new[:count])


def redraw(base: str, seeds: dict[str, list[Trained]], redraws: int) -> dict[str, Any]:
    """Shares that are flagged: of suites, by the pooled test, of each setting, and over recordings."""
    rng = random.Random(f"redraws {base}")
    flagged = dict.fromkeys([*seeds, "pooled", "suite"], 0)
    by_recording: list[int] = []
    steps, alone = 0, 0
    for number in range(redraws):
        if number % RUNS_PER_RECORDING == 0:
            split, asked = _new_recording(base, seeds, rng)
            by_recording.append(0)
        played: dict[str, Played] = {}
        for setting in by_cost():
            new = rng.sample(split[setting.id], len(split[setting.id]))
            played[setting.id] = play(new, *asked[setting.id])
            if played[setting.id].outcome == "pass":
                steps += played[setting.id].steps
                alone += by_scores_alone(new, asked[setting.id][0])
        outcomes = judged(played, asked)
        for name in outcomes:
            flagged[name] += 1
        flagged["suite"] += bool(outcomes)
        by_recording[-1] += bool(outcomes)
    shares = sorted(count / RUNS_PER_RECORDING for count in by_recording)
    return {
        "redraws": redraws,
        "flagged": {name: round(count / redraws, 5) for name, count in flagged.items()},
        "over_recordings": {
            "recordings": len(shares),
            "that_flag_none": sum(not share for share in shares),
            "median": statistics.median(shares),
            "highest": shares[-3:],
        },
        "steps_beside_scores_alone": round(steps / alone, 3),
    }


Asked = dict[str, tuple[Floor, "Pace | None"]]


def _new_recording(
    base: str, seeds: dict[str, list[Trained]], rng: random.Random
) -> tuple[dict[str, list[Trained]], Asked]:
    """B seeds of every setting as the baseline, and those that are left."""
    left: dict[str, list[Trained]] = {}
    asked: Asked = {}
    for setting in by_cost():
        mixed, count = rng.sample(seeds[setting.id], len(seeds[setting.id])), setting.gate.baseline_seeds
        asked[setting.id] = requirement(base, setting, _recording(base, setting, mixed[:count]))
        left[setting.id] = mixed[count:]
    return left, asked


def judged(played: dict[str, Played], asked: Asked) -> list[str]:
    """What is flagged: settings, and the pooled test."""
    found = [name for name, one in played.items() if one.outcome != "pass"]
    firsts = [FirstSeed(pace, played[name].first) for name, (_, pace) in asked.items() if pace]
    pooled = judge_pool(firsts)
    return [*found, "pooled"] if pooled and pooled.outcome == "slower" else found


def suites(base: str, seeds: dict[str, list[Trained]]) -> dict[str, Any]:
    """Runs against the first B seeds; the first new seed of each is its own, further ones come from the rest."""
    asked = {s.id: requirement(base, s, _recording(base, s, seeds[s.id][: s.gate.baseline_seeds])) for s in by_cost()}
    flagged: list[int] = []
    for number in range(SUITES):
        played: dict[str, Played] = {}
        for setting in by_cost():
            start = setting.gate.baseline_seeds
            first, rest = seeds[setting.id][start + number], seeds[setting.id][start + SUITES :]
            turned = rest[number % len(rest) :] + rest[: number % len(rest)]
            played[setting.id] = play([first, *turned], *asked[setting.id])
        if judged(played, asked):
            flagged.append(number)
    return {"suites": rate(len(flagged), SUITES), "flagged_suites": flagged}


if __name__ == "__main__":
    main()
