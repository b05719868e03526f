"""The terminal's lines for two result files side by side."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator

from pytest_mad.common.text import round_down
from pytest_mad.results.compare import AnyRow, Comparison, Pair, Row, scores
from pytest_mad.results.gaps import part
from pytest_mad.results.result import ArchitectureResult, ContractResult, ItemResult, SettingResult
from pytest_mad.results.verdicts import fails, is_warning, passes

from .means import mad_score_name, parameters_text
from .table import Colour, Line

_TITLES = ("", "A", "B", "diff", "seeds", "verdict", "")
#: A reason is one sentence; what a file says beyond this is left out.
_LONGEST = 500


def lines(comparison: Comparison, files: tuple[str, str], columns: int = 80, verbosity: int = 0) -> Iterator[Line]:
    """All lines, within ``columns`` where names leave room.

    ``verbosity`` above 0 adds the reason of every verdict; below 0 leaves out all that exit code 1 is not due to.
    """
    if verbosity >= 0:
        for side, file, run in zip("AB", files, (comparison.a, comparison.b), strict=True):
            torch = run.environment.torch and f"torch {run.environment.torch}"
            about = run.preset, torch, run.environment.device
            yield from _said(f"{side}: {file} ({', '.join(filter(None, about))})", columns)
    for warning in comparison.warnings:
        yield from _said(f"warning: {warning}", columns, colour="yellow")
    for pair in comparison.pairs:
        if verbosity >= 0 or any(row.is_bad for row in pair.rows):
            yield from _pair(pair, columns, verbosity)
    said, colour = _result(comparison)
    yield from _said(said, columns, colour=colour, bold=True)


def _pair(pair: Pair, columns: int, verbosity: int) -> Iterator[Line]:
    yield from _said(f"{pair.name}{_sizes(pair)}", columns, bold=True)
    yield from _contracts(pair.contracts, columns, verbosity)
    shown = [row for row in pair.settings if verbosity >= 0 or row.is_bad]
    if shown:
        yield from _settings(sorted(shown, key=lambda row: not row.is_bad), columns, verbosity)
    if verbosity >= 0:
        yield from _said(_means(pair), columns, indent=2, bold=True)


def _sizes(pair: Pair) -> str:
    """Parameters and state, where they are known and where they changed."""
    if pair.a is None or pair.b is None:
        return " (only in A)" if pair.b is None else " (only in B)"
    both = pair.a, pair.b
    parameters = _step_of("parameters", (one.parameters for one in both))
    if pair.a.largest and pair.b.largest and pair.a.largest != pair.b.largest:  # perhaps of one and the same model
        parameters = "parameters " + " -> ".join(parameters_text(one) for one in both)
    said = [one for one in (parameters, _step_of("floats of state", (one.state_size for one in both))) if one]
    return f" ({', '.join(said)})" if said else ""


def _step_of(unit: str, sizes: Iterable[int | None]) -> str:
    """One number where it is the same, or known of one side only; nothing where it is not known."""
    known = dict.fromkeys(f"{size:,}" for size in sizes if size is not None)
    return f"{' -> '.join(known)} {unit}" if known else ""


# -- contracts ------------------------------------------------------------------------------------------------------


def _contracts(rows: tuple[Row[ContractResult], ...], columns: int, verbosity: int) -> Iterator[Line]:
    """What changed or fails, with the reason; by name what one file lacks; and how many are the same."""
    shown = [row for row in rows if row.is_bad or (verbosity >= 0 and _word(row.a) != _word(row.b))]
    for row in (row for row in shown if row.a and row.b):
        yield from _said(f"contract {row.name}: {_change(row)}", columns, indent=2, colour=_colour(row))
        yield from _reasons(row, columns, verbosity)
    for mark in ("only in A", "only in B"):
        alone = [row for row in shown if row.mark == mark]
        names = ", ".join(f"{row.name} ({_change(row)})" for row in alone)
        if alone:
            colour: Colour = "red" if any(row.is_bad for row in alone) else "yellow"
            yield from _said(f"contracts {mark}: {names}", columns, indent=2, colour=colour)
    if verbosity >= 0 and len(rows) > len(shown):
        yield from _said(f"contracts that are the same: {len(rows) - len(shown)}", columns, indent=2)


def _word(result: ItemResult | None) -> str | None:
    if result is None:
        return None
    return "warning" if is_warning(result) else result.verdict


# -- settings -------------------------------------------------------------------------------------------------------


def _settings(rows: list[Row[SettingResult]], columns: int, verbosity: int) -> Iterator[Line]:
    """A table; where it would be too wide for the terminal, names have lines of their own."""
    table = [_TITLES, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    is_narrow = 2 + sum(widths) + 2 * (len(widths) - 1) > columns
    for cells, row in zip(table, [None, *rows], strict=True):
        colour = _colour(row) if row else None
        name, numbers = f"  {cells[0]:{widths[0]}}", _joined(cells, widths)
        if is_narrow and row:
            yield Line(name.rstrip(), colour)
        yield Line(f"    {numbers}" if is_narrow else f"{name}  {numbers}", colour)
        if row:
            yield from _reasons(row, columns, verbosity)


def _cells(row: Row[SettingResult]) -> tuple[str, ...]:
    return (
        row.name.removesuffix("[baseline]"),
        _score(row.a),
        _score(row.b),
        _difference(row),
        f"{len(scores(row.a)) or '-'}, {len(scores(row.b)) or '-'}",
        _change(row),
        row.mark,
    )


def _joined(cells: tuple[str, ...], widths: list[int]) -> str:
    """Numbers to the right, words to the left."""
    numbers = [f"{cell:>{width}}" for cell, width in zip(cells[1:5], widths[1:5], strict=True)]
    words = [f"{cell:{width}}" for cell, width in zip(cells[5:], widths[5:], strict=True)]
    return "  ".join(numbers + words).rstrip()


def _score(result: SettingResult | None) -> str:
    return "-" if result is None or result.normalized is None else f"{round_down(result.normalized):.3f}"


def _difference(row: Row[SettingResult]) -> str:
    a, b = (None if one is None else one.normalized for one in (row.a, row.b))
    if a is None or b is None or row.mark == "not comparable":
        return "-"
    return f"{round(b - a, 3) or 0.0:+.3f}"


def _change(row: AnyRow) -> str:
    """The verdict in each file that has one; one word where it is the same."""
    words = [word for word in (_word(row.a), _word(row.b)) if word is not None]
    return " -> ".join(dict.fromkeys(words))


def _reasons(row: AnyRow, columns: int, verbosity: int) -> Iterator[Line]:
    if row.why:
        yield from _said(row.why, columns, indent=4)
    is_telling = (row.is_bad or _word(row.a) != _word(row.b)) and _word(row.b) != "pass"
    for side, result in (("A", row.a), ("B", row.b)):
        reason = result.said if isinstance(result, ContractResult) else result.detail if result else ""
        if reason and (verbosity > 0 or (side == "B" and is_telling)):
            yield from _said(f"{side}: {reason}", columns, indent=4)


def _colour(row: AnyRow) -> Colour | None:
    if row.is_bad:
        return "red"
    if row.mark == "same":
        return "yellow" if _word(row.b) == "warning" != _word(row.a) else None
    return "green" if row.mark == "better" else "yellow"


# -- the whole ------------------------------------------------------------------------------------------------------


def _means(pair: Pair) -> str:
    """MAD scores; without a difference where they are not means of the same."""
    (a, normalized_a), (b, normalized_b) = _mad_scores(pair.a), _mad_scores(pair.b)
    parts = {side: f" ({part(one)})" if one and part(one) else "" for side, one in (("A", pair.a), ("B", pair.b))}
    if a is not None and b is not None and pair.has_comparable_means:
        name = mad_score_name(pair.b) if pair.b else "MAD score"
        name += "" if pair.metrics == ("accuracy",) else f" ({pair.metrics[0]})"
        return f"{name} {_step(a, b)}; normalised {_step(normalized_a or 0.0, normalized_b or 0.0)}"
    known = [f"{score:.3f} in {side}{parts[side]}" for side, score in (("A", a), ("B", b)) if score is not None]
    if len(known) == 2 and len(pair.metrics) > 1:
        return f"MAD score {', '.join(known)}, which are means of {' and of '.join(pair.metrics)}"
    if len(known) == 2:
        return f"MAD score {', '.join(known)}, which are not means over the same settings"
    return f"MAD score {known[0]} only" if known else "no MAD score"


def _mad_scores(found: ArchitectureResult | None) -> tuple[float | None, float | None]:
    """And its normalised twin."""
    return (None, None) if found is None else (found.mad_score, found.mad_score_normalized)


def _step(a: float, b: float) -> str:
    return f"{a:.3f} -> {b:.3f} ({round(b - a, 3) or 0.0:+.3f})"


def _result(comparison: Comparison) -> tuple[str, Colour]:
    """The last line: why the exit code is what it is."""
    rows = comparison.rows
    count = sum(passes(row.a) for row in rows)
    kept = sum(passes(row.a) and passes(row.b) for row in rows)
    lost = Counter(row.mark for row in rows if row.is_lost)
    failing = [row for row in rows if fails(row.b) and not row.is_lost]
    in_both = sum(fails(row.a) for row in failing)
    said = []
    if lost:
        marks = ", ".join(f"{number} {mark}" for mark, number in sorted(lost.items()))
        said.append(f"of {count} settings and contracts that passed in A: {marks}")
    for number, where in ((in_both, "both"), (len(failing) - in_both, "B")):
        if number:
            said.append(f"{number} {'fail' if number > 1 else 'fails'} in {where}")
    if said:
        return "; ".join(said), "red"
    if kept < count:  # contracts only: a setting would be lost
        return f"of {count} settings and contracts that passed in A: {kept} pass in B, {count - kept} skipped", "green"
    if count:
        return f"all {count} settings and contracts that passed in A pass in B", "green"
    return "nothing passed in A, and nothing fails in B", "green"


def _said(
    text: str, columns: int, *, indent: int = 0, colour: Colour | None = None, bold: bool = False
) -> Iterator[Line]:
    """A sentence, wrapped; what came from a file may hold anything, such as a terminal's control characters."""
    text = printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
    for line in textwrap.wrap(
        text,
        max(columns, 20),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield Line(line, colour, bold)


def printable(text: str) -> str:
    """A text from a file without control characters, and without what a CI takes for a command in its log."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown.replace("::", ": :").replace("##[", "# #[").replace("##vso", "# #vso")
