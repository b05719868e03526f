"""Whole commands: ``python -m pytest --mad-...`` and ``python -m pytest_mad ...`` in folders of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pytest_mad.common.packages import HERE
from pytest_mad.common.text import printable
from pytest_mad.presets.reading import preset_names
from pytest_mad.results.result_file import read_results

from .damage import Strategy, byte_plan, damaged, damaged_json, damaged_toml, json_plan, toml_plan
from .factories import must_fail, specs
from .files import baseline, presets, result_files, results
from .judging import Met, drawn, left_over
from .models import unwritten, written
from .options import command_lines, ini_files, ini_text
from .presets import TINY

#: Seconds after which a command counts as hanging: a worker whose model never returns is ended 180 s behind its time.
LONGEST = 300
ROOT = Path(__file__).parents[3]
MODEL = """
from benchmarks.scale.hostile.factories import factory
make_model = factory({spec!r})
"""
HANGING = """
import time
from benchmarks.scale.hostile.factories import Hostile
class Hanging(Hostile):
    def forward(self, tokens):
        while {place} or self.training:
            time.sleep(1)
        return super().forward(tokens)
def make_model(vocab_size):
    return Hanging(("", ""), vocab_size)
"""
RUN = ("--mad-preset=tiny.toml", "--mad-device=cpu", "--mad-json=out.json", "--mad-html=out.html", "-pno:cacheprovider")
#: For a number of seeds or steps that nobody would wait for; an option that is given behind it comes before it.
SHORT = "--mad-timeout=5"
#: What commands are about, what is drawn for them, and how many of a hundred: start-up takes seconds, so most are
#: refused before torch is loaded.
PLANS: dict[str, tuple[Strategy, int]] = {
    "options": (command_lines, 24),
    "ini": (ini_files, 15),
    "preset": (st.tuples(st.just("tiny"), toml_plan), 10),
    "baseline": (json_plan, 6),
    "update": (json_plan, 5),
    "target": (st.one_of(written, unwritten), 9),
    "model": (specs, 12),
    "command": (result_files, 13),
    "store": (byte_plan, 3),
    "xdist": (specs, 2),
    "hang": (st.sampled_from(("True", "False")), 1),
}


def run_all(name: str, count: int, seed: int) -> list[tuple[Any, Met]]:
    """Run what falls to a plan of so many commands, rounded up, two at a time."""
    strategy, share = PLANS[name]
    inputs = [(name, given) for given in drawn(strategy, -(-count * share // 100), seed)]
    results()  # once for both threads
    with ThreadPoolExecutor(2) as pool:
        return [(given, _told(given, met)) for given, met in zip(inputs, pool.map(run_one, inputs), strict=True)]


def _told(given: Any, met: Met) -> Met:
    """A defect is shown at once: a run takes many minutes."""
    if met.defect:
        print(f"    {met.defect}\n        {ascii(given)[:300]}", file=sys.stderr, flush=True)
    return met


def run_one(given: tuple[str, Any]) -> Met:
    """Run one in a folder of its own, and look at all that it leaves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.path.realpath(name))
        (folder / "tiny.toml").write_text(TINY)
        (folder / "model.py").write_text(MODEL.format(spec=("", "")))
        arguments = prepared(*given, folder)
        try:
            done = _run(arguments, folder)
        except subprocess.TimeoutExpired:
            return Met("refused", f"hangs: more than {LONGEST} s")
        except (ValueError, OSError) as error:  # no command line can have this
            return Met("refused", "" if "argument" in str(error).lower() or "byte" in str(error) else str(error))
        outcome = {0: "valid", 1: "judged"}.get(done.returncode, "refused")
        must = given[0] == "hang" or (given[0] in ("model", "xdist") and must_fail(given[1]))
        return Met(outcome, wrong(done, folder, must_fail=must))


def _run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB", "CI", "PYTEST"))}
    environment = kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=LONGEST,
        check=False,
    )


def prepared(kind: str, given: Any, folder: Path) -> list[str]:
    """Write what a command reads; its arguments."""
    suite = ["pytest", "--mad-arch=model.py:make_model", *RUN]
    plain = ["--mad-no-store", "-kmemorization or output"]
    if kind == "options":
        is_long = any(name in text for name in preset_names() for text in given)  # which would be trained for hours
        return [*suite, "--mad-no-store", "-koutput", SHORT, *given, *(["--collect-only"] if is_long else [])]
    if kind == "ini":
        (folder / given[0]).write_bytes(ini_text(*given).encode("utf-8", "surrogatepass"))
        return [*suite, SHORT, "-koutput"]
    if kind == "preset":
        (folder / "x.toml").write_bytes(damaged_toml(presets()[given[0]], given[1]))
        return [*suite, *plain, "--mad-preset=x.toml", SHORT]
    if kind in ("baseline", "update"):
        (folder / "x.json").write_bytes(damaged_json(baseline(), given))
        flag = "--mad-baseline=x.json" if kind == "baseline" else "--mad-update-baseline=x.json"
        return [*suite, *plain, flag, "--mad-seeds=1"]
    if kind == "target":
        return [*suite[:1], *RUN, *plain, *_target(given, folder)]
    if kind in ("model", "xdist"):
        (folder / "model.py").write_text(MODEL.format(spec=given), encoding="utf-8", errors="surrogatepass")
        return [*suite, *plain, *(["-n1", "--mad-timeout=30"] if kind == "xdist" else [])]
    if kind == "hang":  # one item: each waits for the watchdog
        (folder / "model.py").write_text(HANGING.format(place=given))
        item = "output" if given == "True" else "memorization and baseline"
        return [*suite, "--mad-no-store", f"-k{item}", "-n1", "--mad-timeout=3"]
    if kind == "store":
        _run([*suite, "-kmemorization or output"], folder)
        for path in (folder / ".pytest_mad").glob("*.safetensors"):
            path.write_bytes(damaged(path.read_bytes(), given))
        return [*suite, "-kmemorization or output"]
    arguments, is_old, plan = given
    good = json.dumps(results()[is_old]).encode()
    (folder / "x.json").write_bytes(good if plan is None else damaged_json(results()[is_old], plan))
    (folder / "y.json").write_bytes(good)
    return ["pytest_mad", *arguments]


def _target(given: tuple[Any, ...], folder: Path) -> list[str]:
    from .models import source_of

    kind, name, way, *more = given
    if more:
        (folder / "target.py").write_bytes(source_of("target", *more))
        way = way.replace("FILE", "target.py").replace("MODULE", "target")
    flag = kind if kind in ("mixer", "layers") else "arch"
    return [f"--mad-{flag}={name}{way}"]


# -- what it left -----------------------------------------------------------------------------------------------------

_FRAME = re.compile(rf'File "{re.escape(str(HERE))}/[^"]+", line \d+', re.MULTILINE)
_HTML_END = "</html>"


def wrong(done: subprocess.CompletedProcess[str], folder: Path, *, must_fail: bool) -> str:
    """What is wrong with a command that has ended; empty if nothing is."""
    said = f"{done.stdout}\n{done.stderr}"
    if "INTERNALERROR" in said:
        return f"INTERNALERROR: {_end(done.stdout + done.stderr)}"
    if _FRAME.search(said):  # others' are pytest's, of an ini file that it cannot read
        return f"a traceback of ours: {_end(said)}"
    if done.returncode not in (0, 1, 2, 4):
        return f"exit code {done.returncode}: {_end(said)}"
    if must_fail and done.returncode == 0:
        return "exit code 0, though the model must fail"
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    if len(errors) > 1:
        return f"several ERROR: lines: {errors!a}"
    odd = printable(done.stdout + done.stderr, keep="\n\t\r")
    if odd != done.stdout + done.stderr:
        return f"control characters: {_first_odd(done.stdout + done.stderr)}"
    return half_written(folder)


def _first_odd(text: str) -> str:
    line = next(line for line in text.split("\n") if printable(line, keep="\t\r") != line)
    return ascii(line[:200])


def half_written(folder: Path) -> str:
    """Reports that cannot be read again, and temporary files."""
    results_file, page = folder / "out.json", folder / "out.html"
    try:
        if results_file.exists():
            read_results(results_file)
    except ValueError as error:
        return f"{results_file.name} {error}"
    if page.exists() and not page.read_text(encoding="utf-8").rstrip().endswith(_HTML_END):
        return f"{page.name} is cut off"
    return f"left over: {left_over(folder)}" if left_over(folder) else ""


def _end(text: str) -> str:
    return ascii(text.strip()[-400:])
