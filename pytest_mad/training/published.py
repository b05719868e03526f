"""MAD-Lab's published data, read as MAD-Lab lays it out.

``<dir>/<setting>/{train,test}/{inputs,targets}.npy``, where the folder's name spells the setting
(``t-CR_vs-16_sl-128_ntr-12800_...``). Files are mapped into memory and never unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pytest_mad.common.errors import first_line
from pytest_mad.common.files import is_folder
from pytest_mad.tasks import IGNORE, Batch, Task, TaskParams
from pytest_mad.tasks.base import IntArray

#: MAD-Lab's only seed.
PUBLISHED_SEED = 12_345


class PublishedDataError(ValueError):
    """A folder or file of published data that is missing, broken or of another setting; the message is one line."""


def load_published(directory: Path, task: Task[Any], params: TaskParams) -> tuple[Batch, Batch]:
    """Train and test data of a setting, from anywhere below ``directory``.

    Raises :class:`PublishedDataError`, which names the folder or file and what is wrong with it.
    """
    folder = find_folder(directory, task, params)
    train = _read_split(folder / "train", task, params, params.num_train_examples)
    test = _read_split(folder / "test", task, params, params.num_test_examples)
    return train, test


def folder_name(task: Task[Any], params: TaskParams, seed: int = PUBLISHED_SEED) -> str:
    """The folder's name in MAD-Lab's spelling: ``.`` becomes ``#``, and True as well as False becomes 1 (its bug)."""

    def spell(value: object) -> str:
        return "1" if isinstance(value, bool) else str(value).replace(".", "#")

    def value(name: str, default: object) -> object:
        return getattr(params, name, default)

    frac_noise = params.frac_noise or 0.0
    parts = {
        "t": task.shorthand,
        "vs": params.vocab_size,
        "sl": params.seq_len,
        "ntr": params.num_train_examples,
        "nte": params.num_test_examples,
        "km": value("k_motif_size", 1),
        "vm": value("v_motif_size", 1),
        "mq": value("multi_query", True),
        "fn": float(frac_noise),
        "nvs": params.noise_vocab_size,
        "ntc": value("num_tokens_to_copy", 0),
        "s": seed,
    }
    return "_".join(f"{key}-{spell(part)}" for key, part in parts.items())


def find_folder(directory: Path, task: Task[Any], params: TaskParams) -> Path:
    """The setting's folder, directly in ``directory`` or in a folder per task."""
    if not is_folder(directory):
        raise PublishedDataError(f"{directory} is not a folder")
    if not task.shorthand:
        raise PublishedDataError(f"task {task.name!r} has no published data")
    name = folder_name(task, params)
    # MAD-Lab writes a noise fraction of 0 as a float or, from older configurations, as an integer.
    for candidate in (name, name.replace("_fn-0#0_", "_fn-0_")):
        for path in (directory / candidate, directory / task.name / candidate):
            if is_folder(path):
                return path
    raise PublishedDataError(f"{directory} has no folder {name}")


def _read_split(folder: Path, task: Task[Any], params: TaskParams, n: int) -> Batch:
    inputs, targets = (_read(folder / f"{kind}.npy") for kind in ("inputs", "targets"))
    shape = (n, task.input_length(params))
    for path, array in ((folder / "inputs.npy", inputs), (folder / "targets.npy", targets)):
        if array.shape != shape:
            raise PublishedDataError(f"{path} has shape {array.shape}, but this setting needs {shape}")
        if array.dtype.kind not in "iu":
            raise PublishedDataError(f"{path} holds {array.dtype}, but must hold integers")
    _check_tokens(folder / "inputs.npy", inputs, params.vocab_size)
    _check_tokens(folder / "targets.npy", targets[targets != IGNORE], params.vocab_size)
    return Batch(inputs.astype(np.int64, copy=False), targets.astype(np.int64, copy=False))


def _read(path: Path) -> IntArray:
    # Not numpy.load, which also opens zip archives: this reads .npy only, and never unpickles.
    try:
        array: IntArray = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise PublishedDataError(f"{path} does not exist") from None
    except Exception as error:  # the header is parsed with ast and tokenize, which raise what they like
        reason = f"{type(error).__name__}: {first_line(error)[:80]}"
        raise PublishedDataError(f"{path} is not a readable .npy file without pickles ({reason})") from None
    return array


def _check_tokens(path: Path, tokens: IntArray, vocab_size: int) -> None:
    if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        raise PublishedDataError(
            f"{path} has tokens from {tokens.min()} to {tokens.max()}, but the vocabulary has {vocab_size}"
        )
