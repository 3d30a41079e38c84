"""Do the reported figures match the predictions? They are recomputed here from the logits.

Shapes: N images, K classes.
"""

import math
from collections import Counter

import numpy as np

from onecycle.audit.evidence import Evidence
from onecycle.audit.line import Line, unknown
from onecycle.evaluate import Evaluation
from onecycle.run_dir.records import EpochRow, Result
from onecycle.writing.numbers import counted, percent

PIECE = 2**18
"""How many logits are converted to float64 at once."""

CLOSE = 1e-4
"""Largest relative difference of a loss that the order of a sum can explain."""


def lines(evidence: Evidence) -> list[Line]:
    """Test loss, test accuracy, accuracy per class, and the ranking of the mistakes."""
    arrays, result = evidence.predictions, evidence.result
    if arrays is None or result is None:
        return [unknown("Test figures", "recomputed from the predictions")]
    labels_N = arrays["labels"]
    losses_N, predictions_N = _recomputed(arrays["logits"], labels_N)
    evaluation = Evaluation(arrays["logits"], labels_N)
    last = evidence.epochs[-1:]
    rows: Rows = [("result", result), *(("log", row) for row in last)]
    return [
        _loss(float(np.mean(losses_N)), rows),
        _accuracy(predictions_N == labels_N, rows),
        _per_class(evaluation, predictions_N),
        _ranked(evidence, evaluation, np.flatnonzero(predictions_N != labels_N), losses_N),
    ]


def _recomputed(logits_NK: np.ndarray, labels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image's loss and predicted class, a few images at a time."""
    losses, predictions = [np.zeros(0)], [np.zeros(0, np.int64)]
    pieces = max(1, logits_NK.size // PIECE)
    for part in np.array_split(np.arange(len(labels_N)), pieces):
        logits_BK = logits_NK[part].astype(np.float64)
        own_B, most_B = logits_BK[np.arange(len(part)), labels_N[part]], logits_BK.max(axis=1)
        losses.append(np.log(np.exp(logits_BK - most_B[:, None]).sum(axis=1)) + most_B - own_B)
        predictions.append(np.argmax(logits_NK[part], axis=1))
    return np.concatenate(losses), np.concatenate(predictions)


Rows = list[tuple[str, Result | EpochRow]]
"""Reported figures, each with the place where they stand."""


def _loss(mean: float, rows: Rows) -> Line:
    found = [(where, row.test_loss) for where, row in rows]
    off = [(where, loss) for where, loss in found if not math.isclose(loss, mean, rel_tol=CLOSE)]
    words = f"{found[0][1]:.4f}"
    if off:
        where, loss = off[0]
        words = f"{loss:.4g} in the {where}, {mean / loss if loss else math.inf:.3g} times less"
    return Line("Test loss", f"{mean:.4f}, the mean over images", words, not off)


def _accuracy(right_N: np.ndarray, rows: Rows) -> Line:
    share, count = float(right_N.mean()), len(right_N)
    found = [(where, row.test_accuracy) for where, row in rows]
    off = [pair for pair in found if abs(pair[1] - share) > 0.5 / count]
    words = percent((off or found)[0][1])
    words += f" in the {off[0][0]}" if off else ""
    asked = f"{percent(share)}, {int(right_N.sum()):,} of {counted(count, 'image')} right"
    return Line("Test accuracy", asked, words, not off)


def _per_class(evaluation: Evaluation, predictions_N: np.ndarray) -> Line:
    """Compare the confusions that the report shows with a count image by image."""
    labels_N, cells = evaluation.labels_N, evaluation.confusion_P3.tolist()
    found, total = sum(count for *_, count in cells), len(labels_N)
    pairs = Counter(zip(labels_N.tolist(), predictions_N.tolist(), strict=True))
    passed = len(cells) == len(pairs) and all(
        pairs[actual, predicted] == count for actual, predicted, count in cells
    )
    words = f"{found:,} of {counted(total, 'image')} counted"
    return Line("Accuracy per class", f"over all {counted(total, 'test image')}", words, passed)


def _ranked(
    evidence: Evidence, evaluation: Evaluation, wrong: np.ndarray, losses_N: np.ndarray
) -> Line:
    """Whether the mistakes shown are the misclassified images with the largest loss, in order."""
    name, asked = "Mistakes shown", "the misclassified images with the largest loss, in order"
    if evidence.examples is None:
        return unknown(name, asked)
    shown = evidence.examples["wrong"]
    expected = min(20, len(wrong))
    best = np.sort(losses_N[wrong])[::-1][:expected]
    places = min(len(shown), expected)
    close = np.isclose(losses_N[shown[:places]], best[:places], rtol=1e-9, atol=1e-9)
    in_place = close & np.isin(shown[:places], wrong)
    passed = len(shown) == expected and bool(in_place.all())
    if not passed and np.array_equal(shown, _by_confidence(evaluation, wrong)):
        return unknown(
            name, asked, "not measured: a run of an earlier version, ranked by confidence"
        )
    words = (
        f"{int(in_place.sum())} of {expected} in their place, of {counted(len(wrong), 'mistake')}"
    )
    return Line(name, asked, words, passed)


def _by_confidence(evaluation: Evaluation, wrong: np.ndarray) -> np.ndarray:
    """The first twenty as versions up to November 2026 ranked them."""
    return wrong[np.argsort(-evaluation.confidence_N[wrong], kind="stable")][:20]
