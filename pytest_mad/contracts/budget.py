"""Stated limits of parameters and state."""

from __future__ import annotations

from typing import Any

from .base import ContractError, NotApplicableError, Subject, register_contract


@register_contract("budget")
def budget(subject: Subject) -> None:
    """At most ``--mad-max-params`` parameters and ``--mad-max-state`` floats of state per sequence."""
    if subject.max_params is None and subject.max_state is None:
        raise NotApplicableError("no limit is set: give --mad-max-params or --mad-max-state")
    model = subject.build(0)
    parameters = sum(p.numel() for p in model.parameters())
    if subject.max_params is not None and parameters > subject.max_params:
        raise ContractError(f"{parameters:,} parameters are more than the {subject.max_params:,} allowed")
    if subject.max_state is None:
        return
    inner: Any = getattr(model, "model", model)
    if not callable(getattr(inner, "state_size", None)):
        raise ContractError("the state cannot be counted: the model has no state_size()")
    size = inner.state_size()
    if size is None:
        raise ContractError(f"the state grows with the sequence, and {subject.max_state:,} floats are allowed")
    if size > subject.max_state:
        raise ContractError(f"a state of {size:,} floats is more than the {subject.max_state:,} allowed")
