"""MAD's whole protocol for one architecture, in slices: each visit to a device trains what the store does not have yet.

See :mod:`benchmarks.gpu`, whose command ``paper`` this is.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.record import save
from pytest_mad.architectures.architecture import Architecture
from pytest_mad.architectures.targets import from_target
from pytest_mad.common.records import plain
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.setting import run_and_judge
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting, select
from pytest_mad.results.result import SettingResult
from pytest_mad.results.result_file import scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", required=True, metavar="NAME", help="of reference_archs, or module:factory")
    parser.add_argument("--minutes", type=float, required=True, metavar="M", help="no training goes on behind them")
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="what is kept from visit to visit")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--tasks", type=lambda text: text.split(","), help="only these, with commas between them")
    parser.add_argument("--engine", choices=("loop", "vmap"), default="loop")
    parser.set_defaults(run=collect)


def collect(arguments: argparse.Namespace) -> int:
    """Train until the time is up, the cheapest setting first; print and save what has finished by now.

    A setting that the time cuts off goes on at its last evaluation in the next visit. Returns 0 when all have finished,
    otherwise 3: come again.
    """
    target = arguments.arch if ":" in arguments.arch else f"reference_archs.{arguments.arch}:make_model"
    architecture, chosen = from_target(target), settings(arguments.preset)
    if arguments.tasks:
        chosen = select(chosen, arguments.tasks)
    deadline = time.monotonic() + 60 * arguments.minutes
    finished = []
    for setting in sorted(chosen.values(), key=lambda setting: setting.cost):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        result = trained(architecture, setting, arguments, left)
        print_result(result)
        if result.normalized is not None:
            finished.append(result)
    write(architecture, arguments, finished, len(chosen))
    return 0 if len(finished) == len(chosen) else 3


def trained(
    architecture: Architecture, setting: Setting, arguments: argparse.Namespace, seconds: float
) -> SettingResult:
    """One setting's full sweep, as the suite would train it."""
    options = RunOptions(
        device=arguments.device, engine=arguments.engine, timeout=seconds, store=arguments.store.resolve()
    )
    options = replace(options, contracts=replace(options.contracts, store=options.store))
    return run_and_judge(architecture, setting, options).result


def print_result(result: SettingResult) -> None:
    score = "-" if result.normalized is None else f"{result.normalized:.3f}"
    took = "stored" if result.stored else f"{result.seconds:.1f} s"
    why = "" if result.normalized is not None else f"  {result.detail}"
    print(f"{result.setting:48} {result.verdict:8} {score:>6}  {took}{why}", flush=True)


def write(architecture: Architecture, arguments: argparse.Namespace, finished: list[SettingResult], total: int) -> None:
    """The scores by now; MAD's mean only where all settings have one."""
    found = scores(finished, partial=len(finished) < total)
    score = f"; MAD score {found.mad_score:.4f}" if found.mad_score else ""
    print(f"{len(finished)} of {total} settings have finished{score}")
    save(
        f"{arguments.preset}-{architecture.name}-{arguments.device}",
        finished=len(finished),
        total=total,
        task_scores=found.tasks,
        mad_score=found.mad_score,
        mad_score_normalized=found.normalized,
        settings={result.setting: plain(result) for result in finished},
    )
