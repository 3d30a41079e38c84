"""What can be seen of a recipe before it is trained: the rates it would get, and its network."""

from onecycle import models, runtime
from onecycle.config import Recipe
from onecycle.data import splits_of
from onecycle.lr_finder import LRFinding
from onecycle.models import freezing
from onecycle.models.summary import Summary, summarize
from onecycle.progress import IN_NOTEBOOKS, Progress
from onecycle.training.cautions import note_few_images, note_sizes
from onecycle.training.initial_weights import note_initial_weights
from onecycle.training.peak_search import range_test
from onecycle.training.preparation import accepted, build, prepare
from onecycle.training.refusals import built_in
from onecycle.training.signals import noted_signals


def find_lr(
    recipe: Recipe,
    *,
    network: models.Network | None = None,
    threads: int = 0,
    progress: Progress = IN_NOTEBOOKS,
) -> LRFinding:
    """The range test alone, as `train` would run it. `network`: as there.

    Raises:
        InputError: the recipe or the data can't be used.
        TrainingError: the loss is not finite at the first step.
    """
    recipe, architecture = models.asked(recipe, network)
    training, _ = prepare(recipe, architecture, threads=threads, progress=progress)
    if recipe.lr_max == "proven":
        progress.note(
            "lr_max: 'proven' needs trainings, which only train runs; here is the range test"
        )
    note_initial_weights(training, progress)
    note_sizes(recipe, training, progress)
    note_few_images(training, progress)
    with noted_signals() as stop, runtime.reused_memory():
        return range_test(training, stop, progress).made_safe()


def describe(recipe: Recipe, *, network: models.Network | None = None) -> Summary:
    """The layers of the recipe's network. Data is loaded only if the images' shape is unknown.

    `network`: as in `train`.
    """
    recipe, architecture = models.asked(recipe, network)
    if known := built_in(recipe):
        side = recipe.image_size or known.side
        shape, classes = (side, side, known.channels), known.classes
    else:
        splits = splits_of(recipe)
        shape, classes = splits.train.image_shape, len(splits.train.classes)
    recipe = models.for_size(recipe, architecture, *shape[:2])
    architecture = accepted(recipe, architecture, shape, classes)
    model = build(recipe, architecture, shape[2], classes)
    freezing.freeze(model, recipe.freeze, classes)
    return summarize(model, shape)
