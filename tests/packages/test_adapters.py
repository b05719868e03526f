"""What stands between our operators and the kernels of other packages.

Triton kernels run, interpreted. What needs a CUDA compiler is replaced by its own package's reference.
"""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch

from benchmarks.speed.operators import CASES, Case, Shape, Source
from pytest_mad.layers import build_layer
from pytest_mad.layers.ops import conv_kernels, fla_kernels, flash_kernels, kernel, mamba_kernels, operator
from pytest_mad.layers.ops.kernel import Kernel
from tests.packages.comparing import assert_same
from tests.packages.installed import load

SMALL = Shape(B=2, T=37, H=2, K=16, V=8)
ROUNDING = {torch.float32: 2e-5, torch.float16: 5e-3}


def compare(case: Case, one: Kernel, dtype: torch.dtype = torch.float32) -> None:
    """The kernel on numbers of ``dtype`` with the definition on the same numbers, in float32."""
    has_no_gradient_of_state = one is mamba_kernels.SELECTIVE_SCAN
    arguments = case.draw(SMALL, Source(dtype=dtype, device="cpu"))
    dtypes = [None if x is None else x.dtype for x in arguments]
    present = [x.float() for x in arguments if x is not None]

    def restore(tensors: tuple[torch.Tensor, ...]) -> list[torch.Tensor | None]:
        left = iter(tensors)
        return [None if own is None else next(left).to(own) for own in dtypes]

    def ours(*tensors):
        left = iter(tensors)
        wide = [None if own is None else next(left) for own in dtypes]
        if has_no_gradient_of_state:
            wide[-1] = torch.zeros(SMALL.B, *wide[2].shape)
        return case.operator(*wide, backend="recurrent")

    def theirs(*tensors):
        output, state = one.load()(*restore(tensors))
        return output.float(), None if has_no_gradient_of_state else state

    assert_same(ours, theirs, *present, tolerance=ROUNDING[dtype])


@pytest.fixture
def fla():
    load("fla.ops.chunk_gla")


BY_FLA = [
    "linear attention",
    "retention",
    "gated linear attention",
    "rwkv-6",
    "delta rule",
    "gated delta rule",
    "kimi delta attention",
    "rwkv-7",
    "gated slot attention",
]


@pytest.mark.filterwarnings("ignore:.*does not support float32 on some platforms:RuntimeWarning")
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("name", BY_FLA)
def test_fla(fla, name: str, dtype: torch.dtype):
    """In half precision gates and states beside it are float32, as layers have them under autocast."""
    (one,) = CASES[name].operator.kernels
    compare(CASES[name], one, dtype)


def test_fla_for_mamba_2(fla):
    compare(CASES["mamba-2"], fla_kernels.SSD)


def test_mamba_2():
    load("mamba_ssm.ops.triton.ssd_combined.mamba_chunk_scan_combined")
    compare(CASES["mamba-2"], mamba_kernels.SSD)


def test_mamba(monkeypatch: pytest.MonkeyPatch):
    reference = load("mamba_ssm.ops.selective_scan_interface.selective_scan_ref")
    replace(monkeypatch, "mamba_ssm.ops.selective_scan_interface", "selective_scan_fn", reference)
    compare(CASES["mamba"], mamba_kernels.SELECTIVE_SCAN)


def test_short_convolution(monkeypatch: pytest.MonkeyPatch):
    reference = load("causal_conv1d.causal_conv1d_interface.causal_conv1d_ref")

    def checked(x, weight, bias, initial_states):
        """With what its C++ part insists on."""
        for channels_last in (x, initial_states):
            assert channels_last.stride(1) == 1
        assert x.stride(2) > 1
        assert x.stride(2) % 8 == x.stride(0) % 8 == 0
        assert initial_states.dtype == x.dtype
        assert bias.dtype == weight.dtype
        return reference(x, weight, bias, initial_states=initial_states)

    replace(monkeypatch, "causal_conv1d", "causal_conv1d_fn", checked)
    compare(CASES["short convolution"], conv_kernels.SHORT_CONVOLUTION)


@pytest.mark.parametrize("name", ["mh-gated-linear-attention", "gated-deltanet", "mamba2"])
def test_layers_through_kernels(fla, monkeypatch: pytest.MonkeyPatch, name: str):
    """From the choice of a kernel to the gradients of the parameters."""
    for module in (kernel, operator):
        monkeypatch.setattr(module, "on_gpu", lambda tensor: True)
    reference = load("causal_conv1d.causal_conv1d_interface.causal_conv1d_ref")
    replace(monkeypatch, "causal_conv1d", "causal_conv1d_fn", reference)
    load("mamba_ssm.ops.triton.ssd_combined.mamba_chunk_scan_combined")
    torch.manual_seed(0)
    layer, x = build_layer(name, dim=32, max_length=40), torch.randn(2, 30, 32)
    weights = dict(layer.named_parameters())

    def by(backend: str, *parameters: torch.Tensor):
        layer.backend = backend
        return torch.func.functional_call(layer, dict(zip(weights, parameters, strict=True)), (x,))

    # The decay's gradient is a sum that cancels: the interpreted kernel's is off by 1.9e-5 from double precision, ours
    # by 2e-6.
    sides = partial(by, "kernel"), partial(by, "reference")
    assert_same(*sides, *weights.values(), gradient_tolerance=1e-4)


@pytest.mark.parametrize("name", ["attention", "sliding attention"])
@pytest.mark.parametrize("causal", [True, False])
def test_attention(monkeypatch: pytest.MonkeyPatch, name: str, causal: bool):
    reference = load("flash_attn.utils.testing.attention_ref")

    def by_reference(q, k, v, dropout_p, causal, window_size):
        window = [None if side == -1 else side for side in window_size]
        return reference(q, k, v, dropout_p=dropout_p, causal=causal, window_size=tuple(window))[0]

    replace(monkeypatch, "flash_attn", "flash_attn_func", by_reference)
    square = Shape(B=2, T=37, H=2, K=16, V=16)
    q, k, v = CASES[name].draw(square, Source(dtype=torch.float32, device="cpu"))
    config = {**CASES[name].config, "causal": causal}
    flash = flash_kernels.FLASH_ATTENTION.load()
    assert_same(
        lambda *qkv: CASES[name].operator(*qkv, backend="reference", **config),
        lambda *qkv: flash(*qkv, **config),
        q,
        k,
        v,
    )


def replace(monkeypatch: pytest.MonkeyPatch, module: str, name: str, stand_in) -> None:
    """The real function must take what the stand-in does, by these names."""
    real = inspect.signature(load(f"{module}.{name}"))
    unknown = set(inspect.signature(stand_in).parameters) - set(real.parameters)
    assert not unknown, f"{name} takes no {unknown}"
    monkeypatch.setattr(f"{module}.{name}", stand_in)
