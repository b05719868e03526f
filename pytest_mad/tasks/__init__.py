"""The synthetic tasks of MAD (arXiv 2403.17844): pure, vectorised NumPy."""

from .base import IGNORE, Batch, Player, Players, Task, TaskParams, accuracy
from .registry import UnknownTaskError, get_task, register_task, task_names

__all__ = [
    "IGNORE",
    "Batch",
    "Player",
    "Players",
    "Task",
    "TaskParams",
    "UnknownTaskError",
    "accuracy",
    "get_task",
    "register_task",
    "task_names",
]
