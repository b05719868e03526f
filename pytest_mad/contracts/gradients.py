"""The model can be trained: its gradients reach every weight."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_mad.architectures.jitter import jitter

from .base import ContractError, NotApplicableError, Subject, register_contract
from .checking import raising, users_name
from .reach import is_head, looked_up, never_chosen

MODELS = 6  # a unit may be dead by chance in one model, but hardly in all
DRAWS = 8  # behind projections that start at zero, gradients come a step later
SEQUENCES = 32
NAMED = 3


@register_contract("gradients")
def gradients(subject: Subject) -> str | None:
    """Every row of every trained weight gets a gradient that is finite and, over several models and batches, not zero.

    Random tokens of the full length, with a random target each, so that all that the model has is used; all models but
    the first are jittered, so that no gate stays closed. Exempt is what no such input can reach: rows of embeddings
    and other tables that are not looked up, experts that are not chosen, answers beyond the vocabulary. Weights that
    are frozen are a choice, which is told.
    """
    reached: dict[str, Tensor] = {}
    for draw in range(MODELS * DRAWS):
        seed, step = divmod(draw, DRAWS)
        if step == 0:
            model = jitter(subject.build(seed), seed) if seed else subject.build(seed)
        tokens, targets = (subject.tokens(SEQUENCES, subject.max_length, seed=2 * draw + i) for i in range(2))
        if not math.isfinite(subject.learn(model, (tokens, targets))):
            raise NotApplicableError("the loss is not finite: see contract finite")
        for name, rows in _rows(model).items():
            reached[name] = reached.get(name, torch.zeros_like(rows)) | rows
        dead = {name: rows for name, rows in reached.items() if not rows.all()}
        if subject.bottleneck:  # what decodes the vector may pass by the model's own head
            dead = {name: rows for name, rows in dead.items() if rows.any()}
        if not dead:
            return _frozen(model)
    dead = _reachable(subject, model, dead)
    if not dead:
        return _frozen(model)
    told = [_describe(name, rows) for name, rows in dead.items()]
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    raise ContractError(f"no gradient reaches {', '.join(told[:NAMED])}{more}")


def _rows(model: nn.Module) -> dict[str, Tensor]:
    """Which rows of each trained weight have a gradient other than zero; one value for an embedding."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    found = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or not parameter.numel():
            continue
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if not gradient.isfinite().all():
            raise ContractError(f"the gradient of {users_name(name)} is not finite")
        rows = (gradient != 0).reshape(len(parameter) if parameter.dim() else 1, -1).any(1)
        found[name] = rows.any()[None] if id(parameter) in tables else rows
    return found


def _reachable(subject: Subject, model: nn.Module, dead: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of the weights without a gradient that the inputs can reach; rows that they cannot count as reached.

    What the model looks up is compared with gradients for the same inputs and the same weights: a router that has moved
    chooses others.
    """
    inputs = [subject.tokens(SEQUENCES, subject.max_length, seed=2 * draw) for draw in range(DRAWS)]
    model.eval()
    tables, experts = looked_up(model, inputs), never_chosen(model, inputs)
    found = {}
    for tokens in inputs:
        model.train().zero_grad()
        targets = subject.tokens(SEQUENCES, subject.max_length, seed=1).flatten()
        with raising("a training step"):
            functional.cross_entropy(model(tokens).float().flatten(0, 1), targets).backward()  # type: ignore[no-untyped-call]
        now = _rows(model)
        dead = {name: rows | now[name] for name, rows in dead.items()}
    for name, rows in dead.items():
        exempt = torch.zeros_like(rows)
        if name in tables and len(tables[name]) == len(rows):
            exempt = exempt | ~tables[name].to(rows.device)
        elif any(name.startswith(f"{expert}.") for expert in experts):
            exempt = exempt | True
        elif rows.sum() == subject.vocab_size and is_head(model, name, inputs[0][:2], subject.vocab_size):
            exempt = ~rows
        if not (rows | exempt).all():
            found[name] = rows | exempt
    return found


def _frozen(model: nn.Module) -> str | None:
    names = [users_name(name) for name, parameter in model.named_parameters() if not parameter.requires_grad]
    if not names:
        return None
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"frozen, with requires_grad=False: {', '.join(names[:NAMED])}{more}"


def _describe(name: str, rows: Tensor) -> str:
    if not rows.any():
        return users_name(name)
    dead = (~rows).nonzero().flatten().tolist()
    return f"{users_name(name)} (row{'s' if len(dead) > 1 else ''} {', '.join(map(str, dead[:NAMED]))} of {len(rows)})"
