"""From a TARGET to a model: ``Architecture``, how one is made, and what its models are wrapped in."""
