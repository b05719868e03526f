"""The architecture leaves the process as it is."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_mad.common.globals import put_back

from .base import ContractError, Subject, register_contract
from .checking import raising

FILTERS = "the warnings filters"


@register_contract("globals-unchanged", hard=False)
def globals_unchanged(subject: Subject) -> None:
    """Neither its import, nor its factory, nor its model changes what holds for the whole process.

    All of it is put back, so that no other architecture is judged with it; and the model itself runs without it too.
    """
    first, again = subject.changes(0), subject.changes(1)
    imported = _their_own(subject.imported)
    told = {"importing it": imported, "the factory": tuple(dict.fromkeys((*_their_own(first), *again)))}
    model = subject.build(0).get_submodule("model")  # the user's: our wrapper puts back
    for is_training in (False, True):
        with put_back() as changed, raising("a batch of 2 sequences"):
            model.train(is_training)(subject.tokens(2))
        told["the model"] = tuple(dict.fromkeys((*told.get("the model", ()), *changed)))
    lines = [f"{who} changes {', '.join(changes)}" for who, changes in told.items() if changes]
    if lines:
        whom = "nobody else, not even for its own factory" if imported else "nobody else"
        raise ContractError(f"{'; '.join(lines)}: put back, so that it holds for {whom}")


def _their_own(changes: Iterable[str]) -> tuple[str, ...]:
    """Without what packages change that are imported for the first time: they have filters of their own."""
    return tuple(change for change in changes if change != FILTERS)
