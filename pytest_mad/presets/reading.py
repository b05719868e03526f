"""Settings and presets. A preset is a TOML file; this module turns it into settings and says what is wrong with it."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pytest_mad.common.errors import check_keys, first_line, require, suggestion
from pytest_mad.common.files import is_file, is_folder
from pytest_mad.gate import Gate
from pytest_mad.tasks import TaskParams, get_task, task_names

from .recipe import Recipe
from .setting import PresetError, Setting, checked_embedding_std, checked_slower, checked_threshold

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PRESETS = Path(__file__).parent
#: What the data of a setting, or the logits of one batch, may take: more is a slip of the pen.
_MOST_MEMORY = 64 * 2**30
_MOST_WIDTH = 2**16
_PRESET_KEYS = ["schema", "description", "width", "embedding_std", "gate", "recipe", "tasks"]
_TASK_KEYS = ["baseline", "vary", "threshold", "thresholds", "recipe", "recipes", "cost", "costs", "slower", "slowers"]


def settings(preset: str = "smoke") -> dict[str, Setting]:
    """The settings of a preset by id, in its order. ``preset`` is a shipped name or the path of a ``.toml`` file.

    Raises :class:`PresetError` with one line that says what is wrong.
    """
    name, path = _find(preset)
    try:
        return {s.id: s for s in _read(name, path)}
    except UnicodeDecodeError as error:
        raise PresetError(f"preset {preset}: is no UTF-8 text ({error.reason} at byte {error.start})") from None
    except (ValueError, OSError) as error:
        raise PresetError(f"preset {preset}: {first_line(error)}") from error
    except RecursionError:
        raise PresetError(f"preset {preset}: nested too deeply") from None


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(p.stem for p in _PRESETS.glob("*.toml"))


def _find(preset: str) -> tuple[str, Path]:
    """Name and path of a preset."""
    if preset in preset_names():
        return preset, _PRESETS / f"{preset}.toml"
    path = Path(preset)
    if path.suffix == ".toml":
        if not is_file(path):
            wrong = "is a folder, but must be a file" if is_folder(path) else "does not exist"
            raise PresetError(f"preset file {preset} {wrong}")
        return path.stem, path
    hint = suggestion(preset, preset_names())
    raise PresetError(f"unknown preset {preset!r}; {hint}; a path must end in .toml")


def _read(name: str, path: Path) -> list[Setting]:
    data = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors begin with a byte order mark
    check_keys(data, _PRESET_KEYS, "key")
    schema, width, description = data.get("schema"), data.get("width", 128), data.get("description", "")
    require(type(schema) is int and schema == 1, "schema", schema, "1")
    is_width = type(width) is int and 4 <= width <= _MOST_WIDTH and width % 2 == 0
    require(is_width, "width", width, f"an even number from 4 to {_MOST_WIDTH:,}")
    std = checked_embedding_std(data.get("embedding_std", Setting.embedding_std))
    require(isinstance(description, str), "description", description, "text")
    tables, recipe, gate = (_table(data, key) for key in ("tasks", "recipe", "gate"))
    require(len(tables) > 0, "tasks", tables, f"at least one [tasks.NAME] table, of {', '.join(task_names())}")
    with _inside("[recipe]"):
        _check_common(recipe)
    found = [s for task, table in tables.items() for s in _task_settings(name, task, table, recipe)]
    with _inside("[gate]"):
        judged = Gate.from_json(gate, len(found))
    counts = tuple(Counter(setting.task_name for setting in found).items())
    return [replace(s, gate=judged, preset_tasks=counts, width=width, embedding_std=std) for s in found]


@contextlib.contextmanager
def _inside(table: str) -> Iterator[None]:
    """Say in which table a key is wrong."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{table}: {error}") from error


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    """A sub-table, empty where there is none."""
    value = data.get(key, {})
    require(isinstance(value, dict), key, value, "a table")
    table: dict[str, Any] = value
    return table


def _check_common(recipe: dict[str, Any]) -> None:
    """Refuse what is wrong in the recipe that the tasks share; each may add what is missing in it."""
    missing: dict[str, Any] = {"points": [{"lr": 1.0}]}
    missing |= {} if recipe.keys() & {"steps", "epochs"} else {"steps": 1}
    Recipe.from_json(missing | recipe)


def _task_settings(preset: str, task: str, table: Any, recipe: dict[str, Any]) -> list[Setting]:
    """Baseline first, then each varied value: one parameter at a time, as in MAD."""
    get_task(task)
    with _inside(f"[tasks.{task}]"):
        require(isinstance(table, dict), "it", table, "a table")
        check_keys(table, _TASK_KEYS, "key")
        cells = _cells(task, _table(table, "baseline"), _table(table, "vary"))
        of_settings = {key: _table(table, key) for key in ("thresholds", "costs", "slowers", "recipes")}
        for own in of_settings.values():
            check_keys(own, cells.values(), "setting")
        thresholds, costs, slowers, recipes = of_settings.values()
        common = recipe | _table(table, "recipe")
        Recipe.from_json(common)
        found = [
            Setting(
                task_name=task,
                name=name,
                params=params,
                recipe=_recipe(common, recipes, name),
                threshold=checked_threshold(thresholds.get(name, table.get("threshold"))),
                slower=checked_slower(slowers.get(name, table.get("slower"))),
                preset=preset,
            )
            for params, name in cells.items()
        ]
        for setting in found:
            _check_memory(setting)
        return [replace(s, cost=_cost(costs.get(s.name, table.get("cost")), s)) for s in found]


def _recipe(common: dict[str, Any], recipes: dict[str, Any], name: str) -> Recipe:
    """A setting's own recipe, where it differs from its task's."""
    if name not in recipes:
        return Recipe.from_json(common)
    with _inside(f"recipes.{name}"):
        require(isinstance(recipes[name], dict), "it", recipes[name], "a table")
        return Recipe.from_json(common | recipes[name])


def _cost(value: Any, setting: Setting) -> float:
    """What the preset says, or else millions of tokens that a trial may train on."""
    if value is None:
        steps = setting.recipe.total_steps(setting.params.num_train_examples)
        return setting.params.seq_len * setting.recipe.batch_size * steps / 1e6
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    require(is_number and 0 <= value < 1e9, "cost", value, "a number of seconds")
    return float(value)


def _cells(task: str, baseline: dict[str, Any], vary: dict[str, Any]) -> dict[TaskParams, str]:
    """The task's cells of the grid and their names; no two of them are the same."""
    cells = {_params(task, baseline): "baseline"}
    for key, values in vary.items():
        require(isinstance(values, list) and len(values) > 0, f"vary.{key}", values, "a list with at least one value")
        for value in values:
            params = _params(task, baseline | {key: value})
            if params in cells:
                again = ", which is the baseline's value" if cells[params] == "baseline" else " twice"
                raise ValueError(f"vary.{key} has {value!r}{again}")
            cells[params] = f"{key}={value}"
    return cells


def _check_memory(setting: Setting) -> None:
    """Refuse sizes that no machine holds before anything is generated; the message names the largest of them."""
    recipe, sizes = setting.recipe, setting.params.to_json()
    sizes |= {"num_validation_examples": recipe.num_validation_examples, "batch_size": recipe.batch_size}
    examples = ("num_train_examples", "num_test_examples", "num_validation_examples")
    tokens = sizes["seq_len"] * sum(sizes[name] for name in examples)
    batch = sizes["seq_len"] * min(sizes["batch_size"], sizes["num_train_examples"])
    needs = (
        ("data", examples, 2 * 8 * tokens),  # inputs and targets, int64
        ("logits of a batch", ("vocab_size", "batch_size"), 4 * batch * sizes["vocab_size"]),  # float32
    )
    for what, names, needed in needs:
        largest = max(("seq_len", *names), key=sizes.__getitem__)
        limit = f"smaller: the {what} would take {needed / 2**30:,.0f} GiB, and {_MOST_MEMORY // 2**30} are the most"
        require(needed <= _MOST_MEMORY, largest, sizes[largest], limit)


def _params(task: str, values: dict[str, Any]) -> TaskParams:
    cls = get_task(task).Params
    check_keys(values, [f.name for f in fields(cls)], "parameter")
    defaults = {f.name: f.default for f in fields(cls)}
    for key, value in values.items():
        expected = type(defaults[key])
        is_right = type(value) is expected or (expected is float and type(value) is int)
        require(is_right, key, value, f"of type {expected.__name__}")
    # 0 and 0.0 are one setting, and must have one data seed
    typed: dict[str, Any] = {k: float(v) if isinstance(defaults[k], float) else v for k, v in values.items()}
    return cls(**typed)
