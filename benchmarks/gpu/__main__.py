"""Measurements that need a CUDA device.

    python -m benchmarks.gpu kernels [--only NAME ...]
    python -m benchmarks.gpu paper --arch NAME --minutes M --store DIR
    python -m benchmarks.gpu shard [--workers 1,2,4,8]

``kernels`` compares every kernel that can be imported with the reference of its operator, in bfloat16 and float32, at
several shapes: errors of the output and of the gradients as a part of the largest number, time of a forward and
backward pass, peak memory. Prints a table and writes ``benchmarks/results/gpu-kernels-DEVICE.json``; with ``--only``
just the table. Exits with 1 if a kernel fails or disagrees with its reference.

``paper`` trains MAD's whole protocol for one architecture, as far as the minutes go; the same command goes on where the
last one stopped, from the store in DIR. Writes ``benchmarks/results/paper-NAME-cuda.json``. Exits with 3 while settings
are missing.

``shard`` runs one load on 1, 2, 4 and 8 workers that share the device: throughput, memory, and what
``--mad-trials-per-gpu`` should be by default. Writes ``benchmarks/results/gpu-shard-DEVICE.json``.

All exit with 2 if there is no CUDA device; ``paper`` and ``shard`` need none with ``--device cpu``.
"""

from __future__ import annotations

import argparse
import functools
import math
import re
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from benchmarks.command import command_line
from benchmarks.record import save
from benchmarks.speed.operators import CASES, Arguments, Case, Shape, Source, pairs
from pytest_mad.common.packages import version
from pytest_mad.layers.ops.agreement import OF_GRADIENTS, TOLERANCE, in_short
from pytest_mad.layers.ops.kernel import Kernel
from pytest_mad.layers.ops.precision import in_full_precision, in_kernel_precision
from pytest_mad.results.result_file import environment

from . import paper as gpu_paper
from . import shard as gpu_shard

SHAPES = (Shape(128, 128, 8, 16, 16), Shape(128, 1024, 8, 16, 16), Shape(8, 4096, 16, 64, 64))
DTYPES = (torch.bfloat16, torch.float32)
WARM_UP, REPEATS = 5, 20
PACKAGES = ("triton", "fla-core", "mamba-ssm", "causal-conv1d", "flash-attn")

Form = Callable[..., Any]
Row = dict[str, Any]


def main() -> None:
    parser = command_line(__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    kernels = commands.add_parser("kernels", help="every kernel against its reference")
    kernels.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help=", ".join(CASES))
    kernels.set_defaults(run=compare_kernels)
    paper = commands.add_parser("paper", help="MAD's whole protocol, in slices")
    gpu_paper.add_arguments(paper)
    shard = commands.add_parser("shard", help="workers that share a device")
    gpu_shard.add_arguments(shard)
    for command in (kernels, paper, shard):
        command.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu needs a CUDA device, and this torch sees none", file=sys.stderr)
        sys.exit(2)
    sys.exit(arguments.run(arguments))


def compare_kernels(arguments: argparse.Namespace) -> int:
    device = torch.cuda.get_device_name()
    print(f"{device}: forward and backward, median of {REPEATS}; errors relative to the largest number", flush=True)
    print(f"{'case':23}{'kernel':40}{'shape':24}{'dtype':10}{'error':>9}{'gradient':>9}{'ms':>15}{'MiB':>15}")
    rows = []
    for name, case, kernel in pairs():
        if arguments.only is None or name in arguments.only:
            for shape in SHAPES:
                rows += [measured(name, case, kernel, shape, dtype) for dtype in DTYPES]
    if arguments.only is None:
        slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
        packages = {"cuda": torch.version.cuda, **{name: version(name) for name in PACKAGES}}
        save(
            f"gpu-kernels-{slug}", environment={**asdict(environment([device])), **packages}, repeats=REPEATS, rows=rows
        )
    wrong = [row for row in rows if row.get("agrees") is False or "failed" in row]
    for row in wrong:
        what = "fails" if "failed" in row else "disagrees"
        print(f"{what}: {row['case']} by {row['kernel']}, {row['shape']}, {row['dtype']}", file=sys.stderr)
    return 1 if wrong else 0


def measured(name: str, case: Case, kernel: Kernel, shape: Shape, dtype: torch.dtype) -> Row:
    """One row of the table, printed."""
    row: Row = {"case": name, "kernel": kernel.name, "shape": str(shape), "dtype": str(dtype).removeprefix("torch.")}
    try:
        row |= compare(case, kernel, shape, dtype)
    except torch.OutOfMemoryError as error:  # says nothing about the kernel
        row["skipped"] = in_short(error)
    except Exception as error:  # a row that fails must not cost the others
        row["skipped" if kernel.is_absent() else "failed"] = in_short(error)
    print_row(row)
    return row


def compare(case: Case, kernel: Kernel, shape: Shape, dtype: torch.dtype) -> Row:
    """Errors, times and memory of a kernel and of its reference, which computes in float32 from the same numbers."""
    tensors = case.draw(shape, Source(dtype=dtype, device="cuda"))
    refusal = kernel.refuses(*tensors, **case.config) if dtype in kernel.dtypes else "takes other dtypes"
    if refusal is not None:
        return {"skipped": refusal}
    fast = functools.partial(in_kernel_precision, kernel.load(), **case.config)
    slow = functools.partial(in_full_precision, case.operator.reference, **case.config)
    error, of_gradients = errors(fast, slow, tensors)
    agrees = error <= TOLERANCE[dtype] and of_gradients <= OF_GRADIENTS * TOLERANCE[dtype]  # a NaN does not
    finite = {"error": error, "gradient_error": of_gradients}
    row: Row = {key: value if math.isfinite(value) else None for key, value in finite.items()} | {"agrees": agrees}
    for side, form in (("kernel", fast), ("reference", slow)):
        step = functools.partial(forward_and_backward, form, tensors)
        row[f"{side}_ms"], row[f"{side}_mib"] = milliseconds(step), peak_mebibytes(step)
    return row


def errors(fast: Form, slow: Form, tensors: Arguments) -> tuple[float, float]:
    """The largest of all outputs' and states', and the largest of all gradients'."""
    values, gradients = forward_and_backward(fast, tensors)
    expected, expected_gradients = forward_and_backward(slow, tensors)
    return _worst(values, expected), _worst(gradients, expected_gradients)


def forward_and_backward(form: Form, tensors: Arguments) -> tuple[list[Tensor], list[Tensor]]:
    """Output and states, and the gradients of all arguments for the same weights on the output."""
    leaves = [None if x is None else x.detach().requires_grad_() for x in tensors]
    result = form(*leaves)
    output, state = (result, ()) if isinstance(result, Tensor) else result
    states = state if isinstance(state, tuple) else (state,)
    wanted = [leaf for leaf in leaves if leaf is not None]
    gradients = torch.autograd.grad(output, wanted, _weights(output), materialize_grads=True)
    return [x.detach() for x in (output, *states)], list(gradients)


def _weights(output: Tensor) -> Tensor:
    return torch.arange(output.numel(), device=output.device).cos().view_as(output).to(output.dtype)


def _worst(actual: list[Tensor], expected: list[Tensor]) -> float:
    pairs_ = [(one.float(), other.float()) for one, other in zip(actual, expected, strict=True)]
    gaps = [(one - other).abs().max() / other.abs().max().clamp(min=1e-30) for one, other in pairs_]
    return float(torch.stack(gaps).max())  # which a NaN wins, other than Python's max


def milliseconds(step: Callable[[], Any]) -> float:
    """Compilation and tuning happen while warming up."""
    for _ in range(WARM_UP):
        step()
    times = []
    for _ in range(REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return float(statistics.median(times))


def peak_mebibytes(step: Callable[[], Any]) -> float:
    """Beyond what the arguments take."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return float(torch.cuda.max_memory_allocated() - before) / 2**20


def print_row(row: Row) -> None:
    head = f"{row['case']:23}{row['kernel']:40}{row['shape']:24}{row['dtype']:10}"
    if "skipped" in row or "failed" in row:
        print(f"{head}  {row.get('skipped') or row['failed']}", flush=True)
        return
    times = f"{row['kernel_ms']:.2f}/{row['reference_ms']:.2f}"
    memory = f"{row['kernel_mib']:.0f}/{row['reference_mib']:.0f}"
    shown = "".join(f"{'nan':>9}" if row[key] is None else f"{row[key]:9.1e}" for key in ("error", "gradient_error"))
    print(f"{head}{shown}{times:>15}{memory:>15}", flush=True)


if __name__ == "__main__":
    main()
