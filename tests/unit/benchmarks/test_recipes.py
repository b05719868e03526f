"""The search over recipes keeps each trial under all that decides it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.calibration.recipes import as_preset_says, changed, changes, cut, described, shown, told
from pytest_mad import settings
from pytest_mad.architectures.targets import from_target

SETTING = settings()["fuzzy-in-context-recall[baseline]"]


@pytest.mark.parametrize(
    "vary",
    ["lr=2e-3", "weight_decay=0.1", "beta2=0.95", "batch_size=24", "warmup=50", "precision=bf16", "vocab_size=6",
     "seq_len=32", "noise_vocab_size=2", "num_validation_examples=64", "embedding_std=0.2"],
)  # fmt: skip
def test_another_value_is_another_trial(vary):
    (change,) = changes(vary)
    assert described(changed(SETTING, change)) != described(SETTING)
    assert shown(change) == vary.replace("2e-3", "0.002")


@pytest.mark.parametrize("value", ["0", "-0.1", "wide"])
def test_a_scale_of_the_embeddings_that_is_none_is_refused(value):
    (change,) = changes(f"embedding_std={value}")
    with pytest.raises(ValueError, match=r"embedding_std is .*must be a number above 0"):
        changed(SETTING, change)


def test_wider_embeddings_are_the_same_ones_times_a_factor():
    """And nothing else of the model changes."""
    architecture = from_target("reference_archs.transformer:make_model")

    def weights(std):
        torch.manual_seed(0)
        return as_preset_says(architecture, replace(SETTING, embedding_std=std)).state_dict()

    narrow, wide = weights(0.02), weights(0.2)
    assert narrow["model.trunk.token_embeds.weight"].std().item() == pytest.approx(0.02, rel=0.2)
    changed = {name for name, weight in narrow.items() if not torch.equal(weight, wide[name])}
    assert changed == {"model.trunk.token_embeds.weight"}
    torch.testing.assert_close(wide[changed.pop()], 10 * narrow["model.trunk.token_embeds.weight"])


def test_every_combination_is_tried():
    assert [shown(change) for change in changes("lr=1,2 warmup=0,5")] == [
        *("lr=1 warmup=0", "lr=1 warmup=5", "lr=2 warmup=0", "lr=2 warmup=5"),
    ]


def test_a_trial_of_more_steps_says_what_fewer_would_have_found():
    record = {"steps": {"0.9": 150, "0.97": 300}, "most": 300, "best": 0.98, "ms": 10.0}
    assert cut(record, 200) == record | {"steps": {"0.9": 150, "0.97": None}, "most": 200}
    assert cut(record, 100)["steps"] == {"0.9": None, "0.97": None}
    assert "never" in told(cut(record, 100)) and "1.0 s" in told(cut(record, 100))
