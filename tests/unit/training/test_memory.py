"""What a training step frees stays with the process, where the C library can keep it."""

from __future__ import annotations

from pytest_mad.training.memory import keep_freed_memory


def test_memory_is_kept_where_the_c_library_knows_how(monkeypatch):
    keep_freed_memory.cache_clear()
    assert keep_freed_memory() in (True, False)
    keep_freed_memory.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False
    keep_freed_memory.cache_clear()
