"""The pictures of a run, drawn from its folder, and those of a training in memory."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from onecycle import examples, plots
from onecycle.audit.evidence import Evidence
from onecycle.engine.state import Training
from onecycle.evaluate import Evaluation
from onecycle.interpret import most_confidently_wrong
from onecycle.lr_finder import LRFinding
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json


def write(run: RunDir) -> list[str]:
    """Draw all plots that a run's files have the numbers for, and return their names.

    Raises:
        InputError: a file of the run is damaged.
        TrainingError: a plot can't be written.
    """
    return _write(run, PLOTS)


def write_missing(run: RunDir) -> list[str]:
    """Draw the plots that a finished run lacks, and return their names.

    Their drawing was interrupted, or they were removed. Nothing is drawn for an unfinished run.

    Raises:
        InputError, TrainingError: as in `write`.
    """
    if not run.finished:
        return []
    lacking = {n: draw for n, draw in PLOTS.items() if not (run.plots / f"{n}.png").exists()}
    return _write(run, lacking)


def _write(run: RunDir, drawings: "Mapping[str, Drawing]") -> list[str]:
    files, drawn = Evidence(run), []
    for name, draw in drawings.items():
        figure = draw(files)
        if figure is not None:
            run.write_plot(name, plots.png(figure))
            drawn.append(name)
    return drawn


# ------------------------------------------------------------------------- from a run's files

Drawing = Callable[[Evidence], plots.Figure | None]
"""A plot of a run, or None where the run has no numbers for it."""


def searched(files: Evidence, page_width: float | None = None) -> plots.Figure | None:
    """The range test's curve, every suggestion and the rates used; see `plots` for the width."""
    found = files.search
    if found is None or found.curve is None or found.chosen is None:
        return None
    suggestions = {name: to_json(rate) for name, rate in found.suggestions.items()}
    span = (found.chosen.lr_min, found.chosen.lr_max)
    return plots.lr_range_test(to_json(found.curve), suggestions, span, page_width)


def one_cycle(files: Evidence, page_width: float | None = None) -> plots.Figure | None:
    """Learning rate and momentum of the steps made so far."""
    steps = files.steps
    if not files.steps_per_epoch or not len(steps):
        return None
    peak_step = files.result.peak_step if files.result else int(steps.lr.argmax())
    if peak_step >= len(steps):
        return None
    return plots.one_cycle(
        steps.lr.tolist(),
        steps.momentum.tolist(),
        steps_per_epoch=files.steps_per_epoch,
        peak_step=peak_step,
        page_width=page_width,
    )


def learned(files: Evidence, page_width: float | None = None) -> plots.Figure | None:
    """Loss and accuracy after each epoch."""
    rows = [to_json(row) for row in files.epochs]
    return plots.curves(rows, page_width) if rows else None


def _augmented_samples(files: Evidence) -> plots.Figure | None:
    kept, classes = files.examples, files.classes
    if kept is None or "sample_versions" not in kept or not classes:
        return None
    return plots.augmented_samples(
        kept["sample_images"],
        kept["sample_versions"],
        [classes[label] for label in kept["sample_labels"]],
    )


def _confusion(files: Evidence) -> plots.Figure | None:
    return files.evaluation and confusion(files.evaluation, files.classes)


def _misclassified(files: Evidence) -> plots.Figure | None:
    evaluation, kept = files.evaluation, files.examples
    if evaluation is None or kept is None or "wrong_images" not in kept:
        return None
    if len(kept["wrong_images"]) != len(kept["wrong"]):
        return None
    names = files.names
    maps = _maps(kept)
    return _mistakes(evaluation, kept["wrong"], kept["wrong_images"], files.classes, names, maps)


PLOTS: Mapping[str, Drawing] = {
    "lr_range_test": searched,
    "one_cycle": one_cycle,
    "augmented_samples": _augmented_samples,
    "curves": learned,
    "confusion": _confusion,
    "misclassified": _misclassified,
}
"""The plots of a run by the names of their files."""


# -------------------------------------------------------------------- of a training at hand


def range_test(finding: LRFinding) -> plots.Figure:
    """The range test's curve, every suggestion and the recommended pair."""
    found = finding.to_json()
    return plots.lr_range_test(
        found["curve"], found["suggestions"], (finding.lr_min, finding.lr_max)
    )


def cycle(training: Training) -> plots.Figure:
    """Learning rate and momentum of every step."""
    plan = training.plan
    rates = [plan.at(step) for step in range(plan.total_steps)]
    return plots.one_cycle(
        [at.lr for at in rates],
        [at.momentum for at in rates],
        steps_per_epoch=plan.steps_per_epoch,
        peak_step=plan.peak_step,
    )


def samples(training: Training) -> plots.Figure:
    """A few training images, from as many classes as possible, with augmented versions."""
    kept = examples.samples(training)
    return plots.augmented_samples(
        kept["sample_images"],
        kept["sample_versions"],
        [training.batches.train.classes[label] for label in kept["sample_labels"]],
    )


def mistakes(
    training: Training, evaluation: Evaluation, kept: Mapping[str, np.ndarray] | None = None
) -> plots.Figure:
    """The misclassified test images with the largest loss, and where in them the network looked.

    Args:
        training: for its test images; its network is not used.
        evaluation: of the test split.
        kept: what examples.npz holds; None: the images alone, without Grad-CAM maps.
    """
    test = training.test
    wrong = most_confidently_wrong(evaluation, examples.WRONG) if kept is None else kept["wrong"]
    images_NHWC = np.asarray(test.images_NHWC[wrong])
    maps = None if kept is None else _maps(kept)
    return _mistakes(evaluation, wrong, images_NHWC, test.classes, test.names, maps)


# -------------------------------------------------------------------------------- of both


def confusion(evaluation: Evaluation, classes: Sequence[str]) -> plots.Figure:
    """The confusion matrix; with more than `examples.MATRIX` classes, lists of the worst ones."""
    if len(classes) <= examples.MATRIX:
        return plots.confusion(evaluation.confusion_KK, classes)
    counts_K, right_K = evaluation.class_counts_2K
    return plots.rankings(counts_K, right_K, evaluation.confusion_P3, classes)


def _mistakes(
    evaluation: Evaluation,
    wrong: np.ndarray,
    images_NHWC: np.ndarray,
    classes: list[str] | tuple[str, ...],
    names: list[str] | tuple[str, ...],
    maps_NHW: np.ndarray | None,
) -> plots.Figure:
    """The misclassified images with these indices."""
    return plots.misclassified(
        images_NHWC,
        [classes[label] for label in evaluation.labels_N[wrong]],
        [classes[label] for label in evaluation.predictions_N[wrong]],
        [float(value) for value in evaluation.confidence_N[wrong]],
        [names[index] for index in wrong],
        maps_NHW,
        [float(value) for value in evaluation.losses_N[wrong]],
    )


def _maps(kept: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Grad-CAM maps of the `wrong` images for the class predicted, in [0, 1]; None: not all are.

    None too if all are 0, as of a network in which no layer has a height and a width.
    """
    if not kept["cam_predicted"].any() or not np.isin(kept["wrong"], kept["cam_indices"]).all():
        return None
    places = np.searchsorted(kept["cam_indices"], kept["wrong"])
    return kept["cam_predicted"][places] / 255
