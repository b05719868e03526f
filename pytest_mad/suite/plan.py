"""From options to architectures and settings, with every usage error found before anything is trained."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_mad.architectures.architecture import Architecture, TargetError, check_unique
from pytest_mad.architectures.targets import TARGETS
from pytest_mad.common.errors import suggestion, user_traceback
from pytest_mad.common.files import FileError, is_folder, is_there, refuse_unwritable
from pytest_mad.evaluation.options import ContractOptions, Mode, RunOptions
from pytest_mad.evaluation.requirement import most_new_seeds
from pytest_mad.gate.baseline import (
    Baseline,
    BaselineError,
    check_fits,
    check_new,
    load_baseline,
    read_entries,
    shipped_baselines,
)
from pytest_mad.presets.reading import settings
from pytest_mad.presets.setting import Setting, as_published, select, with_rates, with_slower, with_threshold

from .marks import importing, left_behind
from .option_table import on_command_line
from .option_values import ContractMode, contract
from .options import options_of
from .shards import Shard
from .storing import store_path

CONTRACT_LENGTH = 128
#: Options of a comparison, and reports, which the command that records a baseline leaves out.
_NOT_IN_A_RECORDING = {
    *("--mad-baseline", "--mad-update-baseline", "--mad-seeds", "--mad-first-seed", "--mad-margin", "--mad-timeout"),
    *("--mad-inconclusive", "--mad-slower", "--mad-json", "--mad-html", "--mad-benchmark-json", "--mad-shard"),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will measure, and how."""

    architectures: tuple[Architecture, ...]
    settings: dict[str, Setting]
    run: RunOptions
    #: the part of the suite that this job runs; None is all of it
    shard: Shard | None = None

    def sizes(self) -> Setting:
        """At whose sizes a contract is asked, unless the options name another setting."""
        return next(iter(self.settings.values()))

    @property
    def preset(self) -> str:
        """The name of the preset."""
        return self.sizes().preset


def make_plan(config: pytest.Config) -> Plan:
    """The plan of a run; ``pytest.UsageError`` is one line that names the option and what would be right."""
    put_invocation_dir_on_path(config)
    found, chosen, options = architectures(config), chosen_settings(config), options_of(config)
    shard = None if options.shard is None else Shard(*options.shard)
    plan = Plan(architectures=found, settings=chosen, run=run_options(config, chosen), shard=shard)
    for setting in plan.settings.values():  # is there room between guessing and the oracle?
        _usage(f"--mad-preset={options.preset}", setting.normalized, 0.0)
    if plan.run.baseline:
        hint = "; --mad-lr changes it: leave that out, or record with it" if options.lrs else ""
        _usage(f"--mad-baseline={plan.run.baseline.source}", check_baseline, plan, plan.run.baseline, hint)
    update = update_path(config)
    if update:
        names = [architecture.name for architecture in found]
        _usage(f"--mad-update-baseline={update.name}", check_update, update, chosen, names)
    return plan


def put_invocation_dir_on_path(config: pytest.Config) -> None:
    """With the console script ``pytest`` the current directory is not importable; in an xdist worker neither."""
    directory = str(config.invocation_params.dir)
    if directory not in sys.path:
        sys.path.insert(0, directory)


def architectures(config: pytest.Config) -> tuple[Architecture, ...]:
    """Those of the command line. What an earlier process died of is told before their code is imported."""
    left_behind(config)
    found = []
    for flag, text in options_of(config).targets:
        with importing(config, text):
            found.append(_usage(f"{flag}={text}", TARGETS[flag], text))
    _usage("--mad-arch, --mad-layers, --mad-mixer", check_unique, found)
    return tuple(found)


def chosen_settings(
    config: pytest.Config,
    *,
    preset: str | None = None,
    tasks: Sequence[str] | None = None,
    threshold: float | None = None,
    slower: str | None = None,
) -> dict[str, Setting]:
    """The preset's settings as options, or the ``mad`` marker's arguments, narrow them down."""
    options = options_of(config)
    where = "preset= of the mad marker" if preset else "--mad-preset"
    chosen: dict[str, Setting] = _usage(where, settings, preset or options.preset)
    for place, number in options.thresholds:
        chosen = _usage("--mad-threshold", with_threshold, chosen, place, number)
    for place, rates in options.lrs:
        chosen = _usage("--mad-lr", with_rates, chosen, place, rates)
    wanted = tasks if tasks is not None else options.tasks
    if wanted is not None:
        chosen = _usage("--mad-tasks" if tasks is None else "tasks= of the mad marker", select, chosen, wanted)
    if options.data is not None:
        chosen = {name: as_published(setting) for name, setting in chosen.items()}
    if threshold is not None:
        chosen = _usage("threshold= of the mad marker", with_threshold, chosen, None, threshold)
    if slower is not None:
        chosen = _usage("slower= of the mad marker", with_slower, chosen, slower)
    return chosen


def run_options(
    config: pytest.Config, chosen: dict[str, Setting] | None = None, contracts: Sequence[str] = ()
) -> RunOptions:
    """How settings are run; contracts are checked at the sizes of one of the ``chosen`` ones.

    ``contracts`` are a marker's, in the form of ``--mad-contract``, and come before the options'.
    """
    options = options_of(config)
    data = None if options.data is None else Path(config.invocation_params.dir, options.data)
    if data is not None and not is_folder(data):
        raise pytest.UsageError(f"--mad-data={data}: there is no such folder")
    where, store = executor(config), store_path(config)
    if options.device == "cuda" and where == "inline":  # a cluster's devices are none of this machine's
        _require_cuda()
    return RunOptions(
        seeds=options.seeds,
        first_seed=options.first_seed,
        device=options.device,
        engine=options.engine,
        timeout=options.timeout,
        baseline=baseline(config),
        margin=options.margin,
        record=update_path(config) is not None,
        tolerant=options.inconclusive == "pass",
        slower=options.slower,
        recorded_by=recording_command(config),
        data_dir=data,
        store=store,
        contracts=replace(contract_options(config, chosen or {}, contracts), store=store),
    )


def executor(config: pytest.Config) -> str:
    """Where the suite's trials run; a usage error where that cannot be."""
    name, written = options_of(config).executor, on_command_line(config)
    if name == "inline" and "ray_address" in written:
        raise pytest.UsageError(f"{written['ray_address']}: is for --mad-executor=ray, which is missing")
    workers = getattr(config.option, "numprocesses", None) or len(getattr(config.option, "tx", None) or ())
    if name == "ray" and workers:
        raise pytest.UsageError(
            f"--mad-executor=ray: and -n {workers}: every worker of xdist would start a Ray of its own; leave -n out, "
            "Ray fills the cores itself"
        )
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise pytest.UsageError("--mad-executor=ray: needs Ray: pip install 'pytest-mad[ray]'")
    return name


def contract_options(config: pytest.Config, chosen: dict[str, Setting], marked: Sequence[str] = ()) -> ContractOptions:
    """Which contracts fail the run, which warn, which are off, and at whose sizes they are checked.

    The longest sequences of at most `CONTRACT_LENGTH` tokens show most in a second or two. An autoencoder is exempt
    from much, so its setting is taken only where there is no other.
    """
    options = options_of(config)
    where = "--mad-contract" if "contracts" in on_command_line(config) else "ini option mad_contract"
    modes = [
        *_known_contracts(where, options.contracts),
        *_known_contracts("contracts= of the mad marker", [_marked_contract(text) for text in marked]),
    ]
    lengths = {setting: setting.task.input_length(setting.params) for setting in chosen.values()}
    telling = sorted(
        lengths,
        key=lambda s: (s.task.bottleneck, lengths[s] > CONTRACT_LENGTH, abs(CONTRACT_LENGTH - lengths[s])),
    )
    return ContractOptions(
        setting=telling[0] if telling else None,
        largest=max(lengths, key=lambda s: (s.params.vocab_size, s.params.seq_len), default=None),
        modes=tuple((name, Mode(*mode)) for name, mode in modes),
        max_params=options.max_params,
        max_state=options.max_state,
    )


def _known_contracts(where: str, modes: Sequence[ContractMode]) -> Sequence[ContractMode]:
    """The modes of contracts, all of which exist."""
    if modes:
        from pytest_mad.contracts.base import contracts

        for name, _ in modes:
            if name not in contracts():
                raise pytest.UsageError(f"{where}: unknown contract {name!r}; {suggestion(name, contracts())}")
    return modes


def _marked_contract(text: str) -> ContractMode:
    mode: ContractMode = _usage(f"contracts= of the mad marker, {text!r}", contract, text)
    return mode


def baseline(config: pytest.Config) -> Baseline | None:
    """The scores to compare with. A recording is compared only with a baseline on its own command line."""
    name, written = options_of(config).baseline, on_command_line(config)
    if name is None or ("update_baseline" in written and "baseline" not in written):
        return None
    if "thresholds" in written and "baseline" in written:
        raise pytest.UsageError(f"--mad-baseline={name}: takes the place of thresholds, so leave --mad-threshold out")
    directory = Path(config.invocation_params.dir)
    try:
        return load_baseline(name, directory)
    except FileError as error:
        is_new = name.endswith(".json") and not is_there(directory / name)
        record = f"; record it: {shlex.join(recording_command(config))}" if is_new else ""
        raise pytest.UsageError(f"--mad-baseline={name}: {error}{record}") from None


def update_path(config: pytest.Config) -> Path | None:
    """The baseline to record, checked before anything is trained for it."""
    given = options_of(config).update_baseline
    if given is None:
        return None
    path = Path(config.invocation_params.dir, given)
    try:
        if str(given) in shipped_baselines():
            raise FileError(f"is the name of a baseline that comes with the package; write {given}.json")
        refuse_unwritable(path)
        if path.exists():
            read_entries(path)
    except FileError as error:
        raise pytest.UsageError(f"--mad-update-baseline={given}: {error}") from None
    return path


def recording_command(config: pytest.Config) -> tuple[str, ...]:
    """The command that records what a baseline lacks: this one, without what belongs to a comparison."""
    kept, arguments = [], iter(map(str, config.invocation_params.args))
    for argument in arguments:
        flag, has_value, _ = argument.partition("=")
        if flag not in _NOT_IN_A_RECORDING:
            kept.append(argument)
        elif not has_value:
            next(arguments, None)
    return ("pytest", *kept, f"--mad-update-baseline={options_of(config).baseline}")


def check_update(path: Path, chosen: dict[str, Setting], names: list[str]) -> None:
    """Raise ``BaselineError`` where a recording would take the place of another preset's."""
    known = read_entries(path) if path.exists() else {}
    for name in names:
        for setting in chosen.values():
            entry = known.get(name, {}).get(setting.id)
            if entry and entry.preset != setting.preset:
                raise BaselineError(
                    f"{name}, {setting.id} is there from preset {entry.preset!r}, but this run has {setting.preset!r}; "
                    "write another file"
                )


def check_baseline(plan: Plan, known: Baseline, hint: str = "") -> None:
    """Raise ``BaselineError``, with a hint, for an entry that was measured otherwise than this run would."""
    for architecture in plan.architectures:
        for setting in plan.settings.values():
            found = known.find(architecture.name, setting.id)
            if found:
                check_fits(found[1], f"{found[0]}, {setting.id}", setting.identity(), hint)
                check_new(found[1], plan.run.first_seed, most_new_seeds(setting, plan.run))


def _require_cuda() -> None:
    """``device_count`` asks the driver's management library, so the controller gets no CUDA context."""
    import torch

    if torch.cuda.device_count() == 0:
        raise pytest.UsageError("--mad-device=cuda: torch sees no CUDA device here; use cpu or auto")


def _usage(option: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call, and turn a ``ValueError`` into a usage error of this option, behind the traceback of its cause."""
    try:
        return function(*arguments)
    except TargetError as error:
        sys.stderr.write(user_traceback(error.__cause__))
        raise pytest.UsageError(f"{option}: {error}") from None
    except ValueError as error:
        raise pytest.UsageError(f"{option}: {error}") from None
