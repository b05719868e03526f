"""What a pass against a baseline excludes: how large a slowdown it would find, setting by setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.requirement import pace_of
from pytest_mad.gate.baseline import Baseline, check_fits, load_baseline
from pytest_mad.gate.power import pooled_power, power, spread
from pytest_mad.gate.ranks import pooled_critical
from pytest_mad.gate.rule import POOLED
from pytest_mad.gate.speed import Pace
from pytest_mad.presets.setting import Setting

TIMES = (1.5, 2.0, 3.0)


def power_lines(name: str, directory: Path, chosen: dict[str, Setting]) -> list[str]:
    """A table per architecture: the spread of the recorded steps, and the share of slowdowns that a run would find.

    ``name`` is that of a shipped baseline, read as if it were the user's own, or of a file in ``directory``. Raises
    ``FileError``, and :class:`~pytest_mad.gate.baseline.BaselineError` for an entry of another recipe.
    """
    baseline = replace(load_baseline(name, directory), is_shipped=False)
    return [line for own in baseline.entries for line in _table(baseline, own, chosen)]


def _table(baseline: Baseline, name: str, chosen: dict[str, Setting]) -> Iterator[str]:
    own = {setting: entry for setting, entry in baseline.entries[name].items() if setting in chosen}
    width = max(map(len, (*own, "all settings")))
    yield f"{name} ({len(own)} settings of {baseline.source})"
    yield f"  {'':{width}}  seeds  steps   sigma" + "".join(f"  {times:>4g}x" for times in TIMES)
    paces: list[Pace] = []
    for setting, entry in own.items():
        check_fits(entry, f"{name}, {setting}", chosen[setting].identity())
        pace = pace_of(chosen[setting], RunOptions(baseline=baseline), entry)
        if pace is None:
            yield f"  {setting:{width}}  {len(entry.scores):5}  no verdict on speed"
            continue
        paces.append(pace)
        found = "".join(f"  {power(pace, times):5.2f}" for times in TIMES)
        middle = pace.solved[len(pace.solved) // 2]
        yield f"  {setting:{width}}  {len(entry.scores):5}  {middle:5}  {spread(entry.steps):6.2f}{found}"
    if pooled_critical(POOLED, [len(pace.recorded) for pace in paces]) is not None:
        together = "".join(f"  {pooled_power(paces, times):5.2f}" for times in TIMES)
        yield f"  {'all settings':{width}}  {'':5}  {'':5}  {'':6}{together}"
