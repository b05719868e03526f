"""Measure the oracle and trivial levels of the shipped presets that have no closed form, and commit them as a table.

    python -m benchmarks.calibration.levels

Writes ``pytest_mad/tasks/levels.json``. Run it whenever a task's version or a preset's parameters change.
"""

from __future__ import annotations

import json
from dataclasses import replace

from benchmarks.command import command_line
from pytest_mad.presets.reading import preset_names, settings
from pytest_mad.tasks import levels


def main() -> None:
    command_line(__doc__).parse_args()
    levels.committed().clear()
    for preset in preset_names():
        for setting in settings(preset).values():
            for params in (setting.params, replace(setting.params, mode="compat")):
                oracle, trivial = setting.task.oracle(params), setting.task.trivial(params)
                print(f"{setting.id:48} {params.mode:6} oracle {oracle:.4f} trivial {trivial:.4f}", flush=True)
    levels.TABLE.write_text(json.dumps(levels.measured, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
