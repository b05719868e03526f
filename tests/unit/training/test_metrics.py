"""The three accuracies, against definitions that are slow and literal."""

from __future__ import annotations

from dataclasses import asdict, astuple

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pytest_mad.tasks import IGNORE
from pytest_mad.training.metrics import accuracies
from tests.oracles.parameters import seeds, steady


def macro(predictions, targets, classes):
    """torchmetrics' MulticlassAccuracy as documented: recall per class, averaged without classes of tp+fp+fn = 0."""
    pairs = [(p, t) for p, t in zip(predictions.flat, targets.flat, strict=True) if t != IGNORE]
    recalls = []
    for c in range(classes):
        tp = sum(p == c and t == c for p, t in pairs)
        fp = sum(p == c and t != c for p, t in pairs)
        fn = sum(p != c and t == c for p, t in pairs)
        if tp + fp + fn:
            recalls.append(tp / (tp + fn) if tp + fn else 0.0)
    return sum(recalls) / len(recalls) if recalls else 0.0


def mad_compat(predictions, targets, classes):
    """MAD-Lab logs the mean of its batches' values, each as often as the batch has sequences."""
    starts = range(0, len(targets), 128)
    values = [
        macro(predictions[i : i + 128], targets[i : i + 128], classes) for i in starts for _ in targets[i : i + 128]
    ]
    return sum(values) / len(values)  # Lightning weighs by the batch's size


def micro(predictions, targets):
    pairs = [(p, t) for p, t in zip(predictions.flat, targets.flat, strict=True) if t != IGNORE]
    return sum(p == t for p, t in pairs) / len(pairs) if pairs else 0.0


def exact(predictions, targets):
    """Sequences that ask nothing are neither right nor wrong."""
    rows = [(p[t != IGNORE], t[t != IGNORE]) for p, t in zip(predictions, targets, strict=True)]
    asked = [list(p) == list(t) for p, t in rows if len(t)]
    return sum(asked) / len(asked) if asked else 0.0


@st.composite
def answers(draw, sequences=(1, 20)):
    """Predictions and targets (n, T) of a few classes, from always wrong to always right, some targets ignored."""
    rng = np.random.default_rng(draw(seeds))
    shape = draw(st.integers(*sequences)), draw(st.integers(1, 5))
    classes = draw(st.integers(2, 6))
    targets = rng.integers(0, classes, shape)
    guesses = rng.integers(0, classes, shape)
    predictions = np.where(rng.random(shape) < draw(st.sampled_from([0, 0.5, 0.9, 1])), targets, guesses)
    targets[rng.random(shape) < draw(st.sampled_from([0, 0.3, 0.9, 1]))] = IGNORE
    targets[rng.random(shape[0]) < draw(st.sampled_from([0, 0.3]))] = IGNORE
    return predictions, targets, classes


@steady
@given(answers())
def test_accuracies_equal_their_slow_definitions(drawn):
    """All three, on any mix of right, wrong and ignored positions."""
    predictions, targets, classes = drawn
    found = accuracies(predictions, targets)
    assert found.accuracy == pytest.approx(micro(predictions, targets))
    assert found.accuracy_compat == pytest.approx(macro(predictions, targets, classes))
    assert found.sequence_accuracy == pytest.approx(exact(predictions, targets))


@pytest.mark.parametrize("sequences", [127, 128, 129, 256, 300])
def test_mad_compat_is_the_weighed_mean_of_the_values_of_batches_of_128(sequences):
    """Not the macro average of all sequences at once, from which it differs as soon as there are two batches; nor the
    plain mean, from which it differs where the last batch is not full.
    """
    rng = np.random.default_rng(sequences)
    targets = np.minimum(rng.geometric(0.4, (sequences, 3)), 12)  # rare classes are absent from some batches
    predictions = np.where(rng.random(targets.shape) < 0.7, targets, rng.integers(0, 13, targets.shape))
    found = accuracies(predictions, targets).accuracy_compat
    assert found == pytest.approx(mad_compat(predictions, targets, 13))
    at_once = macro(predictions, targets, 13)
    assert (abs(found - at_once) > 1e-3) == (sequences > 129)  # of 129 the last one's batch hardly counts


def test_mad_compat_of_two_batches_by_hand():
    """First batch: class 0, all right: 1. Second batch: classes 1 and 2, half of class 1 wrong as 2: (1/2 + 1) / 2. Where
    it is full both count alike; with 64 sequences of 192 it counts a third.
    """
    for size, expected in ((128, (1 + 0.75) / 2), (64, (2 * 1 + 0.75) / 3)):
        half = size // 2
        targets = np.array([[0]] * 128 + [[1]] * half + [[2]] * half)
        predictions = np.array([[0]] * 128 + [[1]] * (half // 2) + [[2]] * (half // 2) + [[2]] * half)
        found = accuracies(predictions, targets)
        assert found.accuracy_compat == pytest.approx(expected)
        assert found.accuracy == found.sequence_accuracy == pytest.approx((128 + 0.75 * size) / (128 + size))


def test_a_batch_without_any_target_counts_as_one_of_accuracy_zero():
    """As torchmetrics has it: MAD-Lab's mean takes in the 0 that it gives there, with the weight of its sequences."""
    right, nothing = [[0]] * 128, [[IGNORE]] * 64
    targets = np.array(right + nothing)
    found = accuracies(np.zeros_like(targets), targets)
    assert found.accuracy_compat == pytest.approx(2 / 3)
    assert (found.accuracy, found.sequence_accuracy) == (1, 1)


def test_one_stray_prediction_of_an_absent_class_lowers_mad_compat():
    """It counts as a class of its own with score 0 (spec 1.3): with 4 classes asked, 1 becomes 4/5 and a little less."""
    targets = np.tile(np.arange(4), (8, 5))
    predictions = targets.copy()
    assert accuracies(predictions, targets).accuracy_compat == 1
    predictions[0, 0] = 7
    found = accuracies(predictions, targets)
    assert found.accuracy_compat == pytest.approx((39 / 40 + 3) / 5)
    assert found.accuracy == pytest.approx(159 / 160)
    predictions[0, 0] = 3  # a class that is asked elsewhere costs only its own target's recall
    assert accuracies(predictions, targets).accuracy_compat == pytest.approx((39 / 40 + 3) / 4)


def test_a_class_that_nobody_asks_for_or_answers_does_not_count():
    """As in current torchmetrics; early versions capped in-context recall at about one half."""
    targets = np.full((4, 3), 15)
    assert accuracies(targets.copy(), targets).accuracy_compat == 1


@steady
@given(answers(), seeds)
def test_what_is_answered_at_ignored_positions_does_not_matter(drawn, seed):
    """Not even classes that occur nowhere else."""
    predictions, targets, _ = drawn
    changed = predictions.copy()
    ignored = targets == IGNORE
    changed[ignored] = np.random.default_rng(seed).integers(0, 99, ignored.sum())
    assert accuracies(changed, targets) == accuracies(predictions, targets)


@steady
@given(answers(), st.randoms(use_true_random=False))
def test_the_order_of_the_sequences_does_not_matter_within_a_batch(drawn, random):
    """Up to the rounding of sums."""
    predictions, targets, _ = drawn
    rows = list(range(len(targets)))
    random.shuffle(rows)
    shuffled, found = accuracies(predictions[rows], targets[rows]), accuracies(predictions, targets)
    assert astuple(shuffled) == pytest.approx(astuple(found))


def test_fully_masked_sequences_do_not_count_as_right():
    """One of two asked sequences is right; the two that ask nothing are left out."""
    targets = np.array([[1, IGNORE], [IGNORE, 2], [IGNORE, IGNORE], [IGNORE, IGNORE]])
    predictions = np.array([[1, 0], [0, 0], [1, 2], [0, 0]])
    found = accuracies(predictions, targets)
    assert found.sequence_accuracy == 0.5
    assert found.accuracy == 0.5


def test_a_sequence_is_right_only_at_every_scored_token():
    """Three tokens of four right is no exact sequence."""
    found = accuracies(np.array([[1, 2, 3, 3]]), np.array([[1, 2, 3, 4]]))
    assert found.accuracy == 0.75
    assert found.sequence_accuracy == 0


def test_data_without_any_scored_token_scores_zero():
    """No division by zero, no NaN, no warning."""
    targets = np.full((130, 4), IGNORE)
    found = accuracies(np.zeros_like(targets), targets)
    assert asdict(found) == {"accuracy": 0.0, "accuracy_compat": 0.0, "sequence_accuracy": 0.0}


@steady
@given(answers())
def test_accuracies_are_plain_shares(drawn):
    """Python floats between 0 and 1, which any file and process can carry."""
    predictions, targets, _ = drawn
    values = astuple(accuracies(predictions, targets))
    assert all(type(value) is float and 0 <= value <= 1 for value in values)


def test_a_perfect_answer_scores_one_in_all_three():
    """Whatever is masked."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 9, (300, 7))
    answered = targets.copy()
    targets[rng.random(targets.shape) < 0.5] = IGNORE
    assert set(astuple(accuracies(answered, targets))) == {1.0}
