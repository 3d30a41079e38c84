"""Measurements for the audit, made during a training and at its end."""

from dataclasses import asdict
from typing import Any

from torch import Tensor

from onecycle import optim
from onecycle.audit import audit, failures
from onecycle.data import Splits, duplicates
from onecycle.engine.state import Training
from onecycle.models.freezing import asked_to_stay
from onecycle.models.norms import weight_norms
from onecycle.models.summary import summarize
from onecycle.progress import SILENT, Progress
from onecycle.run_dir import RunDir
from onecycle.run_dir.provenance import tensors_sha256
from onecycle.training.preparation import build


def note_start(training: Training) -> None:
    """Before the first step, check that the network begins as it should, and hash what is frozen.

    The seed, and the weights to start from, must give the same network again.
    It does not give them if nothing sets the seed, or if the range test has left a trace.
    """
    if training.state.step:
        return
    if frozen := _frozen(training):
        before = tensors_sha256(frozen)
        training.state.audit["frozen"] = {"tensors": len(frozen), "before": before, "after": before}
    train = training.batches.train
    channels, classes = train.image_shape[2], len(train.classes)
    again = build(training.recipe, training.architecture, channels, classes)
    if initial := training.initial:
        initial.apply(again)
        tensors = training.model.state_dict()
        found = tensors_sha256({name: tensors[name] for name in initial.tensors})
        training.state.audit["initial_weights_sha256"] = found
    hashes = {tensors_sha256(model.state_dict()) for model in (training.model, again)}
    training.state.audit["initial_weights_repeat"] = len(hashes) == 1


def compare_processes(training: Training) -> None:
    """Record the hash of each process's weights after the last step. All processes take part."""
    if training.processes.count > 1:
        hashes = training.processes.gather(tensors_sha256(training.model.state_dict()))
        training.state.audit["weights_of_processes"] = hashes


def write_audit(
    training: Training, splits: Splits, run: RunDir, progress: Progress = SILENT
) -> None:
    """Write audit.json: the measurements, the norms of the weights, and the layers."""
    if "frozen" in training.state.audit:
        training.state.audit["frozen"]["after"] = tensors_sha256(_frozen(training))
    layers = summarize(training.evaluated, training.batches.train.image_shape)
    run.write_json(
        "audit.json",
        training.state.audit
        | {
            "optimizer": optim.settings(training.optimizer),
            "duplicates": _duplicates(splits, progress),
            "weight_norms": weight_norms(training.evaluated),
            "network": asdict(layers) | {"image_shape": list(training.batches.train.image_shape)},
        },
    )


def _frozen(training: Training) -> dict[str, Tensor]:
    """The parameters and buffers that must not change, by name."""
    tensors, classes = training.model.state_dict(), len(training.batches.train.classes)
    names = asked_to_stay(training.model, training.recipe.freeze, classes)
    return {name: tensors[name] for name in names}


def _duplicates(splits: Splits, progress: Progress) -> dict[str, Any]:
    """Images of the test and validation splits that are also in train. `of`: size of the split."""
    held_out = {"test": splits.test} | ({"val": splits.val} if splits.val else {})
    found = duplicates.find({"train": splits.train} | held_out, progress)
    pairs = {f"train_{name}": len(images) for name, images in held_out.items()}
    return {pair: found[pair].to_json() | {"of": count} for pair, count in pairs.items()}


def note_failures(run: RunDir, progress: Progress) -> None:
    """Report the lines of the audit that fail."""
    for line in failures(audit(run)):
        progress.note(f"audit: {line.name}: asked {line.asked}; found {line.found}")
