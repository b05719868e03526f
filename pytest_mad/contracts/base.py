"""What a contract is, what it looks at, and how one of the user's own joins."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from pytest_mad.common.registry import Registry
from pytest_mad.common.seeds import generator
from pytest_mad.common.text import NAME

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
    "input-unchanged",
    "globals-unchanged",
    "budget",
)


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
    #: what making one more model changes of the process, an entry each
    changes: Callable[[int], list[str]]
    #: what importing it changed
    imported: tuple[str, ...] = ()
    #: whether the model is an autoencoder, which may see all of its input
    bottleneck: bool = False
    max_params: int | None = None
    max_state: int | None = None

    def tokens(self, batch: int, length: int | None = None, seed: int = 0) -> Tensor:
        """Random token ids, (batch, length)."""
        shape = batch, length or self.length
        drawn = generator("contract", self.vocab_size, *shape, seed).integers(0, self.vocab_size, size=shape)
        return torch.from_numpy(drawn).to(self.device)


#: What it returns is worth telling of a contract that holds.
Check = Callable[[Subject], str | None]


@dataclass(frozen=True, kw_only=True)
class Contract:
    """A named property; ``hard`` ones fail the run, the others warn unless the user asks for more."""

    name: str
    check: Check
    hard: bool


CheckT = TypeVar("CheckT", bound=Check)


def _load_own() -> None:
    for name in OWN:
        importlib.import_module(f"{__package__}.{name.replace('-', '_')}")


_CONTRACTS: Registry[Contract] = Registry("contract", str(__package__), _load_own)


def register_contract(name: str, *, hard: bool = True) -> Callable[[CheckT], CheckT]:
    """Register the decorated function as contract ``name``; a ``hard`` one fails the run, another warns.

    It gets a :class:`Subject` and raises :class:`ContractError` with one line, or :class:`NotApplicableError`; it may
    return a line that is worth telling of a contract that holds.
    Raises ``ValueError`` if the name cannot stand in a node id, or another function has it already.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"contract {name!r}: a name has letters, digits and _.- only")

    def register(check: CheckT) -> CheckT:
        _CONTRACTS.add(name, Contract(name=name, check=check, hard=hard), check)
        return check

    return register


def contracts() -> dict[str, Contract]:
    """All contracts by name: ours first, in the order of `OWN`, then those that users registered."""
    names = _CONTRACTS.names()
    return {name: _CONTRACTS[name] for name in (*OWN, *names)}
