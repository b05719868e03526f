"""Check the contracts of one architecture in this process."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.common.errors import SkippedError, first_line, kept_inside, user_traceback, what_happened
from pytest_mad.gate import Verdict
from pytest_mad.presets.setting import Setting
from pytest_mad.results.result import ContractResult

from .options import BUDGET, ContractOptions

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pytest_mad.contracts.base import Subject
    from pytest_mad.store.contracts import StoredContract

BATCHES = 4
BATCH = 32

#: The contract that is asked first, and speaks for the others where there is no model.
FIRST = "output"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What contracts are asked about: an architecture at a setting's sizes, its budgets, and where it runs."""

    architecture: Architecture
    setting: Setting
    max_params: int | None
    max_state: int | None
    device: torch.device


class Checked(NamedTuple):
    """What a contract said, whatever that means for the run."""

    verdict: Verdict
    traceback: str
    seconds: float
    #: there was no model to check
    is_unbuilt: bool = False
    #: found instead of asked
    stored: bool = False


def run_contract(
    architecture: Architecture, setting: Setting, name: str, options: ContractOptions, device: torch.device
) -> tuple[ContractResult, str]:
    """Check a contract, once per process, and judge it; with the traceback where the user's code raised."""
    with architecture.entered():
        return _run_contract(architecture, setting, name, options, device)


def _run_contract(
    architecture: Architecture, setting: Setting, name: str, options: ContractOptions, device: torch.device
) -> tuple[ContractResult, str]:
    mode = options.mode(name)
    if mode.name == "off":
        return _result(architecture, name, Verdict("skipped", f"switched off: {mode.reason}")), ""
    where = (options.largest if name == BUDGET else options.setting) or setting
    limits = {"max_params": options.max_params, "max_state": options.max_state}
    checked = check(name, Case(architecture=architecture, setting=where, device=device, **limits), options.store)
    verdict = checked.verdict
    if verdict.outcome == "fail" and mode.name == "warn":
        return _result(architecture, name, Verdict("pass"), checked, warned=(verdict.detail,)), checked.traceback
    if checked.is_unbuilt and name != FIRST and options.mode(FIRST).name != "off":
        verdict = Verdict("skipped", f"there is no model to check: see contract {FIRST}")
        return _result(architecture, name, verdict, checked), ""
    if verdict.outcome == "fail":
        verdict = verdict._replace(detail=f"{verdict.detail} (to go on without it: --mad-contract={name}=off:REASON)")
    return _result(architecture, name, verdict, checked), checked.traceback


def first_broken(
    architecture: Architecture, setting: Setting, options: ContractOptions, device: torch.device
) -> str | None:
    """One line about the first contract that fails the run; then there is nothing to train for."""
    for name in options.names():
        if options.mode(name).name == "fail":
            result, _ = run_contract(architecture, setting, name, options, device)
            if result.verdict == "fail":
                return f"contract {name} is broken: {result.detail}"
    return None


@functools.lru_cache(maxsize=256)
def check(name: str, case: Case, store: Path | None) -> Checked:
    """Ask one contract, or the store. Kept, because every training item of the process asks again."""
    started = time.monotonic()
    place = _place(case, store)
    found = place.find(name) if place else None
    if found:
        return Checked(found, "", round(time.monotonic() - started, 3), stored=True)
    checked = ask(name, case)
    if place:
        place.keep(name, checked.verdict)
    return checked


@functools.lru_cache(maxsize=32)
def _place(case: Case, store: Path | None) -> StoredContract | None:
    """Where an architecture's verdicts are kept, found once for all contracts."""
    if store is None:
        return None
    from pytest_mad.store.contracts import stored_contracts
    from pytest_mad.store.folder import open_store

    limits = case.max_params, case.max_state
    return stored_contracts(open_store(store), case.architecture, case.setting, limits, case.device)


def ask(name: str, case: Case) -> Checked:
    """Ask one contract."""
    from pytest_mad.architectures.wrappers import ModelError
    from pytest_mad.common.determinism import one_thread, seeded
    from pytest_mad.contracts.base import ContractError, NotApplicableError, contracts

    started = time.monotonic()
    cause: BaseException | None = None
    is_unbuilt = False
    try:
        with one_thread(case.device), seeded("contract", name, case.setting.id), kept_inside():
            told = contracts()[name].check(subject(case))
        verdict = Verdict("pass", told or "")
    except ContractError as broken:
        verdict, cause = Verdict("fail", first_line(broken)), broken.__cause__
    except NotApplicableError as reason:
        verdict = Verdict("skipped", first_line(reason))
    except SkippedError as reason:
        verdict, is_unbuilt = Verdict("skipped", str(reason)), True
    except ModelError as error:
        verdict, cause, is_unbuilt = Verdict("error", str(error)), error.__cause__, True
    except Exception as error:
        verdict, cause = Verdict("error", what_happened(error, "checking")), error
    return Checked(verdict, user_traceback(cause), round(time.monotonic() - started, 3), is_unbuilt)


def subject(case: Case) -> Subject:
    """The architecture at a setting's sizes, with a little of the task's own data."""
    import torch

    from pytest_mad.architectures.build import build_model, run_factory
    from pytest_mad.common.determinism import seeded
    from pytest_mad.common.seeds import generator
    from pytest_mad.contracts.base import Subject
    from pytest_mad.contracts.checking import naming_sparse, raising
    from pytest_mad.training.trial import as_it_is, autocast, make_optimizer, to_device, training_step

    setting, device = case.setting, case.device
    rng = generator("contract data", setting.id)
    data = setting.task.generate(setting.params, BATCHES * BATCH, rng, "train")
    inputs, targets = to_device(data, device)
    fastest = max(setting.recipe.points, key=lambda point: point.lr)

    def build(seed: int) -> nn.Module:
        with seeded("contract", setting.id, seed):
            return build_model(case.architecture, setting, device)

    def learn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> float:
        optimizer = make_optimizer(model.train(), setting.recipe, fastest)
        with raising("a training step"), naming_sparse(model), torch.enable_grad():
            return float(training_step(as_it_is(model), optimizer, *batch, autocast(device, setting.recipe)))

    def changes(seed: int) -> list[str]:
        with seeded("contract", setting.id, seed):
            return run_factory(case.architecture, setting)[1]

    return Subject(
        build=build,
        changes=changes,
        imported=case.architecture.changed,
        learn=learn,
        batches=list(zip(torch.split(inputs, BATCH), torch.split(targets, BATCH), strict=True)),
        vocab_size=setting.params.vocab_size,
        length=setting.task.input_length(setting.params),
        max_length=setting.params.seq_len,
        device=device,
        bottleneck=setting.task.bottleneck,
        max_params=case.max_params,
        max_state=case.max_state,
    )


def _result(
    architecture: Architecture,
    name: str,
    verdict: Verdict,
    checked: Checked | None = None,
    warned: tuple[str, ...] = (),
) -> ContractResult:
    return ContractResult(
        architecture=architecture.name,
        contract=name,
        verdict=verdict.outcome,
        detail=verdict.detail,
        warned=warned,
        seconds=checked.seconds if checked else 0.0,
        stored=checked.stored if checked else False,
    )
