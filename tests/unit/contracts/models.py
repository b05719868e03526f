"""What the tests of contracts share: small sound models to break in one place, and how a contract is asked."""

from __future__ import annotations

import torch
from torch import nn

from pytest_mad.architectures.architecture import from_factory
from pytest_mad.contracts.base import Subject
from pytest_mad.evaluation.contract import Case, check, subject
from pytest_mad.evaluation.options import ContractOptions
from tests.unit.tiny import CPU, make_setting

V, T, D = 8, 16, 16
SIZES = {"vocab_size": V, "seq_len": T, "num_train_examples": 64, "num_test_examples": 150}
SETTING = make_setting("selective-copying", SIZES | {"num_tokens_to_copy": 4})
COMPRESSION = make_setting("compression", SIZES)
#: The hard ones, which a sound model must never break.
HARD = ("output", "finite", "repeatability", "batch-independence", "causality", "gradients")
ALL = (*HARD, "lengths", "state", "autocast", "input-unchanged", "globals-unchanged")


def ask(build, contract, setting=SETTING, max_params=None, max_state=None):
    """Outcome and detail of one contract of a factory."""
    architecture = build if hasattr(build, "knows_task") else from_factory(build, name="model")
    return check(contract, case(architecture, setting, max_params, max_state), None).verdict


def case(architecture, setting=SETTING, max_params=None, max_state=None):
    """What contracts are asked about."""
    return Case(architecture=architecture, setting=setting, max_params=max_params, max_state=max_state, device=CPU)


def broken(build, contract, setting=SETTING):
    """The message of a contract that the factory's model must break."""
    verdict = ask(build, contract, setting)
    assert verdict.outcome == "fail", verdict
    return verdict.detail


def all_broken(build, setting=SETTING, contracts=ALL):
    """Every contract that is neither kept nor not applicable, with what it says."""
    verdicts = {name: ask(build, name, setting) for name in contracts}
    return {name: verdict for name, verdict in verdicts.items() if verdict.outcome not in ("pass", "skipped")}


def subject_of(build, setting=SETTING) -> Subject:
    """What a contract looks at."""
    return subject(case(from_factory(build, name="model"), setting))


def checks(options=None):
    """The names of the contracts that a run has."""
    return (options or ContractOptions()).names()


class Attention(nn.Module):
    """One head, causal, with biases and without positions."""

    def __init__(self, dim=D):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        return self.o(self.weights(self.scores(x)) @ self.v(x))

    def scores(self, x):
        return self.q(x) @ self.k(x).transpose(-1, -2) / x.shape[-1] ** 0.5

    def weights(self, scores):
        return scores.masked_fill(self.hidden(scores.shape[-1]), -torch.inf).softmax(-1)

    def hidden(self, length):
        """Which keys a query must not see."""
        return torch.ones(length, length).triu(1) > 0


class Model(nn.Module):
    """Embedding, norm, attention, norm, MLP, head; subclasses replace a part."""

    def __init__(self, vocab_size=V, max_length=T):
        super().__init__()
        self.vocab_size, self.max_length = vocab_size, max_length
        self.embed = nn.Embedding(vocab_size, D)
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(2))
        self.attention = Attention()
        self.mlp = nn.Sequential(nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D))
        self.head = nn.Linear(D, vocab_size)

    def forward(self, tokens):
        return self.head(self.hidden(tokens))

    def hidden(self, tokens):
        x = self.mix(self.embed(tokens))
        return x + self.mlp(self.norms[1](x))

    def mix(self, x):
        return x + self.attention(self.norms[0](x))


class Recurrent(nn.Module):
    """A decaying sum over the past, token by token or all at once, and some of it at each position."""

    DECAY = 0.5

    def __init__(self, vocab_size=V, max_length=T):
        super().__init__()
        self.vocab_size = vocab_size
        self.embed = nn.Embedding(vocab_size, D)
        self.position = nn.Embedding(max_length, D)
        self.head = nn.Linear(D, vocab_size)

    def forward(self, tokens):
        x = self.embed(tokens) + self.position.weight[: tokens.shape[1]]
        ahead = torch.arange(tokens.shape[1])[:, None] - torch.arange(tokens.shape[1])
        weight = torch.where(ahead >= 0, self.DECAY ** ahead.float(), 0.0)
        return self.head(weight @ x)

    def init_state(self, batch):
        return torch.zeros(batch, D), 0

    def step(self, tokens, state):
        memory, position = state
        memory = self.DECAY * memory + self.embed(tokens) + self.position.weight[position]
        return self.head(memory), (memory, position + 1)

    def state_size(self):
        return D
