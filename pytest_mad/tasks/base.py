"""What a task is: parameters, a generator, the levels of its oracle and of its strongest trivial guess.

Tasks are pure NumPy. Nothing here knows how a model is built, trained or judged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pytest_mad.common.errors import require

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Split = Literal["train", "validation", "test"]

#: Far above any tokenizer's vocabulary; and far above any data set. Beyond them lie slips of the pen.
MOST_TOKENS = 2**20
MOST = 10**9

#: Target value of a position that is neither trained on nor scored.
IGNORE = -100


class Batch(NamedTuple):
    """Sequences and what a model should answer at each of their positions.

    Both arrays are int64 of shape (n, T); a target of :data:`IGNORE` is not scored.
    """

    inputs: IntArray
    targets: IntArray


@dataclass(frozen=True, kw_only=True)
class TaskParams:
    """Parameters that every task has; the defaults of each task's own class are MAD's baseline setting.

    ``mode="fixed"`` mends the reference's bugs; ``mode="compat"`` keeps MAD-Lab's behaviour in distribution.
    """

    vocab_size: int = 16
    seq_len: int = 128
    num_train_examples: int = 12_800
    num_test_examples: int = 1_280
    noise_vocab_size: int = 0
    frac_noise: float = 0.0
    mode: Literal["fixed", "compat"] = "fixed"

    def __post_init__(self) -> None:
        for name, least, most in (
            ("vocab_size", 2, MOST_TOKENS),
            ("seq_len", 2, MOST),
            ("num_train_examples", 1, MOST),
            ("num_test_examples", 1, MOST),
        ):
            value = getattr(self, name)
            require(least <= value <= most, name, value, f"at least {least} and at most {most:,}")
        require(self.noise_vocab_size >= 0, "noise_vocab_size", self.noise_vocab_size, "at least 0")
        require(0 <= self.frac_noise < 1, "frac_noise", self.frac_noise, "at least 0 and below 1")
        require(
            self.frac_noise == 0 or self.noise_vocab_size > 0,
            "noise_vocab_size",
            self.noise_vocab_size,
            "above 0, because frac_noise is",
        )
        require(self.mode in ("fixed", "compat"), "mode", self.mode, "'fixed' or 'compat'")

    def to_json(self) -> dict[str, Any]:
        """The parameters as a plain dictionary."""
        return asdict(self)


#: ``player(train, inputs) -> predictions``, both (n, T): a scripted answer that has seen the training data
#: and sees the inputs, never their targets.
Player = Callable[[Batch, IntArray], IntArray]


class Players(NamedTuple):
    """Scripted players that reach a task's oracle and trivial levels on generated data."""

    oracle: Player
    trivial: Player


P = TypeVar("P", bound=TaskParams)


class Task(ABC, Generic[P]):
    """A family of settings. Subclasses are stateless; :func:`pytest_mad.tasks.register_task` adds them by name."""

    name: ClassVar[str]
    #: Raised whenever the distribution of the data changes, so that scores of different data are never compared.
    version: ClassVar[int] = 1
    #: MAD-Lab's two-letter name, used in the folder names of its published data.
    shorthand: ClassVar[str] = ""
    Params: ClassVar[type[TaskParams]]
    #: True when the answer must pass through one vector: the model is an autoencoder and need not be causal.
    bottleneck: ClassVar[bool] = False

    @abstractmethod
    def generate(self, params: P, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """Draw ``n`` sequences of the given split."""

    @abstractmethod
    def oracle(self, params: P) -> float:
        """Best accuracy for someone who knows the generator but not its draws."""

    @abstractmethod
    def trivial(self, params: P) -> float:
        """Accuracy of the strongest guess that needs none of the capability."""

    @abstractmethod
    def players(self, params: P) -> Players:
        """Scripted players that reach :meth:`oracle` and :meth:`trivial`."""

    def input_length(self, params: P) -> int:
        """T: the number of positions in a sequence."""
        return params.seq_len


def accuracy(predictions: IntArray, targets: IntArray) -> float:
    """Share of the scored positions that are predicted correctly."""
    scored = targets != IGNORE
    return float((predictions == targets)[scored].mean())
