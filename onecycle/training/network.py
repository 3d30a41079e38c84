"""A run's network, rebuilt from network.json and a checkpoint, without the run's data."""

from dataclasses import dataclass, replace

from torch import nn

from onecycle import models
from onecycle.config import Recipe, override
from onecycle.engine.state import Training, load_model
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress
from onecycle.run_dir import RunDir
from onecycle.run_dir.files import damaged
from onecycle.run_dir.records import Network


@dataclass(frozen=True)
class TrainedNetwork:
    """A run's network as it was trained.

    Attributes:
        model: on the CPU, with the weights of the newest checkpoint.
        about: its name and classes, and how its images are prepared.
        step: number of optimizer steps of its training.
    """

    model: nn.Module
    about: Network
    step: int


def load_network(
    run: RunDir, about: Network | None = None, progress: Progress = SILENT
) -> TrainedNetwork:
    """The network of a run, finished or not.

    Args:
        run: its folder.
        about: description of the network, if the folder has none (see `described`).
        progress: is notified of damaged checkpoints.

    Raises:
        InputError: there is no checkpoint yet, or it is of another network; the folder does not
            describe the network; or a file in it is damaged.
    """
    about = about or described(run)
    if about is None:
        raise InputError(f"{run.path / Network.FILE}: is missing; restore it, or train again")
    model = _built(run, about)
    checkpoint = run.newest_checkpoint(progress)
    if checkpoint is None:
        raise InputError(
            f"{run.path}: has no checkpoint yet; go on with: onecycle resume {run.path}"
        )
    try:
        load_model(model, checkpoint.tensors)
    except InputError:
        raise InputError(
            f"{run.path}: the checkpoint of step {checkpoint.step} is not of the network that "
            "recipe.toml and network.json describe; restore them"
        ) from None
    return TrainedNetwork(model, about, checkpoint.step)


def record(run: RunDir, training: Training) -> None:
    """Write network.json."""
    train, batches = training.batches.train, training.batches
    size, classes = train.image_shape[:2], list(train.classes)
    run.write_record(described_by(training.recipe, classes, size, batches.mean, batches.std))


def described(run: RunDir) -> Network | None:
    """The description of a run's network; None if its folder has none.

    What an older version left out of network.json is in the recipe. A run without network.json has
    its classes in predictions.npz.

    Raises:
        InputError: a file is damaged.
    """
    recipe, known = run.read_recipe(), run.network()
    if known is not None:
        return known if known.resize else replace(known, resize=recipe.resize)
    found = run.predictions() or {}
    if "classes" not in found or isinstance(recipe.mean, str) or isinstance(recipe.std, str):
        return None
    side = recipe.image_size
    size = (side, side) if side else None
    return described_by(recipe, found["classes"].tolist(), size, recipe.mean, recipe.std)


def described_by(
    recipe: Recipe,
    classes: list[str],
    size: tuple[int, int] | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Network:
    """The description of a run's network, from its recipe and images."""
    return Network(
        name=recipe.model,
        arguments=models.arguments(recipe),
        classes=classes,
        channels=len(mean),
        size=size,
        resize=recipe.resize,
        mean=list(mean),
        std=list(std),
    )


def _built(run: RunDir, about: Network) -> nn.Module:
    """The network with new weights.

    Raises:
        InputError: its name is unknown, or its arguments can't be used.
    """
    models.check_name(about.name)
    try:
        given = {name: about.arguments[name] for name in models.takes(about.name)}
        arguments = models.arguments(override(Recipe(), model=about.name, **given))
    except KeyError as missing:
        raise damaged(run.path / about.FILE, f"'arguments' has no {missing}") from None
    except InputError as error:
        raise damaged(run.path / about.FILE, f"'arguments': {error}") from None
    classes, channels = len(about.classes), about.channels
    return models.build(about.name, classes=classes, channels=channels, **arguments)
