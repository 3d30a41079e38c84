"""From a recipe to a training that can begin: device, images, network, optimizer, batches."""

from dataclasses import replace

import torch
from torch import nn

from onecycle import kernels, models, optim, runtime
from onecycle.config import Recipe, override
from onecycle.config.sizes import resolve_shares, resolve_sizes
from onecycle.data import Splits, splits_of, transforms
from onecycle.data.batches import Batches
from onecycle.data.image_set import ImageSet
from onecycle.engine.state import Training
from onecycle.errors import InputError
from onecycle.models import Architecture, checking, freezing, heads
from onecycle.models.synchronized import synchronize
from onecycle.processes.group import SINGLE, Processes
from onecycle.progress import IN_NOTEBOOKS, Progress
from onecycle.training import initial_weights, sharing
from onecycle.training.refusals import refuse_early, refuse_statistics, refuse_transforms
from onecycle.writing.numbers import counted

UNEVEN = 2.0
"""Ratio of the largest class to the smallest from which uneven classes are reported."""


def prepare(
    recipe: Recipe,
    architecture: Architecture | None = None,
    *,
    source: str | None = None,
    weights: str | None = "",
    threads: int = 0,
    progress: Progress = IN_NOTEBOOKS,
    processes: Processes = SINGLE,
) -> tuple[Training, Splits]:
    """A training that can begin, and its images. Every `auto` except the rates is resolved.

    `architecture` is that of the recipe's network, if it is not built in; `source` is the place of
    the images, if it is not the recipe's `data`; `weights` is that of the weights to start from, if
    it is not empty or the recipe's `init_from`, and None if none are needed; `processes` are those
    that train it together.
    """
    architecture = architecture or models.architecture(recipe.model)
    models.arguments(recipe, architecture)  # refuses what does not exist, before longer work
    runtime.set_threads(threads or sharing.threads(processes))
    device = sharing.device(recipe.device, processes)
    precision = runtime.resolve_precision(recipe.precision, device)
    refuse_early(recipe)
    _refuse_stages(recipe, architecture)
    note_missing_kernels(device, precision, progress)
    initial = None
    if recipe.init_from and weights is not None:
        initial = initial_weights.read(recipe.init_from, weights, progress)
    splits = splits_of(override(recipe, data=source or recipe.data), progress)
    height, width, channels = splits.train.image_shape
    recipe = resolve_shares(recipe, height, width)
    refuse_transforms(recipe, height, width, channels)
    refuse_statistics(recipe, channels)
    initial = initial and initial.with_statistics_for(recipe, channels)
    mean, std = _statistics(recipe, splits, initial)
    kind = sharing.recorded_device(device, processes)
    recipe = override(recipe, device=kind, precision=precision, mean=mean, std=std)
    recipe = models.for_size(recipe, architecture, height, width)
    recipe = resolve_sizes(recipe, len(splits.train))
    architecture = accepted(
        recipe, architecture, splits.train.image_shape, len(splits.train.classes)
    )
    sharing.refuse(recipe, len(splits.train), processes)
    training = assembled(
        recipe, architecture, splits.train, splits.test, splits.val, device, processes=processes
    )
    if initial:
        initial_weights.load(training, initial)
    return training, splits


def accepted(
    recipe: Recipe, architecture: Architecture, shape: tuple[int, int, int], classes: int
) -> Architecture:
    """The architecture, if its network can be used for these images, with what is known of it.

    Args:
        recipe: names the network.
        architecture: of the network; one that is built in is not checked.
        shape: height, width and channels of the images.
        classes: number of classes.

    Raises:
        InputError: the user's code can't be used.
    """
    if architecture.built_in:
        return architecture
    arguments = models.arguments(recipe, architecture)
    known = models.understood(architecture, shape, classes, arguments)

    def make() -> nn.Module:
        model = build(recipe, known, shape[2], classes)
        return runtime.placed(model, torch.device("cpu"))

    checking.check(known, make, shape, classes, recipe.precision)
    return known


def assembled(
    recipe: Recipe,
    architecture: Architecture,
    train: ImageSet,
    test: ImageSet,
    val: ImageSet | None,
    device: torch.device,
    *,
    initialized_by: int | None = None,
    processes: Processes = SINGLE,
) -> Training:
    """A training at its beginning: network, optimizer and batches of a recipe.

    Args:
        recipe: everything but the rates is resolved.
        architecture: of its network.
        train, test, val: the images.
        device: where it works.
        initialized_by: seed of the weights, if it is not the recipe's.
        processes: those that train it together.
    """
    channels, classes = train.image_shape[2], len(train.classes)
    model = build(recipe, architecture, channels, classes, seed=initialized_by)
    architecture = models.with_source(architecture, model)
    frozen = freezing.freeze(model, recipe.freeze, classes)
    if recipe.sync_batch_norm and processes.count > 1:
        synchronize(model, processes)
    model = runtime.placed(model, device, compiled=recipe.compile)
    batches = Batches(
        train=train,
        batch_size=int(recipe.batch_size),
        seed=recipe.seed,
        mean=_numbers(recipe.mean),
        std=_numbers(recipe.std),
        transforms=transforms.of(recipe),
        device=device,
        rank=processes.rank,
        world_size=processes.count,
        micro_batch=recipe.micro_batch if processes.count > 1 else 0,
        least=1 if recipe.sync_batch_norm else 2,
    )
    head = model.get_submodule(heads.head_of(model, classes)).parameters()
    optimizer = optim.build(model, recipe, head)
    training = Training(recipe, architecture, model, optimizer, batches, test, val, device, frozen)
    training.processes = processes
    processes.tensors_from_first(model.state_dict())
    training.train_mode()
    return training


def fresh(training: Training, *, initialized_by: int | None = None) -> Training:
    """The same training at its beginning, without measurements for the audit.

    It starts from the same weights; those that its seed gives are drawn anew.

    `initialized_by`: seed of the weights, if it is not the recipe's.
    """
    again = assembled(
        training.recipe,
        training.architecture,
        training.batches.train,
        training.test,
        training.val,
        training.device,
        initialized_by=initialized_by,
        processes=training.processes,
    )
    if training.initial:
        training.initial.apply(again.model)
    return replace(again, initial=training.initial, audited=False)


def build(
    recipe: Recipe,
    architecture: Architecture,
    channels: int,
    classes: int,
    *,
    seed: int | None = None,
) -> nn.Module:
    """The recipe's network, initialized with the recipe's seed or another one."""
    return models.build(
        architecture,
        classes=classes,
        channels=channels,
        seed=recipe.seed if seed is None else seed,
        **models.arguments(recipe, architecture),
    )


def _refuse_stages(recipe: Recipe, architecture: Architecture) -> None:
    """Refuse names in `freeze` that a built-in network does not have, before images are loaded.

    Raises:
        InputError: as `freezing.freeze`.
    """
    if recipe.freeze and architecture.built_in:
        side, channels, classes = 32, 3, 2  # names don't depend on them
        recipe = models.for_size(recipe, architecture, side, side)
        with torch.device("meta"):  # without values
            model = build(recipe, architecture, channels, classes)
        freezing.freeze(model, recipe.freeze, classes)


def note_missing_kernels(device: torch.device, precision: str, progress: Progress) -> None:
    """Report why a training on the CPU will be slower than it could be."""
    state = kernels.state(device, precision)
    if device.type == "cpu" and state.implementation == "pytorch":
        progress.note(
            f"kernels: pytorch ({state.reason}); training takes longer without the compiled ones"
        )
    for line in kernels.take_notes():
        progress.note(line)


def note_uneven_classes(training: Training, progress: Progress) -> None:
    """Report uneven classes and the remedy, unless the recipe already weights them."""
    if training.recipe.class_weights != "none":
        return
    train = training.batches.train
    counts_K = train.class_counts()
    small, large = int(counts_K.argmin()), int(counts_K.argmax())
    if counts_K[large] >= UNEVEN * counts_K[small]:
        most = counted(int(counts_K[large]), "training image")
        progress.note(
            f"uneven classes: '{train.classes[large]}' has {most} "
            f"and '{train.classes[small]}' {counts_K[small]:,}; to give every class the same "
            "weight in the loss: --class-weights balanced"
        )


def _statistics(
    recipe: Recipe, splits: Splits, initial: initial_weights.Source | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and standard deviations: the recipe's, or those of the train split.

    A network that starts from the weights of a run wants the images as that run had them.
    """
    if initial and initial.statistics and initial.about:
        measured_mean, measured_std = tuple(initial.about.mean), tuple(initial.about.std)
    else:
        measured_mean, measured_std = splits.train.channel_statistics()
    mean = measured_mean if recipe.mean == "auto" else recipe.mean
    std = measured_std if recipe.std == "auto" else recipe.std
    if min(std) <= 0:
        raise InputError(f"{recipe.data}: a channel has the same value in all images; give std")
    return mean, std


def _numbers(statistics: tuple[float, ...] | str) -> tuple[float, ...]:
    """Channel means or deviations that have been resolved."""
    assert not isinstance(statistics, str)
    return statistics
