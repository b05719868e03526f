"""The examples of docs/trackers.md, as they stand there, with the packages they are about. No network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_mad.results.result_file import read_results

ROOT = Path(__file__).parents[2]
TITLES = ("MLflow", "Weights & Biases")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "trackers.md").read_text(), re.MULTILINE | re.DOTALL)

#: A setting fails; every result comes from a worker; nothing has a score, and the run ends early.
RUNS = {
    "alone": ("--mad-arch=models:make_model",),
    "workers": ("--mad-arch=models:make_model", "-n", "2"),
    "broken": ("--mad-arch=models:broken", "-x", "-k", "not contract"),
}

runs = pytest.mark.parametrize("arguments", RUNS.values(), ids=RUNS)


def needs(*packages):
    """Not ``importorskip``: trackers start threads and warn, so none is imported in this process."""
    missing = [one for one in packages if find_spec(one) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def measured(folder, tracker, arguments, **environment):
    """What a run of pytest writes into its result file, with this tracker's example as its conftest.py."""
    for name in ("models.py", "tiny.toml"):
        shutil.copy(ROOT / "tests" / "plugin" / "project" / name, folder)
    (folder / "conftest.py").write_text(EXAMPLES[TITLES.index(tracker)])
    command = [sys.executable, "-m", "pytest", *arguments, "--mad-preset=tiny.toml", "--mad-no-store"]
    done = started([*command, "--mad-json=mad.json"], folder, environment)
    output = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, output
    assert "hook pytest_mad" not in output and "MAD" in output, output
    return read_results(folder / "mad.json")


def started(command, folder, environment):
    environment = os.environ | {"HOME": str(folder), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def name_of(architecture, item):
    """``mad/models/memorization_vocab_size_24``: trackers allow few characters in names."""
    return f"mad/{architecture}/" + re.sub("[^a-z0-9-]+", "_", item).strip("_")


def expected(run, name_of=name_of):
    """Verdicts, scores and learning curves of a run, by the names that the examples give them."""
    verdicts, scores, curves = {}, {}, {}
    for architecture, found in run.architectures.items():
        scores[f"mad/{architecture}/mad_score"] = found.mad_score
        for name, result in {**found.contracts, **found.settings}.items():
            verdicts[f"{name_of(architecture, name)}/verdict"] = result.verdict
        for name, result in found.settings.items():
            scores[f"{name_of(architecture, name)}/score"] = result.normalized
            for number, trial in enumerate(result.trials):
                curves[f"{name_of(architecture, name)}/trial_{number}"] = [list(point) for point in trial.curve]
    # with something to see: curves of several points, or a verdict without a score and a curve
    assert max(map(len, curves.values()), default=0) > 1 or (verdicts and set(scores.values()) == {None})
    return verdicts, scores, curves


def test_there_is_an_example_of_each_tracker():
    """In this order, each under its title; they are Python."""
    text = (ROOT / "docs" / "trackers.md").read_text()
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == TITLES and len(EXAMPLES) == len(TITLES)
    for example in EXAMPLES:
        compile(example, "conftest.py", "exec")


# -- MLflow -----------------------------------------------------------------------------------------------------------

#: Prints all runs of an experiment.
READ_MLFLOW = """
import json
from pathlib import Path
import mlflow

client = mlflow.MlflowClient()
found = []
for run in mlflow.search_runs(output_format="list"):
    history = {
        key: [[point.step, point.value] for point in client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }
    artifact = client.download_artifacts(run.info.run_id, "mad.json")
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    found.append([run.info.status, run.data.params, tags, history, Path(artifact).read_text()])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Where MLflow keeps runs; files alone are no longer enough for it. Takes seconds to make, so there is one."""
    folder = tmp_path_factory.mktemp("mlflow")
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = started([sys.executable, "-c", "import mlflow; mlflow.search_experiments()"], folder, variables)
    assert done.returncode == 0, done.stderr
    return variables


@needs("mlflow", "sqlalchemy", "alembic")
@runs
def test_mlflow_has_every_result_of_a_run_once(database, tmp_path, arguments):
    """In one run, with learning curves point by point, and the result file."""
    environment = database | {"MLFLOW_EXPERIMENT_NAME": tmp_path.name}
    run = measured(tmp_path, "MLflow", arguments, **environment)
    done = started([sys.executable, "-c", READ_MLFLOW], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    ((status, params, tags, history, artifact),) = json.loads(done.stdout.splitlines()[-1])
    verdicts, scores, curves = expected(run)
    assert status == ("KILLED" if run.cut_short else "FINISHED")
    assert params == {"preset": "tiny", "torch": run.environment.torch, "command": run.command}
    assert tags == verdicts
    assert history == curves | {name: [[0, score]] for name, score in scores.items() if score is not None}
    assert artifact == (tmp_path / "mad.json").read_text()


# -- Weights & Biases -------------------------------------------------------------------------------------------------

#: Prints the history, the summary and the configuration in a file of a run that was offline: a log as LevelDB writes it,
#: of records in blocks of 32 KiB, each in one part or in several. wandb itself reads it in Go alone.
READ_WANDB = """
import json, struct, sys
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER, WHOLE, LAST = 32768, 7, 1, 4

def records(data):
    place, parts = HEADER, b""
    assert data.startswith(b":W&B")
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:  # the rest of a block is empty where no header fits
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        place += HEADER
        parts += data[place:place + length]
        place += length
        if kind in (WHOLE, LAST):
            yield Record.FromString(parts)
            parts = b""

def values(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}

history, summary, config, ends = [], {}, {}, []
for record in records(Path(sys.argv[1]).read_bytes()):
    kind = record.WhichOneof("record_type")
    if kind == "history":
        history.append(values(record.history.item))
    elif kind == "summary":
        summary.update(values(record.summary.update))
    elif kind == "config":
        config.update(values(record.config.update))
    elif kind == "run":
        config.update(values(record.run.config.update))
    elif kind == "exit":
        ends.append(record.exit.exit_code)
print(json.dumps([history, summary, config, ends]))
"""


@needs("wandb")
@runs
def test_wandb_has_every_result_of_a_run_once(tmp_path, arguments):
    """In one run that is offline, with learning curves point by point over the training step."""
    run = measured(tmp_path, "Weights & Biases", arguments, WANDB_MODE="offline", WANDB_ERROR_REPORTING="false")
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    done = started([sys.executable, "-c", READ_WANDB, str(file)], tmp_path, {})
    assert done.returncode == 0, done.stderr
    history, summary, config, ends = json.loads(done.stdout)
    verdicts, scores, curves = expected(run, lambda *names: name_of(*names).replace("-", "_"))
    logged = {}
    for line in history:
        for name in line.keys() & curves.keys():
            logged.setdefault(name, []).append([line["step"], line[name]])
    assert logged == curves and len(history) == sum(map(len, curves.values()))
    told = {name: value for name, value in summary.items() if name.endswith(("/verdict", "score"))}
    assert told == verdicts | scores
    assert config | {"preset": "tiny", "torch": run.environment.torch, "command": run.command} == config
    assert ends == [int(run.cut_short)]
