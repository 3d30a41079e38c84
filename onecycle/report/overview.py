"""The top of a report, and its end: the run's figures, its recipe, its environment."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from onecycle.config import Recipe, differences
from onecycle.evaluate import Evaluation
from onecycle.nouns import counted
from onecycle.recipes import RECIPES
from onecycle.report import words
from onecycle.report.files import Files

Rows = list[dict[str, str]]


def overview(files: Files) -> dict[str, Any]:
    """What the head of the page and the sections on recipe and environment show."""
    recipe, result, facts = files.recipe, files.result, files.environment
    done = f"{len(files.epochs)} of {counted(recipe.epochs, 'epoch')}"
    base = RECIPES[recipe.recipe].recipe if recipe.recipe in RECIPES else None
    fields = _fields(recipe, base)
    figures = telling(result or (files.epochs[-1] if files.epochs else {}), result)
    return {
        "recipe_name": recipe.recipe,
        "run_name": files.run.path.resolve().name,
        "subtitle": _subtitle(recipe),
        "time": words.time((result or {}).get("finished") or facts.get("started")),
        "finished": result is not None,
        "done": done,
        "tiles": _tiles(figures, files.evaluation, done),
        "changes": [field for field in fields if field["kind"]],
        "named": base is not None,
        "fields": fields,
        "environment": _environment(facts),
    }


def _subtitle(recipe: Recipe) -> str:
    epochs = counted(recipe.epochs, "epoch")
    return f"{recipe.model} on {recipe.data}, {epochs}, seed {recipe.seed}"


def telling(figures: Mapping[str, Any], result: Mapping[str, Any] | None) -> dict[str, Any]:
    """The figures, balanced accuracies only where the test split's classes differ in size."""
    smallest, largest = _class_sizes(result or {})
    return {k: v for k, v in figures.items() if smallest != largest or "balanced" not in k}


def _class_sizes(figures: Mapping[str, Any]) -> tuple[int, int]:
    """Images in the smallest and the largest class of the test split; 0 where it isn't known."""
    smallest, largest = figures.get("test_class_sizes", (0, 0))
    return smallest, largest


def _tiles(figures: Mapping[str, Any], evaluation: Evaluation | None, done: str) -> Rows:
    """The run's figures, from result.json or from the last epoch's row: those that are there."""
    mirrored = "logits averaged over each image and its mirror"
    machine = f"{figures.get('precision', '')} on {figures.get('device', '')}"
    smallest, largest = _class_sizes(figures)
    classes = f"mean over classes of {smallest:,} to {counted(largest, 'image')}"
    given: list[tuple[str, str, Callable[[Any], str], str]] = [
        (
            "test_accuracy",
            "Test accuracy",
            words.percent,
            _interval_note(evaluation) or f"after {done}",
        ),
        ("test_balanced_accuracy", "Balanced accuracy", words.percent, classes),
        ("test_accuracy_tta", "With mirror images", words.percent, mirrored),
        ("val_accuracy", "Validation accuracy", words.percent, "images kept apart from training"),
        ("val_balanced_accuracy", "Balanced, validation", words.percent, "mean over classes"),
        ("train_accuracy", "Train accuracy", words.percent, "last epoch, augmented images"),
        ("test_loss", "Test loss", "{:.4f}".format, "cross-entropy in nats"),
        ("lr_max", "Peak rate", words.rate, f"from {words.rate(figures.get('lr_min', 0.0))}"),
        ("total_seconds", "Time", words.duration, "all of it, range test included"),
        ("images_per_second", "Images per second", "{:,.0f}".format, f"training alone, {machine}"),
        ("parameters", "Parameters", "{:,}".format, str(figures.get("model", ""))),
    ]
    return [
        {"name": name, "value": show(figures[key]), "note": note}
        for key, name, show, note in given
        if key in figures
    ]


def _interval_note(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return ""
    right = int((evaluation.predictions_N == evaluation.labels_N).sum())
    count = len(evaluation.labels_N)
    return f"95 % interval {words.wilson(right, count)}, n = {counted(count, 'image')}"


def _fields(recipe: Recipe, base: Recipe | None) -> Rows:
    """The fields of the recipe, each beside what the named recipe has.

    `kind` is "other" where that has another value, "open" where it is `auto` there, else empty.
    Whether such a one was found or given can't be told: the run's recipe holds the values used.
    """
    differing = differences(recipe, base) if base else {}
    differing.pop("min_steps", None)  # 0 in every run: the epochs hold it
    rows = []
    for name, here in asdict(recipe).items():
        there, _ = differing.get(name, (None, None))
        kind = "" if name not in differing else "open" if there == "auto" else "other"
        rows.append(
            {"name": name, "here": words.value(here), "there": words.value(there), "kind": kind}
        )
    return rows


def _environment(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values; not the CPU's flags, a page of them, nor the path on this machine."""
    rows = []
    for name, value in facts.items():
        if name in ("cpu_flags", "data_path") or value in (None, [], ""):
            continue
        if name == "cpu" and value == facts.get("device_name"):
            continue
        if name == "command":
            value = shlex.join(value)
        elif name == "git":
            value = value["commit"] + (" with changes" if value["changed"] else "")
        elif isinstance(value, Mapping):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        rows.append((name.replace("_", " "), str(value)))
    return rows
