"""What a contract is, what it looks at, and how one of the user's own joins."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pytest_mad.common.errors import first_line, is_out_of_memory
from pytest_mad.common.seeds import generator

#: How far logits may move, relative to their size, before they count as different: well above the rounding of float32.
TOLERANCE = 1e-4

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
_MODULES = (
    "output",
    "gradients",
    "repeatability",
    "batch_independence",
    "causal",
    "lengths",
    "state",
    "autocast",
    "budget",
)
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
#: An entry of the vocabulary this far below the top one is never predicted: it may be masked, also by -inf.
_NEVER = 100.0


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
    for module in _MODULES:
        importlib.import_module(f"pytest_mad.contracts.{module}")


def _is_own(check: Check) -> bool:
    return check.__module__.startswith("pytest_mad.contracts.")


def _identity(check: Check) -> tuple[str, str]:
    """Equal for a function and for the same one after its file was loaded again, under whatever module name."""
    return inspect.getfile(check), check.__qualname__


def falsify(check: Callable[..., None], *, examples: int = 10, **strategies: Any) -> None:
    """Look for drawn arguments on which ``check`` raises, and raise what the smallest of them gives.

    The same arguments in every run, and nothing is written: not even what Hypothesis notes of a project's constants.
    A model that fails only now and then would end as Hypothesis's complaint; what was seen last is the better line.
    """
    import hypothesis
    from hypothesis import configuration

    seen: list[ContractError] = []

    @functools.wraps(check)
    def remembering(**drawn: Any) -> None:
        try:
            check(**drawn)
        except ContractError as broken:
            seen.append(broken)
            raise

    quiet = hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        verbosity=hypothesis.Verbosity.quiet,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    )
    home = getattr(configuration, "__hypothesis_home_directory", None)
    configuration.set_hypothesis_home_dir(os.devnull)
    try:
        quiet(hypothesis.given(**strategies)(remembering))()
    except Exception:
        if seen:
            raise seen[-1] from seen[-1].__cause__
        raise
    finally:
        configuration.set_hypothesis_home_dir(home)


@torch.no_grad()
def logits_of(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    """``(B, T, V)`` in float32. What the model raises becomes a :class:`ContractError` that names the case."""
    batch, length = tokens_BT.shape
    with raising(f"a batch of {many(batch, 'sequence')} of {many(length, 'token')}"):
        logits_BTV: Tensor = model(tokens_BT)
        return logits_BTV.float()


@contextlib.contextmanager
def raising(what: str) -> Iterator[None]:
    """Turn an exception of the user's code into a :class:`ContractError`: ``what`` raises it."""
    try:
        yield
    except (ContractError, NotApplicableError):
        raise
    except Exception as error:
        if is_out_of_memory(error):  # says nothing about the model
            raise
        raise ContractError(f"{what} raises {type(error).__name__}: {first_line(error)}") from error


def are_finite(logits_BTV: Tensor) -> bool:
    """Whether they can be answers. Entries of the vocabulary may be masked by -inf, but not all of them."""
    return bool(logits_BTV.amax(dim=-1).isfinite().all()) and not bool(logits_BTV.isnan().any())


def many(count: int, what: str) -> str:
    """``1 token``, ``2 tokens``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def moved(after: Tensor, before: Tensor) -> float:
    """The largest difference of logits, relative to their size. Adding the same to all changes no prediction."""
    if not after.numel():
        return 0.0
    if not are_finite(before):
        raise NotApplicableError("the logits are not finite: see contract finite")
    if not are_finite(after):
        return math.inf
    tops = [logits.amax(dim=-1, keepdim=True) for logits in (after, before)]
    after, before = ((logits - top).clamp(min=-_NEVER) for logits, top in zip((after, before), tops, strict=True))
    size = before.where(before > -_NEVER, 0.0).abs().amax().clamp(min=1.0)
    return float(((after - before).abs().amax() / size).item())
