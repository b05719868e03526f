"""What the documentation says of the layers is true of the layers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_mad.layers import build_layer, layer_names

LENGTH = 128
ROWS = re.findall(
    r"^\| (`.*?) \| (.*?) \| (.*?) \|",
    Path(__file__).parents[2].joinpath("docs/layers.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
STATED = {name: (state, parameters) for names, state, parameters in ROWS for name in re.findall(r"`(.*?)`", names)}


def test_every_layer_is_in_the_table() -> None:
    assert set(STATED) == set(layer_names())


@pytest.mark.parametrize("name", STATED)
def test_state_and_parameters_of_the_table(name: str) -> None:
    state, parameters = STATED[name]
    layer = build_layer(name, dim=128, max_length=LENGTH)
    size = layer.state_size()
    assert state == ("grows" if size is None else f"{size:,}")
    fixed, _, per_position = parameters.replace(",", "").partition(" + ")
    expected = int(fixed) + (int(per_position.removesuffix(" L")) * LENGTH if per_position else 0)
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected
