"""Measurements that take longer than a test may, in rooms. ``--help`` says what a command measures and writes.

Most are one command each, ``python -m benchmarks.ROOM.NAME``; the rooms ``gate``, ``scale`` and ``gpu`` are commands
themselves, ``python -m benchmarks.ROOM``.
"""
