"""Factories that do what no factory should, each made of a few words, so that a whole command can have it too."""

from __future__ import annotations

import asyncio
import builtins
import unittest
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from .damage import TEXTS, Strategy

Made = Callable[[int], nn.Module]

# -- what is raised ---------------------------------------------------------------------------------------------------


class OfNoKindError(BaseException):
    """Neither an ``Exception`` nor anything that Python knows."""


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class LeavingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


class NumberError(Exception):
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]  # noqa: PLE0307


class GreedyError(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()


class BareError(Exception):
    def __init__(self) -> None:
        pass


class LyingError(Exception):
    __class__ = property(lambda self: KeyError)


class UnequalError(Exception):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


def _recursive() -> BaseException:
    return _recursive()


def _circular(text: str) -> BaseException:
    one, other = ValueError(text), KeyError(text)
    one.__cause__, other.__cause__ = other, one
    return one


def _noted(text: str) -> BaseException:
    error = ValueError(text)
    vars(error)["__notes__"] = 3
    return error


def _called(text: str) -> BaseException:
    """Of a class whose own name no terminal should get."""
    return type("Odd\x1b[31m\nError", (Exception,), {"__module__": "a\nb"})(text)  # type: ignore[no-any-return]


def _group(name: str, text: str, errors: list[BaseException]) -> BaseException:
    """Python has them since 3.11."""
    made: BaseException = getattr(builtins, name)(text, errors) if hasattr(builtins, name) else errors[0]
    return made


_PLAIN = [
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException) and kind is not KeyboardInterrupt
    if not issubclass(kind, UnicodeError) and not name.endswith("Group")
]
#: What is raised, by its name, from a message.
ERRORS: dict[str, Callable[[str], BaseException]] = {
    **{name: getattr(builtins, name) for name in sorted(_PLAIN)},
    "UnicodeDecodeError": lambda text: UnicodeDecodeError("utf-8", b"\xff", 0, 1, text),
    "group": lambda text: _group("ExceptionGroup", text, [ValueError(text), KeyError(text)]),
    "base group": lambda text: _group("BaseExceptionGroup", text, [SystemExit(text), KeyError(text)]),
    "of no kind": OfNoKindError,
    "unreadable": UnreadableError,
    "leaving": LeavingError,
    "number": NumberError,
    "greedy": lambda text: GreedyError(1, 2),
    "bare": lambda text: BareError(),
    "lying": LyingError,
    "unequal": UnequalError,
    "recursive": lambda text: _recursive(),
    "circular": _circular,
    "noted": _noted,
    "called": _called,
    "huge": lambda text: ValueError(text + "x" * 10**6),
    "lines": lambda text: ValueError(f"{text}\n" * 1000),
    "object": lambda text: SystemExit(object()),
    "cancelled": asyncio.CancelledError,
    "skip": pytest.skip.Exception,
    "skip of no test": lambda text: pytest.skip.Exception(text, allow_module_level=True),
    "fail": pytest.fail.Exception,
    "exit": pytest.exit.Exception,
    "xfail": pytest.xfail.Exception,
    "unittest": unittest.SkipTest,
    "usage": pytest.UsageError,
    "memory": torch.OutOfMemoryError if hasattr(torch, "OutOfMemoryError") else torch.cuda.OutOfMemoryError,
    "warning": UserWarning,
}
PLACES = ("factory", "init", "forward", "training", "backward", "to", "parameters", "train", "eval", "copy", "getattr")

# -- what is returned -------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    logits: Tensor
    state: Tensor | None


class RaisingOutput:
    @property
    def logits(self) -> Tensor:
        raise ValueError("no logits here\nnor here")


class Stubborn(Tensor):
    @classmethod
    def __torch_function__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("not this one")


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "none": lambda x: None,
    "number": lambda x: 3,
    "text": lambda x: "logits\x1b[31m",
    "list": lambda x: [x],
    "tuple": lambda x: (x, None),
    "dict": lambda x: {"logits": x},
    "pair": lambda x: Pair(x, None),
    "object": lambda x: SimpleNamespace(logits=x),
    "nested object": lambda x: SimpleNamespace(logits=SimpleNamespace(logits=x)),
    "object of none": lambda x: SimpleNamespace(logits=None),
    "object of array": lambda x: SimpleNamespace(logits=x.detach().numpy()),
    "raising object": lambda x: RaisingOutput(),
    "class": lambda x: RaisingOutput,
    "array": lambda x: x.detach().numpy(),
    "int": lambda x: x.long(),
    "bool": lambda x: x > 0,
    "complex": lambda x: x.to(torch.complex64),
    "double": lambda x: x.double(),
    "half": lambda x: x.half(),
    "bf16": lambda x: x.bfloat16(),
    "detached": lambda x: x.detach(),
    "nan": lambda x: x * float("nan"),
    "inf": lambda x: x + float("inf"),
    "minus inf": lambda x: x - float("inf"),
    "some nan": lambda x: x.where(x > x.mean(), float("nan")),
    "zeros": lambda x: x * 0,
    "rank": lambda x: x[:, -1],
    "scalar": lambda x: x.sum(),
    "length": lambda x: x[:, 1:],
    "wide": lambda x: torch.cat([x, x], dim=-1),
    "narrow": lambda x: x[..., :-1],
    "no rows": lambda x: x[:0],
    "transposed": lambda x: x.transpose(0, 1),
    "permuted": lambda x: x.permute(0, 2, 1),
    "deep": lambda x: x[None],
    "sparse": lambda x: x.to_sparse(),
    "meta": lambda x: x.to("meta"),
    "expanded": lambda x: x[:1].expand_as(x),
    "parameter": lambda x: nn.Parameter(x.detach()),
    "stubborn": lambda x: x.detach().as_subclass(Stubborn),
    "conjugated": lambda x: x.to(torch.complex64).conj(),
    "negative view": torch._neg_view,
    "type": lambda x: Tensor,
    "module": lambda x: nn.Linear(2, 2),
    "generator": lambda x: (one for one in x),
    "huge": lambda x: x * 1e38,
    "random": lambda x: torch.rand_like(x) + 0 * x,
    "numpy random": lambda x: x + float(np.random.rand()),
}

#: What a factory returns in place of a model.
THINGS: dict[str, Any] = {
    "none": None,
    "text": "model\n\x1b[31m",
    "class": nn.Linear,
    "dict": {},
    "function": print,
    "tuple": (nn.Linear(2, 2),),
    "tensor": torch.zeros(2),
    "odd type": type("Odd\nType\x1b[1m", (), {})(),
    "the same": nn.Linear(3, 3),
}

# -- what is changed --------------------------------------------------------------------------------------------------


GLOBALS: dict[str, Callable[[], object]] = {
    "double": lambda: torch.set_default_dtype(torch.float64),
    "half": lambda: torch.set_default_dtype(torch.float16),
    "meta": lambda: torch.set_default_device("meta"),
    "no grad": lambda: torch.set_grad_enabled(False),
    "threads": lambda: torch.set_num_threads(3),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "denormal": lambda: torch.set_flush_denormal(True),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "warnings": lambda: warnings.simplefilter("error"),
    "no warnings": warnings.resetwarnings,
    "numpy errors": lambda: np.seterr(all="raise"),
    "seeds": lambda: (torch.manual_seed(0), np.random.seed(0)),
    "inference": lambda: torch.inference_mode(True).__enter__(),
    "no grad entered": lambda: torch.no_grad().__enter__(),
    "device entered": lambda: torch.device("meta").__enter__(),
    "kernels": lambda: torch.backends.cuda.enable_math_sdp(False),
    "warning": lambda: warnings.warn("odd\nwarning \x1b[31m", stacklevel=1),
}
MODELS = ("counts", "grows", "forgets", "shrinks", "renames", "swaps", "stores", "hooks", "freezes", "writes")

specs: Strategy = st.one_of(
    st.tuples(st.just("raise"), st.sampled_from(PLACES), st.sampled_from(sorted(ERRORS)), st.sampled_from(TEXTS[:150])),
    st.tuples(st.just("raise"), st.sampled_from(PLACES), st.sampled_from(sorted(ERRORS)), st.text(max_size=8)),
    st.tuples(st.just("output"), st.sampled_from(("always", "training")), st.sampled_from(sorted(OUTPUTS))),
    st.tuples(st.just("global"), st.sampled_from(("factory", "forward", "training")), st.sampled_from(sorted(GLOBALS))),
    st.tuples(st.just("model"), st.sampled_from(("forward", "training")), st.sampled_from(MODELS)),
    st.tuples(st.just("return"), st.just("factory"), st.sampled_from(sorted(THINGS))),
)


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, error: Any) -> Tensor:
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        raise ctx.error()


class Hostile(nn.Module):
    """A causal model that does one thing that it should not."""

    def __init__(self, spec: tuple[str, ...], vocab_size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 8)
        self.head = nn.Linear(8, vocab_size)
        self.calls = 0
        self.spec = spec
        _at(spec, "init")

    def forward(self, tokens_BT: Tensor) -> Any:
        what, place, *more = self.spec
        logits = self.head(self.embed(tokens_BT))
        if what == "output":
            return OUTPUTS[more[0]](logits) if place == "always" or self.training else logits
        if place == "backward" and self.training:
            return _Backward.apply(logits, lambda: ERRORS[more[0]](more[1]))  # type: ignore[no-untyped-call]
        if place == "forward" or (place == "training" and self.training):
            _at(self.spec, place)
            if what == "model":
                return _restless(self, more[0], logits)
        return logits

    def train(self, mode: bool = True) -> Hostile:
        if hasattr(self, "spec"):
            _at(self.spec, "train" if mode else "eval")
        return super().train(mode)

    def to(self, *args: Any, **kwargs: Any) -> Hostile:
        _at(self.spec, "to")
        return super().to(*args, **kwargs)

    def parameters(self, recurse: bool = True) -> Any:
        if "spec" in vars(self):
            _at(self.spec, "parameters")
        return super().parameters(recurse)

    def __deepcopy__(self, memo: Any) -> Any:
        _at(self.spec, "copy")
        made = Hostile(self.spec, self.embed.num_embeddings)
        made.load_state_dict(self.state_dict())
        return made

    def __getattr__(self, name: str) -> Any:
        if name in ("no_such_thing", "state_size", "encode", "stack"):
            _at(vars(self).get("spec", ("", "")), "getattr")
        return super().__getattr__(name)


def _at(spec: tuple[str, ...], place: str) -> None:
    what, where, *more = spec
    if where == place and what == "raise":
        raise ERRORS[more[0]](more[1])
    if where == place and what == "global":
        GLOBALS[more[0]]()


def _restless(model: Hostile, what: str, logits: Tensor) -> Tensor:
    """One that is another model after each call."""
    model.calls += 1
    if what == "counts":
        return logits * model.calls
    if what == "grows":
        setattr(model, f"more{model.calls}", nn.Parameter(torch.ones(2)))
    elif what == "forgets":
        model.head.register_parameter("bias", None)
    elif what == "shrinks":
        model.head = nn.Linear(8, max(1, model.head.out_features - 1))
    elif what == "renames":
        model.add_module(f"embed{model.calls}", nn.Linear(2, 2))
    elif what == "swaps":
        model.head = nn.Linear(8, model.head.out_features)
    elif what == "stores":
        model.last = logits
    elif what == "hooks":
        model.register_forward_hook(lambda *_: None)
    elif what == "freezes":
        model.requires_grad_(False)
    elif what == "writes":
        with torch.no_grad():
            model.head.weight.add_(1.0)
    return logits


def factory(spec: tuple[str, ...]) -> Made:
    """The factory that these words make."""
    kept: list[Any] = []

    def make_model(vocab_size: int) -> Any:
        _at(spec, "factory")
        if spec[0] == "return":
            return THINGS[spec[2]]
        made = Hostile(spec, vocab_size)
        kept[:] = [made]
        return made

    return make_model


def must_fail(spec: tuple[str, ...]) -> bool:
    """Whether a verdict that passes would be a wrong one."""
    return spec[0] == "return" or (spec[0] == "raise" and spec[1] in ("factory", "init", "forward", "training"))
