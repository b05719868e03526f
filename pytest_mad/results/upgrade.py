"""Result files of earlier schemas, in today's form. Histories of a project hold files of all of them.

One function per schema turns its content into that of the next. Whatever has another form than that schema's is left as
it is: the reader says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pytest_mad.common.records import Plain, WrongError, require

#: Of the files that this version writes.
SCHEMA = 3

Content = dict[str, Plain]


def upgrade(content: Content) -> None:
    """Bring a content into the form of :data:`SCHEMA`. Raises :class:`~pytest_mad.common.records.WrongError`."""
    if "schema" not in content:
        raise WrongError("has no 'schema'")
    schema = content["schema"]
    known = [*_UPGRADES, SCHEMA]
    require(type(schema) is int and schema in known, schema, " or ".join(map(str, known)), "schema")
    for before in range(schema, SCHEMA):
        _UPGRADES[before](content)


def objects(content: Content, *tables: str) -> Iterator[Content]:
    """The objects in tables of tables: ``objects(content, "architectures", "settings")`` are all settings."""
    return (one for _, one in named_objects(content, *tables))


def named_objects(content: Content, *tables: str) -> Iterator[tuple[tuple[str, ...], Content]]:
    """The same, each with the keys that lead to it."""
    table = content.get(tables[0])
    for name, one in table.items() if isinstance(table, dict) else ():
        if not isinstance(one, dict):
            continue
        if len(tables) == 1:
            yield (tables[0], name), one
        else:
            yield from (((tables[0], name, *keys), inner) for keys, inner in named_objects(one, *tables[1:]))


def _from_1(content: Content) -> None:
    """Schema 1 had no warnings but texts that begin so, a *line* for a floor, and in its first days fewer keys.

    Its MAD score was always the mean of plain accuracy, whatever the recipe, and its count of parameters stood for all
    settings.
    """
    _refuse("preset_tasks", content)
    content["preset_tasks"] = {}  # which nobody knows
    for key, default in (("command", ""), ("cut_short", False), ("shards", [])):
        content.setdefault(key, default)
    for keys, one in named_objects(content, "architectures"):
        _refuse("mad_score_accuracy", one, *keys)
        _refuse("mad_score_compat", one, *keys)
        one |= {"mad_score_accuracy": one.get("mad_score"), "mad_score_compat": None}
    for keys, setting in named_objects(content, "architectures", "settings"):
        for key in ("metric", "parameters"):
            _refuse(key, setting, *keys)
        setting |= {"metric": "accuracy", "parameters": None}
        for key, empty in (("scores", []), ("recipe", ""), ("tolerant", False), ("note", ""), ("attempts", [])):
            setting.setdefault(key, empty)
        baseline = setting.get("baseline")
        if isinstance(baseline, dict):
            _refuse("floor", baseline, *keys, "baseline")
            baseline["floor"] = baseline.pop("line", None)
    for keys, contract in named_objects(content, "architectures", "contracts"):
        contract.setdefault("attempts", [])
        _refuse("warned", contract, *keys)
        contract["warned"] = _warned(contract)
        if contract["warned"]:
            contract["detail"] = ""


def _from_2(content: Content) -> None:
    """Schema 2 knew no steps to a mark."""
    for keys, setting in named_objects(content, "architectures", "settings"):
        new: tuple[tuple[str, Plain], ...] = (
            ("mark", None),
            ("steps", []),
            ("pace", None),
            ("slower", "fail"),
            ("seconds_per_step", None),
        )
        for key, unknown in new:
            _refuse(key, setting, *keys)
            setting[key] = unknown


def _refuse(key: str, found: Content, *keys: str) -> None:
    """A key of a later schema."""
    if key in found:
        raise WrongError(f"has an unknown key {key!r}", *keys)


def _warned(contract: Content) -> list[str]:
    detail = contract.get("detail")
    is_warning = contract.get("verdict") == "pass" and isinstance(detail, str) and detail
    return [str(detail).removeprefix("warning: ")] if is_warning else []


#: From each schema to the next.
_UPGRADES: dict[int, Callable[[Content], None]] = {1: _from_1, 2: _from_2}
