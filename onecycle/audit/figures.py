"""Are the figures reported those of the predictions? Recomputed here from the logits.

Shapes: N images, K classes.
"""

import math

import numpy as np
from scipy.special import logsumexp

from onecycle.audit.evidence import Evidence
from onecycle.audit.line import Line, percent, unknown
from onecycle.evaluate import Evaluation

CLOSE = 1e-4
"""Relative difference of a loss that is due to the order of a sum."""


def lines(evidence: Evidence) -> list[Line]:
    """Test loss, test accuracy, accuracy per class, and the ranking of the mistakes."""
    arrays, result = evidence.predictions, evidence.result
    if arrays is None or result is None:
        return [unknown("Test figures", "recomputed from the predictions")]
    logits_NK, labels_N = arrays["logits"].astype(np.float64), arrays["labels"]
    own_N = logits_NK[np.arange(len(labels_N)), labels_N]
    losses_N = np.asarray(logsumexp(logits_NK, axis=1)) - own_N
    predictions_N = np.argmax(logits_NK, axis=1)
    rows = [(where, row) for where, row in (("result", result), ("log", _last(evidence))) if row]
    return [
        _loss(float(np.mean(losses_N)), rows),
        _accuracy(predictions_N == labels_N, rows),
        _per_class(Evaluation(arrays["logits"], labels_N), predictions_N),
        _ranked(evidence, predictions_N, losses_N),
    ]


def _last(evidence: Evidence) -> dict[str, float] | None:
    return evidence.epochs[-1] if evidence.epochs else None


def _loss(mean: float, rows: list) -> Line:
    found = [(where, row["test_loss"]) for where, row in rows if "test_loss" in row]
    off = [(where, loss) for where, loss in found if not math.isclose(loss, mean, rel_tol=CLOSE)]
    words = f"{found[0][1]:.4f}" if found else "none"
    if off:
        where, loss = off[0]
        words = f"{loss:.4g} in the {where}, {mean / loss if loss else math.inf:.3g} times less"
    return Line("Test loss", f"{mean:.4f}, the mean over images", words, bool(found) and not off)


def _accuracy(right_N: np.ndarray, rows: list) -> Line:
    share, count = float(right_N.mean()), len(right_N)
    found = [(where, row["test_accuracy"]) for where, row in rows if "test_accuracy" in row]
    off = [pair for pair in found if abs(pair[1] - share) > 0.5 / count]
    words = percent((off or found)[0][1], 2) if found else "none"
    words += f" in the {off[0][0]}" if off else ""
    asked = f"{percent(share, 2)}, {int(right_N.sum()):,} of {count:,} images right"
    return Line("Test accuracy", asked, words, bool(found) and not off)


def _per_class(evaluation: Evaluation, predictions_N: np.ndarray) -> Line:
    """The confusion matrix that the report shows, against counting the images one class a time."""
    labels_N, classes = evaluation.labels_N, evaluation.logits_NK.shape[1]
    counted, total = int(evaluation.confusion_KK.sum()), len(labels_N)
    hits_K = [int((predictions_N[labels_N == k] == k).sum()) for k in range(classes)]
    sizes_K = [int((labels_N == k).sum()) for k in range(classes)]
    passed = (
        evaluation.confusion_KK.diagonal().tolist() == hits_K
        and evaluation.confusion_KK.sum(axis=1).tolist() == sizes_K
    )
    words = f"{counted:,} of {total:,} images counted"
    return Line("Accuracy per class", f"over all {total:,} test images", words, passed)


def _ranked(evidence: Evidence, predictions_N: np.ndarray, losses_N: np.ndarray) -> Line:
    """Whether the mistakes shown are those of most confidence, in order."""
    name, asked = "Mistakes shown", "the most confident ones, in order"
    if evidence.examples is None or evidence.predictions is None:
        return unknown(name, asked)
    logits_NK = evidence.predictions["logits"].astype(np.float64)
    confidence_N = np.exp(logits_NK.max(axis=1) - np.asarray(logsumexp(logits_NK, axis=1)))
    wrong = np.flatnonzero(predictions_N != evidence.predictions["labels"])
    shown = evidence.examples["wrong"]
    best = np.sort(confidence_N[wrong])[::-1][: len(shown)]
    expected = min(20, len(wrong))
    passed = len(shown) == expected and np.allclose(confidence_N[shown], best, atol=1e-9)
    ranked = int(np.isclose(confidence_N[shown], best, atol=1e-9).sum()) if len(shown) else 0
    words = f"{ranked} of {expected} in their place, of {len(wrong):,} mistakes"
    return Line(name, asked, words, passed and set(shown.tolist()) <= set(wrong.tolist()))
