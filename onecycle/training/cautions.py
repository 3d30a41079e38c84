"""Warnings before a training with little data, and after one that only memorized it."""

from onecycle.config import Recipe
from onecycle.config.sizes import batch_size_for, least_epochs, shares, steps_per_epoch
from onecycle.engine.state import Training
from onecycle.progress import Progress
from onecycle.run_dir.records import Result
from onecycle.writing.numbers import counted, in_full, percent

FEW_STEPS = 75
"""A training with fewer steps than this learns too little."""

FEW_IMAGES = 10
"""A class with fewer training images than this can hardly be learned."""

DRIFT = 0.2
"""Train accuracy minus test accuracy from which a network counts as having memorized."""


def note_sizes(asked: Recipe, training: Training, progress: Progress) -> None:
    """Report the sizes chosen for the images, if `asked` left them open or gave shares."""
    recipe = training.recipe
    for name, share in shares(asked).items():
        chosen = counted(getattr(recipe, name), "pixel")
        progress.note(f"{name}: {in_full(share)} of the images' shorter side is {chosen}")
    if asked.batch_size != "auto" and asked.epochs == recipe.epochs:
        return
    steps = counted(training.total_steps, "step")
    line = (
        f"{counted(len(training.batches.train), 'training image')}: "
        f"batch {training.batches.batch_size}, {counted(recipe.epochs, 'epoch')} ({steps})"
    )
    if asked.epochs != recipe.epochs:
        before = asked.epochs * training.batches.steps_per_epoch
        line += (
            f"; {counted(asked.epochs, 'epoch')} would make only {counted(before, 'step')}, "
            "so more are used; to choose: --epochs"
        )
    progress.note(line)


def note_few_steps(training: Training, progress: Progress) -> None:
    """Warn of a training with too few steps to learn much, and name the flags that help."""
    if training.total_steps < FEW_STEPS or training.batches.batch_size > len(
        training.batches.train
    ):
        progress.note(f"warning: {_few_steps(training)}")


def note_few_images(training: Training, progress: Progress) -> None:
    """Warn of classes with hardly any training images."""
    train = training.batches.train
    counts_K = train.class_counts()
    few, smallest = int((counts_K < FEW_IMAGES).sum()), int(counts_K.argmin())
    if few:
        progress.note(
            f"warning: {few} of {len(counts_K)} classes have fewer than {FEW_IMAGES} training "
            f"images ('{train.classes[smallest]}' has {counts_K[smallest]}), too few to learn "
            "from; add images"
        )


def _few_steps(training: Training) -> str:
    """How few steps there are, why, and which flags give more."""
    recipe, images = training.recipe, len(training.batches.train)
    batch_size, wanted = training.batches.batch_size, batch_size_for(images)
    epochs = least_epochs("auto", steps_per_epoch(images, min(batch_size, wanted)))
    remedies = [f"--batch-size {wanted}"] if batch_size > wanted else []
    remedies += [f"--epochs {epochs}"] if epochs > recipe.epochs else []
    verb = "makes" if recipe.epochs == 1 else "make"
    return (
        f"{counted(recipe.epochs, 'epoch')} of {counted(images, 'training image')} at batch size "
        f"{batch_size} {verb} only {counted(training.total_steps, 'step')}, too few to learn "
        f"much; give {' and '.join(remedies) or 'more images'}"
    )


def note_drift(result: Result, progress: Progress) -> None:
    """Warn of a network that has memorized its training images.

    The train accuracy is measured on augmented batches while the network learns in the last epoch,
    so it tends to be too low.
    """
    train, test = result.train_accuracy, result.test_accuracy
    if train - test >= DRIFT - 1e-9:
        progress.note(
            f"warning: train accuracy {percent(train, 1)}, test accuracy {percent(test, 1)} "
            f"(of {counted(result.test_images, 'image')}): the network has memorized its "
            f"{counted(result.train_images, 'training image')}; more images help most, else a "
            "higher --weight-decay or --dropout, a larger --cutout or a smaller --width"
        )
