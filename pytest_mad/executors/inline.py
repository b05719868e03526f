"""What an executor is: where settings are trained and contracts are asked."""

from __future__ import annotations

from typing import Protocol

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.evaluation.contract import run_contract
from pytest_mad.evaluation.options import RunOptions
from pytest_mad.evaluation.setting import Measured, SeedProgress, choose_device, run_and_judge
from pytest_mad.presets.setting import Setting
from pytest_mad.results.result import ContractResult


class Executor(Protocol):
    """Gives an item its result, whenever that item asks."""

    def setting(self, architecture: Architecture, setting: Setting, progress: SeedProgress | None) -> Measured:
        """The verdict on a setting."""

    def contract(self, architecture: Architecture, name: str) -> tuple[ContractResult, str]:
        """The verdict on a contract, and the traceback where the user's code raised."""


class Inline:
    """Everything in this process, when it is asked for. Contracts are asked at ``sizes`` unless options say where."""

    def __init__(self, run: RunOptions, sizes: Setting) -> None:
        self._run, self._sizes = run, sizes

    def setting(self, architecture: Architecture, setting: Setting, progress: SeedProgress | None) -> Measured:
        return run_and_judge(architecture, setting, self._run, progress)

    def contract(self, architecture: Architecture, name: str) -> tuple[ContractResult, str]:
        device = choose_device(self._run.device)
        return run_contract(architecture, self._sizes, name, self._run.contracts, device)
