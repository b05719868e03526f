"""A connection to Ray: its own on this machine, or a cluster's, which must have the same versions as the client."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_mad.common.devices import VISIBLE
from pytest_mad.common.errors import first_line

from .actor import Place, problem_with

#: Seconds until an address counts as unreachable: for its port, and for the cluster behind it.
PORT_LIMIT, CLUSTER_LIMIT = 4.0, 14.0
#: Seconds until a node must have run a first, empty task.
NODE_LIMIT = 120.0
#: What no worker needs of the client's folder, in the words of a .gitignore; and larger files than this.
EXCLUDES = (
    *(".git", ".hg", ".pytest_mad", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"),
    *("__pycache__", "node_modules", "*.egg-info", "*.pyc"),
)
LARGEST_FILE = 32 * 2**20
#: Of a Ray of its own; what travels is small.
_OBJECT_STORE = 2**28
_PROBE = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')"


class ClusterError(ValueError):
    """A Ray that cannot be used; the message is one line that names the option."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """What Ray is asked for, and what user code it needs."""

    #: None for a Ray of its own
    address: str | None
    #: the invocation directory
    folder: Path
    #: flag and text of each architecture
    targets: tuple[tuple[str, str], ...]
    #: that a Ray of its own may use
    cores: int
    #: CUDA devices that a Ray of its own may use; None for all
    devices: tuple[str, ...] | None = None
    trials_per_gpu: int = 1

    @property
    def option(self) -> str:
        """What the user wrote."""
        return f"--mad-ray-address={self.address}" if self.address else "--mad-executor=ray"

    def place(self) -> Place:
        """Where workers find user code: here, or in the copy of this folder that Ray sends them."""
        if self.address is None:
            return Place(folder=str(self.folder), paths=(), shares_store=True)
        known = [Path(path or self.folder) for path in sys.path]
        inside = [path for path in known if path.is_relative_to(self.folder)]
        paths = [path.relative_to(self.folder).as_posix() for path in inside if not _is_installed(path)]
        return Place(folder=None, paths=tuple(dict.fromkeys(paths)), shares_store=False)


@contextlib.contextmanager
def connected(client: Client) -> Iterator[Callable[[], bool]]:
    """Be a client of Ray, that knows whether its torch sees CUDA.

    Raises :class:`ClusterError`, within 20 seconds where nobody answers.
    """
    if client.address is not None:
        check_targets(client)
        check_reachable(client)
    start(client)
    import ray

    try:
        if client.address is None:
            yield sees_cuda
        else:
            yield functools.partial(bool, check_nodes(client))
    finally:
        ray.shutdown()


def sees_cuda() -> bool:
    """Whether torch does, on this machine."""
    import torch

    return torch.cuda.is_available()


def start(client: Client) -> None:
    """Start Ray, or connect to one. What it announces of its own future is no warning of the user's code."""
    with warnings.catch_warnings(), environment(_private(client)):
        warnings.simplefilter("ignore")
        import ray

        if ray.is_initialized():
            raise ClusterError(f"{client.option}: this process uses Ray already; let pytest-mad start it")
        try:
            ray.init(**_how(client), log_to_driver=False, logging_level="ERROR", configure_logging=False)
        except Exception as error:
            raise ClusterError(f"{client.option}: {one_line(error)}") from None


def _how(client: Client) -> dict[str, Any]:
    """Ray's own words for where it runs, and for what its workers are sent."""
    if client.address is None:
        return {
            "address": "local",
            "num_cpus": client.cores,
            "object_store_memory": _OBJECT_STORE,
            "include_dashboard": False,
        }
    sent = {"working_dir": str(client.folder), "excludes": [*EXCLUDES, *too_much(client.folder)]}
    return {"address": client.address, "runtime_env": sent}


def _private(client: Client) -> dict[str, str]:
    """The environment of a Ray of one's own: it imports from where this process does, and talks to nobody else."""
    if client.address is not None:
        return {}
    paths = os.pathsep.join(dict.fromkeys(path or os.getcwd() for path in sys.path))
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "PYTHONPATH": paths}
    return own if client.devices is None else own | {VISIBLE: ",".join(client.devices)}


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """With these variables, which processes that begin meanwhile inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def too_much(folder: Path) -> list[str]:
    """Environments and large files below a folder, as a .gitignore would name them."""
    found = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if "pyvenv.cfg" in files and here != folder:
            found.append(here)
            folders.clear()
            continue
        folders[:] = [name for name in folders if name not in EXCLUDES]
        found += [here / name for name in files if _size(here / name) > LARGEST_FILE]
    return ["/" + re.sub(r"([\\*?\[\]!# ])", r"\\\1", path.relative_to(folder).as_posix()) for path in found]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link to nowhere
        return 0


def _is_installed(path: Path) -> bool:
    return path.name == "site-packages" or (path.parent / "pyvenv.cfg").exists()


def check_targets(client: Client) -> None:
    """A cluster gets the invocation directory, and nothing from above it."""
    for flag, text in client.targets:
        place = text.partition("=")[2] or text
        file = Path(client.folder, place.rpartition(":")[0])
        is_file = flag != "--mad-layers" and file.suffix == ".py"
        if is_file and (place.startswith("/") or not file.resolve().is_relative_to(client.folder.resolve())):
            raise ClusterError(
                f"{flag}={text}: a cluster gets the folder in which pytest is called, {client.folder}, and what lies "
                "in it; write a path within it"
            )


def check_reachable(client: Client) -> None:
    """Ray itself may wait for minutes. First the port must answer, then the cluster to another process."""
    assert client.address is not None
    found = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+)\]?:(\d+)", client.address)
    if found is None and client.address != "auto":
        raise ClusterError(f"{client.option}: must be host:port, ray://host:port or auto")
    if client.address.startswith("ray://") and importlib.util.find_spec("grpc") is None:
        raise ClusterError(f"{client.option}: needs Ray's client: pip install 'ray[client]'")
    if found:
        try:
            socket.create_connection((found[1], int(found[2])), timeout=PORT_LIMIT).close()
        except (OSError, OverflowError, UnicodeError) as error:  # of a host that cannot be one
            raise ClusterError(f"{client.option}: nobody answers there ({first_line(error)})") from None
    command = [sys.executable, "-c", _PROBE, client.address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=CLUSTER_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{client.option}: there is no cluster of Ray that answers within {CLUSTER_LIMIT:g} seconds"
        ) from None
    if asked.returncode:
        raise ClusterError(f"{client.option}: {_last_message(asked.stderr)}")


def _last_message(stderr: str) -> str:
    """The message of the exception that a process ended with."""
    lines = stderr.splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"\w[\w.]*(Error|Exception|Exit)\b", line)]
    return " ".join(" ".join(lines[starts[-1] :] if starts else lines[-1:]).split()) or "Ray does not start"


def one_line(error: BaseException) -> str:
    """All of a message; Ray's go over several lines."""
    return " ".join(str(error).split()) or type(error).__name__


def versions_reader() -> Callable[[], dict[str, str | None]]:
    """A function that tells a process's versions. Being no module's own, it travels without pytest-mad."""

    def versions() -> dict[str, str | None]:
        import runpy
        import sys
        from importlib import metadata, util
        from pathlib import Path

        def of(package: str) -> str | None:
            try:
                return metadata.version(package).partition("+")[0]  # a client without a GPU has torch's build for CPUs
            except metadata.PackageNotFoundError:
                return None

        def build() -> str | None:
            """What torch is built for. It sees no device here: Ray hides them from what takes none."""
            torch = util.find_spec("torch")  # whose file of versions imports nothing of it
            told = runpy.run_path(str(Path(torch.origin).with_name("version.py"))) if torch and torch.origin else {}
            return told.get("cuda") or told.get("hip")

        try:
            from pytest_mad.architectures.source import code_digest

            plugin = f"{of('pytest-mad')}, source {code_digest('.')[:8]}"
        except ImportError:
            plugin = None
        python = ".".join(map(str, sys.version_info[:2]))
        return {"Python": python, "torch": of("torch"), "pytest-mad": plugin, "CUDA": build()}

    return versions


def own_versions() -> dict[str, str | None]:
    """The client's; its build of torch may be another than the cluster's."""
    return {name: version for name, version in versions_reader()().items() if name != "CUDA"}


def check_nodes(client: Client) -> bool:
    """Whether torch is built for CUDA on every node with a GPU.

    Raises :class:`ClusterError` for a node with other versions, or one that cannot import the architectures.
    """
    mine, builds = own_versions(), []
    for node, theirs in _on_every_node(client, versions_reader()):
        for name, version in mine.items():
            if theirs[name] != version:
                has = f"has {name} {theirs[name]}" if theirs[name] else f"has no {name}"
                raise ClusterError(f"{client.option}: its node {_address(node)} {has}, but the client has {version}")
        if node["Resources"].get("GPU"):
            builds.append(theirs["CUDA"])
    for node, problem in _on_every_node(client, problem_with, client.targets, client.place()):
        if problem:
            raise ClusterError(f"{client.option}: on its node {_address(node)}: {problem}")
    return all(builds)


def _address(node: dict[str, Any]) -> str:
    return str(node["NodeManagerAddress"])


def _on_every_node(
    client: Client, function: Callable[..., Any], *arguments: Any
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Call a function in one worker of each node, busy or not: what Ray says of the node, and what was returned."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(function)
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    asked = {
        name: task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)
        ).remote(*arguments)
        for name in nodes
    }
    name = ""
    try:
        for name, answer in asked.items():
            yield nodes[name], ray.get(answer, timeout=NODE_LIMIT)
    except ray.exceptions.RayError as error:
        node = _address(nodes[name])
        raise ClusterError(f"{client.option}: its node {node} runs nothing: {cause_of(error)}") from None


_EXIT = re.compile(r"Worker exit detail: (.*?\.)(?: |$)")


def cause_of(error: BaseException) -> str:
    """What Ray says of a worker that died, in a few words."""
    text = one_line(error)
    known = _EXIT.search(text)
    if known:
        return known[1].rstrip(".")
    _, _, why = text.partition("The actor is dead because ")
    cause = why or one_line(getattr(error, "cause", None) or error)
    return cause[:_LONGEST_CAUSE].rstrip(". ")


_LONGEST_CAUSE = 300
