"""What contracts check with: logits, how far they moved, and Hypothesis with its silence."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pytest_mad.common.errors import first_line, is_out_of_memory, type_name

from .base import ContractError, NotApplicableError

#: How far logits may move, relative to their size, before they count as different: well above the rounding of float32
#: (FFT convolutions move by some 1e-6), well below what a score could profit from.
TOLERANCE = 1e-4
#: An entry of the vocabulary this far below the top one is never predicted. It may be masked, also by -inf: a mask must
#: neither hide a change nor pass for one.
_NEVER = 100.0


def falsify(check: Callable[..., None], *, examples: int = 10, **values: Sequence[Any]) -> None:
    """Look for arguments among ``values`` on which ``check`` raises, and raise what the first of them gives.

    The same arguments in every run, and nothing is written: not even what Hypothesis notes of a project's constants.
    A model that fails only now and then would end as Hypothesis's complaint; what was seen last is the better line.
    """
    import hypothesis  # here, since a process that asks no contract does without it
    from hypothesis import configuration, strategies

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
        strategy = {name: strategies.sampled_from(of) for name, of in values.items()}
        quiet(hypothesis.given(**strategy)(remembering))()
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
        raise ContractError(f"{what} raises {type_name(error)}: {first_line(error)}") from error


@contextlib.contextmanager
def naming_sparse(model: nn.Module) -> Iterator[None]:
    """Say which gradient is sparse where the optimizer takes none."""
    try:
        yield
    except RuntimeError as error:
        sparse = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.is_sparse]
        if not sparse:
            raise
        raise ContractError(
            f"the gradient of {users_name(sparse[0])} is sparse, and AdamW takes no sparse gradients: use sparse=False"
        ) from error


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
    after, before = below_top(after), below_top(before)
    return float(((after - before).abs().amax() / size(before)).item())


def below_top(logits_BTV: Tensor) -> Tensor:
    """Logits relative to the highest of their position: adding the same to all of them changes no prediction."""
    return (logits_BTV - logits_BTV.amax(dim=-1, keepdim=True)).clamp(min=-_NEVER)


def size(relative_BTV: Tensor) -> Tensor:
    """What a change of such logits is measured against: the largest of them that may be predicted, and at least 1."""
    return relative_BTV.where(relative_BTV > -_NEVER, 0.0).abs().amax().clamp(min=1.0)


def users_name(name: str) -> str:
    """The user's name of a parameter: ours wraps their model."""
    return name.removeprefix("model.")
