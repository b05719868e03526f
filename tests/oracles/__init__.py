"""Slow, obviously right references that the fast code is tested against."""
