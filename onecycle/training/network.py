"""network.json: what rebuilds a run's network without its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from onecycle import models
from onecycle.config import Recipe, override
from onecycle.errors import InputError
from onecycle.run_dir import RunDir
from onecycle.state import Training
from onecycle.training.preparation import build

FILE = "network.json"

MOST_CHANNELS, LONGEST_SIDE, MOST_CLASSES = 4, 65_536, 10**6
"""Bounds of what a file may claim."""


@dataclass(frozen=True)
class Network:
    """A run's network, and what its images are like.

    Attributes:
        recipe: the run's, with the name and arguments that the network was built by, and with the
            channel means and deviations of its training.
        classes: their names, in the order of the logits.
        channels: of the images.
        size: height and width of the images in pixels; None where an older run does not say.
    """

    recipe: Recipe
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int] | None

    @property
    def side(self) -> int:
        """Height and width in pixels of square images; 0 where they aren't, or it isn't known."""
        return self.size[0] if self.size and self.size[0] == self.size[1] else 0

    def build(self) -> nn.Module:
        """The network, with the weights that a training begins with."""
        return build(self.recipe, self.channels, len(self.classes))


def record(run: RunDir, training: Training) -> None:
    """Write network.json."""
    recipe, train = training.recipe, training.batches.train
    height, width, channels = train.image_shape
    run.write_json(
        FILE,
        {
            "name": recipe.model,
            "arguments": models.arguments(recipe),
            "classes": list(train.classes),
            "channels": channels,
            "size": [height, width],
            "mean": list(training.batches.mean),
            "std": list(training.batches.std),
        },
    )


def recorded(run: RunDir, recipe: Recipe) -> Network | None:
    """The run's network by its network.json; of an older run by its recipe and predictions.

    None where neither says what the classes are.

    Raises:
        InputError: a file is damaged.
    """
    known = run.read_json(FILE)
    if known is not None:
        try:
            return _checked(known, recipe)
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise _damaged(run.path / FILE, error) from None
    if recipe.mean == "auto":
        return None
    classes = (run.predictions() or {}).get("classes")
    return classes if classes is None else _of_older_run(recipe, tuple(classes.tolist()))


def _of_older_run(recipe: Recipe, classes: tuple[str, ...]) -> Network:
    side = recipe.image_size
    return Network(recipe, classes, len(recipe.mean), (side, side) if side else None)


def _checked(known: Mapping[str, Any], recipe: Recipe) -> Network:
    """The network that a file describes; a ValueError or the like where it can't be one."""
    classes, channels, size = known["classes"], known["channels"], known["size"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes are no list of names")
    if not 2 <= len(set(classes)) == len(classes) <= MOST_CLASSES:
        raise ValueError("classes are too few, too many, or not different")
    _check_whole("channels", channels, MOST_CHANNELS)
    height, width = size
    _check_whole("size", height, LONGEST_SIDE)
    _check_whole("size", width, LONGEST_SIDE)
    recipe = override(recipe, model=known["name"], mean=known["mean"], std=known["std"])
    arguments, exists = known["arguments"], recipe.model in models.NETWORKS  # else `build` says so
    taken = models.takes(recipe.model) if exists else ()
    recipe = override(recipe, **{name: arguments[name] for name in taken})
    if not len(recipe.mean) == len(recipe.std) == channels or "auto" in (recipe.mean, recipe.std):
        raise ValueError("mean and std are not one number for each channel")
    return Network(recipe, tuple(classes), channels, (height, width))


def _check_whole(name: str, value: object, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{name}: {value!r} is not a whole number from 1 to {most}")


def _damaged(path: Path, error: Exception) -> InputError:
    reason = f"it has no {error}" if isinstance(error, KeyError) else error
    return InputError(f"{path}: is damaged ({reason}); restore it, or remove it")
