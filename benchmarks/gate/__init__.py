"""How often the gate is right: ``python -m benchmarks.gate``."""
