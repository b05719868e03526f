"""The operators at the core of the layers, each in up to three forms that agree.

``recurrent`` is the definition, one token after the other; ``reference`` computes the same in parallel, in plain
PyTorch; ``kernel`` is somebody's fast implementation for a GPU. All tensors are ``(B, T, H, K)``: batch, time, head,
key width; V is the width of a value, a state is ``(B, H, K, V)``.
"""
