"""The model can be trained: its gradients reach every weight."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_mad.architectures.jitter import jitter, shaken
from pytest_mad.common.errors import is_out_of_memory

from .base import ContractError, NotApplicableError, Subject, register_contract
from .checking import users_name
from .reach import is_head, looked_up

MODELS = 6  # a unit may be dead by chance in one model, but hardly in all
DRAWS = 8  # behind projections that start at zero, gradients come a step later
SEQUENCES = 32
NAMED = 3
SHAKEN = 96  # with other weights, every expert of a hundred is chosen once
LONGEST = 2048  # of inputs beyond the data


@register_contract("gradients")
def gradients(subject: Subject) -> str | None:
    """Every row of every trained weight gets a gradient that is finite and, over several models and batches, not zero.

    Random tokens of the full length, with a random target each, so that all that the model has is used; all models but
    the first are jittered, so that no gate stays closed. Exempt is what no such input can reach: rows of embeddings
    and other tables for longer inputs or more tokens, experts that only other routers choose, answers beyond the
    vocabulary. Weights that are frozen are a choice, which is told.
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

    Three things tell a weight that waits from one that is forgotten: with other weights, other experts are chosen and
    gates are open; longer inputs and larger ids come to the other rows of a table; and where a model takes none of
    these, the rows that it looks up are compared with gradients for the same inputs and the same weights.
    """
    inputs = [subject.tokens(SEQUENCES, subject.max_length, seed=2 * draw) for draw in range(DRAWS)]
    for tokens in inputs:
        dead = _also(dead, _reached(model, tokens, subject))
    for seed in range(SHAKEN):
        if _is_all(dead):
            return {}
        with shaken(model, seed):
            dead = _also(dead, _reached(model, inputs[seed % DRAWS], subject))
    for tokens in _beyond(subject, dead):
        dead = _also(dead, _reached(model, tokens, subject))
    tables, found = looked_up(model.eval(), inputs), {}
    for name, rows in dead.items():
        exempt = torch.zeros_like(rows)
        if name in tables and len(tables[name]) == len(rows):
            exempt = ~tables[name].to(rows.device)
        elif rows.sum() == subject.vocab_size and is_head(model, name, inputs[0][:2], subject.vocab_size):
            exempt = ~rows
        if not (rows | exempt).all():
            found[name] = rows | exempt
    return found


def _reached(model: nn.Module, tokens: Tensor, subject: Subject) -> dict[str, Tensor]:
    """Which rows of each weight get a gradient for these tokens; none where the model does not take them."""
    model.train().zero_grad()
    targets = torch.randint(subject.vocab_size, tokens.shape, generator=torch.Generator().manual_seed(0))
    try:
        logits = model(tokens).float()
        functional.cross_entropy(logits.flatten(0, 1), targets.flatten().to(logits.device)).backward()  # type: ignore[no-untyped-call]
        return _rows(model)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return {}


def _beyond(subject: Subject, dead: dict[str, Tensor]) -> Iterator[Tensor]:
    """Inputs beyond the data: as long, and with as many token ids, as a table with unreached rows has rows."""
    for rows in sorted({len(one) for one in dead.values()}):
        if subject.max_length < rows <= LONGEST:
            yield subject.tokens(1, rows)
        if subject.vocab_size < rows:
            draw = torch.Generator().manual_seed(rows)
            shape = min(SEQUENCES, 1 + LONGEST // subject.max_length), subject.max_length
            yield torch.randint(rows, shape, generator=draw).to(subject.device)


def _also(dead: dict[str, Tensor], now: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: rows | now[name] if name in now else rows for name, rows in dead.items()}


def _is_all(dead: dict[str, Tensor]) -> bool:
    return all(bool(rows.all()) for rows in dead.values())


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
