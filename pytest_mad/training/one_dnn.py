"""A compiler's pass that hands products of float32 matrices to oneDNN, on x86.

oneDNN comes with torch, as MKL does, to which torch itself gives them; on an AMD EPYC (Zen 5) it is twice as fast.
"""

from __future__ import annotations

import functools
import platform
from typing import Any

import torch
from torch import Tensor, fx


@functools.cache
def one_dnn_pass() -> Any:
    """A pass over a graph that hands its products of float32 matrices to oneDNN; None where torch cannot."""
    has_one_dnn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
    if platform.machine().lower() not in ("x86_64", "amd64") or not has_one_dnn:
        return None
    try:
        from torch._inductor.custom_graph_pass import CustomGraphPass
    except ImportError:
        return None

    class OneDnn(CustomGraphPass):
        def __call__(self, graph: fx.Graph) -> None:
            for node in list(graph.nodes):
                _hand_over(node)

        def uuid(self) -> str:
            """What the compiler's cache on disk tells this pass by."""
            return "pytest-mad-one-dnn-3"

    return OneDnn()


def _hand_over(node: fx.Node) -> None:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.dtype != torch.float32 or value.device.type != "cpu" or node.kwargs:
        return
    if node.target is torch.ops.aten.mm.default:
        node.target, node.args = torch.ops.pytest_mad.product.default, (None, *_laid_out(*node.args))
        node.meta.pop("eager_input_vals", None)  # the layouts that the factors had
    elif node.target is torch.ops.aten.addmm.default and _value(node.args[0]).dim() == 1:
        node.target = torch.ops.pytest_mad.product.default


def _laid_out(a: Any, b: Any) -> tuple[fx.Node, fx.Node]:
    """The factors of a product, the one that oneDNN would copy copied by the compiler, which is faster at it."""
    a_MK, b_KN = _value(a), _value(b)
    if a_MK.is_contiguous() or not (_is_dense(a_MK) and _is_dense(b_KN)):
        return a, b
    return (a, _copied(b, b_KN.t().contiguous().t())) if _is_turned(a_MK, b_KN) else (_copied(a, a_MK.contiguous()), b)


def _value(node: Any) -> Tensor:
    """What a node of a graph gives, without its numbers."""
    value: Tensor = node.meta["val"]
    return value


def _copied(node: fx.Node, copy: Tensor) -> fx.Node:
    """A node behind this one: the same matrix, laid out like the copy; all products share it."""
    lay_out, wanted = torch.ops.prims.inductor_force_stride_order.default, (node, copy.stride())
    for user in node.users:
        if user.target is lay_out and user.args == wanted:
            return user
    with node.graph.inserting_after(node):
        new = node.graph.call_function(lay_out, wanted)
    new.meta["val"] = copy
    return new


def _product(bias_N: Tensor | None, a_MK: Tensor, b_KN: Tensor) -> Tensor:
    """``a b + bias``. oneDNN calls it ``linear``, whose second factor is a weight (N, K).

    A factor that is a slice of columns would be slow there, by a factor of 100.
    """
    if not (_is_dense(a_MK) and _is_dense(b_KN)):
        return a_MK @ b_KN if bias_N is None else torch.addmm(bias_N, a_MK, b_KN)
    if bias_N is None and _is_turned(a_MK, b_KN):
        return _linear(b_KN.t(), a_MK, None).t().contiguous()
    return _linear(a_MK, b_KN.t(), bias_N)


def _is_turned(a_MK: Tensor, b_KN: Tensor) -> bool:
    """Whether the transposed product is computed: oneDNN's first factor is contiguous, and the copy would be larger.

    So it is in gradients of weights that have more rows than columns.
    """
    return not a_MK.is_contiguous() and a_MK.shape[0] > b_KN.shape[1]


def _product_of_fakes(bias_N: Tensor | None, a_MK: Tensor, b_KN: Tensor) -> Tensor:
    return a_MK.new_empty(a_MK.shape[0], b_KN.shape[1])


#: Compiled code has no gradients left to take: registered for numbers and shapes alone, a call takes half the time.
_LIBRARY: Any = torch.library.Library("pytest_mad", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("product(Tensor? bias_N, Tensor a_MK, Tensor b_KN) -> Tensor")
_LIBRARY.impl("product", _product, "CPU")
_LIBRARY.impl("product", _product_of_fakes, "Meta")


def _linear(x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
    bias_N = None if bias_N is None else bias_N.contiguous()  # oneDNN does not look at its stride
    y_MN: Tensor = torch.ops.mkldnn._linear_pointwise(x_MK, weight_NK, bias_N, "none", [], "")
    return y_MN


def _is_dense(matrix: Tensor) -> bool:
    return matrix.is_contiguous() or matrix.t().is_contiguous()
