"""Files that outlive a run, and files that users write: presets, baselines, results, published data."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pytest_mad import cli
from pytest_mad.common.files import FileError, read_json
from pytest_mad.common.packages import HERE
from pytest_mad.common.seeds import generator
from pytest_mad.common.text import printable
from pytest_mad.gate.baseline import BaselineError, check_fits, check_new, load_baseline
from pytest_mad.presets.reading import preset_names, settings
from pytest_mad.presets.setting import PresetError
from pytest_mad.results.result_file import read_results
from pytest_mad.training.published import PublishedDataError, folder_name, load_published

from .damage import (
    Strategy,
    arguments,
    byte_plan,
    damaged,
    damaged_json,
    damaged_toml,
    json_plan,
    texts,
    toml_plan,
    written,
)
from .judging import DefectError, Kind, check_line, left_over
from .presets import TINY, tiny

#: What would show that a file had run code.
MARK = "a file was executed"


@functools.cache
def presets() -> dict[str, str]:
    """Texts of presets by name."""
    return {"tiny": TINY} | {name: (HERE / "presets" / f"{name}.toml").read_text() for name in preset_names()}


# -- presets ----------------------------------------------------------------------------------------------------------

toml_files: Strategy = st.tuples(st.sampled_from(["tiny", "tiny", *preset_names()]), toml_plan)


def attempt_preset(given: tuple[str, Any], folder: Path) -> str:
    name, plan = given
    path = folder / "x.toml"
    path.write_bytes(damaged_toml(presets()[name], plan))
    chosen = settings(str(path))
    for setting in list(chosen.values())[:2]:
        setting.normalized(0.0)
    for setting in chosen.values():
        check_line(setting.id)
    return "valid"


# -- baselines --------------------------------------------------------------------------------------------------------


@functools.cache
def baseline() -> Any:
    """The content of a file that fits the tiny preset, with an architecture of a shipped one beside it."""
    shipped = read_json(HERE / "baselines" / "transformer.json")
    entry = next(iter(shipped["architectures"]["transformer"].values()))
    own = {name: entry | s.identity() | {"scores": [0.5, 0.75]} for name, s in tiny().items()}
    return shipped | {"architectures": shipped["architectures"] | {"model": own}}


def attempt_baseline(plan: Any, folder: Path) -> str:
    path = folder / "x.json"
    path.write_bytes(damaged_json(baseline(), plan))
    found = load_baseline("x.json", folder)
    for name, setting in tiny().items():
        entry = found.find("model", name)
        if entry:
            check_fits(entry[1], f"{entry[0]}, {name}", setting.identity())
            check_new(entry[1], 1)
    return "valid"


# -- results ----------------------------------------------------------------------------------------------------------


@functools.cache
def results() -> tuple[Any, Any]:
    """The contents of a real run's file, in today's form and in that of schema 1."""
    from .models import measured

    now = measured()
    before = json.loads(json.dumps(now)) | {"schema": 1}
    for one in before["architectures"].values():
        for contract in one["contracts"].values():
            told = contract.pop("warned")
            contract["detail"] = f"warning: {told[0]}" if told else contract["detail"]
    return now, before


COMMANDS = (
    ("merge", "x.json"),
    ("merge", "x.json", "y.json", "--json=out.json", "--html=out.html", "--benchmark-json=bench.json"),
    ("merge", "-q", "y.json", "x.json", "--json=out.json"),
    ("compare", "x.json", "y.json", "-v"),
    ("compare", "y.json", "x.json"),
    ("compare", "x.json", "x.json", "-q"),
)
_odd_commands: Strategy = st.one_of(
    st.tuples(
        st.just("list"),
        st.tuples(st.sampled_from(("--preset", "--tasks", "--threshold", "--import")), arguments).map("=".join),
    ),
    st.tuples(st.sampled_from(("merge", "compare")), st.just("y.json"), arguments),
    st.tuples(
        st.just("merge"), st.just("y.json"), st.tuples(st.sampled_from(("--json", "--html")), arguments).map("=".join)
    ),
    st.tuples(st.just("store"), arguments.map("--store={}".format)),
)
result_files: Strategy = st.one_of(
    *[st.tuples(st.sampled_from(COMMANDS), st.booleans(), json_plan)] * 5,
    st.tuples(_odd_commands, st.just(False), st.none()),
)


def attempt_results(given: tuple[tuple[str, ...], bool, Any], folder: Path) -> str:
    command, is_old, plan = given
    good = results()[is_old]
    (folder / "x.json").write_bytes(written(good) if plan is None else damaged_json(good, plan))
    (folder / "y.json").write_bytes(written(good))
    code = run_command(list(command), folder)
    for path in folder.glob("out.json"):
        read_results(path)
    if left_over(folder):
        raise DefectError(f"left over: {left_over(folder)}")
    return "refused" if code == cli.USAGE_ERROR else "valid" if code == 0 else "judged"


def run_command(command: list[str], folder: Path) -> int:
    """``pytest-mad`` in this process; its exit code, and what it says is looked at."""
    before = {path.name for path in folder.iterdir()}
    out, err, path = io.StringIO(), io.StringIO(), list(sys.path)
    is_argparse = False
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(command)
        except SystemExit as left:
            code, is_argparse = int(left.code or 0), True
        finally:
            sys.path[:] = path  # where a command finds the module that it is to import
    said = err.getvalue()
    if code not in (0, 1, cli.USAGE_ERROR):
        raise DefectError(f"exit code {code}")
    if code == cli.USAGE_ERROR and not is_argparse:
        check_line(said.removesuffix("\n"))
        if {path.name for path in folder.iterdir()} != before:
            raise DefectError("written although refused")
    if printable(out.getvalue(), keep="\n") != out.getvalue():
        raise DefectError("control characters in the output")
    return code


# -- published data ---------------------------------------------------------------------------------------------------

ARRAYS = (
    *("objects", "float", "text", "bool", "complex", "structured", "uint8", "int64", "big-endian", "scalar", "empty"),
    *(
        "wide",
        "short",
        "deep",
        "high",
        "negative",
        "fortran",
        "zip",
        "pickle",
        "text file",
        "folder",
        "missing",
        "void",
    ),
    *("datetime", "huge header", "huge shape", "uint64"),
)
npy_files: Strategy = st.tuples(
    st.sampled_from(("train/inputs", "train/targets", "test/inputs", "test/targets")),
    st.one_of(st.sampled_from(ARRAYS), byte_plan, st.tuples(st.just("header"), texts)),
    st.sampled_from(sorted(("memorization[baseline]", "in-context-recall[baseline]"))),
)


class Marking:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path.cwd() / MARK,)


def attempt_published(given: tuple[str, Any, str], folder: Path) -> str:
    name, plan, setting_id = given
    setting = tiny()[setting_id]
    task, params = setting.task, setting.params
    place = folder / folder_name(task, params)
    for split, n in (("train", params.num_train_examples), ("test", params.num_test_examples)):
        (place / split).mkdir(parents=True)
        batch = task.generate(params, n, generator("hostile", split), "train" if split == "train" else "test")
        for kind, array in zip(("inputs", "targets"), batch, strict=True):
            np.save(place / split / f"{kind}.npy", array)
    path = place / f"{name}.npy"
    _damage_array(path, plan)
    try:
        load_published(folder, task, params)
    finally:
        if (folder / MARK).exists():
            raise DefectError("a pickle was run")
    return "valid"


def _damage_array(path: Path, plan: Any) -> None:
    array = np.load(path)
    if not isinstance(plan, str):
        content = path.read_bytes()
        if plan[0] == "header":
            head = plan[1].encode("latin-1", "replace")
            path.write_bytes(b"\x93NUMPY\x01\x00" + len(head[:65535]).to_bytes(2, "little") + head[:65535])
        else:
            path.write_bytes(damaged(content, plan))
        return
    path.unlink()
    others: dict[str, Any] = {
        "objects": np.array([Marking()] * len(array), dtype=object),
        "float": array.astype(float),
        "text": array.astype(str),
        "bool": array > 0,
        "complex": array.astype(complex),
        "structured": np.zeros(array.shape, dtype=[("a", int), ("b", float)]),
        "uint8": array.astype(np.uint8),
        "int64": array,
        "uint64": array.astype(np.uint64),
        "big-endian": array.astype(">i4"),
        "scalar": np.array(3),
        "empty": array[:0],
        "wide": np.concatenate([array, array], axis=1),
        "short": array[:-1],
        "deep": array[None],
        "high": array + 1000,
        "negative": array - 50,
        "fortran": np.asfortranarray(array),
        "void": np.zeros(array.shape, dtype="V8"),
        "datetime": array.astype("M8[s]"),
    }
    if plan in others:
        np.save(path, others[plan], allow_pickle=True)
    elif plan == "zip":
        with path.open("wb") as file:
            np.savez(file, a=array)
    elif plan == "folder":
        path.mkdir()
    elif plan != "missing":
        shape = "(" + "1," * 20_000 + ")" if plan == "huge header" else f"({2**62}, {2**62})"
        head = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        numpy = b"\x93NUMPY\x02\x00" + len(head).to_bytes(4, "little") + head
        path.write_bytes({"pickle": _pickled(), "text file": b"1 2 3\n"}.get(plan, numpy))


def _pickled() -> bytes:
    import pickle

    return pickle.dumps(Marking())


KINDS = (
    Kind(name="preset", inputs=toml_files, attempt=attempt_preset, documented=(PresetError,), share=190),
    Kind(
        name="baseline",
        inputs=json_plan,
        attempt=attempt_baseline,
        documented=(FileError, BaselineError),
        share=140,
    ),
    Kind(name="result file", inputs=result_files, attempt=attempt_results, share=140),
    Kind(
        name="published data",
        inputs=npy_files,
        attempt=attempt_published,
        documented=(PublishedDataError,),
        share=60,
    ),
)
