"""Generated bad inputs of every kind that users can give: ``python -m benchmarks.scale.hostile``."""
