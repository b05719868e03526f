"""Which rows of weights an input can reach at all: those that are looked up, and those of answers that count.

A table of 512 positions, of which sequences of 32 tokens use 32, is sound; a layer that nobody calls is not. Both have
weights without a gradient. What tells them apart is how a forward pass comes to its weights: a table is indexed, by
what depends on the input, and its other rows are for other inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
_ELEMENTWISE = {aten._to_copy, aten.clone, aten.detach, aten.alias, aten.mul, aten.div, aten.add, aten.sub, aten.neg}


class Lookups(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records which rows (entries of the first dimension) of a model's parameters are used inside it.

    By an index, or as a view: what computes with ``table[:length]``, or with a part of a split, uses those rows.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tables = {name: p for name, p in model.named_parameters() if p.numel() and p.is_contiguous()}
        self._names = {_memory(p): name for name, p in self._tables.items() if _is_alone(p)}
        #: what was computed from a whole table, which must outlive this: another tensor would get its place in memory
        self._derived: list[Tensor] = []
        self.rows: dict[str, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        made = {_memory(one) for one in tree_leaves(out) if isinstance(one, Tensor)}
        look_up = _LOOKUPS.get(func.overloadpacket)
        for tensor in given:
            name = self._names.get(_memory(tensor))
            if name is None or _memory(tensor) in made:  # a view of it
                continue
            if look_up and tensor is given[0]:
                self._use(name, *look_up(*args, **(kwargs or {})), tensor)
            elif func.overloadpacket not in _ELEMENTWISE or not self._derive(name, out):
                self._use(name, 0, _rows_in(tensor, len(self._tables[name])), self._tables[name])
        return out

    def _use(self, name: str, axis: int, rows: Any, table: Tensor) -> None:
        """These entries along an axis of a view of the table are used: its rows, if the axis is theirs."""
        whole = self._tables[name]
        known = self.rows.setdefault(name, torch.zeros(len(whole) if whole.dim() else 1, dtype=torch.bool))
        if axis % max(table.dim(), 1) == _axis(table.shape, whole.shape):
            known[rows.cpu() if isinstance(rows, Tensor) else rows] = True
        else:
            known[:] = True

    def _derive(self, name: str, out: Any) -> bool:
        """Whether something was computed from all of the table, entry by entry: then it is as good a table."""
        is_table = isinstance(out, Tensor) and out.shape == self._tables[name].shape and out.is_contiguous()
        if is_table:
            self._names[_memory(out)] = name
            self._derived.append(out)
        return is_table


def _is_alone(parameter: Tensor) -> bool:
    """Whether it has its memory to itself: several may be cut from one tensor."""
    return parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size()


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _rows_in(view: Tensor, rows: int) -> slice:
    """Rows of a contiguous table of which a view has entries."""
    per_row = view.untyped_storage().nbytes() // view.element_size() // rows
    if not view.numel():
        return slice(0, 0)
    first = view.storage_offset()
    last = first + sum((size - 1) * stride for size, stride in zip(view.shape, view.stride(), strict=True))
    return slice(first // per_row, last // per_row + 1)


def _axis(shape: torch.Size, of_table: torch.Size) -> int | None:
    """Where the rows of a table are in a view of it."""
    if shape == of_table:
        return 0
    if shape == (1, *of_table):
        return 1
    return 1 if len(of_table) == 2 and shape == of_table[::-1] else None


def _by_embedding(table: Tensor, indices: Tensor, padding_idx: int = -1, *_: Any, **__: Any) -> tuple[int, Any]:
    return 0, indices[indices != padding_idx]


def _first_dimension(table: Tensor, rows: Tensor, *_: Any, **__: Any) -> tuple[int, Any]:
    return 0, rows


def _by_dimension(table: Tensor, dim: int, rows: Any, **_: Any) -> tuple[int, Any]:
    return dim, rows


def _by_index(table: Tensor, indices: Sequence[Tensor | None]) -> tuple[int, Any]:
    axis = next((i for i, index in enumerate(indices) if index is not None), 0)
    return axis, indices[axis]


#: Of each operator that looks up: along which axis, and what.
_LOOKUPS: dict[Any, Callable[..., tuple[int, Any]]] = {
    aten.embedding: _by_embedding,
    aten._embedding_bag: _first_dimension,
    aten.index: _by_index,
    aten.index_select: _by_dimension,
    aten.gather: _by_dimension,
}


def looked_up(model: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Which rows of each table these inputs (B, T) look up; what does not depend on the input is no look-up."""
    one_token = torch.zeros_like(inputs[0])
    found = [_rows_of(model, tokens_BT) for tokens_BT in (one_token[:, :-1], one_token, *inputs)]
    tables: dict[str, Tensor] = {}
    for name in found[-1]:
        each = [rows[name] for rows in found if name in rows]
        if len(each) < len(found) or any(not torch.equal(each[0], other) for other in each[1:]):
            tables[name] = torch.stack(each).any(0)
    return tables


@torch.no_grad()
def _rows_of(model: nn.Module, tokens_BT: Tensor) -> dict[str, Tensor]:
    """Nothing where the model cannot be watched, or takes no such length."""
    lookups = Lookups(model)
    try:
        with lookups:
            model(tokens_BT)
    except Exception:
        return {}
    return lookups.rows


def is_head(model: nn.Module, name: str, tokens_BT: Tensor, vocab_size: int) -> bool:
    """Whether each answer depends on a row of its own of this parameter, so that further rows are answers to spare.

    Differences of two logits are looked at, so that a normalisation over the vocabulary does not matter.
    """
    parameter, logits_BTV = model.get_parameter(name), model(tokens_BT)
    for answer in {1, vocab_size // 2, vocab_size - 1}:
        difference = (logits_BTV[..., answer] - logits_BTV[..., 0]).sum()
        (gradient,) = torch.autograd.grad(difference, parameter, retain_graph=True, allow_unused=True)
        if gradient is None or gradient.reshape(len(parameter), -1).any(1).sum() > 2:
            return False
    return True
