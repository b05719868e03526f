"""The data of one trial: generated from its own seed, or MAD-Lab's published files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pytest_mad.common.seeds import derive_seed
from pytest_mad.presets.setting import Setting
from pytest_mad.tasks import Batch

from .published import load_published


class TaskData(NamedTuple):
    """Train, validation and test data of one setting and seed; no stream is shared between them."""

    train: Batch
    validation: Batch
    test: Batch


@functools.lru_cache(maxsize=1)  # the same is asked for again at once, to know the model by
def load_data(setting: Setting, seed: int, data_dir: Path | None = None) -> TaskData:
    """The same data for the same setting and seed, whatever else ran before.

    With ``data_dir`` train and test come from MAD-Lab's published files and only validation data is generated.
    """
    task, params = setting.task, setting.params
    root = np.random.SeedSequence(derive_seed("data", task.name, task.version, params.to_json(), seed))
    train, validation, test = (np.random.default_rng(s) for s in root.spawn(3))
    held_out = task.generate(params, setting.recipe.num_validation_examples, validation, "validation")
    if data_dir is not None:
        published_train, published_test = load_published(data_dir, task, params)
        return TaskData(published_train, held_out, published_test)
    return TaskData(
        train=task.generate(params, params.num_train_examples, train, "train"),
        validation=held_out,
        test=task.generate(params, params.num_test_examples, test, "test"),
    )
