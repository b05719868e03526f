"""Products of matrices by oneDNN, in compiled code."""

from __future__ import annotations

import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pytest_mad.training import compiled, one_dnn


def numbers(*shape):
    return torch.arange(1.0, 1 + math.prod(shape)).sin().view(shape)


FACTORS = {
    "plain": (numbers(6, 4), numbers(4, 3)),
    "forward": (numbers(6, 4), numbers(3, 4).t()),
    "tall gradient": (numbers(4, 6).t(), numbers(4, 3)),
    "wide gradient": (numbers(4, 3).t(), numbers(4, 6)),
    "slices": (numbers(6, 9)[:, 2:6], numbers(4, 8)[:, ::2]),
    "gradient of a slice": (numbers(4, 9)[:, 2:8].t(), numbers(4, 3)),
}


@pytest.fixture(autouse=True)
def one_dnn_is_there():
    if one_dnn.one_dnn_pass() is None:
        pytest.skip("torch without oneDNN")


@pytest.mark.parametrize("bias", [None, 1, 2])
@pytest.mark.parametrize(("a", "b"), FACTORS.values(), ids=FACTORS)
def test_a_product_is_a_product(a, b, bias):
    """With the memory layout that aten gives: the compiler relies on it. The bias may have a stride."""
    c = numbers(bias * b.shape[1])[::bias] if bias else None
    found = torch.ops.pytest_mad.product(c, a, b)
    torch.testing.assert_close(found, a @ b if c is None else a @ b + c)
    assert found.is_contiguous()


@pytest.mark.filterwarnings("ignore")  # compilers talk about themselves
def test_compiled_code_calls_it_for_every_product_of_matrices(tmp_path, monkeypatch):
    """Factors that oneDNN would copy come to it as copies that the compiler has made."""
    if not compiled.has_compiler():
        pytest.skip("no C++ compiler")
    linear, asked = one_dnn._linear, []

    def watched(x_MK, weight_NK, bias_N):
        asked.append((bias_N is not None, x_MK.is_contiguous()))
        return linear(x_MK, weight_NK, bias_N)

    def products(factors):
        return [a @ b for a, b in factors] + [torch.addmm(b[0], a, b) for a, b in factors]

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # the pass is run, not what it once gave found
    monkeypatch.setattr(one_dnn, "_linear", watched)
    factors = [pair for name, pair in FACTORS.items() if "slice" not in name]
    torch.compiler.reset()
    found = torch.compile(products, dynamic=False, options=compiled._options())(factors)
    for one, other in zip(found, products(factors), strict=True):
        torch.testing.assert_close(one, other)
        assert one.stride() == other.stride()
    assert sorted(asked)[: len(factors)] == [(False, True)] * len(factors)
    assert len(asked) == 2 * len(factors)


def test_a_factor_of_several_products_is_copied_once():
    """As where two projections of one input are trained."""
    import torch._inductor.inductor_prims  # as the compiler does

    def gradients(x, one, other):
        return one.t() @ x, other.t() @ x

    factors = numbers(6, 4), numbers(6, 5), numbers(6, 5)
    graph = make_fx(gradients, tracing_mode="fake")(*factors)
    one_dnn.one_dnn_pass()(graph.graph)
    assert sum("stride_order" in str(node.target) for node in graph.graph.nodes) == 1
    graph.recompile()
    for found, expected in zip(graph(*factors), gradients(*factors), strict=True):
        torch.testing.assert_close(found, expected)


def test_elsewhere_there_is_no_pass(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr(compiled, "one_dnn_pass", one_dnn.one_dnn_pass.__wrapped__)
    assert "post_grad_custom_post_pass" not in compiled._options()
