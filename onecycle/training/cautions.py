"""What a person should know before a training on little, and after one that only memorized."""

from onecycle.config import Recipe
from onecycle.config.sizes import batch_size_for, least_epochs, steps_per_epoch
from onecycle.engine.state import Training
from onecycle.progress import Progress
from onecycle.run_dir.records import Result
from onecycle.writing.numbers import counted, percent

FEW_STEPS = 75
"""A training of fewer steps has hardly begun."""

FEW_IMAGES = 10
"""Training images of a class below which little can be learned about it."""

DRIFT = 0.2
"""Train accuracy less test accuracy at which a network has memorized more than it has learned."""


def note_sizes(asked: Recipe, training: Training, progress: Progress) -> None:
    """Say which sizes were chosen for the number of images, where `asked` left that open."""
    recipe = training.recipe
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
            "so there are more; to choose: --epochs"
        )
    progress.note(line)


def note_few_steps(training: Training, progress: Progress) -> None:
    """Warn of a training that is over before it has learned much, with the flags that make more."""
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
    """How few steps there are, why, and which flags make more."""
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
    """Warn of a network that knows its training images and not new ones.

    The train accuracy is that of the last epoch's batches, augmented and while it was learning, so
    it is rather too low.
    """
    train, test = result.train_accuracy, result.test_accuracy
    if train - test >= DRIFT - 1e-9:
        progress.note(
            f"warning: train accuracy {percent(train, 1)}, test accuracy {percent(test, 1)} "
            f"(of {counted(result.test_images, 'image')}): the network has memorized its "
            f"{counted(result.train_images, 'training image')}; more images help most, else a "
            "higher --weight-decay or --dropout, a larger --cutout or a smaller --width"
        )
