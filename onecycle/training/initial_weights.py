"""The weights that a training starts from: those of a run or a file, as far as they fit.

No code of a run or a file is executed.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from onecycle.config import Recipe
from onecycle.data import stand_ins
from onecycle.engine.state import Initial, Training
from onecycle.errors import InputError
from onecycle.inference import network
from onecycle.models import heads, weights
from onecycle.progress import SILENT, Progress
from onecycle.run_dir import RunDir
from onecycle.run_dir.provenance import tensors_sha256
from onecycle.run_dir.records import InitialWeights, Network
from onecycle.writing.names import printable
from onecycle.writing.numbers import counted

PREFIX = "model."
"""Beginning of the names of a network's tensors in a checkpoint."""

NAMED = 3
"""Number of names that a note lists."""


@dataclass(frozen=True)
class Source:
    """Weights as they were read, not yet fitted to a network.

    Attributes:
        given: the path as it was given.
        path: the absolute path.
        kind: a run folder, or the format of a file.
        tensors: by name, on the CPU.
        about: the network of a run.
        step: of a run's checkpoint.
        statistics: whether a training takes its channel means and deviations from the run.
    """

    given: str
    path: str
    kind: weights.Kind
    tensors: Mapping[str, Tensor]
    about: Network | None = None
    step: int | None = None
    statistics: bool = False

    def with_statistics_for(self, recipe: Recipe, channels: int) -> "Source":
        """Whether the run's statistics replace those that the recipe leaves open."""
        fits = self.about is not None and self.about.channels == channels
        return replace(self, statistics=fits and "auto" in (recipe.mean, recipe.std))

    def other_classes(self, classes: Sequence[str]) -> str:
        """How the run's classes differ; empty for the same, and for a file, which names none."""
        there = self.about.classes if self.about else list(classes)
        if len(there) != len(classes):
            return f"{counted(len(there), 'class', 'classes')} there, {len(classes)} here"
        return "" if there == list(classes) else "other classes there"


def read(given: str, path: str = "", progress: Progress = SILENT) -> Source:
    """The weights in a run folder, of its newest checkpoint, or in a file.

    Args:
        given: the path in the recipe.
        path: where they are, if it is another path.
        progress: is notified of damaged checkpoints.

    Raises:
        InputError: there is nothing at the path, or nothing that can be read as weights.
    """
    place = Path(path or given)
    if not os.path.lexists(place):
        raise InputError(
            f"init_from: there is no run folder or file '{printable(str(place))}'; check the path"
        )
    absolute = os.path.abspath(place)
    if not place.is_dir():
        _check_fetched(place)
        kind, tensors = weights.read(place)
        return Source(given, absolute, kind, tensors)
    if not (place / "recipe.toml").is_file():
        raise InputError(
            f"init_from: '{printable(str(place))}' is a folder without recipe.toml, so it is not a "
            "run; give a run folder, or a file of weights"
        )
    run = RunDir.open(place)
    saved = run.newest_checkpoint(progress)
    if saved is None:
        raise InputError(f"init_from: the run '{place}' has no checkpoint yet; train it first")
    tensors = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in saved.tensors.items()
        if name.startswith(PREFIX)
    }
    return Source(given, absolute, "run", tensors, network.described(run), saved.step)


def _check_fetched(place: Path) -> None:
    """Refuse a file that stands in for one that was not fetched.

    Raises:
        InputError: it does.
    """
    if place.is_file() and os.access(place, os.R_OK):
        with place.open("rb") as file:
            named = stand_ins.known(file.read(stand_ins.HEAD))
        if named:
            raise InputError(f"init_from: '{printable(str(place))}' {named}")


def place_of(run: RunDir, recipe: Recipe) -> str:
    """The absolute path at which a run found its initial weights; empty if it isn't recorded."""
    known = run.environment().initial_weights
    return known.path if known is not None and known.given == recipe.init_from else ""


def load(training: Training, source: Source) -> None:
    """Load what fits into the training's network, before its first step.

    The head is new for a run with other classes.

    Raises:
        InputError: less than half of the network fits.
    """
    model, classes = training.model, training.batches.train.classes
    head = heads.head_of(model, len(classes))
    without = source.other_classes(classes)
    fitting = weights.fit(model, source.tensors, head, without_head=without)
    parameters = dict(model.named_parameters())
    record = InitialWeights(
        given=source.given,
        path=source.path,
        kind=source.kind,
        step=source.step,
        sha256=tensors_sha256(fitting.loaded),
        loaded=list(fitting.loaded),
        loaded_parameters=sum(
            parameters[name].numel() for name in fitting.loaded if name in parameters
        ),
        left_out=list(fitting.left_out),
        new=list(fitting.new),
        new_head=fitting.new_head,
        statistics=source.statistics,
    )
    training.initial = Initial(record, fitting.loaded)
    training.initial.apply(model)


def note_initial_weights(training: Training, progress: Progress) -> None:
    """Say what the training starts from, unless it is only its seed."""
    if training.initial:
        progress.note(told(training.initial.record))


def told(found: InitialWeights) -> str:
    """In one line, what was loaded, what was left out and what is new."""
    step = f", step {found.step:,}" if found.step is not None else ""
    parameters = counted(found.loaded_parameters, "parameter")
    parts = [
        f"initial weights: {counted(len(found.loaded), 'tensor')} with {parameters} "
        f"from {printable(found.given)}{step}"
    ]
    if found.left_out:
        parts.append(f"left out: {_named(found.left_out)}")
    if found.new:
        parts.append(f"new: {_named(found.new)}")
    if found.new_head:
        parts.append(f"the head is new ({found.new_head})")
    if found.statistics:
        parts.append("channel means and deviations are those of the run")
    return "; ".join(parts)


def _named(names: Sequence[str]) -> str:
    """The first names, then how many more there are."""
    told = ", ".join(printable(name)[:60] for name in names[:NAMED])
    more = len(names) - NAMED
    return told + (f" and {more:,} more" if more > 0 else "")
