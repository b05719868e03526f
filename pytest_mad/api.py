"""The suite from Python: the same path as the pytest items, for notebooks and scripts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.setting import run_and_judge, run_setting
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting, as_published, select
from pytest_mad.results.result import SettingResult
from pytest_mad.results.result_file import scores
from pytest_mad.store.folder import open_store


class StoreWarning(UserWarning):
    """A store that is damaged or cannot be written."""


@dataclass(frozen=True, kw_only=True)
class SuiteScore:
    """What MAD-Lab's ``benchmark()`` gives: a score per task, and their mean."""

    results: dict[str, SettingResult]
    #: mean raw accuracy over the settings of each task, by the metric of the preset's recipes
    task_scores: dict[str, float]
    #: mean of the task scores
    mad_score: float | None
    #: the same by either metric, whichever the preset publishes
    mad_score_accuracy: float | None
    mad_score_compat: float | None
    #: the same of normalised scores
    mad_score_normalized: float | None


def evaluate(
    make_model: Any,
    setting: Setting,
    *,
    seeds: int = 1,
    first_seed: int = 0,
    device: str = "auto",
    engine: str = "auto",
    data_dir: str | Path | None = None,
    store: str | Path | None = None,
) -> SettingResult:
    """Train ``make_model``'s model on one setting and score it; nothing is kept without a folder to ``store`` it in.

    ``make_model`` is called with those of ``task``, ``vocab_size`` and ``max_length`` that its signature accepts.
    Raises ``ContractBrokenError``, ``ModelError``, ``NoBottleneckError``, ``NotCausalError``, ``TrialError``, or what
    the model raises.
    """
    options = _options(seeds=seeds, first_seed=first_seed, device=device, engine=engine, data_dir=data_dir, store=store)
    try:
        return run_setting(from_factory(make_model), _as_run(setting, options), options)
    finally:
        _tell_of_trouble(options)


def evaluate_suite(
    make_model: Any, preset: str = "smoke", *, tasks: list[str] | None = None, **options: Any
) -> SuiteScore:
    """:func:`evaluate` on every setting of a preset, or on those of some tasks; ``options`` are ``evaluate``'s.

    As in the pytest suite, what goes wrong in one setting is that setting's verdict, and the others go on.
    """
    chosen = settings(preset)
    if tasks is not None:
        chosen = select(chosen, tasks)
    run, architecture = _options(**options), from_factory(make_model)
    results = {name: run_and_judge(architecture, _as_run(s, run), run).result for name, s in chosen.items()}
    _tell_of_trouble(run)
    return suite_score(results)


def _options(data_dir: str | Path | None = None, store: str | Path | None = None, **options: Any) -> RunOptions:
    folders = [None if path is None else Path(path) for path in (data_dir, store)]
    return RunOptions(data_dir=folders[0], store=folders[1], **options)


def _tell_of_trouble(options: RunOptions) -> None:
    """Warn where the store could not be used; the results are as good as without one."""
    trouble = open_store(options.store).trouble if options.store else None
    if trouble:
        warnings.warn(trouble, StoreWarning, stacklevel=3)


def _as_run(setting: Setting, options: RunOptions) -> Setting:
    return setting if options.data_dir is None else as_published(setting)


def suite_score(results: dict[str, SettingResult]) -> SuiteScore:
    """The scores of a suite's results, as a result file has them."""
    found = scores(results.values())
    return SuiteScore(
        results=results,
        task_scores=found.tasks,
        mad_score=found.mad_score,
        mad_score_accuracy=found.accuracy,
        mad_score_compat=found.compat,
        mad_score_normalized=found.normalized,
    )
