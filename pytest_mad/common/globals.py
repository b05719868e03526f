"""What of a process a user's code may change for all that runs after it, and how it is put back."""

from __future__ import annotations

import contextlib
import os
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.backends import cuda, cudnn, mkldnn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

_SMALLEST = 1e-40  # a denormal number of float32


class Setting(NamedTuple):
    """One setting of torch or NumPy that holds for the whole process."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _set_default_device(device: torch.device) -> None:
    """Without a device of its own torch takes the CPU, and has no work with it."""
    torch.set_default_device(None if device == torch.device("cpu") else device)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return None


def _go_to(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _write_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _write_autocast(value: tuple[bool, bool]) -> None:
    for device, is_on in zip(("cpu", "cuda"), value, strict=True):
        torch.set_autocast_enabled(device, is_on)


def _write_cudnn(value: tuple[bool, bool, bool]) -> None:
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic = value


def _read_kernels() -> tuple[bool, ...]:
    enabled: tuple[Callable[[], bool], ...]
    enabled = cuda.flash_sdp_enabled, cuda.mem_efficient_sdp_enabled, cuda.math_sdp_enabled
    return tuple(is_on() for is_on in enabled)


def _write_kernels(value: tuple[bool, ...]) -> None:
    for enable, is_on in zip(
        (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_math_sdp), value, strict=True
    ):
        enable(is_on)


def _read_modes() -> tuple[Any, ...]:
    """What catches torch's functions: a device that was entered and never left, for example. Not the default device."""
    own = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    modes = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return tuple(mode for mode in modes if mode is not own)


def _write_modes(value: tuple[Any, ...]) -> None:
    """Take off the others. Not by their own way out: a device that was entered by hand has none."""
    others = [mode for mode in _read_modes() if not any(mode is one for one in value)]
    taken = [_pop_mode() for _ in _get_current_function_mode_stack()]  # type: ignore[no-untyped-call]
    for mode in reversed(taken):
        if not any(mode is one for one in others):
            _push_mode(mode)  # type: ignore[no-untyped-call]


#: The device, the modes and the grad mode come first: what reads the others may create a tensor.
SETTINGS = (
    Setting("torch's default device", torch.get_default_device, _set_default_device),
    Setting("torch's function modes", _read_modes, _write_modes),
    Setting("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting(
        "torch's deterministic algorithms",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _write_deterministic,
    ),
    Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting(
        "torch's precision of float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    Setting(
        "torch's flushing of denormal numbers",
        lambda: torch.full((1,), _SMALLEST, dtype=torch.float32, device="cpu").mul(1.0).item() == 0,
        torch.set_flush_denormal,
    ),
    Setting("torch's anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    Setting(
        "torch's autocast",
        lambda: tuple(torch.is_autocast_enabled(device) for device in ("cpu", "cuda")),
        _write_autocast,
    ),
    Setting("cuDNN's flags", lambda: (cudnn.enabled, cudnn.benchmark, cudnn.deterministic), _write_cudnn),
    Setting(
        "torch's choice of attention kernels",
        _read_kernels,
        _write_kernels,
    ),
    Setting("torch's use of oneDNN", lambda: mkldnn.enabled, mkldnn.set_flags),
    Setting("the working directory", _folder, _go_to),
    Setting("NumPy's handling of floating-point errors", np.geterr, lambda value: np.seterr(**value)),
)


@contextlib.contextmanager
def put_back() -> Iterator[list[str]]:
    """Put back what runs inside changes of the process; afterwards the list that it yields names it, an entry each.

    That torch was seeded is named, but random states go on: what is drawn next must not repeat what was drawn inside.
    """
    changes: list[str] = []
    before, seed = [_read(setting) for setting in SETTINGS], torch.initial_seed()
    with warnings.catch_warnings():
        filters = list(warnings.filters)
        try:
            yield changes
        finally:
            for setting, value in zip(SETTINGS, before, strict=True):
                now = _read(setting)
                if now != value:
                    changes.append(f"{setting.name} ({_shown(value)} to {_shown(now)})")
                    with contextlib.suppress(Exception):  # a folder that is gone
                        setting.write(value)
            if torch.initial_seed() != seed:
                changes.append(f"torch's random state (seeded with {torch.initial_seed()})")
            if list(warnings.filters) != filters:
                changes.append("the warnings filters")


def _read(setting: Setting) -> Any:
    """torch refuses some where a newer way was used to set the same."""
    try:
        return setting.read()
    except Exception as error:
        return f"unreadable: {type(error).__name__}"


@contextlib.contextmanager
def random_states_put_back() -> Iterator[None]:
    """The same of the random states of torch, NumPy and Python."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _shown(value: Any) -> str:
    text = (
        ", ".join(map(_name, value.values() if isinstance(value, dict) else value)) if _is_many(value) else str(value)
    )
    return text.removeprefix("torch.")


def _name(value: Any) -> str:
    return type(value).__name__ if isinstance(value, TorchFunctionMode) else str(value)


def _is_many(value: Any) -> bool:
    return isinstance(value, tuple | dict)
