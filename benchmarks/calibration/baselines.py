"""The baselines that come with the package, made of recorded seeds.

    python -m benchmarks.calibration.baselines

For every reference architecture whose ``benchmarks/results/calibrate-PRESET-ARCH.json`` has all seeds of all settings,
as ``python -m benchmarks.calibration.calibrate --arch reference_archs.ARCH:make_model --seeds 16`` records them, this
writes ``pytest_mad/baselines/ARCH.json``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest_mad
from benchmarks.command import command_line
from benchmarks.record import RESULTS
from pytest_mad.common.files import read_json
from pytest_mad.evaluation.seeds import steps_of
from pytest_mad.gate.baseline import Entry
from pytest_mad.gate.recording import recorded, write_entries
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting

from .calibrate import first_point_only, is_known, key

PRESET = "smoke"
SHIPPED = Path(pytest_mad.__file__).parent / "baselines"


def main() -> None:
    command_line(__doc__).parse_args()
    SHIPPED.mkdir(exist_ok=True)
    for file in sorted(RESULTS.glob(f"calibrate-{PRESET}-*.json")):
        name = file.stem.rpartition("-")[2]
        if not find_spec(f"reference_archs.{name}"):
            continue  # what planted changes are compared with
        entries = baseline_of(file)
        if not entries:
            print(f"{name}: not every setting has its seeds")
            continue
        write_entries(SHIPPED / f"{name}.json", {name: entries})
        for setting, entry in entries.items():
            print(f"{name:20} {setting:36} {len(entry.scores)} seeds, lowest {min(entry.scores):.3f}")


def baseline_of(file: Path) -> dict[str, Entry]:
    """The entries of one architecture; none unless every setting has enough seeds."""
    content = read_json(file)
    chosen = settings(PRESET).values()
    found: list[Any] = [record for setting in chosen if (record := _recording(setting, content["trials"]))]
    if len(found) < len(chosen):
        return {}
    (entries,) = recorded(found, content["environment"]["torch"]).values()
    return entries


def _recording(setting: Setting, trials: dict[str, Any]) -> SimpleNamespace | None:
    """The setting as ``--mad-update-baseline`` would find it: one record with the scores of all seeds."""
    if len(setting.recipe.points) > 1:  # a calibration trains the first point only
        return None
    own = [trials.get(key(setting, seed)) for seed in range(setting.gate.baseline_seeds)]
    known: list[dict[str, Any]] = [r for r in own if r and is_known(r, first_point_only(setting))]
    if len(known) < len(own):
        return None
    steps = [steps_of(setting, setting.threshold or 0.0, record["trials"][0]["curve"]) for record in known]
    scores = tuple((seed, record["normalized"]) for seed, record in enumerate(known))
    found = {"scores": scores, "mark": setting.threshold, "steps": tuple(enumerate(steps)), "seconds_per_step": None}
    return SimpleNamespace(**known[0] | setting.identity() | found)


if __name__ == "__main__":
    main()
