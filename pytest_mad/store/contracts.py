"""Contract verdicts that are found again instead of being checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mad.architectures.architecture import Architecture
from pytest_mad.architectures.source import code_digest, source_digest
from pytest_mad.common.records import plain
from pytest_mad.gate import Verdict
from pytest_mad.presets.setting import Setting

from .folder import DamagedError, Store, Stored, key_of
from .headers import ContractHeader, header_of
from .identity import Identity, identify, surroundings

if TYPE_CHECKING:
    import torch

_CODE = ("contracts", "evaluation", "store", "training", "presets", "tasks", "architectures", "common")


class StoredContract:
    """The place of one contract's verdict in the store.

    A contract is about cases that no trial meets, so evidence of training steps is not enough: the source must be the
    same too. Only what holds, or does not apply, is kept: what is broken is soon found again, with its traceback.
    """

    def __init__(
        self, store: Store, identity: Identity, setting: Setting, limits: tuple[int | None, ...], device: torch.device
    ) -> None:
        self._store, self._identity = store, identity
        self._what = {
            "setting": setting.id,
            "width": setting.width,
            "embedding_std": setting.embedding_std,
            "recipe": setting.recipe.to_json(),
            **setting.identity(),
            "limits": limits,
            "shapes": identity.shapes,
            "code": code_digest(*_CODE),
            **surroundings(device),
        }

    def find(self, name: str) -> Verdict | None:
        """The verdict on the same source, if today's model also does what that one did."""
        key = self._key(name)
        if key is None:
            return None
        candidates = (self._read_safely(stored) for stored in self._store.find("contract", key))
        return next(filter(None, candidates), None)

    def _read_safely(self, stored: Stored) -> Verdict | None:
        try:
            verdict = self._read(stored)
        except DamagedError as error:
            self._store.note(f"{stored.path.name} {error} and is not used; delete it")
            return None
        if verdict:
            self._store.used(stored)
        return verdict

    def _read(self, stored: Stored) -> Verdict | None:
        """The verdict, if today's model begins as the stored one did: a file that it reads may say otherwise."""
        header = header_of(ContractHeader, stored)
        is_same = self._identity.is_marked(header) and self._identity.start.agrees(stored.tensors())
        return Verdict(header.verdict, header.detail) if is_same else None

    def keep(self, name: str, verdict: Verdict) -> None:
        key = self._key(name)
        mine = self._identity
        if key and verdict.outcome in ("pass", "skipped") and mine.source and mine.is_as_loaded():
            header = ContractHeader(
                source=mine.source, hidden=mine.hidden, verdict=verdict.outcome, detail=verdict.detail
            )
            self._store.write("contract", key, mine.which(), plain(header), mine.start.values)

    def _key(self, name: str) -> str | None:
        """None for a contract of the user's whose source cannot be read."""
        from pytest_mad.contracts.base import contracts

        module = contracts()[name].check.__module__
        source = code_digest(*_CODE) if module.startswith("pytest_mad.") else source_digest([module])
        return source and key_of(self._what | {"contract": name, "contract_source": source})


def stored_contracts(
    store: Store | None,
    architecture: Architecture,
    setting: Setting,
    limits: tuple[int | None, ...],
    device: torch.device,
) -> StoredContract | None:
    """Where an architecture's verdicts are kept; None without a store, or for a model that cannot be asked."""
    if store is None:
        return None
    try:
        identity = identify(architecture, setting, setting.recipe.points[0], 0, None, device)
    except Exception:  # the contracts say what is wrong with it
        return None
    return StoredContract(store, identity, setting, limits, device)
