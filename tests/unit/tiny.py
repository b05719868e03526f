"""What the tests of training share: a tiny model, a tiny setting, and a trial of them in milliseconds."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from pytest_mad.presets.recipe import Point, Recipe
from pytest_mad.presets.setting import Setting
from pytest_mad.tasks import get_task
from pytest_mad.training.data import load_data
from pytest_mad.training.trial import train_trial

CPU = torch.device("cpu")
POINT = Point(lr=0.01, weight_decay=0.1)
SIZES = {"vocab_size": 32, "seq_len": 8, "num_train_examples": 64, "num_test_examples": 150}


class Tiny(nn.Module):
    """A token and the one before it through a hidden layer: enough to memorize, not to recall."""

    def __init__(self, vocab_size=32, dropout=0.0):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 12)
        self.hidden = nn.Linear(24, 16)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, vocab_size)

    def forward(self, tokens):
        x = self.embed(tokens)
        before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
        return self.head(self.dropout(torch.relu(self.hidden(torch.cat([x, before], dim=-1)))))


def make_setting(task="memorization", params=SIZES, threshold=None, points=(POINT,), **recipe):
    """25 steps, evaluated at 10, 20 and 25, that nothing ends before, unless told otherwise."""
    known = {"steps": 25, "batch_size": 8, "evaluate_every": 10, "num_validation_examples": 40, "solved_at": 2.0}
    known |= {"steps": None} if "epochs" in recipe else {}
    return Setting(
        task_name=task,
        name="baseline",
        params=get_task(task).Params(**params),
        recipe=Recipe(points=tuple(points), **known | recipe),
        threshold=threshold,
        preset="tiny",
    )


def train(build=Tiny, seed=0, point=POINT, setting=None, **options):
    """One trial, without its wall time, and its model."""
    setting = setting or make_setting()
    trial, model = train_trial(build, setting, point, seed, load_data(setting, seed), device=CPU, **options)
    return timeless(trial), model


def timeless(trial):
    """What is the same on every machine."""
    return dataclasses.replace(trial, seconds=0.0, seconds_per_step=0.0)
