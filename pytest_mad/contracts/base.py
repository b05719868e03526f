"""What a contract is, what it looks at, and how one of the user's own joins."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from pytest_mad.common.seeds import generator

#: Ours, in the order in which they are asked and reported: each means little if those before it are broken.
OWN = (
    "output",
    "finite",
    "repeatability",
    "batch-independence",
    "causality",
    "gradients",
    "lengths",
    "state",
    "autocast",
    "budget",
)
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class ContractError(Exception):
    """A contract that is broken; the message is one line with the smallest case that shows it."""


class NotApplicableError(Exception):
    """A contract that says nothing about this model; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One architecture at the sizes of one setting.

    ``build(seed)`` gives a fresh model ``tokens (B,T) -> logits (B,T,V)`` in training mode; ``learn(model, batch)``
    takes one optimizer step at the recipe's largest learning rate and returns the loss.
    """

    build: Callable[[int], nn.Module]
    learn: Callable[[nn.Module, tuple[Tensor, Tensor]], float]
    #: inputs and targets (B, T) of the task itself
    batches: Sequence[tuple[Tensor, Tensor]]
    vocab_size: int
    #: of the task's sequences
    length: int
    #: what the model was built for
    max_length: int
    device: torch.device
    #: whether the model is an autoencoder, which may see all of its input
    bottleneck: bool = False
    max_params: int | None = None
    max_state: int | None = None

    def tokens(self, batch: int, length: int | None = None, seed: int = 0) -> Tensor:
        """Random token ids, (batch, length)."""
        shape = batch, length or self.length
        drawn = generator("contract", self.vocab_size, *shape, seed).integers(0, self.vocab_size, size=shape)
        return torch.from_numpy(drawn).to(self.device)


Check = Callable[[Subject], None]


@dataclass(frozen=True, kw_only=True)
class Contract:
    """A named property; ``hard`` ones fail the run, the others warn unless the user asks for more."""

    name: str
    check: Check
    hard: bool


_REGISTRY: dict[str, Contract] = {}
CheckT = TypeVar("CheckT", bound=Check)


def register_contract(name: str, *, hard: bool = True) -> Callable[[CheckT], CheckT]:
    """Register the decorated function as contract ``name``; a ``hard`` one fails the run, another warns.

    It gets a :class:`Subject` and raises :class:`ContractError` with one line, or :class:`NotApplicableError`.
    Raises ``ValueError`` if the name cannot stand in a node id, or another function has it already.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"contract {name!r}: a name has letters, digits and _.- only")

    def register(check: CheckT) -> CheckT:
        known = _REGISTRY.get(name) or (_own(name) if not _is_own(check) else None)
        if known is not None and _identity(known.check) != _identity(check):
            raise ValueError(f"contract {name!r} is already registered by {known.check.__module__}")
        _REGISTRY[name] = Contract(name=name, check=check, hard=hard)
        return check

    return register


def contracts() -> dict[str, Contract]:
    """All contracts by name: ours first, in the order of `OWN`, then those that users registered."""
    _load_own()
    return {name: _REGISTRY[name] for name in (*OWN, *_REGISTRY)}


def _own(name: str) -> Contract | None:
    _load_own()
    return _REGISTRY.get(name)


def _load_own() -> None:
    for name in OWN:
        importlib.import_module(f"pytest_mad.contracts.{name.replace('-', '_')}")


def _is_own(check: Check) -> bool:
    return check.__module__.startswith("pytest_mad.contracts.")


def _identity(check: Check) -> tuple[str, str]:
    """Equal for a function and for the same one after its file was loaded again, under whatever module name."""
    return inspect.getfile(check), check.__qualname__
