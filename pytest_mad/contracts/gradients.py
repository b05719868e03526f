"""The model can be trained: its gradients reach every weight."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .base import ContractError, NotApplicableError, Subject, register_contract
from .checking import users_name

MODELS = 6  # a unit may be dead by chance in one model, but hardly in all
DRAWS = 8  # behind projections that start at zero, gradients come a step later
SEQUENCES = 32
NAMED = 3


@register_contract("gradients")
def gradients(subject: Subject) -> None:
    """Every row of every weight gets a gradient that is finite and, over several models and batches, not zero.

    Rows of embeddings are exempt: a batch need not contain every token. Random tokens of the full length, with a random
    target each, so that all that the model has is used.
    """
    reached: dict[str, Tensor] = {}
    for draw in range(MODELS * DRAWS):
        seed, step = divmod(draw, DRAWS)
        if step == 0:
            model = subject.build(seed)
        tokens, targets = (subject.tokens(SEQUENCES, subject.max_length, seed=2 * draw + i) for i in range(2))
        if not math.isfinite(subject.learn(model, (tokens, targets))):
            raise NotApplicableError("the loss is not finite: see contract finite")
        for name, rows in _rows(model).items():
            reached[name] = reached.get(name, torch.zeros_like(rows)) | rows
        dead = {name: rows for name, rows in reached.items() if not rows.all()}
        if subject.bottleneck:  # what decodes the vector may pass by the model's own head
            dead = {name: rows for name, rows in dead.items() if rows.any()}
        if not dead:
            return
    told = [_describe(model, name, rows) for name, rows in dead.items()]
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    raise ContractError(f"no gradient reaches {', '.join(told[:NAMED])}{more}")


def _rows(model: nn.Module) -> dict[str, Tensor]:
    """Which rows of each weight have a gradient other than zero; one value for an embedding."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    found = {}
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if not gradient.isfinite().all():
            raise ContractError(f"the gradient of {users_name(name)} is not finite")
        if not parameter.numel():
            continue
        rows = (gradient != 0).reshape(len(parameter) if parameter.dim() else 1, -1).any(1)
        found[name] = rows.any()[None] if id(parameter) in tables else rows
    return found


def _describe(model: nn.Module, name: str, rows: Tensor) -> str:
    if not model.get_parameter(name).requires_grad:
        return f"{users_name(name)} (frozen)"
    if not rows.any():
        return users_name(name)
    dead = (~rows).nonzero().flatten().tolist()
    return f"{users_name(name)} (row{'s' if len(dead) > 1 else ''} {', '.join(map(str, dead[:NAMED]))} of {len(rows)})"
