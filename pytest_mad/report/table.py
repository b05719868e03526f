"""The terminal's table: one per architecture, tasks by settings, failing first, MAD score last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from pytest_mad.common.text import NOTHING, accuracy_text, score_text
from pytest_mad.results.gaps import part
from pytest_mad.results.result import ContractResult, ItemResult, SettingResult
from pytest_mad.results.result_file import architecture_of
from pytest_mad.results.verdicts import fails, history, is_warning, pooled

from .means import counted_for, mad_score_line

Colour = Literal["green", "red", "yellow"]
_HEAD = ("", "verdict", "score", "needed", "accuracy", "trivial", "learned", "seconds")
#: Names and verdicts stand at the left of their columns, numbers at the right.
_LEFT = 2


class Line(NamedTuple):
    text: str
    colour: Colour | None = None
    bold: bool = False


def tables(
    settings: Iterable[SettingResult], contracts: Iterable[ContractResult] = (), gaps: Sequence[str] = ()
) -> Iterator[Line]:
    """The lines of all tables. ``gaps`` say what is missing here, if anything is."""
    yield from (Line(gap, "yellow") for gap in gaps)
    records, contracts = list(settings), list(contracts)
    all_of_them: list[ItemResult] = [*records, *contracts]
    for name in dict.fromkeys(record.architecture for record in all_of_them):
        own_records = [record for record in records if record.architecture == name]
        own_contracts = [contract for contract in contracts if contract.architecture == name]
        yield Line(_title(name, own_records), bold=True)
        yield from _contracts(own_contracts)
        if own_records:
            yield from _settings(own_records, partial=bool(gaps))


def _title(architecture: str, records: list[SettingResult]) -> str:
    if not records:
        return architecture
    found = architecture_of(records)
    size = f", {found.parameters:,} parameters {counted_for(found)}".rstrip() if found.parameters else ""
    return f"{architecture} ({records[0].preset}{size})"


def _contracts(contracts: list[ContractResult]) -> Iterator[Line]:
    """What is broken, switched off or does not apply, those of one reason together; and how many hold."""
    told: dict[str, list[ContractResult]] = defaultdict(list)
    for contract in sorted(contracts, key=lambda c: not fails(c)):
        if contract.said or contract.attempts:
            verdict = "" if is_warning(contract) or not contract.said else f"{contract.verdict}: "
            told["; ".join(filter(None, (f"{verdict}{contract.said}", history(contract))))].append(contract)
    for reason, own in told.items():
        names = ", ".join(contract.contract for contract in own)
        yield Line(f"  contract{'' if len(own) == 1 else 's'} {names}: {reason}", _colour(own[0]))
    holding = len(contracts) - sum(map(len, told.values()))
    if holding or (contracts and not told):
        yield Line(f"  {_plural(holding, 'contract')} hold{'s' if holding == 1 else ''}")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _settings(records: list[SettingResult], *, partial: bool) -> Iterator[Line]:
    """A row per setting, in columns as wide as what stands in them, and the reason below one that does not pass."""
    records = sorted(records, key=lambda r: not fails(r))
    rows = [_cells(record) for record in records]
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    yield Line(_row(_HEAD, widths))
    for record, row in zip(records, rows, strict=True):
        yield Line(_row(row, widths), _colour(record))
        if record.verdict != "pass" or record.note:
            yield Line(f"    {record.detail}", _colour(record))
        if record.attempts:
            yield Line(f"    {history(record)}", _colour(record))
    together = None if partial else pooled(records)  # a part is judged by nobody
    if together and together.outcome != "pass":
        yield Line(f"  {together.outcome}: {together.detail}", "red")
    if any(record.stored for record in records):
        yield Line("  stored: measured by an earlier run of this architecture; --mad-no-store measures again")
    if any(record.accuracy is not None for record in records):
        yield Line(f"  {_mad_score(records, partial=partial)}", bold=True)


def _cells(record: SettingResult) -> tuple[str, ...]:
    """In the order of the head. A baseline's name is its task's: this fits 80 columns."""
    cells = (
        record.setting.removesuffix("[baseline]"),
        record.verdict,
        score_text(record.normalized),
        score_text(record.needed),
        accuracy_text(record.accuracy),
        accuracy_text(record.trivial),
        record.learned_text or "-",
        "stored" if record.stored else f"{record.seconds:.1f}",
    )
    return tuple(cell.replace(NOTHING, "-") for cell in cells)  # any terminal can show that


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    texts = [
        cell.ljust(width) if i < _LEFT else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"  {texts[0]}  {' '.join(texts[1:])}"


def _mad_score(records: list[SettingResult], *, partial: bool) -> str:
    found = architecture_of(records, partial=partial)
    if found.mad_score is None:
        return "no MAD score: not every setting has a score"
    mean = "" if part(found) else f" (mean over {_plural(len(found.task_scores), 'task')})"
    return f"{mad_score_line(found)}, normalised {accuracy_text(found.mad_score_normalized)}{mean}"


def _colour(record: ItemResult) -> Colour:
    """An open case is not known to be bad, whether or not it fails the run."""
    if record.verdict == "pass":
        return "yellow" if is_warning(record) else "green"
    return "yellow" if record.verdict in ("inconclusive", "skipped") else "red"
