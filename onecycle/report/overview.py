"""The top and the end of a report: the run's figures, its recipe, its environment."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from onecycle.audit.evidence import Evidence
from onecycle.config import Recipe, differences
from onecycle.evaluate import Evaluation
from onecycle.recipes import RECIPES
from onecycle.report import formats
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.records import Environment, InitialWeights, Result
from onecycle.writing.numbers import counted

Rows = list[dict[str, str]]


def overview(files: Evidence) -> dict[str, Any]:
    """The content of the page's head and of the sections on recipe and environment."""
    recipe, result, facts = files.recipe, files.result, files.environment
    done = f"{len(files.epochs)} of {counted(recipe.epochs, 'epoch')}"
    named = recipe.recipe in RECIPES
    fields = fields_of(recipe)
    return {
        "recipe_name": recipe.recipe,
        "run_name": files.run.path.resolve().name,
        "subtitle": subtitle(recipe),
        "time": formats.time(result.finished if result else facts.started),
        "finished": result is not None,
        "done": done,
        "tiles": _tiles(files, done),
        "changes": [field for field in fields if field["kind"]],
        "named": named,
        "fields": fields,
        "environment": _environment(facts),
    }


def subtitle(recipe: Recipe) -> str:
    """What was trained on what, for how long."""
    epochs = counted(recipe.epochs, "epoch")
    return f"{recipe.model} on {recipe.data}, {epochs}, seed {recipe.seed}"


def _tiles(files: Evidence, done: str) -> Rows:
    """The run's figures; for an unfinished run, those of its last epoch."""
    result, last = files.result, files.epochs[-1] if files.epochs else None
    shown = result or last
    if shown is None:
        return []
    uneven, accuracy = result is not None and result.uneven, formats.percent(shown.test_accuracy)
    tiles = [
        ("Test accuracy", accuracy, _interval_note(files.evaluation, done)),
        *(_balanced(result) if result is not None and uneven else []),
        *_shares("With mirror images", result and result.test_accuracy_tta, MIRRORED),
        *_shares("Validation accuracy", shown.val_accuracy, "images not trained on"),
        *_shares(
            "Balanced, validation",
            shown.val_balanced_accuracy if uneven else None,
            "mean over classes",
        ),
        ("Train accuracy", formats.percent(shown.train_accuracy), "last epoch, augmented images"),
        ("Test loss", formats.loss(shown.test_loss), "cross-entropy in nats"),
        *(_of_the_whole(result) if result else []),
    ]
    return [{"name": name, "value": value, "note": note} for name, value, note in tiles]


MIRRORED = "logits averaged over each image and its mirror"

Tile = tuple[str, str, str]
"""A tile's name, figure and note."""


def _shares(name: str, share: float | None, note: str) -> list[Tile]:
    """A tile for a share that only some runs have."""
    return [] if share is None else [(name, formats.percent(share), note)]


def _balanced(result: Result) -> list[Tile]:
    smallest, largest = result.test_class_sizes or (0, 0)
    note = f"mean over classes of {smallest:,} to {counted(largest, 'image')}"
    return _shares("Balanced accuracy", result.test_balanced_accuracy, note)


def _of_the_whole(result: Result) -> list[Tile]:
    """The figures that only a finished run has."""
    return [
        ("Peak rate", formats.rate(result.lr_max), f"from {formats.rate(result.lr_min)}"),
        ("Time", formats.duration(result.total_seconds), "in total, range test included"),
        (
            "Images per second",
            f"{result.images_per_second:,.0f}",
            f"training alone, {result.precision} on {result.device}",
        ),
        ("Parameters", f"{result.parameters:,}", f"{result.model}{_trained(result)}"),
    ]


def _trained(result: Result) -> str:
    """How many parameters were trained, if some were frozen."""
    trained = result.trainable_parameters
    return "" if trained in (None, result.parameters) else f"; {trained:,} of them trained"


def _interval_note(evaluation: Evaluation | None, done: str) -> str:
    if evaluation is None:
        return f"after {done}"
    right = int((evaluation.predictions_N == evaluation.labels_N).sum())
    count = len(evaluation.labels_N)
    return f"95 % interval {formats.wilson(right, count)}, n = {counted(count, 'image')}"


def fields_of(recipe: Recipe) -> Rows:
    """The fields of the recipe, each with the value of the named recipe, if there is one.

    `kind` is "other" where that has another value, "open" where it is `auto` there, else empty.
    Whether such a one was found or given can't be told: the run's recipe holds the values used.
    """
    base = RECIPES.get(recipe.recipe)
    differing = differences(recipe, base.recipe) if base else {}
    differing.pop("min_steps", None)  # 0 in every run: the epochs hold it
    rows = []
    for name, here in asdict(recipe).items():
        there, _ = differing.get(name, (None, None))
        kind = "" if name not in differing else "open" if there == "auto" else "other"
        rows.append(
            {"name": name, "here": formats.value(here), "there": formats.value(there), "kind": kind}
        )
    return rows


def started_from(found: InitialWeights) -> str:
    """What was loaded from where, and what is new, in a few words."""
    step = f"step {found.step:,}, " if found.step is not None else ""
    parts = [
        f"{counted(len(found.loaded), 'tensor')} with "
        f"{counted(found.loaded_parameters, 'parameter')} from {found.given} "
        f"({step}SHA-256 {found.sha256[:8]}…)"
    ]
    if found.new:
        parts.append(f"{counted(len(found.new), 'tensor')} new")
    if found.new_head:
        parts.append(f"the head is new: {found.new_head}")
    return "; ".join(parts)


def _environment(facts: Environment) -> list[tuple[str, str]]:
    """Names and values, without the CPU's flags (a page of them) and the path on this machine.

    The recipe has a section of its own.
    """
    told = {
        "command": facts.command and shlex.join(facts.command),
        "versions": ", ".join(f"{name} {version}" for name, version in facts.versions.items()),
        "kernels": facts.kernels and str(facts.kernels),
        "cpu": None if facts.cpu == facts.device_name else facts.cpu,
        "initial_weights": facts.initial_weights and started_from(facts.initial_weights),
        "git": facts.git and facts.git.commit + (" with changes" if facts.git.changed else ""),
    }
    rows = []
    for name, value in (to_json(facts) | told).items():
        if isinstance(value, Mapping):
            found = {key.replace("_", " "): item for key, item in value.items() if item}
            value = ", ".join(f"{key} {item}" for key, item in found.items())
        if name in ("cpu_flags", "data_path", "recipe") or value in (None, [], ""):
            continue
        rows.append((name.replace("_", " "), str(value)))
    return rows
