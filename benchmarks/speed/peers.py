"""Our training against MAD-Lab's own, on the same model, setting and machine.

    python -m benchmarks.speed.peers --mad-lab CHECKOUT [--python PYTHON] [--preset smoke] [--epochs 1] [--pairs 3]

CHECKOUT is a working copy of github.com/athms/mad-lab, PYTHON an interpreter that has this package and what MAD-Lab
imports: pytorch-lightning, torchmetrics, pandas, einops, opt-einsum and triton. Theirs is ``train.train`` as it is:
data drawn example by example and written to files, PyTorch Lightning, an evaluation of the test data after every epoch
and of all data at the end, two checkpoints. GPU packages that its layers import, but our transformer does not call, are
replaced by empty modules; the precision is 32 bits on both sides. Ours draws the same number of examples and
trains as many steps, with an evaluation of as many examples after every epoch, through a trial as a run has it.

In-context recall's first setting of the preset; one thread, a process per side and turn, each after the other. Prints
seconds of a whole process and of data and training in it, the ratio ours to theirs as the median over pairs with its
95 % interval, and writes ``benchmarks/results/peers.json``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import MutableSequence, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.record import update

from .plugin_tax import median_interval

TASK, ARCHITECTURE = "in-context-recall", "reference_archs.transformer"
FACTORIES = {"paper": "make_paper_model"}
TEST_EXAMPLES = 1280
#: Imported by layers that are not used here.
UNUSED = ("flash_attn", "causal_conv1d", "causal_conv1d_cuda", "selective_scan_cuda", "mamba_ssm")
SIDES = ("theirs", "ours")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--mad-lab", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="the process of one side, which prints its seconds")
    arguments = parser.parse_args()
    if not (arguments.mad_lab / "train.py").is_file():
        parser.error(f"--mad-lab={arguments.mad_lab}: has no train.py; it must be a working copy of MAD-Lab")
    if arguments.side:
        train = theirs if arguments.side == "theirs" else ours
        print(json.dumps(train(arguments.mad_lab.resolve(), arguments.preset, arguments.epochs)))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for pair in range(arguments.pairs):
        for side in SIDES if pair % 2 else SIDES[::-1]:
            found[side].append(turn(arguments.python, side, arguments))
            print(side, found[side][-1], flush=True)
    rows = {}
    for what in ("process", "data and training"):
        seconds = {side: [turns[what] for turns in found[side]] for side in SIDES}
        ratios = [own / other for own, other in zip(seconds["ours"], seconds["theirs"], strict=True)]
        median, low, high = median_interval(ratios)
        means = {side: round(statistics.median(values), 2) for side, values in seconds.items()}
        print(f"{what:18} theirs {means['theirs']} s, ours {means['ours']} s: {median:.3f} ({low:.3f} to {high:.3f})")
        rows[what] = {**means, "ratio": round(median, 4), "interval": [round(low, 4), round(high, 4)]}
    update("peers", **{arguments.preset: {"epochs": arguments.epochs, "pairs": arguments.pairs, **rows}})


def turn(python: str, side: str, arguments: Any) -> dict[str, float]:
    """Seconds of one process, and what it says of itself."""
    command = [python, "-m", __spec__.name, "--side", side, f"--mad-lab={arguments.mad_lab}"]
    command += [f"--preset={arguments.preset}", f"--epochs={arguments.epochs}"]
    began = time.perf_counter()
    printed = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    inside: dict[str, float] = json.loads(printed.splitlines()[-1])
    return {"process": round(time.perf_counter() - began, 2), **inside}


def sized(preset: str) -> tuple[Any, Any]:
    """The setting and the architecture; with MAD-Lab's number of test examples."""
    from pytest_mad.architectures.targets import from_target
    from pytest_mad.presets.reading import settings
    from pytest_mad.presets.setting import select

    setting, *_ = select(settings(preset), [TASK]).values()
    architecture = from_target(f"{ARCHITECTURE}:{FACTORIES.get(preset, 'make_model')}")
    recipe = replace(setting.recipe, points=setting.recipe.points[:1])
    return replace(
        setting, recipe=recipe, params=replace(setting.params, num_test_examples=TEST_EXAMPLES)
    ), architecture


def ours(_: Path, preset: str, epochs: int) -> dict[str, float]:
    """Data, training, and an evaluation per epoch, as a run has them."""
    import torch

    from pytest_mad.architectures.build import build_model
    from pytest_mad.training.data import load_data
    from pytest_mad.training.memory import keep_freed_memory
    from pytest_mad.training.trial import train_trial

    setting, architecture = sized(preset)
    epoch = setting.params.num_train_examples // setting.recipe.batch_size
    never = {"solved_at": 1.1, "hopeless_after": 1.0, "num_validation_examples": TEST_EXAMPLES}
    recipe = replace(setting.recipe, steps=epochs * epoch, epochs=None, evaluate_every=epoch, **never)
    setting, (point,), cpu = replace(setting, recipe=recipe), recipe.points, torch.device("cpu")
    keep_freed_memory()
    torch.set_num_threads(1)
    began = time.perf_counter()
    build = functools.partial(build_model, architecture, setting, cpu)
    train_trial(build, setting, point, 0, load_data(setting, 0, None), device=cpu)
    return {"data and training": round(time.perf_counter() - began, 2)}


def theirs(checkout: Path, preset: str, epochs: int) -> dict[str, float]:
    """``train.train`` of the checkout, in a folder of its own, with our model."""
    import torch

    from pytest_mad.architectures.build import build_model

    sys.meta_path.append(_Unused())
    sys.path.insert(0, str(checkout))
    train, configs = importlib.import_module("train"), importlib.import_module("mad.configs")
    setting, architecture = sized(preset)
    params, recipe = setting.params, setting.recipe
    config = configs.MADConfig(
        task=TASK,
        vocab_size=params.vocab_size,
        seq_len=params.seq_len,
        num_train_examples=params.num_train_examples,
        num_test_examples=TEST_EXAMPLES,
        batch_size=recipe.batch_size,
        epochs=epochs,
        lr=recipe.points[0].lr,
        scheduler="none" if recipe.schedule == "constant" else recipe.schedule,
        accelerator="cpu",
        precision="32",
    )
    torch.set_num_threads(1)
    model = build_model(architecture, setting, torch.device("cpu"))
    model.vocab_size = params.vocab_size  # which their metrics ask a model for
    with tempfile.TemporaryDirectory() as folder:
        config.data_path = str(Path(folder, "data"))
        began = time.perf_counter()
        train.train(model, config, str(Path(folder, "logs")))
        return {"data and training": round(time.perf_counter() - began, 2)}


class _Unused(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages that are imported, and of which nothing is called."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        is_unused = fullname.partition(".")[0] in UNUSED
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if is_unused else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing in it."""


class _Empty(types.ModuleType):
    __path__: MutableSequence[str]

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


if __name__ == "__main__":
    main()
