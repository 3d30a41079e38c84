"""Evaluating a run's network on labelled images: its own test split, or others."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onecycle import models, runtime
from onecycle.config import Recipe, override
from onecycle.data import BUILT_IN, ImageSet, Splits, cifar, load_all, splits_of
from onecycle.data.folder.messages import quoted
from onecycle.errors import InputError
from onecycle.evaluate import Evaluation, predict
from onecycle.inference.network import (
    LAST,
    TrainedNetwork,
    described,
    described_by,
    load_network,
    present_device,
)
from onecycle.progress import IN_NOTEBOOKS, Progress
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.records import Network
from onecycle.run_dir.sources import images_of
from onecycle.training.labels import by_name, known_to
from onecycle.training.predictions import check_place, write_predictions
from onecycle.training.results import class_figures, test_figures
from onecycle.writing.numbers import counted

MOST_NAMED = 3
"""Largest number of classes that a note names. If there are more, it gives their number."""


@dataclass(frozen=True)
class _Images:
    """What is evaluated.

    Attributes:
        images: labelled by the run's classes.
        data: their name or path, as it is shown.
        fingerprint: of the data that they come from.
        ignored: number of images left out because the run doesn't know their class, by class.
    """

    images: ImageSet
    data: str
    fingerprint: str
    ignored: Mapping[str, int] = field(default_factory=dict)


def evaluate_run(
    run: str | Path,
    *,
    data: str | None = None,
    network: models.Network | None = None,
    ignore_unknown_classes: bool = False,
    predictions: str | Path | None = None,
    checkpoint: str = LAST,
    threads: int = 0,
    progress: Progress = IN_NOTEBOOKS,
) -> dict[str, Any]:
    """Evaluate a run's network on its own test split, or on all labelled images of other `data`.

    Other images are prepared like the run's own: same size, same resizing, same channel means and
    deviations. If their source has splits, the test split is used. Labels are matched by class
    name; some classes may be missing. If `data` is the run's own data, only its test split is
    evaluated, because the rest was used for training.

    Args:
        run: its folder; the run may be unfinished. Its own data is needed only without `data`.
        data: the other images: a built-in set or a path.
        network: the code of the run's network, if it is not built in: a function or class that
            makes it, or its name, `FILE.py:FUNCTION` or `MODULE:FUNCTION`.
        ignore_unknown_classes: leave out images whose class the run doesn't know.
        predictions: a .csv or .npz file to which the prediction for each image is written.
        checkpoint: `last`, or `best`: that of the epoch with the highest validation accuracy.
        threads: CPU threads; 0: PyTorch's choice.
        progress: listens.

    Returns:
        `test_accuracy`, `test_balanced_accuracy`, `test_loss`, `test_images`, `test_class_sizes`
        (number of images in the smallest and in the largest class, empty classes excluded), `data`,
        `data_fingerprint` and, if the recipe asks for test-time augmentation, `test_accuracy_tta`.
        `classes`: their names. `per_class`: the figures of each class, in that order. `confusion`:
        counts, one row for each actual class and one column for each predicted class; None for
        more than 1,000 classes. `ignored_classes`: number of images left out, by class.

    Raises:
        InputError: not a run folder, no checkpoint in it, or images that can't be used: of another
            kind, or with classes that the run doesn't know.
        TrainingError: `predictions` can't be written.
    """
    place = check_place(predictions, data)
    folder = RunDir.open(run)
    recipe = folder.read_recipe()
    runtime.set_threads(threads)
    recipe = override(recipe, device=present_device(recipe.device, progress))
    about = described(folder) or _described_by_data(folder, recipe, progress)
    trained = load_network(folder, about, progress, checkpoint, network=network)
    if data is None or (data == recipe.data and data in BUILT_IN):
        splits = own_splits(folder, recipe, progress)
        given = _Images(splits.test, recipe.data, splits.fingerprint)
    else:
        given = _other(folder, recipe, about, data, ignore_unknown_classes, progress)
    with runtime.reused_memory():
        plain, mirrored = _evaluated(trained, recipe, given.images)
    if place:
        write_predictions(place, given.images, plain)
    return {
        "run": str(folder.path),
        "checkpoint": checkpoint,
        "step": trained.step,
        "data": given.data,
        "data_fingerprint": given.fingerprint,
        **to_json(test_figures(plain, mirrored)),
        **class_figures(plain, given.images.classes),
        "ignored_classes": dict(given.ignored),
    }


# ------------------------------------------------------------------------------------------ images


def own_splits(run: RunDir, recipe: Recipe, progress: Progress, data: str | None = None) -> Splits:
    """The run's own images; `data` says where they are, if they have moved.

    Raises:
        InputError: they are not the images that the run began with.
    """
    source = images_of(run, recipe, data)
    splits = splits_of(override(recipe, data=source), progress)
    was = run.environment().data_fingerprint
    if was and was != splits.fingerprint:
        raise InputError(
            f"data: {quoted(source)} does not hold the images that the run was trained and "
            f"tested on (fingerprint {splits.fingerprint}, then {was}); restore them, or name "
            "images with --data"
        )
    return splits


def _described_by_data(run: RunDir, recipe: Recipe, progress: Progress) -> Network:
    """The network of a run of an older version whose folder does not describe it: from its images.

    Raises:
        InputError: the images are missing, or not those that the run began with.
    """
    train = own_splits(run, recipe, progress).train
    mean, std = train.channel_statistics()
    mean = mean if recipe.mean == "auto" else recipe.mean
    std = std if recipe.std == "auto" else recipe.std
    return described_by(recipe, list(train.classes), train.image_shape[:2], mean, std)


def _other(
    run: RunDir,
    recipe: Recipe,
    about: Network,
    data: str,
    ignore_unknown: bool,
    progress: Progress,
) -> _Images:
    """All labelled images of other data, or the test split if `data` is the run's own."""
    official = data in BUILT_IN or cifar.recognise(data) is not None
    labelled = load_all(
        data,
        label_set=recipe.label_set if official else "fine",
        image_size=recipe.image_size or about.side,
        resize=about.resize or recipe.resize,
        on_bad_image=recipe.on_bad_image,
        progress=progress,
    )
    if own := _own_elsewhere(run, recipe, labelled.images, data):
        images = counted(len(own.images), "image")
        progress.note(
            f"data: the run was trained on {quoted(data)}; its test split of {images} is evaluated"
        )
        return own
    if run.environment().data_path == os.path.abspath(data):
        progress.note(
            f"data: {quoted(data)} has changed since the run was trained on it; training "
            "images among them make the figures too good"
        )
    fitting = _fitting(labelled.images, about, data)
    images, ignored = by_name(fitting, tuple(about.classes))
    known_to(about.classes, ignored, data, ignore=ignore_unknown, left=len(images))
    if ignored:
        progress.note(f"data: left out: {_counts(ignored)}, which the run doesn't know")
    return _Images(images, data, labelled.fingerprint, ignored)


def _own_elsewhere(run: RunDir, recipe: Recipe, images: ImageSet, data: str) -> _Images | None:
    """The run's own test split, if `data` holds the run's images; otherwise None.

    So a moved or copied folder is recognised. Its other images were used for training.
    """
    was = run.environment().data_fingerprint
    if not was or data in BUILT_IN or not _names_of_test(run) <= set(images.names):
        return None
    try:
        splits = splits_of(override(recipe, data=data))
    except InputError:  # they can't be divided as the run's were
        return None
    same = splits.fingerprint == was
    return _Images(splits.test, data, splits.fingerprint) if same else None


def _names_of_test(run: RunDir) -> set[str]:
    """The names of the run's test images, as far as they are known."""
    names = (run.predictions() or {}).get("names")
    return set() if names is None else set(names.tolist())


def _fitting(images: ImageSet, about: Network, data: str) -> ImageSet:
    """The images with the channels that the network takes.

    Raises:
        InputError: they have another size, or are in colour and the network takes grey images.
    """
    height, width, channels = images.image_shape
    if about.size and about.size != (height, width):
        raise InputError(
            f"data: the images of {quoted(data)} have {width}x{height} pixels, but those of the "
            f"run have {about.size[1]}x{about.size[0]}; give images of that size"
        )
    if (channels, about.channels) == (1, 3):  # as grey images among coloured ones are read
        return replace(images, images_NHWC=np.repeat(images.images_NHWC, 3, axis=3))
    if channels != about.channels:
        raise InputError(
            f"data: {quoted(data)} has images in colour, but the run's network takes grey ones; "
            "convert them first"
        )
    return images


def _counts(ignored: Mapping[str, int]) -> str:
    """`3 images of 'sun', 1 image of 'moon'`; if there are many classes, their number."""
    if len(ignored) > MOST_NAMED:
        images = counted(sum(ignored.values()), "image")
        return f"{images} of {counted(len(ignored), 'class', 'classes')}"
    return ", ".join(f"{counted(n, 'image')} of {quoted(name)}" for name, n in ignored.items())


# --------------------------------------------------------------------------------------- the model


def _evaluated(
    network: TrainedNetwork, recipe: Recipe, images: ImageSet
) -> tuple[Evaluation, Evaluation | None]:
    """The evaluation of the images, and of their mirror images if the recipe asks for it."""
    device = runtime.resolve_device(recipe.device)
    model = runtime.placed(network.model, device, compiled=recipe.compile)

    def evaluation(mirrored: bool) -> Evaluation:
        logits_NK = predict(
            model,
            images,
            mean=tuple(network.about.mean),
            std=tuple(network.about.std),
            device=device,
            precision=runtime.resolve_precision(recipe.precision, device),
            mirrored=mirrored,
        )
        return Evaluation(logits_NK, images.labels_N)

    return evaluation(False), evaluation(True) if recipe.tta else None
