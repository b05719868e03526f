"""The tiny preset of these runs: steps enough for an end, a checkpoint and a score."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting

TINY = """schema = 1
width = 16

[recipe]
points = [{ lr = 5e-2 }]
steps = 4
batch_size = 8
evaluate_every = 2
num_validation_examples = 16

[tasks.memorization]
baseline = { vocab_size = 16, seq_len = 8, num_train_examples = 16, num_test_examples = 8 }
vary = { vocab_size = [24] }
threshold = 0.5

[tasks.in-context-recall]
baseline = { vocab_size = 8, seq_len = 16, num_train_examples = 16, num_test_examples = 8 }
threshold = 1.0
"""


@functools.cache
def tiny() -> dict[str, Setting]:
    """The settings of the tiny preset."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "tiny.toml")
        path.write_text(TINY)
        return settings(str(path))
