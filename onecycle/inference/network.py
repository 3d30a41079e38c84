"""A run's network, rebuilt from network.json and a checkpoint, without the run's data."""

from dataclasses import dataclass, replace

from torch import nn

from onecycle import models, runtime
from onecycle.config import Recipe, override
from onecycle.config.model_args import written
from onecycle.config.names import unknown_name
from onecycle.engine.state import Training, load_model
from onecycle.errors import InputError
from onecycle.evaluate import Evaluation, fitted_temperature
from onecycle.progress import SILENT, Progress
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import Misfit, from_json
from onecycle.run_dir.checkpoints import Checkpoint
from onecycle.run_dir.files import damaged
from onecycle.run_dir.records import Network, TrainingState
from onecycle.writing.names import printable

LAST, BEST = "last", "best"
CHECKPOINTS = (LAST, BEST)
"""Checkpoints to choose from: the newest, or that of the highest validation accuracy."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A run's network as it was trained.

    Attributes:
        model: on the CPU, with the weights of the checkpoint.
        about: its name and classes, and how its images are prepared.
        step: number of optimizer steps of its training.
        temperature: divisor of the logits that was fitted on the run's validation split; None if
            there is none, or the run is unfinished.
    """

    model: nn.Module
    about: Network
    step: int
    temperature: float | None = None


def load_network(
    run: RunDir,
    about: Network | None = None,
    progress: Progress = SILENT,
    checkpoint: str = LAST,
    network: models.Network | None = None,
) -> TrainedNetwork:
    """The network of a run, finished or not.

    Args:
        run: its folder.
        about: description of the network, if the folder has none (see `described`).
        progress: is notified of damaged checkpoints.
        checkpoint: one of `CHECKPOINTS`.
        network: the code of the network, if it is not built in.

    Raises:
        InputError: there is no such checkpoint, or it is of another network; the folder does not
            describe the network; a file in it is damaged; or its network is code, and `network`
            is not given.
    """
    about = about or described(run)
    if about is None:
        raise InputError(f"{run.path / Network.FILE}: is missing; restore it, or train again")
    architecture = models.architecture(about.name, network)
    model = _built(run, about, architecture)
    changed = _change(about, models.with_source(architecture, model))
    saved = _checkpoint(run, checkpoint, progress)
    try:
        load_model(model, saved.tensors)
    except (InputError, RuntimeError):
        restore = "its code, whose source has changed" if changed else "them"
        raise InputError(
            f"{run.path}: the checkpoint of step {saved.step} is not of the network that "
            f"recipe.toml and network.json describe; restore {restore}"
        ) from None
    if changed:
        progress.note(changed)
    temperature = _of_best(run, saved) if checkpoint == BEST else _temperature(run)
    return TrainedNetwork(model, about, saved.step, temperature)


def _checkpoint(run: RunDir, name: str, progress: Progress) -> Checkpoint:
    """The checkpoint called `name`.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if name not in CHECKPOINTS:
        raise InputError(unknown_name("checkpoint", name, CHECKPOINTS))
    if name == LAST:
        found = run.newest_checkpoint(progress)
        if found is None:
            raise InputError(
                f"{run.path}: has no checkpoint yet; go on with: onecycle resume {run.path}"
            )
        return found
    found = run.best_checkpoint()
    if found is None:
        raise InputError(
            f"{run.path}: has no checkpoint 'best', which needs a validation split; use 'last', "
            "or train with --val-fraction"
        )
    return found


def _of_best(run: RunDir, best: Checkpoint) -> float | None:
    """The temperature that was saved with the checkpoint `best`; older versions saved none.

    Raises:
        InputError: its state is damaged.
    """
    try:
        from_json(best.state, TrainingState)
    except Misfit as misfit:
        raise damaged(run.path / "checkpoints" / BEST, misfit) from None
    return best.state.get("temperature")


def _temperature(run: RunDir) -> float | None:
    """The temperature that fits the logits of the validation split, if the run has saved any."""
    found = run.predictions() or {}
    if "val_logits" not in found or not len(found["val_logits"]):
        return None
    return fitted_temperature(Evaluation(found["val_logits"], found["val_labels"]))


def record(run: RunDir, training: Training) -> None:
    """Write network.json."""
    train, batches = training.batches.train, training.batches
    size, classes = train.image_shape[:2], list(train.classes)
    about = described_by(
        training.recipe, classes, size, batches.mean, batches.std, training.architecture
    )
    run.write_record(about)


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


def present_device(device: str, progress: Progress) -> str:
    """`device` if this machine has it, otherwise `auto`, so that a copied run can be used."""
    try:
        runtime.resolve_device(device)
    except InputError:
        progress.note(f"device: the run's '{device}' is not available; using auto")
        return "auto"
    return device


def described_by(
    recipe: Recipe,
    classes: list[str],
    size: tuple[int, int] | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    architecture: models.Architecture | None = None,
) -> Network:
    """The description of a run's network, from its recipe and images.

    `architecture` is that of the network, if it is not built in.
    """
    source = None
    if architecture is not None and not architecture.built_in:
        source = architecture.source_sha256
    return Network(
        name=recipe.model,
        arguments=models.arguments(recipe, architecture),
        classes=classes,
        channels=len(mean),
        size=size,
        resize=recipe.resize,
        mean=list(mean),
        std=list(std),
        source_sha256=source,
    )


def _change(about: Network, architecture: models.Architecture) -> str:
    """What is to be said of the source of a network that is code; empty if it is the same."""
    was, now = about.source_sha256, architecture.source_sha256
    if architecture.built_in or was == now != "":
        return ""
    if not was or not now:
        return f"network source: of '{about.name}' can't be found, so it can't be compared"
    return (
        f"network source: has changed since the run began (SHA-256 {was:.8}, now {now:.8}), but "
        "the weights fit"
    )


def _built(run: RunDir, about: Network, architecture: models.Architecture) -> nn.Module:
    """The network with new weights.

    Raises:
        InputError: its arguments can't be used.
    """
    _refuse_other_code(run, about, architecture)
    taken = models.takes(architecture)
    further = {name: value for name, value in about.arguments.items() if name not in taken}
    try:
        given = {name: about.arguments[name] for name in taken}
        recipe = override(Recipe(), model=about.name, model_args=written(further), **given)
        arguments = models.arguments(recipe, architecture)
    except KeyError as missing:
        if not architecture.built_in:
            raise _other_code(
                run, about, f"has no argument {missing}, which the code takes"
            ) from None
        raise damaged(run.path / about.FILE, f"'arguments' has no {missing}") from None
    except InputError as error:
        if not architecture.built_in:
            said = str(error).partition("; ")[0]
            raise _other_code(run, about, f"does not fit the code ({said})") from None
        raise damaged(run.path / about.FILE, f"'arguments': {error}") from None
    classes, channels = len(about.classes), about.channels
    if about.size:
        shape = (*about.size, channels)
        architecture = models.understood(architecture, shape, classes, arguments)
    return models.build(architecture, classes=classes, channels=channels, **arguments)


def _refuse_other_code(run: RunDir, about: Network, architecture: models.Architecture) -> None:
    """Refuse code that takes other arguments than the run's network.

    Raises:
        InputError: it lacks one of them.
    """
    if architecture.built_in or architecture.takes_any:
        return
    unknown = [name for name in about.arguments if name not in architecture.names]
    if unknown:
        name = printable(unknown[0])
        raise _other_code(run, about, f"names the argument '{name}', which the code does not take")


def _other_code(run: RunDir, about: Network, said: str) -> InputError:
    return InputError(
        f"{run.path / about.FILE}: {said}; give the code that the run was trained with, then "
        f"called {printable(about.name)}"
    )
