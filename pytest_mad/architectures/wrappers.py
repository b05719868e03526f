"""What the plugin puts around a user's module: its output as logits, a bare mixer as a layer."""

from __future__ import annotations

from torch import Tensor, nn

from pytest_mad.common.globals import put_back


class ModelError(RuntimeError):
    """A factory that raised, or a model that does not do what it must; the message is one line."""


class LogitsModel(nn.Module):
    """A model as it is, or the ``.logits`` of its output object (Hugging Face).

    It gets a copy of the tokens: one that writes into its input must not change data that is used again.
    """

    #: whether a forward pass changes settings of the process, which are put back each time
    puts_back = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens_BT: Tensor) -> Tensor:
        if self.puts_back:
            with put_back():
                return self._logits(tokens_BT)
        return self._logits(tokens_BT)

    def _logits(self, tokens_BT: Tensor) -> Tensor:
        output = self.model(tokens_BT.clone())
        logits: Tensor = getattr(output, "logits", output)
        return logits


class BareMixer(nn.Module):
    """A user's sequence mixer as a layer; of a tuple, as fla's layers return it, the first entry."""

    def __init__(self, mixer: nn.Module, source: str) -> None:
        super().__init__()
        self.mixer = mixer
        self.source = source

    def forward(self, x_BTD: Tensor) -> Tensor:
        output = self.mixer(x_BTD)
        y_BTD: Tensor = output[0] if isinstance(output, tuple) else output
        if y_BTD.shape != x_BTD.shape:
            raise ModelError(
                f"mixer {self.source} turned {tuple(x_BTD.shape)} into {tuple(y_BTD.shape)}, but must keep the shape"
            )
        return y_BTD
