"""Ray itself, on this machine's own network: results, faults, and what is left behind."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import sys
import textwrap
import time
import uuid
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest

# Both are read when Ray is imported: it stays on the loopback device, and tells nobody that it is used.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402

import pytest_mad  # noqa: E402
from pytest_mad.executors.ray import cluster as ray_connect  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

PROJECT = Path(__file__).with_name("project")
BARE = tuple(f"-pno:{name}" for name in ("hypothesispytest", "anyio", "html", "html_fixtures", "metadata"))
LIMIT = 150
MARK = "MAD_TEST_RUN"
CONTRACTS = ("output", "causality", "batch-independence", "repeatability", "finite", "gradients", "lengths", "state")
SOFT = ("autocast", "input-unchanged", "globals-unchanged")
NO_CONTRACTS = [f"--mad-contract={name}=off:not the question" for name in (*CONTRACTS, *SOFT)]
BASELINE, LARGER, RECALL = "memorization[baseline]", "memorization[vocab_size=24]", "in-context-recall[baseline]"
#: Every trial is trained, whatever the others score: they are handed out one by one.
SWEEP = """
    schema = 1
    width = 16

    [recipe]
    points = [{ lr = 5e-2 }, { lr = 1e-2, weight_decay = 0.1 }, { lr = 1e30 }]
    steps = 20
    batch_size = 8
    evaluate_every = 10
    num_validation_examples = 16
    solved_at = 1.1
    race = false

    [tasks.memorization]
    baseline = { vocab_size = 16, seq_len = 8, num_train_examples = 64, num_test_examples = 32 }
    vary = { vocab_size = [24] }

    [tasks.compression]
    baseline = { vocab_size = 8, seq_len = 4, num_train_examples = 64, num_test_examples = 32 }
"""
FAULTY = """
    import os, signal, time
    from pathlib import Path
    from models import Tiny

    MARKS = Path("{marks}")  # of one machine, whichever copy of this file runs

    class Raises(Tiny):
        def forward(self, tokens_BT):
            raise IndexError("lost my way")

    def leaves(vocab_size):
        raise SystemExit(3)

    def dies_once(vocab_size):
        mark = MARKS / "died"
        if vocab_size == 24 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Tiny(vocab_size)

    def dies(vocab_size):
        if vocab_size == 24:
            os.kill(os.getpid(), signal.SIGKILL)
        return Tiny(vocab_size)

    def hangs(vocab_size):
        if vocab_size == 24:
            import ctypes
            ctypes.PyDLL(None).sleep(1000)  # holds the interpreter's lock
        return Tiny(vocab_size)

    class Slow(Tiny):
        def forward(self, tokens_BT):
            import ray
            (MARKS / ray.get_runtime_context().get_node_id()).touch()
            time.sleep(0.03)
            return super().forward(tokens_BT)
"""
#: The report of a failing item waits until two settings have finished that no item has asked for yet.
WAITING = """
    import time
    from pytest_mad.suite.keys import EXECUTOR

    def pytest_runtest_makereport(item, call):
        while call.excinfo and len(item.config.stash[EXECUTOR].unasked()) < 2:
            time.sleep(0.05)
"""


class Folder:
    """Where a run has its models, and how it is started: in a process of its own, which takes its Ray with it."""

    def __init__(self, path):
        self.path = path
        for file in PROJECT.iterdir():
            if file.is_file():
                shutil.copy(file, path)
        (path / "sweep.toml").write_text(textwrap.dedent(SWEEP))
        self.marks = path / "marks"
        self.marks.mkdir()
        (path / "faulty.py").write_text(textwrap.dedent(FAULTY).replace("{marks}", str(self.marks)))

    @contextlib.contextmanager
    def started(self, *args):
        """A run that must leave no process behind, with its output in a pipe."""
        mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "pytest", *BARE, "-W", "error", "--mad-json=out.json", *args]
        environment = os.environ | {MARK: mark}
        (self.path / "out.json").unlink(missing_ok=True)
        with Popen(command, cwd=self.path, env=environment, stdout=PIPE, stderr=STDOUT, text=True) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
        until = time.monotonic() + 20
        while marked(mark) and time.monotonic() < until:
            time.sleep(0.2)
        assert not marked(mark)

    def run(self, *args):
        """Exit code, output and results by architecture."""
        with self.started(*args) as process:
            output, _ = process.communicate(timeout=LIMIT)
        return process.returncode, output, self.results()

    def kept(self):
        """Files of the client's store."""
        return {file.name for file in (self.path / "kept").glob("*.safetensors")}

    def results(self):
        """Of the last run, by architecture: settings and contracts."""
        file = self.path / "out.json"
        return json.loads(file.read_text())["architectures"] if file.exists() else {}


def marked(mark):
    """Processes of a run, by a variable that they all inherit."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_bytes())
    return found


def verdicts(results, architecture):
    return {name: found["verdict"] for name, found in results[architecture]["settings"].items()}


def without_times(results):
    """All that a run found out, down to the last digit."""
    text = json.dumps(results, sort_keys=True)

    def plain(found):
        return {key: value for key, value in found.items() if key not in ("seconds", "seconds_per_step", "stored")}

    return json.loads(text, object_hook=plain)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Folder(tmp_path_factory.mktemp("ray"))


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine, which know nothing of any folder of the client's."""
    small = {"num_cpus": 1, "object_store_memory": 2**27}
    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 2, "health_check_initial_delay_ms": 0}
    paths = os.pathsep.join([str(Path(pytest_mad.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)
        found = Cluster(
            initialize_head=True,
            head_node_args={**small, "include_dashboard": False, "_system_config": quick},
        )
        found.second = found.add_node(**small)
    yield found
    found.shutdown()


# -- a Ray of its own -------------------------------------------------------------------------------------------------


def test_results_are_those_of_one_process_bit_for_bit(folder):
    """Contracts, sweeps that race, trials that are handed out one by one, and one of these that diverges."""
    options = [
        "--mad-arch=drawn=models:drawn",
        "--mad-arch=other=models:table",
        "--mad-preset=sweep.toml",
        "--mad-seeds=2",
    ]
    options += ["--mad-no-store", "--mad-contract=finite=off:one point diverges"]
    code, _, inline = folder.run(*options)
    code_of_ray, output_of_ray, found = folder.run(*options, "--mad-executor=ray")
    assert code == code_of_ray == pytest.ExitCode.OK, output_of_ray
    assert without_times(found) == without_times(inline)
    trials = found["drawn"]["settings"][BASELINE]["trials"]
    assert [(trial["lr"], trial["seed"]) for trial in trials] == [(lr, seed) for seed in (0, 1) for lr in (5e-2, 1e-2)]
    assert found["other"]["settings"]["compression[baseline]"]["verdict"] == "skipped"
    assert "mad: a Ray of its own, " in output_of_ray and "add -n auto" not in output_of_ray


def test_a_fault_costs_the_setting_that_has_it_and_no_other(folder):
    """Exceptions, exits, signals, and a hang that holds the interpreter's lock."""
    (folder.path / "conftest.py").write_text("import pytest_mad.executors.ray.executor as it\nit.GRACE = -48.0\n")
    names = ("Raises", "leaves", "dies_once", "dies", "hangs")
    architectures = [f"--mad-arch={name}=faulty:{name}" for name in names]
    options = ["--mad-preset=tiny.toml", "--mad-tasks=memorization", "--mad-no-store", "--mad-executor=ray"]
    code, output, found = folder.run(
        *architectures,
        *options,
        *NO_CONTRACTS,
        "--mad-timeout=60",
        "--mad-arch=models:make_model",
        "-k",
        "not contract",
    )
    (folder.path / "conftest.py").unlink()
    assert code == pytest.ExitCode.TESTS_FAILED, output
    both, second = {BASELINE: "error", LARGER: "error"}, {BASELINE: "pass", LARGER: "error"}
    fine = {BASELINE: "pass", LARGER: "pass"}
    expected = dict(zip((*names, "models"), (both, both, fine, second, second, fine), strict=True))
    assert {name: verdicts(found, name) for name in found} == expected, output
    details = {name: found[name]["settings"][LARGER]["detail"] for name in names}
    assert "raised IndexError" in details["Raises"] and details["leaves"] == "faulty:leaves raised SystemExit: 3"
    assert details["dies"].startswith("its Ray worker died 3 times: Worker unexpectedly exits")
    assert details["hangs"].startswith("out of time: no answer after ") and details["hangs"].endswith("was killed")
    assert 'raise IndexError("lost my way")' in output


def test_the_rest_is_cancelled_where_the_run_stops_early(folder):
    """``-x``: what had finished is in the results, although its item never asked for it; the rest is not waited for."""
    options = ["--mad-preset=tiny.toml", "--mad-no-store", *NO_CONTRACTS, "--mad-executor=ray", "-x"]
    (folder.path / "conftest.py").write_text(textwrap.dedent(WAITING))
    code, output, found = folder.run(
        "--mad-arch=Raises=faulty:Raises",
        "--mad-arch=hangs=faulty:hangs",
        *options,
        "-k",
        "not contract and not recall",
    )
    (folder.path / "conftest.py").unlink()
    assert code == pytest.ExitCode.TESTS_FAILED, output
    assert verdicts(found, "Raises") == {BASELINE: "error", LARGER: "error"}
    assert verdicts(found, "hangs") == {BASELINE: "pass"}


def test_ctrl_c_leaves_a_report_and_no_process(folder):
    options = ["--mad-preset=tiny.toml", "--mad-no-store", *NO_CONTRACTS, "--mad-executor=ray", "-k", "not contract"]
    with folder.started("--mad-arch=hangs=faulty:hangs", *options) as process:
        for line in process.stdout:
            if BASELINE in line:
                break
        time.sleep(1)  # until the next item waits: between two items, pytest itself may fall over it
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert verdicts(folder.results(), "hangs")[BASELINE] == "pass"


# -- a cluster --------------------------------------------------------------------------------------------------------


def test_a_factory_that_only_the_client_has_is_found_and_the_client_keeps_the_store(folder, cluster):
    """Also one whose module lies below a folder on the client's path. What the client has stored is found over there,
    and what is trained there comes back.
    """
    (folder.path / "src").mkdir()
    (folder.path / "src" / "below.py").write_text("from models import table as make_model\n")
    (folder.path / "pytest.ini").write_text("[pytest]\npythonpath = src\n")
    options = ["--mad-preset=tiny.toml", "--mad-store=kept", "--mad-tasks=memorization", *NO_CONTRACTS[1:]]
    _, _, here = folder.run(*options, "--mad-arch=models:make_model")
    before = folder.kept()
    options += [
        "--mad-arch=models:make_model",
        "--mad-arch=below:make_model",
        "--mad-arch=file=src/below.py:make_model",
    ]
    code, output, found = folder.run(*options, "--mad-executor=ray", f"--mad-ray-address={cluster.address}")
    (folder.path / "pytest.ini").unlink()
    assert code == pytest.ExitCode.TESTS_FAILED and "4 failed" in output, output  # a table of tokens memorizes nothing
    assert without_times(found["models"]) == without_times(here["models"])
    stored = {name: {setting["stored"] for setting in one["settings"].values()} for name, one in found.items()}
    assert stored == {"models": {True}, "below": {False}, "file": {False}}
    assert {name.partition("-")[0] for name in folder.kept() - before} == {"trial", "contract"}


def test_a_node_that_is_lost_takes_no_result_with_it(folder, cluster):
    """Its trials are trained again on the other."""
    options = ["--mad-preset=sweep.toml", "--mad-tasks=memorization", "--mad-seeds=2", "--mad-no-store", *NO_CONTRACTS]
    options += ["--mad-executor=ray", f"--mad-ray-address={cluster.address}", "-k", "not contract"]
    with folder.started("--mad-arch=Slow=faulty:Slow", *options) as process:
        for line in process.stdout:
            if "mad: Ray at " in line:
                break
        until = time.monotonic() + LIMIT
        while not (folder.marks / cluster.second.node_id).exists() and time.monotonic() < until:
            time.sleep(0.1)
        cluster.remove_node(cluster.second, allow_graceful=False)
        output, _ = process.communicate(timeout=LIMIT)
    cluster.second = cluster.add_node(num_cpus=1, object_store_memory=2**27)
    assert process.returncode == pytest.ExitCode.OK, output
    assert verdicts(folder.results(), "Slow") == {BASELINE: "pass", LARGER: "pass"}, output


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.fixture
def usage_error(project):
    """The one line of a run that ends before anything is trained."""

    def run(*args):
        before = project.files()
        result = project.models("--mad-executor=ray", *args)
        assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str()
        assert project.files() == before and "PASS" not in result.stdout.str()
        (line,) = [line for line in result.errlines if line]
        return line.removeprefix("ERROR: ")

    return run


def test_workers_of_xdist_start_no_ray(usage_error):
    assert usage_error("-n", "2").startswith("--mad-executor=ray: and -n 2: every worker of xdist would start a Ray")


def test_without_ray_the_run_ends_before_it_begins(usage_error, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "ray" else find_spec(name, *a))
    assert usage_error() == "--mad-executor=ray: needs Ray: pip install 'pytest-mad[ray]'"


def test_an_address_needs_ray(project):
    result = project.models("--mad-ray-address=auto")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --mad-ray-address=auto: is for --mad-executor=ray, which is missing"])


@pytest.fixture
def port():
    """One that is taken, and says nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_an_address_where_nobody_answers(usage_error, port, monkeypatch):
    monkeypatch.setattr(ray_connect, "CLUSTER_LIMIT", 2.0)
    silent = f"--mad-ray-address=127.0.0.1:{port}"
    assert usage_error(silent) == f"{silent}: there is no cluster of Ray that answers within 2 seconds"
    closed = "--mad-ray-address=127.0.0.1:1"
    assert usage_error(closed).startswith(f"{closed}: nobody answers there (")
    nowhere = "--mad-ray-address=nowhere.invalid:6379"
    assert usage_error(nowhere).startswith(f"{nowhere}: nobody answers there (")
    assert usage_error("--mad-ray-address=here").endswith("must be host:port, ray://host:port or auto")


def test_a_cluster_with_other_versions_trains_nothing(usage_error, cluster, monkeypatch):
    address = f"--mad-ray-address={cluster.address}"
    mine = ray_connect.own_versions()
    monkeypatch.setattr(ray_connect, "own_versions", lambda: mine | {"torch": "2.4.1"})
    says = f"{address}: its node 127.0.0.1 has torch {mine['torch']}, but the client has 2.4.1"
    assert usage_error(address) == says
    assert not ray.is_initialized()


def test_a_cluster_gets_no_file_from_above_the_folder(usage_error, cluster, project):
    path = PROJECT / "models.py"
    line = usage_error(f"--mad-arch=x={path}:plain", f"--mad-ray-address={cluster.address}")
    assert line.startswith(f"--mad-arch=x={path}:plain: a cluster gets the folder in which pytest is called")
