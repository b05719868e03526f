"""Which form of an operator is chosen, and what is said when a kernel is not; fake kernels stand in for real ones."""

from __future__ import annotations

import math
import sys
import warnings
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from benchmarks.gpu import __main__ as benchmark
from benchmarks.speed.operators import CASES, Shape, Source, pairs
from pytest_mad.layers.ops import agreement, conv_kernels, fla_kernels, flash_kernels, kernel, mamba_kernels, operator
from pytest_mad.layers.ops.agreement import Call, batch_and_time
from pytest_mad.layers.ops.attention import attention
from pytest_mad.layers.ops.convolution import short_convolution
from pytest_mad.layers.ops.delta import delta_rule, dplr
from pytest_mad.layers.ops.gla import gla
from pytest_mad.layers.ops.gsa import gsa
from pytest_mad.layers.ops.kernel import Kernel
from pytest_mad.layers.ops.operator import Operator
from pytest_mad.layers.ops.precision import kernel_dtype
from pytest_mad.layers.ops.selective_scan import selective_scan
from pytest_mad.layers.ops.ssd import ssd

KERNELS = {
    "gla": (gla, fla_kernels.GLA, "fla"),
    "delta_rule": (delta_rule, fla_kernels.DELTA_RULE, "fla"),
    "dplr": (dplr, fla_kernels.DPLR, "fla"),
    "gsa": (gsa, fla_kernels.GSA, "fla"),
    "ssd": (ssd, mamba_kernels.SSD, "mamba_ssm"),
    "ssd by fla": (ssd, fla_kernels.SSD, "fla"),
    "selective_scan": (selective_scan, mamba_kernels.SELECTIVE_SCAN, "mamba_ssm"),
    "short_convolution": (short_convolution, conv_kernels.SHORT_CONVOLUTION, "causal_conv1d"),
    "attention": (attention, flash_kernels.FLASH_ATTENTION, "flash_attn"),
}


def plain(x_BTC: Tensor, w_C: Tensor, h_BC: Tensor) -> tuple[Tensor, Tensor]:
    return x_BTC * w_C, h_BC + x_BTC.sum(1)


def by_kernel(module: ModuleType, x_BTC: Tensor, w_C: Tensor, h_BC: Tensor) -> tuple[Tensor, Tensor]:
    module.calls.append(tuple(x_BTC.shape))
    output, state = plain(x_BTC, w_C.to(x_BTC.dtype), h_BC)
    return output * module.gain, state


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An installed package with a kernel that is right as long as its gain is 1."""
    module = ModuleType("fast_package")
    module.gain, module.calls = 1.0, []
    monkeypatch.setitem(sys.modules, "fast_package", module)
    kernel._imported.cache_clear()
    yield module
    kernel._imported.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor passes for one on a GPU."""
    for module in (kernel, operator):
        monkeypatch.setattr(module, "on_gpu", lambda tensor: True)


def build(run=by_kernel, module: str = "fast_package", **config: object) -> Operator:
    fast = Kernel(name="fast.scan", package="fast-package", module=module, run=run, **config)
    return Operator(name="scan", recurrent=plain, reference=plain, kernels=(fast,))


def arguments(batch: int = 3, length: int = 200, channels: int = 4, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((batch, length, channels), (channels,), (batch, channels))
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def refuse_import(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[str]:
    """Importing anything by a kernel raises ``error``; returns what was tried."""
    tried: list[str] = []

    def fail(name: str) -> ModuleType:
        tried.append(name)
        raise error

    monkeypatch.setattr(kernel.importlib, "import_module", fail)
    return tried


def test_a_kernel_that_agrees_is_used_and_checked_once(package, gpu):
    scan, tensors = build(), arguments()
    for _ in range(3):
        output, state = scan(*tensors)
    torch.testing.assert_close((output, state), plain(*tensors))
    assert package.calls == [(2, 128, 4), *3 * [(3, 200, 4)]]


def test_more_sequences_or_tokens_are_the_same_kind_and_other_widths_or_dtypes_are_not(package, gpu):
    scan = build()
    for tensors in (arguments(), arguments(batch=1), arguments(length=130), arguments(batch=9, length=300)):
        scan(*tensors)
    assert package.calls.count((2, 128, 4)) == 1
    assert len(package.calls) == 5
    scan(*arguments(channels=5))
    scan(*arguments(dtype=torch.float16))
    assert len(package.calls) == 9


def test_one_token_says_nothing_about_many(package, gpu):
    """A length check, or a first token, must not be what decides for long sequences."""

    def only_the_first_token(module: ModuleType, x_BTC: Tensor, w_C: Tensor, h_BC: Tensor) -> tuple[Tensor, Tensor]:
        output, state = plain(x_BTC, w_C, h_BC)
        return output * (torch.arange(x_BTC.shape[1]) == 0)[:, None], state

    scan = build(only_the_first_token)
    assert scan.choose(*arguments(length=1), backend="auto") is not None
    with pytest.warns(UserWarning, match="disagrees"):
        assert scan.choose(*arguments(), backend="auto") is None


def test_rounding_where_the_truth_is_zero_is_no_disagreement(package, gpu):
    def almost(module: ModuleType, x_BTC: Tensor, w_C: Tensor, h_BC: Tensor) -> tuple[Tensor, Tensor]:
        output, state = plain(x_BTC, w_C, h_BC)
        return output, state + 1e-7

    scan, (x, w, h) = build(almost), arguments()
    x[:, 1::2], h = -x[:, ::2], torch.zeros_like(h)  # sums to zero
    assert scan.choose(x[:, :128], w, h, backend="auto") is not None


def test_the_state_passes_between_chunks_in_what_is_compared():
    assert 2 * mamba_kernels.CHUNKS[1] <= agreement.TOKENS


def test_the_benchmark_s_worst_error_may_be_no_number():
    one = torch.ones(2)
    assert math.isnan(benchmark._worst([one, one * math.nan], [one, one]))
    assert math.isnan(benchmark._worst([one * math.nan, one], [one, one]))


def test_gradients_are_compared_where_they_are_needed(package, gpu):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    scan = build(lambda module, x, w, h: plain(Doubled.apply(x), w, h))
    tensors = arguments()
    assert scan.choose(*tensors, backend="auto") is not None
    tensors[0].requires_grad_()
    with torch.no_grad():
        assert scan.choose(*tensors, backend="auto") is not None
    with pytest.warns(UserWarning, match="a gradient is off by"):
        assert scan.choose(*tensors, backend="auto") is None


def test_a_failing_backward_pass_is_found_before_training(package, gpu):
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("out of resource: shared memory")

    scan = build(lambda module, x, w, h: plain(Broken.apply(x), w, h))
    tensors = arguments()
    tensors[0].requires_grad_()
    with pytest.warns(UserWarning, match=r"fast.scan fails: RuntimeError: out of resource: shared memory"):
        scan(*tensors)[0].sum().backward()


def test_the_check_leaves_no_trace(package, gpu):
    tensors = arguments()
    tensors[1].requires_grad_()
    before, threads = torch.get_rng_state(), torch.is_grad_enabled()
    assert build().choose(*tensors, backend="auto") is not None
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled() is threads
    assert tensors[1].grad is None


def test_a_wrong_kernel_is_told_once_and_not_used(package, gpu):
    package.gain = 1.1
    scan, tensors = build(), arguments()
    with pytest.warns(UserWarning, match="fast.scan disagrees with the reference: the output is off by") as caught:
        for other in (tensors, tensors, arguments(channels=5)):
            torch.testing.assert_close(scan(*other), plain(*other))
    assert len(caught) == 1
    assert str(caught[0].message).endswith("; going on without it")
    with pytest.raises(RuntimeError, match=r"^backend='kernel': fast.scan disagrees with the reference: the output"):
        scan(*tensors, backend="kernel")


@pytest.mark.parametrize(
    ("dtype", "rounding", "error"),
    [(torch.float32, 2**-10, 0.02), (torch.bfloat16, 2**-7, 0.05), (torch.float16, 2**-10, 0.03)],
)
def test_rounding_is_no_disagreement(package, gpu, dtype, rounding, error):
    """One step of the precision, which for float32 is that of TF32; a few hundredths are an error."""
    tensors = arguments(dtype=dtype)
    package.gain = 1 + rounding
    assert build().choose(*tensors, backend="auto") is not None
    package.gain = 1 + error
    with pytest.warns(UserWarning, match="disagrees"):
        assert build().choose(*tensors, backend="auto") is None


def test_a_nan_is_a_disagreement(package, gpu):
    package.gain = float("nan")
    with pytest.warns(UserWarning, match="disagrees"):
        assert build().choose(*arguments(), backend="auto") is None


def test_a_lack_of_memory_is_raised_and_no_verdict(package, gpu):
    failures = [torch.OutOfMemoryError("CUDA out of memory")]

    def run(module, *tensors):
        if failures:
            raise failures.pop()
        return plain(*tensors)

    scan = build(run)
    with pytest.raises(torch.OutOfMemoryError):
        scan(*arguments())
    assert scan.choose(*arguments(), backend="auto") is not None


def test_an_error_at_call_time_is_one_warning_in_one_line(package, gpu):
    def run(module, *tensors):
        raise RuntimeError("selective_scan_cuda is not built\nsource:\n  line 1\n  line 2")

    with pytest.warns(UserWarning) as caught:
        scan = build(run)
        scan(*arguments())
        scan(*arguments(channels=7))
    expected = "fast.scan fails: RuntimeError: selective_scan_cuda is not built; going on without it"
    assert [str(warning.message) for warning in caught] == [expected]


def test_a_missing_package_is_silent_unless_it_was_asked_for(gpu):
    scan = build(module="no_such_package_anywhere.ops")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(scan(*arguments()), plain(*arguments()))
    message = r"^backend='kernel': fast.scan needs a package: pip install fast-package$"
    with pytest.raises(RuntimeError, match=message):
        scan(*arguments(), backend="kernel")


@pytest.mark.parametrize(
    "error",
    [
        ImportError("fast_cuda.so: undefined symbol: _ZN3c105ErrorC2E"),
        OSError("libcudart.so.11: cannot open shared object file"),
        ModuleNotFoundError("No module named 'fast_cuda'", name="fast_cuda"),
        AttributeError("module 'triton' has no attribute 'Config'"),
        UserWarning("a warning, under -W error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_package_is_one_warning(monkeypatch, package, gpu, error):
    tried = refuse_import(monkeypatch, error)
    scan = build()
    with pytest.warns(UserWarning, match="fast.scan cannot be imported") as caught:
        for channels in (4, 4, 5):
            scan(*arguments(channels=channels))
    assert len(caught) == 1
    assert str(error) in str(caught[0].message)
    assert tried == ["fast_package"], "imported more than once"
    with pytest.raises(RuntimeError, match=r"^backend='kernel': fast.scan cannot be imported: "):
        scan(*arguments(), backend="kernel")


def test_warnings_of_a_package_while_it_is_imported_are_its_own(monkeypatch, package, gpu):
    def noisy(name):
        warnings.warn("Triton is not supported on current platform", stacklevel=2)
        return package

    monkeypatch.setattr(kernel.importlib, "import_module", noisy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build().choose(*arguments(), backend="auto") is not None


def test_the_second_kernel_is_used_if_the_first_cannot_be(package, gpu):
    absent = Kernel(name="other.scan", package="other", module="no_such_package_anywhere", run=by_kernel)
    present = Kernel(name="fast.scan", package="fast-package", module="fast_package", run=by_kernel)
    scan = Operator(name="scan", recurrent=plain, reference=plain, kernels=(absent, present))
    assert scan.choose(*arguments(), backend="kernel") is present
    package.gain = 2.0
    message = r"other.scan needs a package: pip install other; fast.scan disagrees"
    with pytest.warns(UserWarning, match="fast.scan disagrees"), pytest.raises(RuntimeError, match=message):
        scan.choose(*arguments(channels=6), backend="kernel")


@pytest.mark.parametrize(("name", "case"), KERNELS.items())
def test_auto_on_a_cpu_imports_nothing(monkeypatch, name, case):
    _, one, _ = case
    tried = refuse_import(monkeypatch, ImportError("must not be tried"))
    kernel._imported.cache_clear()
    scan = Operator(name=name, recurrent=plain, reference=plain, kernels=(one,))
    for backend in ("auto", "reference", "recurrent"):
        scan(*arguments(), backend=backend)
    assert tried == []


@pytest.mark.parametrize(("name", "case"), KERNELS.items())
def test_kernels_are_where_they_belong_and_say_what_they_need(name, case):
    own, one, package = case
    assert one in own.kernels
    assert one.module.partition(".")[0] == package
    assert one.package
    assert set(one.dtypes) <= set(agreement.TOLERANCE)


def test_kernel_on_a_cpu(package):
    with pytest.raises(ValueError, match=r"^backend='kernel': needs tensors on a CUDA device, not on cpu$"):
        build()(*arguments(), backend="kernel")


def test_kernel_where_there_is_none():
    scan = Operator(name="scan", recurrent=plain, reference=plain)
    assert scan.choose(*arguments(), backend="auto") is None
    with pytest.raises(ValueError, match=r"^backend='kernel': scan has none, use 'auto'$"):
        scan(*arguments(), backend="kernel")


def test_dtype_that_a_kernel_does_not_take(package, gpu):
    scan = build(dtypes=(torch.bfloat16, torch.float16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan.choose(*arguments(), backend="auto") is None
    with pytest.raises(ValueError, match=r"^backend='kernel': fast.scan takes bfloat16 or float16, not float32$"):
        scan(*arguments(), backend="kernel")
    assert scan.choose(*arguments(dtype=torch.bfloat16), backend="kernel") is not None


def test_float64_has_no_kernel(package, gpu):
    message = r"^backend='kernel': fast.scan takes float32 or bfloat16 or float16, not float64$"
    with pytest.raises(ValueError, match=message):
        build()(*arguments(dtype=torch.float64), backend="kernel")


def test_autocast_decides_what_a_kernel_computes_in(package, gpu):
    taken = []

    def run(module, x, w, h):
        taken.append(x.dtype)
        assert not torch.is_autocast_enabled("cpu")
        return plain(x, w.to(x), h)

    scan = build(run, dtypes=(torch.bfloat16,))
    with torch.autocast("cpu", torch.bfloat16):
        output, state = scan(*arguments(), backend="kernel")
        assert kernel_dtype(arguments(dtype=torch.float64)[0]) == torch.float64
    assert taken == 2 * [torch.bfloat16]
    assert output.dtype == state.dtype == torch.float32


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad])
def test_inside_function_transforms_the_reference_is_used(package, gpu, transform):
    scan, (x, w, h) = build(), arguments()

    def loss(one, **config):
        return scan(one[None], w, h[:1], **config)[0].sum()

    transform(loss)(x if transform is torch.func.vmap else x[0])
    assert package.calls == []
    with pytest.raises(ValueError, match=r"^backend='kernel': cannot be used under torch.func transforms"):
        transform(lambda one: loss(one, backend="kernel"))(x if transform is torch.func.vmap else x[0])


def test_without_a_way_to_ask_for_transforms(monkeypatch, package, gpu):
    monkeypatch.delattr(torch._C, "_are_functorch_transforms_active")
    assert build().choose(*arguments(), backend="auto") is not None


def test_a_graph_that_is_being_captured_has_no_first_use(monkeypatch, package, gpu):
    scan = build()
    monkeypatch.setattr(kernel, "is_captured", lambda tensor: True)
    assert scan.choose(*arguments(), backend="auto") is None
    with pytest.raises(RuntimeError, match="must be called once before it is captured in a CUDA graph"):
        scan(*arguments(), backend="kernel")
    monkeypatch.setattr(kernel, "is_captured", lambda tensor: False)
    assert scan.choose(*arguments(), backend="auto") is not None


def test_an_operator_may_return_one_tensor_and_draw_dropout(package, gpu):
    def mean(x_BTC, *, dropout=0.0):
        return nn.functional.dropout(x_BTC, dropout)

    fast = Kernel(name="fast.mean", package="p", module="fast_package", run=lambda module, x, **c: mean(x, **c))
    operator_ = Operator(name="mean", recurrent=mean, reference=mean, kernels=(fast,), wide=False)
    torch.manual_seed(1)
    expected = mean(arguments()[0], dropout=0.5)
    torch.manual_seed(1)
    assert torch.equal(operator_(arguments()[0], dropout=0.5, backend="kernel"), expected)


@pytest.mark.parametrize(
    ("own", "leading"),
    [
        (gla, (2, 2, 2, 2, 0, 1)),
        (delta_rule, (2, 2, 2, 2, 2, 1)),
        (dplr, (2, 2, 2, 2, 2, 2, 1)),
        (gsa, (2, 2, 2, 2, 2, 1, 1)),
        (selective_scan, (2, 2, 0, 2, 2, 1)),
        (ssd, (2, 2, 0, 2, 2, 1)),
        (short_convolution, (2, 0, 0, 1)),
        (attention, (2, 2, 2)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_axes_are_read_from_names(own, leading):
    assert batch_and_time(own.reference)[: len(leading)] == leading


def test_the_part_that_is_compared():
    x, w, h = arguments(batch=3, length=300)
    part = Call((x, w, h), {}, plain).part()
    assert [tuple(one.shape) for one in part] == [(2, 128, 4), (4,), (2, 4)]
    part[0].zero_()
    assert x.abs().sum() > 0


ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("one", "tensors", "message"),
    [
        (fla_kernels.DELTA_RULE, [torch.ones(1, 1, 1, 257), ONE], "takes keys of up to 256 channels, not 257"),
        (conv_kernels.SHORT_CONVOLUTION, [ONE, torch.ones(8, 5)], "takes filters of 2 to 4 taps, not 5"),
        (conv_kernels.SHORT_CONVOLUTION, [ONE, torch.ones(8, 1)], "takes filters of 2 to 4 taps, not 1"),
        (conv_kernels.SHORT_CONVOLUTION, [ONE, torch.ones(9, 4)], "takes a multiple of 8 channels, not 9"),
        (conv_kernels.SHORT_CONVOLUTION, [ONE, torch.ones(8, 4)], None),
        (mamba_kernels.SELECTIVE_SCAN, [ONE, ONE, torch.ones(1, 4), ONE, ONE, ONE], "takes no other"),
        (mamba_kernels.SELECTIVE_SCAN, [ONE, ONE, torch.ones(1, 257), ONE, ONE, None], "up to 256 modes, not 257"),
        (mamba_kernels.SELECTIVE_SCAN, [ONE, ONE, torch.ones(1, 4), ONE, ONE, None], None),
        (flash_kernels.FLASH_ATTENTION, [torch.ones(8), ONE, torch.ones(16)], "of one width, not 8 and 16"),
        (flash_kernels.FLASH_ATTENTION, 3 * [torch.ones(264)], "heads of up to 256 channels, not 264"),
        (flash_kernels.FLASH_ATTENTION, 3 * [torch.ones(8)], None),
    ],
)
def test_what_kernels_refuse(one, tensors, message):
    refusal = one.refuses(*tensors)
    assert (refusal is None) if message is None else message in refusal


def test_every_kernel_is_measured():
    measured = {(case.operator.name, one) for _, case, one in pairs()}
    assert measured >= {(own.name, one) for own, one, _ in KERNELS.values()}


def test_the_gpu_benchmark_needs_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", "kernels"])
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "benchmarks.gpu needs a CUDA device, and this torch sees none\n"


def test_the_gpu_benchmark_finds_what_is_wrong(monkeypatch, capsys, package):
    """On a CPU, with clocks that stand still."""
    monkeypatch.setattr(benchmark, "Source", lambda dtype, device: Source(dtype=dtype, device="cpu"))
    monkeypatch.setattr(benchmark, "milliseconds", lambda step: 1.0)
    monkeypatch.setattr(benchmark, "peak_mebibytes", lambda step: 1.0)

    def scan(gain: float = 1.0, refuses=lambda *tensors: None) -> Kernel:
        run = lambda module, *tensors: gla.reference(gain * tensors[0], *tensors[1:])  # noqa: E731
        return Kernel(name="fast.gla", package="p", module="fast_package", run=run, refuses=refuses)

    def row(one: Kernel) -> dict:
        return benchmark.measured("retention", CASES["retention"], one, Shape(2, 9, 2, 4, 3), torch.float32)

    good, wrong = row(scan()), row(scan(1.1))
    assert good["agrees"] is True
    assert good["error"] == good["gradient_error"] == 0.0
    assert wrong["agrees"] is False
    assert wrong["gradient_error"] > 0.01
    assert row(scan(refuses=lambda *tensors: "takes nothing"))["skipped"] == "takes nothing"
    monkeypatch.setitem(sys.modules, "fast_package", None)
    kernel._imported.cache_clear()
    assert row(scan())["skipped"].startswith("RuntimeError: fast.gla ")
    assert len(capsys.readouterr().out.splitlines()) == 4
