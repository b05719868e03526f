"""What GitHub Actions shows of a run: a job summary in Markdown, and annotations at the factories that fail."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from pytest_mad.common.text import accuracy_text, count_text, score_text, seconds_text
from pytest_mad.results.gaps import gaps
from pytest_mad.results.result import ArchitectureResult, ContractResult, Run, SettingResult
from pytest_mad.results.verdicts import fails, is_warning

from .means import counted_for, mad_score_line

#: Bytes of UTF-8 in the summary of one step. GitHub drops a longer one as a whole.
LIMIT = 2**20
#: GitHub shows ten errors of a step and hides the others.
MOST_ANNOTATIONS = 10
#: Failing results that one annotation tells; the summary has the others.
_MOST_TOLD = 5
#: Characters of one text from outside.
_LONGEST = 400

# -- the job summary --------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line of Markdown, and whether it holds a result: headings, and what is around a table, hold none."""

    text: str
    is_result: bool = False


class Failure(NamedTuple):
    """A contract or a setting that fails the run."""

    name: str
    verdict: str
    detail: str
    setting: SettingResult | None = None


def append_summary(path: str, run: Run) -> None:
    """Append the summary to GitHub's file, which may hold what the same step wrote before; raises ``OSError``."""
    before = os.path.getsize(path) if os.path.exists(path) else 0
    gap = "\n\n" if before else ""  # what stands there may end inside a line or a table
    summary = job_summary(run, LIMIT - before - len(gap))
    if summary:
        with open(path, "a", encoding="utf-8", newline="\n") as file:
            file.write(gap + summary)


def job_summary(run: Run, limit: int = LIMIT) -> str:
    """A run as Markdown of at most ``limit`` bytes.

    Failures come first, then a table per architecture, environment and command. Where there is no room for all, rows
    are left out from the last table upwards, and a line says how many; the text is empty where not even that fits.
    """
    failing = [(name, list(_failing(found))) for name, found in run.architectures.items()]
    head = [Line(f"## MAD: {_outcome(failing)}"), Line("")]
    for gap in gaps(cut_short=run.cut_short, shards=run.shards):
        head += [Line(gap), Line("")]
    body = [*_failures(failing)]
    for name, found in run.architectures.items():
        body += _architecture(name, found)
    return _fitted(head, body, list(_origin(run)), limit)


def _fitted(head: list[Line], body: list[Line], tail: list[Line], limit: int) -> str:
    """All lines, or as many as fit with a line about the others."""
    if _size([*head, *body, *tail]) <= limit:
        return _joined([*head, *body, *tail])
    rows = sum(line.is_result for line in body)
    note = [Line(""), Line(_left_out(rows, rows)), Line("")]
    for end in (tail, []):
        room = limit - _size([*head, *note, *end])
        if room >= 0:
            kept = _kept(body, room)
            note[1] = Line(_left_out(rows - sum(line.is_result for line in kept), rows))
            return _joined([*head, *kept, *note, *end])
    return ""


def _kept(body: list[Line], room: int) -> list[Line]:
    """The first lines that fit, up to the last result among them: no heading stands alone."""
    used, end = 0, 0
    for i, line in enumerate(body):
        used += _size([line])
        if used > room:
            break
        if line.is_result:
            end = i + 1
    return body[:end]


def _left_out(rows: int, total: int) -> str:
    return f"**{rows:,} of {total:,} rows are left out here: there is no room for them.** `--mad-json=FILE` writes all."


def _size(lines: Iterable[Line]) -> int:
    return sum(len(line.text.encode()) + 1 for line in lines)


def _joined(lines: Iterable[Line]) -> str:
    return "".join(f"{line.text}\n" for line in lines)


def _outcome(failing: list[tuple[str, list[Failure]]]) -> str:
    """Heading: how many architectures fail."""
    count, total = sum(bool(failures) for _, failures in failing), len(failing)
    if not total:
        return "nothing was measured"
    if total == 1:
        return f"{text(failing[0][0])} {'fails' if count else 'passes'}"
    if not count:
        return f"all {total} architectures pass"
    return f"{count} of {total} architectures {'fails' if count == 1 else 'fail'}"


def _failures(failing: list[tuple[str, list[Failure]]]) -> Iterator[Line]:
    if any(failures for _, failures in failing):
        yield from _table(("architecture", "failing", "verdict"), ("score", "needed"), ("why",))
    for name, failures in failing:
        for one in failures:
            score = score_text(one.setting.normalized) if one.setting else ""
            asked = score_text(one.setting.needed) if one.setting else ""
            what = text(one.name.removesuffix("[baseline]"))
            yield _row(text(name), what, f"**{text(one.verdict)}**", score, asked, text(one.detail))


def _architecture(name: str, found: ArchitectureResult) -> Iterator[Line]:
    """Heading, what the scores add up to, contracts that are not kept, and the settings."""
    yield from (Line(""), Line(f"### {text(name)}"), Line(""), Line(_sums(found)))
    if found.contracts:
        yield from _contracts(found.contracts)
    if found.settings:
        yield Line("")
        numbers = ("score", "needed", "accuracy", "trivial", "learned", "time")
        yield from _table(("setting", "verdict"), numbers)
        yield from (_setting(setting, record) for setting, record in found.settings.items())


def _contracts(contracts: Mapping[str, ContractResult]) -> Iterator[Line]:
    """How many hold, which were not asked, and a line about each that is broken."""
    held = sum(one.passed and not one.said for one in contracts.values())
    skipped = [text(name) for name, one in contracts.items() if one.verdict == "skipped"]
    also = f"; skipped: {', '.join(skipped)}" if skipped else ""
    yield from (Line(""), Line(f"{held} of {len(contracts)} contracts hold{also}"))
    for name, one in contracts.items():
        if one.said and one.verdict != "skipped":
            verdict = "warning" if is_warning(one) else text(one.verdict)
            detail = text("; ".join(one.warned) or one.detail)
            yield Line(f"- {text(name)}: **{verdict}**: {detail}", is_result=True)


def _setting(name: str, result: SettingResult) -> Line:
    verdict = text(result.verdict)
    return _row(
        text(name.removesuffix("[baseline]")),
        f"**{verdict}**" if fails(result) else verdict,
        score_text(result.normalized),
        score_text(result.needed),
        accuracy_text(result.accuracy),
        accuracy_text(result.trivial),
        result.learned_text or count_text(None),
        "stored" if result.stored else seconds_text(result.seconds),
    )


def _sums(found: ArchitectureResult) -> str:
    """MAD score and sizes in one line."""
    score = "no MAD score: not every setting has a score"
    if found.mad_score is not None:
        normalised = accuracy_text(found.mad_score_normalized)
        score = f"**{mad_score_line(found)}**, normalised {normalised}"
    elif not found.task_scores:
        score = "no setting has a score"
    parameters = " ".join(filter(None, ("parameters", text(counted_for(found)))))
    sizes = {parameters: found.parameters, "floats of state": found.state_size}
    return "; ".join([score, *(f"{size:,} {what}" for what, size in sizes.items() if size is not None)])


def _origin(run: Run) -> Iterator[Line]:
    """What the scores were measured with, and what repeats the run."""
    environment = {"preset": run.preset, **asdict(run.environment)}
    parts = [f"{text(key)} {text(value)}" for key, value in environment.items() if value]
    yield from (Line(""), Line(", ".join(parts)))
    if run.command:
        yield Line("")
        yield from map(Line, code_block(run.command).split("\n"))


def _table(words: tuple[str, ...], numbers: tuple[str, ...], more: tuple[str, ...] = ()) -> Iterator[Line]:
    """The head of a table: columns of words, of numbers, which stand at the right, and of words again."""
    yield Line(f"| {' | '.join((*words, *numbers, *more))} |")
    yield Line(f"|{'---|' * len(words)}{'---:|' * len(numbers)}{'---|' * len(more)}")


def _row(*cells: str) -> Line:
    return Line(f"| {' | '.join(cells)} |", is_result=True)


# -- what fails -------------------------------------------------------------------------------------------------------


def _failing(found: ArchitectureResult) -> Iterator[Failure]:
    """Of one architecture: contracts first, which may be why its settings fail."""
    for contract, one in found.contracts.items():
        if fails(one):
            yield Failure(f"contract {contract}", one.verdict, one.detail)
    for setting, result in found.settings.items():
        if fails(result):
            yield Failure(setting, result.verdict, result.detail, result)


# -- text from outside ------------------------------------------------------------------------------------------------

#: Markdown gives these no meaning inside a line; every other sign is written as a character reference.
_HARMLESS = frozenset(" .,;()/%+='\"-")
#: Signs that make a link of the word behind them, in Markdown or when GitHub looks through the rendered text, where
#: character references are signs again. A space without width between the two makes none.
_LINKING = re.compile(r"([@#:]|www(?=\.)|gh-(?=\d))(?=\S)", re.IGNORECASE)
_NO_WIDTH = "\u200b"


def text(value: object) -> str:
    """Text from outside as Markdown that shows it and does nothing else, in one line, also inside a table's cell."""
    shown = _LINKING.sub(rf"\1{_NO_WIDTH}", one_line(value))
    return "".join(c if c in _HARMLESS or not c.isascii() or c.isalnum() else f"&#{ord(c)};" for c in shown)


def one_line(value: object, longest: int = _LONGEST) -> str:
    """Text from outside on one line and of bounded length, without what cannot be seen."""
    shown = " ".join(str(value).split())
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in shown)


def code_block(code: str, longest: int = 4000) -> str:
    """A fenced block, whose fence is longer than any in the code."""
    shown = code if len(code) <= longest else code[: longest - 1] + "…"
    lines = [one_line(line, longest) for line in shown.split("\n")]
    ticks = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, ticks + 1)
    return "\n".join([f"{fence}sh", *lines, fence])


# -- annotations ------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A file, relative to the workspace, and a line in it."""

    file: str
    line: int | None = None


def place(file: str | None, line: int | None, workspace: str | None) -> Place | None:
    """Where GitHub can show something about a file; None for one outside the workspace, or installed inside it."""
    if not file or not workspace:
        return None
    path, root = Path(os.path.realpath(file)), Path(os.path.realpath(workspace))
    if not path.is_relative_to(root) or "site-packages" in path.parts:
        return None
    return Place(path.relative_to(root).as_posix(), line)


def error_commands(run: Run, places: Mapping[str, Place | None]) -> list[str]:
    """Workflow commands, one per failing architecture at its place, at most `MOST_ANNOTATIONS`."""
    failing = {name: list(_failing(found)) for name, found in run.architectures.items()}
    names = [name for name, failures in failing.items() if failures]
    shown = names if len(names) <= MOST_ANNOTATIONS else names[: MOST_ANNOTATIONS - 1]
    found = [_annotation(name, failing[name], places.get(name)) for name in shown]
    if rest := names[len(shown) :]:
        also = ", ".join(map(one_line, rest))
        found.append(_command("error", {"title": "MAD"}, f"{len(rest)} more architectures fail: {one_line(also)}"))
    return found


def _annotation(name: str, failures: list[Failure], where: Place | None) -> str:
    told = [one_line(f"{one.name}: {one.verdict}: {one.detail}") for one in failures[:_MOST_TOLD]]
    if len(failures) > len(told):
        told.append(f"and {len(failures) - len(told)} more")
    properties = {"file": where.file if where else None, "line": where.line if where else None}
    return _command("error", {**properties, "title": f"MAD: {one_line(name)}"}, "\n".join(told))


def _command(name: str, properties: dict[str, Any], message: str) -> str:
    """``::name key=value,key=value::message``, escaped as GitHub's runner unescapes it."""
    given = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value is not None)
    return f"::{name} {given}::{_data(message)}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")
