"""Train and judge one setting in this process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pytest_mad.architecture import Architecture
from pytest_mad.errors import user_traceback, what_happened
from pytest_mad.executors.contracts import ContractOptions, first_broken
from pytest_mad.gate import Verdict, judge_threshold
from pytest_mad.grid import Setting
from pytest_mad.result import Result

if TYPE_CHECKING:
    import torch

    from pytest_mad.training.trial import Progress, Trial


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How settings are run, whichever they are."""

    seeds: int = 1
    first_seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    #: seconds per setting
    timeout: float | None = None
    data_dir: Path | None = None
    contracts: ContractOptions = field(default_factory=ContractOptions)


class ContractBrokenError(Exception):
    """A hard contract is broken, so there is nothing to train for; the message is one line."""


class Measured(NamedTuple):
    """A result and, where the user's code raised, its traceback."""

    result: Result
    traceback: str = ""


def run_setting(
    architecture: Architecture, setting: Setting, options: RunOptions, progress: Progress | None = None
) -> Result:
    """Sweep each seed and judge the scores.

    Raises ``ContractBrokenError`` before any training, ``ModelError``, ``NoBottleneckError``, ``NotCausalError``,
    ``TrialError``, ``PublishedDataError`` or whatever the user's model raises.
    """
    from pytest_mad.training.sweep import run_sweep

    device = choose_device(options.device)
    broken = first_broken(architecture, setting, options.contracts, device)
    if broken:
        raise ContractBrokenError(broken)
    started = time.monotonic()  # the contracts are timed as items of their own
    deadline = math.inf if options.timeout is None else started + options.timeout
    sweeps = [
        run_sweep(
            architecture,
            setting,
            seed,
            device=device,
            data_dir=options.data_dir,
            progress=progress,
            deadline=deadline,
        )
        for seed in range(options.first_seed, options.first_seed + options.seeds)
    ]
    scores = [setting.normalized(sweep.accuracies().accuracy) for sweep in sweeps]
    worst = sweeps[scores.index(min(scores))]
    verdict = judge_threshold(scores, setting.threshold)
    if verdict.outcome == "fail":
        verdict = verdict._replace(detail=f"{verdict.detail}, {_ending(worst.best)}")
    return _result(
        architecture,
        setting,
        verdict,
        **worst.accuracies().to_json(),
        normalized=min(scores),
        scores=[[sweep.seed, score] for sweep, score in zip(sweeps, scores, strict=True)],
        best={"lr": worst.best.point.lr, "weight_decay": worst.best.point.weight_decay, "seed": worst.seed},
        trials=[trial.to_json() for sweep in sweeps for trial in sweep.trials],
        parameters=worst.parameters,
        state_size=worst.state_size,
        seconds=round(time.monotonic() - started, 3),
        device=device.type,
    )


def run_and_judge(
    architecture: Architecture, setting: Setting, options: RunOptions, progress: Progress | None = None
) -> Measured:
    """As :func:`run_setting`, with every error turned into a verdict for this one setting."""
    from pytest_mad.adapters import ModelError, NoBottleneckError
    from pytest_mad.training.published import PublishedDataError
    from pytest_mad.training.sweep import NotCausalError
    from pytest_mad.training.trial import TrialError

    started = time.monotonic()
    try:
        return Measured(run_setting(architecture, setting, options, progress))
    except NoBottleneckError as reason:
        verdict, shown = Verdict("skipped", str(reason)), ""
    except (ContractBrokenError, NotCausalError) as reason:
        verdict, shown = Verdict("fail", str(reason)), ""
    except (TrialError, PublishedDataError) as error:
        verdict, shown = Verdict("error", str(error)), ""
    except ModelError as error:
        verdict, shown = Verdict("error", str(error)), user_traceback(error.__cause__)
    except Exception as error:
        verdict, shown = Verdict("error", what_happened(error, "training")), user_traceback(error)
    seconds = round(time.monotonic() - started, 3)
    device = choose_device(options.device).type
    return Measured(_result(architecture, setting, verdict, seconds=seconds, device=device), shown)


def _ending(trial: Trial) -> str:
    """How a trial that did not reach its threshold ended."""
    how = "given up as hopeless" if trial.stopped == "hopeless" else "trained to the end"
    return f"{how} ({trial.steps} steps, lr {trial.point.lr:g})"


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _result(architecture: Architecture, setting: Setting, verdict: Verdict, **found: Any) -> Result:
    return Result(
        architecture=architecture.name,
        setting=setting.id,
        task=setting.task,
        task_version=setting.family.version,
        params=setting.params.to_json(),
        preset=setting.preset,
        verdict=verdict.outcome,
        detail=verdict.detail,
        oracle=setting.oracle,
        trivial=setting.trivial,
        threshold=setting.threshold,
        recipe=setting.recipe.digest(),
        **found,
    )
