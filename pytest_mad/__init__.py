"""pytest-mad: the MAD synthetic tasks as capability unit tests for sequence-model architectures.

Names are loaded when they are first used, so that importing the package, as every pytest run does, costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_mad.contracts.base import ContractError, NotApplicableError, Subject, register_contract
    from pytest_mad.presets.reading import settings
    from pytest_mad.presets.setting import Setting
    from pytest_mad.results.result import ArchitectureResult, ContractResult, Run, SettingResult, TrialResult

    from .api import SuiteScore, evaluate, evaluate_suite
    from .layers import build_layer, layer_names, register_layer
    from .tasks import Batch, Players, Task, TaskParams, register_task, task_names

__version__ = "0.1.0"

_HOMES = {
    "Batch": "tasks",
    "ContractError": "contracts.base",
    "NotApplicableError": "contracts.base",
    "Players": "tasks",
    "ArchitectureResult": "results.result",
    "ContractResult": "results.result",
    "Run": "results.result",
    "SettingResult": "results.result",
    "TrialResult": "results.result",
    "Setting": "presets.setting",
    "SuiteScore": "api",
    "Task": "tasks",
    "TaskParams": "tasks",
    "build_layer": "layers",
    "Subject": "contracts.base",
    "evaluate": "api",
    "evaluate_suite": "api",
    "layer_names": "layers",
    "register_contract": "contracts.base",
    "register_layer": "layers",
    "register_task": "tasks",
    "settings": "presets.reading",
    "task_names": "tasks",
}

__all__ = [
    "ArchitectureResult",
    "Batch",
    "ContractError",
    "ContractResult",
    "NotApplicableError",
    "Players",
    "Run",
    "Setting",
    "SettingResult",
    "Subject",
    "SuiteScore",
    "Task",
    "TaskParams",
    "TrialResult",
    "__version__",
    "build_layer",
    "evaluate",
    "evaluate_suite",
    "layer_names",
    "register_contract",
    "register_layer",
    "register_task",
    "settings",
    "task_names",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
