"""How settings and contracts are run: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pytest_mad.gate.baseline import Baseline
from pytest_mad.gate.judge import SlowerMode
from pytest_mad.presets.setting import Setting

BUDGET = "budget"


ModeName = Literal["fail", "warn", "off"]


class Mode(NamedTuple):
    """What a broken contract does, over what the contract itself says; why it is off, if it is."""

    name: ModeName
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContractOptions:
    """How contracts are checked."""

    #: at whose sizes; None for those of the setting that is trained
    setting: Setting | None = None
    #: whose models are the largest, for the budget
    largest: Setting | None = None
    modes: tuple[tuple[str, Mode], ...] = ()
    max_params: int | None = None
    max_state: int | None = None
    #: where verdicts are kept, and found again
    store: Path | None = None

    def mode(self, name: str) -> Mode:
        """The mode of a contract."""
        from pytest_mad.contracts.base import contracts

        return dict(self.modes).get(name) or Mode("fail" if contracts()[name].hard else "warn")

    def off(self) -> list[tuple[str, str]]:
        """Contracts that are switched off, each with the reason."""
        return [(name, mode.reason) for name, mode in dict(self.modes).items() if mode.name == "off"]

    def names(self) -> list[str]:
        """The contracts that a run has: all, but the budget only where there is one."""
        from pytest_mad.contracts.base import contracts

        limited = self.max_params is not None or self.max_state is not None
        return [name for name in contracts() if limited or name != BUDGET]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How settings are run, whichever they are."""

    #: replications per setting; None for one, or with a baseline as many as the preset's gate says
    seeds: int | None = None
    #: where counting begins; None for 0, or with a baseline behind the recorded seeds
    first_seed: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["auto", "loop", "vmap"] = "auto"
    #: seconds per setting
    timeout: float | None = None
    data_dir: Path | None = None
    #: where trials are kept, and found again
    store: Path | None = None
    contracts: ContractOptions = field(default_factory=ContractOptions)
    #: compare with these scores instead of thresholds
    baseline: Baseline | None = None
    #: over the preset's
    margin: float | None = None
    #: full sweeps of every seed, for a baseline
    record: bool = False
    #: ``inconclusive`` counts as a pass
    tolerant: bool = False
    #: what the verdict ``slower`` counts as
    slower: SlowerMode = "fail"
    #: the command that records what the baseline lacks, word by word
    recorded_by: tuple[str, ...] = ()

    def limit(self) -> str:
        """What ended a setting whose time ran out, by the option's name; nothing where there is no limit."""
        return "" if self.timeout is None else f"the limit is --mad-timeout={self.timeout:g} per setting"
