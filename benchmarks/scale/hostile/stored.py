"""Damaged files of a store: a note or another computation, never an error and never another result."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hypothesis import strategies as st
from torch import Tensor

from pytest_mad.architectures.architecture import Architecture, from_factory
from pytest_mad.architectures.build import build_model
from pytest_mad.evaluation.contract import run_contract
from pytest_mad.evaluation.options import ContractOptions, RunOptions
from pytest_mad.evaluation.setting import run_and_judge
from pytest_mad.evaluation.sweep import run_sweep
from pytest_mad.presets.setting import Setting
from pytest_mad.store import trials
from pytest_mad.store.checkpoint import weights_of
from pytest_mad.store.contracts import StoredContract, stored_contracts
from pytest_mad.store.folder import MARK, Store
from pytest_mad.store.trials import Spec, StoredTrial, stored_trial
from pytest_mad.training.data import load_data
from pytest_mad.training.trial import Training, initial_model, make_optimizer

from .damage import Strategy, byte_plan, changed_json, damaged, json_plan, places, texts
from .judging import DefectError, Kind, check_line, left_over
from .models import CPU, OFF, sound
from .presets import tiny

CONTRACT = "finite"


@functools.cache
def architecture() -> Architecture:
    """The one whose results are stored; one object, so that its identity is found once."""
    return from_factory(sound, name="stored")


def _setting() -> Setting:
    return tiny()["memorization[baseline]"]


@functools.cache
def golden() -> Path:
    """A store with a trial, a contract and a checkpoint, as runs leave them."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run_contract(architecture(), _setting(), CONTRACT, ContractOptions(store=folder), CPU)
    try:
        with mock.patch.object(trials, "CHECKPOINT_SECONDS", 0.0):
            run_sweep(architecture(), _setting(), 0, device=CPU, store=Store(folder), progress=_cut)
    except KeyboardInterrupt:
        checkpoints = {path: path.read_bytes() for path in folder.glob("checkpoint-*")}
    run_and_judge(architecture(), _setting(), RunOptions(device="cpu", store=folder, contracts=OFF))
    for path, content in checkpoints.items():
        path.write_bytes(content)
    kinds = sorted(path.name.partition("-")[0] for path in folder.glob("*.safetensors"))
    assert kinds == ["checkpoint", "contract", "trial"], kinds
    return folder


def _cut(step: int, total: int, accuracy: float) -> None:
    """As Ctrl-C would, at the last evaluation."""
    if step == total:
        raise KeyboardInterrupt


# -- what is found ----------------------------------------------------------------------------------------------------


def kept_in(store: Store) -> tuple[StoredTrial, StoredContract]:
    """Where the trial and the contract of the golden store are."""
    setting = _setting()
    data, point = load_data(setting, 0), setting.recipe.points[0]
    spec = Spec(setting=setting, point=point, seed=0, data=data, device=CPU, engine="loop")
    trial = stored_trial(store, architecture(), None, spec)
    contract = stored_contracts(store, architecture(), setting, (None, None), CPU)
    assert trial is not None and contract is not None
    return trial, contract


def found(store: Store) -> dict[str, Any]:
    """All that a run would take from a store, by what it is; None where it takes nothing."""
    trial, contract = kept_in(store)
    known = trial.find()
    setting = _setting()
    point = setting.recipe.points[0]
    model = initial_model(lambda: build_model(architecture(), setting, CPU), setting, point, 0, CPU)
    training = Training(model=model, optimizer=make_optimizer(model, setting.recipe, point))
    trial.resume(training)
    state = training.optimizer.state_dict()["state"]
    return {
        "trial": known and (known[0], _bits(weights_of(known[1]))),
        "contract": contract.find(CONTRACT),
        "checkpoint": (training.step, list(training.curve), _bits(weights_of(training.model)), _bits(state))
        if training.step
        else None,
    }


def _bits(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.detach().numpy().tobytes()
    return {name: _bits(one) for name, one in tree.items()} if isinstance(tree, dict) else tree


@functools.cache
def expected() -> dict[str, Any]:
    """What is found in the store as it was left."""
    whole = _quietly(Store(golden()))
    assert None not in whole.values(), whole
    return whole


def _quietly(store: Store) -> dict[str, Any]:
    """Random states of the process are what a checkpoint puts back: here they go on."""
    from pytest_mad.common.globals import random_states_put_back

    with random_states_put_back():
        return found(store)


# -- damage -----------------------------------------------------------------------------------------------------------

TENSORS = ("drop", "rename", "shape", "dtype", "nan", "more", "none", "noise")
KINDS_OF_FILES = ("trial", "contract", "checkpoint")
_files: Strategy = st.sampled_from(KINDS_OF_FILES)
stores: Strategy = st.one_of(
    *[st.tuples(st.just("bytes"), _files, byte_plan)] * 2,
    *[st.tuples(st.just("bytes"), _files, st.tuples(st.just("flip"), places, st.integers(0, 7)))] * 3,
    st.tuples(st.just("header"), _files, json_plan.map(lambda plan: plan[0])),
    st.tuples(st.just("tensors"), _files, st.tuples(st.sampled_from(TENSORS), st.integers(0, 99))),
    st.tuples(st.just("swap"), _files, _files),
    st.tuples(
        st.just("mark"), st.just(MARK), st.one_of(texts, st.sampled_from(('{"schema": 2}', "[]", '{"schema": NaN}')))
    ),
    st.tuples(st.just("running"), st.just("running-x.json"), texts),
    st.tuples(st.just("folder"), _files, st.just("")),
)


def attempt_store(given: tuple[str, str, Any], folder: Path) -> str:
    how, which, plan = given
    place = folder / "store"
    shutil.copytree(golden(), place)
    is_forged = _damage(place, how, which, plan)
    store = Store(place)
    now, whole = _quietly(store), expected()
    store.left_behind()
    check_line(store.trouble or "")
    for kind, one in now.items():
        if one is not None and one != whole[kind] and not is_forged:
            raise DefectError(f"another {kind} than was stored")
    if left_over(place):
        raise DefectError(f"left over: {left_over(place)}")
    is_whole = all(one is not None for one in now.values())
    if not is_whole and store.trouble is None and how == "bytes":
        raise DefectError("not used, and nothing said")
    return "valid" if is_whole else "refused"


def _damage(place: Path, how: str, which: str, plan: Any) -> bool:
    """Carry it out; whether what is written is no damage, but another file of ours, which may say what it likes."""
    if how in ("mark", "running"):
        (place / which).write_text(plan, encoding="utf-8", errors="surrogatepass")
        return False
    (path,) = place.glob(f"{which}-*")
    content = path.read_bytes()
    if how == "bytes":
        path.write_bytes(damaged(content, plan))
    elif how == "swap":
        (other,) = place.glob(f"{plan}-*")
        path.write_bytes(other.read_bytes())
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        _forge(path, how, plan)
    return how in ("header", "tensors")


def _forge(path: Path, how: str, plan: Any) -> None:
    """Another header, or other tensors, written as we do."""
    store = Store(path.parent)
    kind, key, which = path.name.removesuffix(".safetensors").split("-")
    (stored,) = store.find(kind, key, which)
    header, tensors = stored.header, stored.tensors()
    if how == "header":
        header = changed_json(header, plan)
    else:
        tensors = _other(tensors, *plan)
    store.write(kind, key, which, header, tensors)


def _other(tensors: dict[str, Tensor], what: str, place: int) -> dict[str, Tensor]:
    name = sorted(tensors)[place % len(tensors)]
    one = tensors[name]
    others = {
        "shape": one[None],
        "dtype": one.to(torch.float16) if one.is_floating_point() else one.float(),
        "nan": torch.full_like(one, float("nan")) if one.is_floating_point() else one * 0 - 1,
        "noise": one + 1,
    }
    if what in others:
        return tensors | {name: others[what].contiguous()}
    if what == "none":
        return {}
    kept = {key: value for key, value in tensors.items() if key != name}
    return kept if what == "drop" else kept | {f"{name}.x": one} if what == "rename" else tensors | {"x": one.clone()}


KINDS = (Kind(name="store", inputs=stores, attempt=attempt_store, share=50),)
