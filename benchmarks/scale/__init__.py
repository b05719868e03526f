"""Workers, Ray and faults: ``python -m benchmarks.scale``."""
