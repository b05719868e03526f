"""The suite's items on other machines: when their workers begin, and what is left of them at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_mad.executors.ray.cluster import Client, ClusterError
from pytest_mad.executors.ray.executor import training_in_ray
from pytest_mad.results.result import ItemResult

from .items import JudgedItem, MadContract, MadItem
from .keys import EXECUTOR, PLAN
from .options import options_of
from .xdist import chosen_devices, cores


@contextlib.contextmanager
def executing(session: pytest.Session, keep: Callable[[ItemResult], None]) -> Iterator[None]:
    """Have Ray's workers compute the selected items, from now on and until the last one has ended.

    What had finished when the run was cut short is kept, although its item never asked for it.
    """
    config = session.config
    items = [item for item in session.items if isinstance(item, JudgedItem) and not item.get_closest_marker("skip")]
    if not items or config.option.collectonly or stops_behind_collection(session):
        yield
        return
    plan, terminal = config.stash[PLAN], config.pluginmanager.getplugin("terminalreporter")
    settings = [(item.architecture, item.setting) for item in items if isinstance(item, MadItem)]
    contracts = [(item.architecture, item.contract) for item in items if isinstance(item, MadContract)]
    remote, is_complete = None, False
    try:
        with training_in_ray(client(config), plan.run, plan.sizes(), settings, contracts) as remote:
            if terminal is not None and terminal.verbosity >= 0:
                terminal.write_line(f"mad: {remote.description}")
            config.stash[EXECUTOR] = remote
            yield
            is_complete = True
    except ClusterError as error:
        raise pytest.UsageError(str(error)) from None
    finally:
        for result in remote.unasked() if remote and not is_complete else ():
            keep(result)


def stops_behind_collection(session: pytest.Session) -> bool:
    """Whether pytest runs nothing, because of errors of collection."""
    return bool(session.testsfailed and not session.config.option.continue_on_collection_errors)


def client(config: pytest.Config) -> Client:
    """What Ray is asked for, and what user code it needs."""
    options = options_of(config)
    address, gpus, data = options.ray_address, options.gpus, options.data
    if address and gpus != "auto":
        raise pytest.UsageError(
            f"--mad-gpus={','.join(gpus)}: the devices of a cluster are Ray's to give; leave it out"
        )
    if address and data is not None:
        raise pytest.UsageError(f"--mad-data={data}: a cluster cannot see this folder; leave out --mad-ray-address")
    return Client(
        address=address,
        folder=Path(config.invocation_params.dir),
        targets=options.targets,
        cores=cores(),
        devices=None if gpus == "auto" else tuple(chosen_devices(config)),
        trials_per_gpu=options.trials_per_gpu,
    )
