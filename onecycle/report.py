"""One self-contained HTML file from a run folder: for any browser, offline."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from scipy.stats import binomtest

from onecycle.config import Recipe, differences, to_toml
from onecycle.errors import InputError
from onecycle.evaluate import Evaluation
from onecycle.recipes import RECIPES
from onecycle.run_dir import RunDir, write_atomically

ALT_TEXTS = {
    "lr_range_test": "Loss over the learning rate in the range test, with the suggested rates",
    "one_cycle": "Learning rate and momentum over the epochs of the cycle",
    "curves": "Loss and accuracy after each epoch, train against test",
    "augmented_samples": "Training images beside augmented versions of themselves",
    "misclassified": "The most confidently wrong test images with predicted and actual class",
    "confusion": "Confusion matrix of actual against predicted classes",
}


def write_report(run: RunDir) -> Path:
    """Write `report.html` into the run folder, from what is in it, and return its path.

    Of an unfinished run the report shows what there is and says so.

    Raises:
        InputError: a file of the run is damaged.
    """
    environment = Environment(
        loader=PackageLoader("onecycle"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(_content(run))
    path = run.path / "report.html"
    write_atomically(path, page.encode())
    return path


def _content(run: RunDir) -> dict[str, Any]:
    """Everything the template shows, as text."""
    recipe, result = run.read_recipe(), run.result()
    evaluation, classes = _evaluation(run)
    facts = run.read_json("environment.json") or {}
    base = RECIPES[recipe.recipe].recipe if recipe.recipe in RECIPES else None
    return {
        "title": run.path.resolve().name,
        "subtitle": _subtitle(recipe, result, facts),
        "result": result,
        "tiles": _tiles(result, evaluation) if result else [],
        "finding": _finding(run.read_json("lr_range_test.json")),
        "epochs": _epochs(run.read_rows("metrics.jsonl")),
        "classes": _classes(evaluation, classes),
        "plots": _plots(run.plots),
        "recipe": _recipe(recipe, base),
        "recipe_note": "Bold: differs from the named recipe." if base else "A recipe of its own.",
        "base_column": f"in {recipe.recipe}" if base else "",
        "environment": _environment(facts),
    }


def _subtitle(
    recipe: Recipe, result: Mapping[str, Any] | None, facts: Mapping[str, Any]
) -> str:
    when = result["finished"] if result else facts.get("started", "")
    return f"{recipe.model} on {recipe.data}, {recipe.epochs} epochs, seed {recipe.seed}. {when}"


def _tiles(result: Mapping[str, Any], evaluation: Evaluation | None) -> list[dict[str, str]]:
    tiles = [
        ("Test accuracy", _percent(result["test_accuracy"]), _interval_note(evaluation)),
        ("Train accuracy", _percent(result["train_accuracy"]), "last epoch, augmented images"),
        ("Test loss", f"{result['test_loss']:.4f}", "cross-entropy, nats"),
        ("Rates", f"{result['lr_min']:.2g} → {result['lr_max']:.2g}", "lr_min → lr_max"),
        ("Time", _duration(result["total_seconds"]), "range test and plots included"),
        ("Speed", f"{result['images_per_second']:,.0f} images/s", "training alone"),
        ("Parameters", f"{result['parameters']:,}", result["model"]),
        ("Arithmetic", result["precision"], f"on {result['device']}"),
    ]
    if "test_accuracy_tta" in result:
        tiles.insert(1, ("With mirror images", _percent(result["test_accuracy_tta"]), "TTA"))
    return [{"name": name, "value": value, "note": note} for name, value, note in tiles]


def _interval_note(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return ""
    right = int((evaluation.predictions_N == evaluation.labels_N).sum())
    count = len(evaluation.labels_N)
    return f"95 % interval {wilson(right, count)}, n = {count:,}"


def wilson(hits: int, count: int) -> str:
    """The 95 % interval of a share by Wilson's score (1927), as text in percent."""
    interval = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"


def _finding(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    suggestions = [
        {"name": name} | {key: f"{value:.3g}" for key, value in suggestion.items()}
        for name, suggestion in found["suggestions"].items()
    ]
    return {
        "why": found["why"],
        "lr_min": f"{found['chosen']['lr_min']:.3g}",
        "lr_max": f"{found['chosen']['lr_max']:.3g}",
        "suggestions": suggestions,
        "warnings": found["warnings"],
    }


def _epochs(rows: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    if not rows:
        return None
    names = [name for name in rows[0] if name not in ("step", "momentum")]
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


def _classes(evaluation: Evaluation | None, names: Sequence[str]) -> list[dict[str, str]]:
    if evaluation is None:
        return []
    counts = evaluation.confusion_KK.sum(axis=1)
    hits = evaluation.confusion_KK.diagonal()
    return [
        {
            "name": name,
            "count": f"{count:,}",
            "accuracy": _percent(hit / count) if count else "–",
            "interval": wilson(int(hit), int(count)) if count else "–",
        }
        for name, hit, count in zip(names, hits, counts, strict=True)
    ]


def _evaluation(run: RunDir) -> tuple[Evaluation | None, list[str]]:
    try:
        arrays = run.load_arrays("predictions.npz")
    except InputError:
        if run.finished:
            raise
        return None, []
    return Evaluation(arrays["logits"], arrays["labels"]), arrays["classes"].tolist()


def _plots(folder: Path) -> dict[str, dict[str, str]]:
    return {
        name: {"alt": alt, "data": base64.b64encode(path.read_bytes()).decode()}
        for name, alt in ALT_TEXTS.items()
        if (path := folder / f"{name}.png").exists()
    }


def _recipe(recipe: Recipe, base: Recipe | None) -> list[dict[str, str]]:
    changed = differences(recipe, base) if base else {}
    rows = [line.split(" = ", 1) for line in _toml_lines(recipe)]
    return [
        {"name": name, "value": value, "base": str(changed[name][0]) if name in changed else ""}
        for name, value in rows
    ]


def _toml_lines(recipe: Recipe) -> list[str]:
    """One line a field, arrays joined."""
    text = to_toml(recipe).replace("[\n    ", "[").replace(",\n    ", ", ").replace(",\n]", "]")
    return text.splitlines()


def _environment(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in facts.items():
        if name == "cpu_flags" or value in (None, [], ""):
            continue
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, list):
            value = " ".join(map(str, value))
        rows.append((name.replace("_", " "), str(value)))
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
