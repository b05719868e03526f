"""Layers and models with one thing changed each, for ``benchmarks.gate.defects``."""
