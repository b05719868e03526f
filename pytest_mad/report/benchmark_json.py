"""``--mad-benchmark-json``: scores for github-action-benchmark's charts, in its form ``customBiggerIsBetter``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from pytest_mad.common.text import accuracy_text, score_text
from pytest_mad.results.result import ArchitectureResult, Run, SettingResult

Entry = dict[str, str | float]


def benchmark_entries(run: Run) -> list[Entry]:
    """An entry per score of a run; the action draws a chart for each name.

    Architectures have their MAD score and its normalised twin where there is one, settings their normalised score. What
    has no score has no entry: a chart would show it as zero.
    """
    origin = {"preset": run.preset, **asdict(run.environment)}
    where = ", ".join(f"{key} {value}" for key, value in origin.items() if value)
    return [
        entry
        for name, found in run.architectures.items()
        for entry in (*_means(name, found, where), *_settings(name, found.settings, where))
    ]


def _means(name: str, found: ArchitectureResult, where: str) -> Iterator[Entry]:
    if found.mad_score is not None and found.mad_score_normalized is not None:
        tasks = "\n".join(f"{task} {accuracy_text(score)}" for task, score in found.task_scores.items())
        yield _entry(f"{name}: MAD score", found.mad_score, found.metric, f"{tasks}\n{where}")
        yield _entry(f"{name}: MAD score, normalised", found.mad_score_normalized, "normalised score", where)


def _settings(name: str, settings: Mapping[str, SettingResult], where: str) -> Iterator[Entry]:
    for setting, result in settings.items():
        if result.normalized is None:
            continue
        told = f"{result.verdict}: normalised score {result.normalized:.4f}, accuracy {result.accuracy:.4f}"
        entry = _entry(f"{name}: {setting}", result.normalized, "normalised score", f"{told}\n{where}")
        scores = [score for _, score in result.scores]
        if len(scores) > 1:
            entry["range"] = f"{len(scores)} seeds, {score_text(min(scores))} to {score_text(max(scores))}"
        yield entry


def _entry(name: str, score: float, unit: str, extra: str) -> Entry:
    """The action alerts when the previous value over the new one is large, which it is not for a negative one: a score
    below the trivial guess stands as zero.
    """
    return {"name": name, "unit": unit, "value": max(0.0, round(score, 6)), "extra": extra}
