"""One self-contained HTML file from a run folder: for any browser, offline, on paper."""

import base64
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from scipy.stats import binomtest

from onecycle.config import Recipe, differences
from onecycle.errors import InputError
from onecycle.evaluate import Evaluation
from onecycle.recipes import RECIPES
from onecycle.run_dir import RunDir, write_atomically

PLOTS = {
    "lr_range_test": (
        "Training loss over the learning rate in the range test, with the suggested rates",
        "The range test: the rate grows step by step and the loss is noted. The band is the span "
        "of the cycle.",
    ),
    "one_cycle": (
        "Learning rate and momentum over the epochs of the cycle",
        "Learning rate and momentum at every step.",
    ),
    "curves": (
        "Loss and accuracy after each epoch, train against test",
        "Train figures are means over an epoch's augmented images while the network changes; test "
        "figures are taken at the epoch's end on unchanged images.",
    ),
    "augmented_samples": (
        "Training images beside augmented versions of themselves",
        "Training images, each with versions of it as the network saw them.",
    ),
    "misclassified": (
        "The most confidently wrong test images with predicted and actual class",
        "The test images that the network is most confidently wrong about: hard images, and "
        "sometimes wrong labels.",
    ),
    "confusion": (
        "Confusion matrix of actual against predicted classes",
        "Rows are actual classes, columns predicted ones.",
    ),
}
"""File name of each plot to its alternative text and its caption."""

# Read with this module, not at the end of a training during which the package may be upgraded.
TEMPLATE = Environment(
    loader=PackageLoader("onecycle"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("report.html.j2")

Rows = list[dict[str, str]]


def write_report(run: RunDir, result: Mapping[str, Any] | None = None) -> Path:
    """Write `report.html` into the run folder, from what is in it alone, and return its path.

    Of an unfinished run the report shows what there is and says so.

    Args:
        run: the run folder.
        result: what result.json is about to hold, since it is written last; None: what it holds.

    Raises:
        InputError: a file of the run is damaged.
        TrainingError: the file can't be written.
    """
    page = TEMPLATE.render(_content(run, result or run.result()))
    path = run.path / "report.html"
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def wilson(hits: int, count: int) -> str:
    """The 95 % interval of the share `hits / count` by Wilson's score (1927), as percent."""
    interval = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"


def _content(run: RunDir, result: Mapping[str, Any] | None) -> dict[str, Any]:
    """Everything the template shows, as text."""
    recipe = run.read_recipe()
    facts = run.read_json("environment.json") or {}
    found = run.read_json("lr_range_test.json")
    epochs = run.read_rows("metrics.jsonl")
    done = f"{len(epochs)} of {recipe.epochs} epochs"
    evaluation, classes = _evaluation(run)
    base = RECIPES[recipe.recipe].recipe if recipe.recipe in RECIPES else None
    figures = _telling(result or (epochs[-1] if epochs else {}), result)
    return {
        "recipe_name": recipe.recipe,
        "run_name": run.path.resolve().name,
        "subtitle": _subtitle(recipe),
        "time": _time((result or {}).get("finished") or facts.get("started")),
        "finished": result is not None,
        "done": done,
        "tiles": _tiles(figures, evaluation, done),
        "finding": _finding(found),
        "proof": _proof((found or {}).get("proof")),
        "rates": {name: _rate(getattr(recipe, name)) for name in ("lr_min", "lr_max")},
        "epochs": _epochs([_telling(row, result) for row in epochs]),
        "classes": _classes(evaluation, classes),
        "plots": _plots(run.plots),
        "changes": _changes(recipe, base) if base else [],
        "named": base is not None,
        "fields": {name: _value(value) for name, value in asdict(recipe).items()},
        "environment": _environment(facts),
    }


# --------------------------------------------------------------------------------------- the top


def _subtitle(recipe: Recipe) -> str:
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    return f"{recipe.model} on {recipe.data}, {epochs}, seed {recipe.seed}"


def _time(iso: str | None) -> dict[str, str] | None:
    """An ISO time as it is and as people write it; None where there is none."""
    try:
        when = datetime.fromisoformat(iso or "")
    except ValueError:
        return None
    return {"iso": when.isoformat(), "text": when.strftime("%Y-%m-%d, %H:%M")}


def _telling(figures: Mapping[str, Any], result: Mapping[str, Any] | None) -> dict[str, Any]:
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
    classes = "mean over classes of {:,} to {:,} images".format(*_class_sizes(figures))
    given: list[tuple[str, str, Callable[[Any], str], str]] = [
        ("test_accuracy", "Test accuracy", _percent, _interval_note(evaluation) or f"after {done}"),
        ("test_balanced_accuracy", "Balanced accuracy", _percent, classes),
        ("test_accuracy_tta", "With mirror images", _percent, mirrored),
        ("val_accuracy", "Validation accuracy", _percent, "images kept apart from training"),
        ("val_balanced_accuracy", "Balanced, validation", _percent, "mean over classes"),
        ("train_accuracy", "Train accuracy", _percent, "last epoch, augmented images"),
        ("test_loss", "Test loss", "{:.4f}".format, "cross-entropy in nats"),
        ("lr_max", "Peak rate", _rate, f"from {_rate(figures.get('lr_min', 0.0))}"),
        ("total_seconds", "Time", _duration, "all of it, range test included"),
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
    return f"95 % interval {wilson(right, count)}, n = {count:,} images"


# ---------------------------------------------------------------------------------- the sections


def _finding(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the range test said; `spread` when seeds gave more than one rate."""
    if found is None:
        return None
    suggestions = found.get("suggestions", {})
    return {
        "why": found.get("why", ""),
        "warnings": found.get("warnings", []),
        "spread": any(rate["low"] < rate["high"] for rate in suggestions.values()),
        "suggestions": [
            {"name": name, **{key: _rate(value) for key, value in rate.items()}}
            for name, rate in suggestions.items()
        ],
    }


def _proof(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The probes of a proven peak rate, the winner marked; None where there were none."""
    if found is None:
        return None
    epochs = "1 epoch" if found["epochs"] == 1 else f"{found['epochs']} epochs"
    return {
        "length": f"{epochs} ({found['steps']:,} steps)",
        "images": f"{found['images']:,}",
        "bracketed": found["bracketed"],
        "lr_max": _rate(found["lr_max"]),
        "probes": [
            {
                "lr": _rate(probe["lr"]),
                "score": "diverged" if probe["score"] is None else _percent(probe["score"]),
                "best": probe["lr"] == found["best"],
            }
            for probe in found["probes"]
        ],
    }


def _epochs(rows: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    if not rows:
        return None
    names = [name for name in rows[0] if name != "step"]
    return {
        "names": [name.replace("_", " ") for name in names],
        "rows": [[_cell(name, row[name]) for name in names] for row in rows],
    }


def _cell(name: str, value: float) -> str:
    if name.endswith("accuracy"):
        return _percent(value)
    if name.endswith("loss"):
        return f"{value:.4f}"
    return f"{value:.0f}" if name in ("epoch", "seconds") else f"{value:.3g}"


def _classes(evaluation: Evaluation | None, names: Sequence[str]) -> Rows:
    """Accuracy of each class that has images, the lowest first."""
    if evaluation is None:
        return []
    counts = evaluation.confusion_KK.sum(axis=1).tolist()
    hits = evaluation.confusion_KK.diagonal().tolist()
    present = [row for row in zip(names, hits, counts, strict=True) if row[2]]
    return [
        {
            "name": name,
            "count": f"{count:,}",
            "accuracy": _percent(hit / count),
            "share": f"{100 * hit / count:.1f}",
            "interval": wilson(hit, count),
        }
        for name, hit, count in sorted(present, key=lambda row: row[1] / row[2])
    ]


def _evaluation(run: RunDir) -> tuple[Evaluation | None, list[str]]:
    """The test predictions and the classes' names; None and none where there are none yet."""
    name = "predictions.npz"
    if not (run.path / name).exists():
        return None, []
    arrays = run.load_arrays(name)
    if missing := {"logits", "labels", "classes"} - arrays.keys():
        raise InputError(
            f"{run.path / name}: is damaged (lacks {min(missing)}); resume the run, or train again"
        )
    return Evaluation(arrays["logits"], arrays["labels"]), arrays["classes"].tolist()


def _plots(folder: Path) -> dict[str, dict[str, str]]:
    """The plots that are there, ready to be embedded."""
    return {
        name: {
            "alt": alt,
            "caption": caption,
            "data": base64.b64encode(path.read_bytes()).decode(),
        }
        for name, (alt, caption) in PLOTS.items()
        if (path := folder / f"{name}.png").is_file()
    }


def _changes(recipe: Recipe, base: Recipe) -> Rows:
    """Fields that differ from the named recipe; those that are `auto` there come last.

    Whether such a one was found or given can't be told: the run's recipe holds the values used.
    """
    rows = [
        {
            "name": name,
            "here": _value(here),
            "there": _value(there),
            "kind": "open" if there == "auto" else "other",
        }
        for name, (there, here) in differences(recipe, base).items()
    ]
    return sorted(rows, key=lambda row: row["kind"] == "open")


def _environment(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values; the CPU's flags, a page of them, stay in environment.json."""
    rows = []
    for name, value in facts.items():
        if name == "cpu_flags" or value in (None, [], ""):
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


# --------------------------------------------------------------------------------------- figures


def _value(value: object) -> str:
    """A recipe's value as it is written in a recipe file, floats to six digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return str(value)


def _rate(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
