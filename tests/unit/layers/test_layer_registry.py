from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from pytest_mad.common import registry as common_registry
from pytest_mad.layers import UnknownLayerError, build_layer, layer_names, register_layer, registry


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A copy of the registry that the test may write to."""
    layer_names()
    copy = dict(registry._LAYERS._entries)
    monkeypatch.setattr(registry._LAYERS, "_entries", copy)
    return copy


class Own(nn.Module):
    def __init__(self, dim: int, max_length: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.gain * x_BTD


def test_names_are_sorted_and_hold_mads_basic_layers() -> None:
    names = layer_names()
    assert names == sorted(names)
    assert {"attention", "mh-attention", "sliding-attention", "linear-attention", "mlp", "swiglu", "moe-mlp"} <= set(
        names
    )


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownLayerError, match=r"unknown layer 'mh-atention'; did you mean 'mh-attention'\?$"):
        build_layer("mh-atention")
    with pytest.raises(ValueError, match=r"known: .*swiglu"):
        build_layer("???")


def test_unknown_key_names_layer_key_and_valid_keys() -> None:
    with pytest.raises(
        ValueError, match=r"^layer 'swiglu' has no config key 'inner'; its keys are dim_inner, bias, dropout$"
    ):
        build_layer("swiglu", inner=3)


def test_one_class_under_two_names(table: dict[str, object]) -> None:
    register_layer("own")(register_layer("own-3", gain=3.0)(Own))
    x = torch.ones(1, 2, 4)
    assert build_layer("own", dim=4)(x).max() == 1
    assert build_layer("own-3", dim=4)(x).max() == 3
    assert build_layer("own-3", dim=4, gain=5.0)(x).max() == 5


def test_a_name_is_taken_once_but_its_module_may_be_loaded_again(table: dict[str, object]) -> None:
    register_layer("own")(Own)
    register_layer("own")(type("Own", (Own,), {"__qualname__": "Own", "__module__": Own.__module__}))
    with pytest.raises(ValueError, match=r"layer 'own' is already registered by tests\.unit\.layers"):
        register_layer("own")(type("Other", (Own,), {}))


def test_heads_may_be_given_in_either_way() -> None:
    assert build_layer("mh-attention", dim=128).num_heads == 16
    assert build_layer("mh-attention", dim=64).num_heads == 8
    assert build_layer("mh-attention", dim=64, num_heads=4).num_heads == 4
    assert build_layer("attention", dim=64, head_dim=4).num_heads == 16


@pytest.mark.parametrize("name", layer_names())
@pytest.mark.parametrize("sizes", [{"dim": 0}, {"dim": -8}, {"dim": 64.0}, {"max_length": 0}])
def test_impossible_sizes(name: str, sizes: dict[str, int]) -> None:
    ((argument, value),) = sizes.items()
    with pytest.raises(ValueError, match=f"{argument} must be a whole number of at least 1, not {value}"):
        build_layer(name, **sizes)


@pytest.mark.parametrize("name", layer_names())
def test_the_state_can_be_counted_where_the_kernel_cannot_run(name: str) -> None:
    if "backend" in inspect.signature(registry._LAYERS[name].layer).parameters:
        assert build_layer(name, backend="kernel").state_size() == build_layer(name).state_size()


@pytest.mark.parametrize("name", ["attention", "linear-attention"])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"head_dim": 7}, "dim 128 is not divisible by head_dim 7"),
        ({"num_heads": 0}, "num_heads must be a whole number of at least 1, not 0"),
        ({"head_dim": 2.0}, "head_dim must be a whole number of at least 1, not 2.0"),
        ({"num_heads": 8, "head_dim": 16}, "give exactly one of num_heads and head_dim"),
        ({"num_heads": None}, "give exactly one of num_heads and head_dim"),
    ],
)
def test_impossible_heads(name: str, config: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_layer(name, dim=128, **config)


def test_entry_points_join_and_a_broken_one_only_warns(
    table: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ImportError("no such module")

    found = [
        SimpleNamespace(name="own", value="a:Own", load=lambda: Own),
        SimpleNamespace(name="b", value="b", load=broken),
    ]
    monkeypatch.setattr(common_registry, "entry_points", lambda group: found if group == "pytest_mad.layers" else [])
    monkeypatch.setattr(registry._LAYERS, "_has_loaded", False)
    with pytest.warns(UserWarning, match="layers of entry point 'b' left out: ImportError: no such module"):
        assert "own" in layer_names()
    assert "b" not in layer_names()


def test_an_entry_point_of_a_registered_name_leaves_its_defaults_alone(
    table: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package may register in its module and name the class in its metadata."""

    def load() -> type[nn.Module]:
        return register_layer("own", gain=5.0)(Own)

    found = [
        SimpleNamespace(name="own", value="a:Own", load=load),
        SimpleNamespace(name="swiglu", value="a", load=load),
    ]
    monkeypatch.setattr(common_registry, "entry_points", lambda group: found if group == "pytest_mad.layers" else [])
    monkeypatch.setattr(registry._LAYERS, "_has_loaded", False)
    assert build_layer("own", dim=4)(torch.ones(1, 2, 4)).max() == 5


def test_real_entry_points_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert common_registry.entry_points is importlib.metadata.entry_points


def test_importing_the_package_imports_no_layer_until_one_is_asked_for() -> None:
    code = """
import sys, pytest_mad.layers
assert "pytest_mad.layers.mlp" not in sys.modules
pytest_mad.layers.layer_names()
assert "pytest_mad.layers.mlp" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
