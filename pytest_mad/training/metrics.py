"""The three accuracies: of tokens, MAD-Lab's macro average over classes, and of exact sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_mad.common.records import Share
from pytest_mad.tasks.base import IGNORE, IntArray

#: MAD-Lab evaluates in batches of this size and averages the batches' macro accuracies, weighed by their sequences.
COMPAT_BATCH = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracies:
    """Shares between 0 and 1 of held-out data."""

    #: of scored tokens
    accuracy: Share
    #: MAD-Lab's: mean over batches of 128 of the mean recall over classes that are predicted or asked for; a last batch
    #: that is not full counts by its sequences
    accuracy_compat: Share
    #: of sequences that are right at every scored token
    sequence_accuracy: Share


def accuracies(predictions: IntArray, targets: IntArray) -> Accuracies:
    """All three, from predictions and targets of shape (n, T); targets of ``IGNORE`` do not count.

    A batch without any target has a macro average of 0, as in MAD-Lab, and lowers ``accuracy_compat``; the other two
    leave out what asks nothing.
    """
    scored = targets != IGNORE
    correct = (predictions == targets) & scored
    batches = [slice(i, i + COMPAT_BATCH) for i in range(0, len(targets), COMPAT_BATCH)]
    macro = [_macro(predictions[rows], targets[rows]) for rows in batches]
    sizes = [len(targets[rows]) for rows in batches]
    asked = scored.any(axis=1)
    return Accuracies(
        accuracy=float(correct.sum() / max(scored.sum(), 1)),
        accuracy_compat=float(np.average(macro, weights=sizes)),
        sequence_accuracy=float((correct | ~scored).all(axis=1)[asked].mean()) if asked.any() else 0.0,
    )


def _macro(predictions: IntArray, targets: IntArray) -> float:
    """Recall per class, averaged over the classes that are predicted or asked for (torchmetrics' current ``macro``)."""
    scored = targets != IGNORE
    predicted, asked = predictions[scored], targets[scored]
    classes = int(max(predicted.max(initial=0), asked.max(initial=0))) + 1
    support = np.bincount(asked, minlength=classes)
    seen = (support + np.bincount(predicted, minlength=classes)) > 0
    hits = np.bincount(asked[predicted == asked], minlength=classes)
    return float((hits[seen] / np.maximum(support[seen], 1)).mean()) if seen.any() else 0.0
