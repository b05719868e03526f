"""What a training step frees stays with the process, where the C library can keep it."""

from __future__ import annotations

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pytest_mad.training.memory import keep_freed_memory

#: Allocates and frees 64 MiB again and again, each time touched: pages that the system took back have to come anew.
TOUCH = """
import ctypes, resource, sys
from pytest_mad.training.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(11):
    if turn == 1:
        before = faults()
    block = libc.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
print(faults() - before)
"""


@pytest.fixture(autouse=True)
def asked_anew():
    keep_freed_memory.cache_clear()
    yield
    keep_freed_memory.cache_clear()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc knows the call")
def test_what_is_freed_is_there_again_without_the_system():
    """Of 64 MiB each time, a page is 4 KiB, or a large one of 2 MiB."""

    def faults(how):
        command = [sys.executable, "-c", TOUCH, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("given back") >= 10 * 2**26 / 2**21 > 10 * faults("kept")


def test_both_limits_of_the_c_library_are_a_gibibyte(monkeypatch):
    """Of blocks that have pages of their own (-3), and of what is free at the end of the heap (-1): see malloc.h."""
    asked = {}

    def mallopt(what, value):
        asked[what] = value
        return 1

    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory() is True
    assert asked == {-3: 2**30, -1: 2**30}


@pytest.mark.parametrize("library", [SimpleNamespace(), SimpleNamespace(mallopt=lambda what, value: 0)])
def test_another_c_library_keeps_nothing(monkeypatch, library):
    """It does not know the call, or refuses it."""
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    assert keep_freed_memory() is False
