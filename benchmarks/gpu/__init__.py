"""What needs a CUDA device: ``python -m benchmarks.gpu``."""
