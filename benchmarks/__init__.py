"""Measurements that take longer than a test may. Each is one command, ``python -m benchmarks.NAME``."""
