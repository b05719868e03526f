"""Every measurement says what it is when it is asked for help, and then neither measures nor writes anything."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: Where measurements write.
FOLDERS = ("benchmarks", "pytest_mad", "reference_archs")

#: All in one process, since torch takes long to import. What Python says of modules that run twice is no matter here.
ASK = """
import contextlib, io, json, runpy, sys, warnings

warnings.simplefilter("ignore")
found = {}
for module in sys.argv[1:]:
    sys.argv, said, code = [module, "--help"], io.StringIO(), None
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    found[module] = code, said.getvalue()
print(json.dumps(found))
"""


def starts(path: Path) -> bool:
    return '\nif __name__ == "__main__":\n' in path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")


MODULES = {name_of(path): path for path in sorted((ROOT / "benchmarks").rglob("*.py")) if starts(path)}


def files() -> dict[Path, int]:
    """When each was written, but for Python's own."""
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def helps() -> dict[str, list]:
    """Exit code and output of each."""
    before = files()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ASK, *MODULES]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert files() == before
    return json.loads(done.stdout)


def test_every_room_has_measurements():
    assert {name.split(".")[1] for name in MODULES} == {"calibration", "gate", "gpu", "scale", "speed"}


@pytest.mark.parametrize("module", MODULES)
def test_a_measurement_says_what_it_is(helps, module):
    """How it is called, and all that its module says of itself."""
    code, said = helps[module]
    doc = ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")), clean=False)
    assert code == 0 and said.startswith("usage: ")
    assert doc.strip() in said and f"python -m {module}" in doc
