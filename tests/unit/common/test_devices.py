"""Which CUDA devices there are and which of them a run uses: names only, so any list will do."""

from __future__ import annotations

import os
import sys

import pytest

from pytest_mad.common.devices import listed, listed_devices, visible_devices
from pytest_mad.suite.options import parse
from pytest_mad.suite.xdist import chosen_devices, use_first

MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-GPU-aaaa/2/0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc)
  MIG 7g.40gb     Device  0: (UUID: MIG-3333)
"""


@pytest.fixture
def torch_sees(monkeypatch):
    """So many devices; as many as anybody names unless a test says otherwise."""

    def see(count):
        monkeypatch.setattr("torch.cuda.device_count", lambda: count)

    see(100)
    return see


pytestmark = pytest.mark.usefixtures("torch_sees")


class Config:
    """As much of pytest's as options ask for."""

    def __init__(self, **given):
        self.given, self.cleanups, self.stash = given, [], pytest.Stash()

    def getoption(self, name):
        return self.given.get(name)

    def getini(self, name):
        return None

    def add_cleanup(self, function):
        self.cleanups.append(function)


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put a stand-in on the PATH, which prints this; no list of the caller's."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(text, exit_code=0):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] || exit 2\necho '{text}'\nexit {exit_code}\n")
        program.chmod(0o755)

    return install


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("0,1", ["0", "1"]),
        ("3, 1", ["3", "1"]),
        ("GPU-b,GPU-a", ["GPU-b", "GPU-a"]),
        ("MIG-1111,MIG-GPU-aaaa/2/0", ["MIG-1111", "MIG-GPU-aaaa/2/0"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["0"]),  # CUDA's own rule
        ("0,,1", ["0"]),
    ],
)
def test_the_callers_own_list_is_all_there_is(given, found, nvidia_smi, monkeypatch):
    nvidia_smi("GPU 0: Other (UUID: GPU-excluded)")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_devices() == found


def test_without_a_list_nvidia_smi_is_asked(nvidia_smi):
    """For UUIDs: its numbers may be in another order than CUDA's."""
    nvidia_smi("GPU 0: NVIDIA H100 (UUID: GPU-aaaa)\nGPU 1: NVIDIA H100 (UUID: GPU-bbbb)")
    assert visible_devices() == ["GPU-aaaa", "GPU-bbbb"]


@pytest.mark.parametrize(
    ("text", "exit_code"),
    [("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", 9), ("No devices found.", 0)],
)
def test_a_driver_that_does_not_run_has_no_devices(text, exit_code, nvidia_smi):
    nvidia_smi(text, exit_code)
    assert visible_devices() == []


def test_a_machine_without_nvidia_smi_has_no_devices(nvidia_smi):
    assert visible_devices() == []


@pytest.mark.parametrize(
    ("named", "count", "there"),
    [
        ("0,1,2", 0, []),
        ("0,1,2", 1, ["0"]),
        ("3,GPU-b", 2, ["3", "GPU-b"]),
        ("MIG-1,MIG-2", 0, []),
        ("MIG-1,MIG-2", 1, ["MIG-1", "MIG-2"]),  # which is how CUDA counts them
    ],
)
def test_what_torch_does_not_see_is_not_there(named, count, there, torch_sees, nvidia_smi, monkeypatch):
    """A variable from another machine, or a torch that is built for the CPU beside a driver."""
    torch_sees(count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_devices() == there and ",".join(listed_devices()) == named
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    nvidia_smi("GPU 0: NVIDIA H100 (UUID: GPU-aaaa)\nGPU 1: NVIDIA H100 (UUID: GPU-bbbb)")
    assert visible_devices() == ["GPU-aaaa", "GPU-bbbb"][:count]


def test_torch_is_not_asked_where_nobody_names_a_device(nvidia_smi, monkeypatch):
    """Nor imported: most runs of pytest have no use for it."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert visible_devices() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_devices() == []


def test_a_gpu_that_is_cut_up_stands_for_its_instances():
    assert listed(MIG) == ["MIG-1111", "MIG-GPU-aaaa/2/0", "GPU-bbbb", "MIG-3333"]
    assert listed("") == []


@pytest.mark.parametrize(
    ("given", "picked"),
    [
        (None, ["5", "GPU-b", "MIG-c"]),
        ("auto", ["5", "GPU-b", "MIG-c"]),
        ("0", ["5"]),  # a place in the caller's list, as for torch, not a number of the machine's
        ("2,0", ["MIG-c", "5"]),
        ("GPU-b", ["GPU-b"]),
        ("MIG-c, 1", ["MIG-c", "GPU-b"]),
    ],
)
def test_devices_are_picked_by_place_or_by_name(given, picked, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-b,MIG-c")
    assert chosen_devices(Config(mad_gpus=given)) == picked


def test_a_cpu_needs_no_devices(monkeypatch):
    """Nor may it be given any."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert chosen_devices(Config(mad_device="cpu")) == []
    with pytest.raises(pytest.UsageError, match=r"^--mad-gpus=0: and --mad-device=cpu: leave one of them out$"):
        chosen_devices(Config(mad_gpus="0", mad_device="cpu"))


@pytest.mark.parametrize(
    ("visible", "given", "says"),
    [
        ("4,GPU-b", "7", "--mad-gpus=7: must be of the devices here: 0 (4), 1 (GPU-b)"),
        ("4,GPU-b", "0,2", "--mad-gpus=2: must be of the devices here: 0 (4), 1 (GPU-b)"),
        ("4,GPU-b", "GPU-c", "--mad-gpus=GPU-c: must be of the devices here: 0 (4), 1 (GPU-b)"),
        ("4,GPU-b", "1,GPU-b", "--mad-gpus=1,GPU-b: names a device twice"),
        ("", "0", "--mad-gpus=0: there is no CUDA device here"),
        ("", "a", "--mad-gpus=a: must be auto, or numbers or UUIDs of devices with commas between them"),
        ("", "0,", "--mad-gpus=0,: must be auto, or numbers or UUIDs of devices with commas between them"),
        ("", "-1", "--mad-gpus=-1: must be auto, or numbers or UUIDs of devices with commas between them"),
    ],
)
def test_what_is_not_there_is_a_usage_error(visible, given, says, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(pytest.UsageError) as error:
        chosen_devices(Config(mad_gpus=given))
    assert str(error.value) == says


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "a", ""])
def test_a_device_takes_at_least_one_trial(given):
    with pytest.raises(pytest.UsageError, match=r"^--mad-trials-per-gpu=.*: must be a whole number of at least 1$"):
        parse(Config(mad_trials_per_gpu=given))


@pytest.mark.parametrize("before", [None, "0,1"])
def test_a_single_process_gives_its_environment_back(before, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    config = Config()
    use_first(config, ["GPU-b", "GPU-a"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    for function in config.cleanups:
        function()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before
