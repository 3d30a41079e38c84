"""The pictures of a run: gathers the numbers from a training and its folder, and has them drawn."""

from collections.abc import Mapping

import numpy as np
import torch

from onecycle import plots
from onecycle.data.augment import Draws, augment
from onecycle.evaluate import Evaluation
from onecycle.interpret import most_confidently_wrong
from onecycle.lr_finder import LRFinding
from onecycle.run_dir import RunDir
from onecycle.state import Training

SAMPLES = 8
"""Images shown in augmented_samples.png."""
VERSIONS = 7
"""Augmented versions shown of each."""


def write(
    run: RunDir, training: Training, evaluation: Evaluation, examples: Mapping[str, np.ndarray]
) -> None:
    """Draw all plots that the run has the numbers for into its `plots` folder.

    Args:
        run: the run folder.
        training: at its end.
        evaluation: of the test split.
        examples: what examples.npz holds.
    """
    found = run.read_json("lr_range_test.json")
    if found is not None:
        chosen = (found["chosen"]["lr_min"], found["chosen"]["lr_max"])
        figure = plots.lr_range_test(found["curve"], found["suggestions"], chosen)
        plots.save(figure, run.plots / "lr_range_test.png")
    plots.save(cycle(training), run.plots / "one_cycle.png")
    plots.save(samples(training), run.plots / "augmented_samples.png")
    plots.save(plots.curves(run.read_rows("metrics.jsonl")), run.plots / "curves.png")
    classes = training.test.classes
    plots.save(plots.confusion(evaluation.confusion_KK, classes), run.plots / "confusion.png")
    plots.save(mistakes(training, evaluation, examples), run.plots / "misclassified.png")


def range_test(finding: LRFinding) -> plots.Figure:
    """The range test's curve, every suggestion and the recommended pair."""
    found = finding.to_json()
    return plots.lr_range_test(
        found["curve"], found["suggestions"], (finding.lr_min, finding.lr_max)
    )


def cycle(training: Training) -> plots.Figure:
    """Learning rate and momentum of every step."""
    rates = [training.rates(step) for step in range(training.total_steps)]
    return plots.one_cycle(
        [lr for lr, _ in rates],
        [momentum for _, momentum in rates],
        steps_per_epoch=training.batches.steps_per_epoch,
        peak_step=training.peak_step,
    )


def samples(training: Training) -> plots.Figure:
    """A few training images, one per class as far as there are, with versions from the stream."""
    train = training.batches.train
    chosen = _one_per_class(train.labels_N, SAMPLES)
    versions = [augmented(training, chosen, version) for version in range(VERSIONS)]
    return plots.augmented_samples(
        np.asarray(train.images_NHWC[chosen]),
        np.stack(versions, axis=1),
        [train.classes[label] for label in train.labels_N[chosen]],
    )


def augmented(training: Training, indices: np.ndarray, version: int) -> np.ndarray:
    """uint8 images as the training would see them in epoch `version`, with its own draws."""
    batches = training.batches
    step = version * batches.steps_per_epoch
    draws = batches.draws(step)
    rows = torch.arange(len(indices)) % len(draws.flips_B)
    picked = Draws(draws.shifts_B2[rows], draws.flips_B[rows], draws.corners_B2[rows])
    batch_BHWC = augment(
        batches.images.normalised(indices),
        picked.to(batches.device),
        crop_padding=batches.crop_padding,
        cutout=batches.cutout,
    )
    pixels = batch_BHWC.cpu().numpy() * np.array(batches.std) + np.array(batches.mean)
    return np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8)


def mistakes(
    training: Training, evaluation: Evaluation, examples: Mapping[str, np.ndarray] | None = None
) -> plots.Figure:
    """The test images that the network is most confidently wrong about, and where it looked.

    Args:
        training: for its test images; its network is not used.
        evaluation: of the test split.
        examples: what examples.npz holds; None: the images alone, without Grad-CAM maps.
    """
    test, wrong, maps = training.test, most_confidently_wrong(evaluation, 20), None
    if examples is not None:
        wrong = examples["wrong"]
        places = np.searchsorted(examples["cam_indices"], wrong)
        maps = examples["cam_predicted"][places] / 255
    return plots.misclassified(
        np.asarray(test.images_NHWC[wrong]),
        [test.classes[label] for label in evaluation.labels_N[wrong]],
        [test.classes[label] for label in evaluation.predictions_N[wrong]],
        [float(value) for value in evaluation.confidence_N[wrong]],
        [test.names[index] for index in wrong],
        maps,
    )


def _one_per_class(labels_N: np.ndarray, count: int) -> np.ndarray:
    """The first image of each class in turn, then the second of each, up to `count` indices."""
    place_N = np.empty(len(labels_N), dtype=np.int64)
    for label in np.unique(labels_N):
        members = np.flatnonzero(labels_N == label)
        place_N[members] = np.arange(len(members))
    return np.lexsort((labels_N, place_N))[:count]
