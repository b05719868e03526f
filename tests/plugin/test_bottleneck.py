"""Compression goes through one vector: whose, for each kind of model, and what happens where there is none."""

from __future__ import annotations

import pytest

VOCABULARY = 8
TINY = VOCABULARY * 16 + 16 * VOCABULARY + VOCABULARY


def decoder(width):
    """Parameters of the plugin's own decoder for vectors of this width: twice norm and linear, then norm and head."""
    return 2 * (width + (width + 1) * width) + width + (width + 1) * VOCABULARY


@pytest.fixture
def compress(project):
    """Pytest's result, and the file's entry by name, of these models on compression."""

    def run(*names, steps=4):
        preset = (project.path / "compression.toml").read_text()
        (project.path / "compression.toml").write_text(preset.replace("steps = 4", f"steps = {steps}"))
        architectures = [f"--mad-arch={name}=bottlenecks:{name}" for name in names]
        options = ["--mad-preset=compression.toml", "--mad-json=out.json", "-k", "not contract"]
        result = project.run(*architectures, *options)
        return result, project.results()["architectures"]

    return run


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("own", 8 * 16 + (4 * 16 + 1) * 4 * 8),  # its own autoencoder, as it is
        ("language_model", TINY + decoder(16)),  # the input of its head
        ("looks_ahead", TINY + decoder(16)),  # the same for every task, so no autoencoder, whatever it sees
        ("Encoder", TINY + 16 * 12 + 12 + decoder(12)),  # what encode() gives
        ("EncoderOfPositions", TINY + 16 * 12 + 12 + decoder(12)),
        ("HiddenStates", 8 * 16 + 16 * 20 + 20 + 20 * 8 + decoder(20)),  # the last hidden state
        ("TwoHeads", 8 * 16 + (16 + 1) * 8 + (8 + 1) * 24 + (24 + 1) * 8 + decoder(24)),
    ],
)
def test_the_vector_is_found_where_the_model_has_it(compress, name, parameters):
    """The size of what was trained tells which vector was decoded, and by whom."""
    result, found = compress(name)
    assert result.ret == pytest.ExitCode.OK
    assert found[name]["parameters"] == parameters


def test_only_an_autoencoder_is_scored_for_giving_its_input_back(compress):
    """A language model could copy every token from where it stands; through one vector it cannot."""
    _, found = compress("own", "language_model", steps=80)
    own, decoded = (found[name]["settings"]["compression[baseline]"]["accuracy"] for name in ("own", "language_model"))
    assert own > 0.9 and decoded < 0.8


def test_without_a_vector_the_item_is_skipped_with_the_reason(compress):
    """Whether or not the factory knows the task; nothing fails, and there is no score."""
    result, found = compress("table", "without_task", "language_model")
    result.assert_outcomes(skipped=2, passed=1)
    assert result.ret == pytest.ExitCode.OK
    for name in ("table", "without_task"):
        (setting,) = found[name]["settings"].values()
        assert setting["verdict"] == "skipped" and setting["accuracy"] is None and found[name]["mad_score"] is None
        assert setting["detail"].startswith("compression needs one vector to decode: give the model encode(tokens)")
    result.stdout.fnmatch_lines(["SKIPPED * compression needs one vector to decode*"])
