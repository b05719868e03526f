"""Sequence mixers and channel mixers by name: the layers of the MAD paper (arXiv 2403.17844) and others.

Every layer is built as ``Layer(dim, max_length, **config)`` and maps ``(B, T, dim)`` to ``(B, T, dim)`` for any T from
1 to ``max_length``. A new layer joins by one file in this package that uses ``@register_layer``; one of another package
joins through the entry-point group ``pytest_mad.layers``.
"""

from .registry import UnknownLayerError, build_layer, layer_names, register_layer

__all__ = ["UnknownLayerError", "build_layer", "layer_names", "register_layer"]
