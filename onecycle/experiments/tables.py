"""A comparison as tables: text for people, Markdown, CSV, JSON."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onecycle.experiments import columns
from onecycle.experiments.cells import (
    count_text,
    list_text,
    p_text,
    points,
    points_range,
)
from onecycle.experiments.groups import Figure, Group
from onecycle.experiments.pairs import Pair
from onecycle.statistics import Interval
from onecycle.writing.names import printable
from onecycle.writing.numbers import counted

if TYPE_CHECKING:
    from onecycle.experiments.comparison import Comparison


@dataclass(frozen=True)
class Table:
    """Headings, rows of text, and for each column whether it holds numbers."""

    headings: list[str]
    rows: list[list[str]]
    numbers: list[bool]

    @property
    def turned(self) -> "Table":
        """The same cells with columns as rows."""
        columns = [list(cells) for cells in zip(self.headings, *self.rows, strict=True)]
        return Table(columns[0], columns[1:], [False] + [True] * len(self.rows))


def figures(comparison: "Comparison") -> Table:
    """A row for each group: its name and its figures, in the columns that were asked for."""
    shown = columns.shown(comparison)
    rows = [
        [group.name, *(columns.cell(column, group) for column in shown)]
        for group in comparison.groups
    ]
    return Table(["", *(c.heading for c in shown)], rows, [False] + [True] * len(shown))


def recipes(comparison: "Comparison") -> Table:
    """A row for each group: its name, and the settings in which the recipes differ."""
    recipe_names = {group.recipe_names for group in comparison.groups}
    named = 1 < len(recipe_names) < len(comparison.groups)  # else they are the groups' own names
    fields = list(comparison.groups[0].differences)
    rows = [
        [g.name, *([g.recipe_names] if named else []), *g.differences.values()]
        for g in comparison.groups
    ]
    headings = ["", *(["recipe"] if named else []), *fields]
    return Table(headings, rows, [False] * len(headings))


def differences(comparison: "Comparison", pairs: Sequence[Pair]) -> Table:
    """A row for each of these pairs: the difference, its interval, and the conclusion."""
    corrected = sum(pair.p is not None for pair in comparison.pairs) > 1
    interval, p = ("interval (Holm)", "p (Holm)") if corrected else ("95 % interval", "p")
    headings = ["difference", "points", interval, "test", p, "verdict"]
    rows = [
        [
            f"{pair.second_name} − {pair.first_name}",
            points(pair.difference),
            points_range(pair.interval_holm),
            pair.test,
            p_text(pair.p_holm),
            pair.verdict,
        ]
        for pair in pairs
    ]
    return Table(headings, rows, [False, True, True, False, True, False])


def subject(comparison: "Comparison") -> str:
    """What is compared: `3 recipes, 9 runs, on cifar10 (fingerprint …), 10,000 test images`."""
    runs, groups = comparison.runs, comparison.groups
    told = [count_text(len(groups), "recipe"), count_text(len(runs), "run")]
    data = {run.fingerprint: Path(run.recipe.data).name or run.recipe.data for run in runs}
    if len(data) == 1:
        (fingerprint, name) = next(iter(data.items()))
        told.append(f"on {name} (fingerprint {fingerprint})")
        told.append(count_text(len(runs[0].test.labels_N), "test image"))
    else:
        told.append(f"on {list_text(list(dict.fromkeys(data.values())))}, different data")
    return ", ".join(told)


def mistakes_told(comparison: "Comparison") -> str:
    """How many images all runs get wrong, and how many only one does; empty if there are none."""
    found = comparison.mistakes
    if found is None:
        return ""
    runs = "both runs" if len(found.runs) == 2 else f"all {len(found.runs)} runs"
    told = (
        f"Of {counted(found.images, 'test image')}, {len(found.everywhere):,} are wrong in {runs} "
        f"and {found.wrong_in[1]:,} in one run only"
    )
    names = {group.letter: group.name for group in comparison.groups}
    counts = {names[letter]: len(images) for letter, images in found.own.items() if images}
    own = ", ".join(f"{name}: {count:,}" for name, count in counts.items()) or "none"
    if 1 < len(found.own) < len(found.runs):
        told += f"; in every run of one recipe and in no other: {own}"
    elif len(found.own) > 1:
        told += f" ({own})"
    return f"{told}."


# -------------------------------------------------------------------------------------- Markdown


def to_markdown(comparison: "Comparison") -> str:
    """Tables in Markdown: the same text for the same runs, wherever they are stored.

    Settings stand before the figures, unless columns were asked for and the names tell enough.
    """
    told, measured = recipes(comparison), figures(comparison)
    if comparison.columns and all(group.name_tells_all for group in comparison.groups):
        told = Table(told.headings[:1], [row[:1] for row in told.rows], told.numbers[:1])
    table = Table(
        told.headings + measured.headings[1:],
        [row + more[1:] for row, more in zip(told.rows, measured.rows, strict=True)],
        told.numbers + measured.numbers[1:],
    )
    parts = [f"{_escaped(subject(comparison))}.", _markdown(table), columns.legend(comparison)]
    if comparison.pairs:
        parts += [
            "Differences in test accuracy:",
            _markdown(differences(comparison, comparison.pairs)),
        ]
    if found := mistakes_told(comparison):
        parts.append(_escaped(found))
    notes = [f"Note: {note}." for note in comparison.notes]
    notes += [f"Left out: {run.path.name}: {run.reason}." for run in comparison.left_out]
    if notes:
        parts.append("\n".join(f"- {_escaped(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _markdown(table: Table) -> str:
    rules = ["---:" if number else "---" for number in table.numbers]
    rows = [table.headings, rules, *table.rows]
    return "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in rows)


def _escaped(text: str) -> str:
    """Text escaped so that it can't end a cell or begin a tag, a comment or emphasis.

    `<` and `&` become entities, since not every renderer takes a backslash before them.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"([\\|*`\[]|(?<!\w)_|_(?!\w))", r"\\\1", text)
    return printable(" ".join(text.split()))


# ------------------------------------------------------------------------------------ CSV and JSON


def to_csv(comparison: "Comparison") -> str:
    """A row for each group; accuracies are fractions, times are in seconds."""
    rows = [_flat(group) | {"notes": "; ".join(comparison.notes)} for group in comparison.groups]
    file = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)  # not every run has all figures
    writer = csv.DictWriter(file, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet reads as a formula: an apostrophe precedes text that looks so."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _flat(group: Group) -> dict[str, Any]:
    told = _group_json(group)
    runs, fields = told.pop("runs"), told.pop("differences")
    flat: dict[str, Any] = {key: told.pop(key) for key in ("group", "name", "recipe")}
    flat |= {f"recipe.{name}": value for name, value in fields.items()}
    for name, value in told.items():
        nested = value if isinstance(value, dict) else {"": value}
        flat |= {f"{name}_{key}".strip("_"): part for key, part in nested.items()}
    return flat | {"runs": " ".join(run["run"] for run in runs)}


def to_json(comparison: "Comparison") -> dict[str, Any]:
    """Everything, as JSON values: accuracies as fractions, times in seconds."""
    found = comparison.mistakes
    return {
        "baseline": comparison.baseline,
        "groups": [_group_json(group) for group in comparison.groups],
        "pairs": [_pair_json(pair) for pair in comparison.pairs],
        "mistakes": None if found is None else asdict(found),
        "notes": list(comparison.notes),
        "left_out": [{"run": str(r.path), "reason": r.reason} for r in comparison.left_out],
    }


def _group_json(group: Group) -> dict[str, Any]:
    return {
        "group": group.letter,
        "name": group.name,
        "recipe": group.recipe_names,
        "differences": group.differences,
        "n": group.n,
        **{name: _accuracy_json(group, name) for name in _accuracy_names(group)},
        "test_loss": group.mean("test_loss"),
        "calibration_error": group.mean("calibration_error") if _calibrated(group) else None,
        "total_seconds": group.mean("total_seconds"),
        "images_per_second": group.mean("images_per_second"),
        "runs": [
            {"run": str(run.path)} | {name: getattr(run.result, name) for name in OF_A_RUN}
            for run in group.runs
        ],
    }


ACCURACIES: tuple[Figure, ...] = (
    "train_accuracy",
    "test_accuracy",
    "best_test_accuracy",
    "val_accuracy",
    "test_balanced_accuracy",
    "test_accuracy_tta",
)
OF_A_RUN = (
    "seed", "data_fingerprint", "lr_min", "lr_max", *ACCURACIES, "best_epoch", "total_seconds",
    "images_per_second", "finished",
)  # fmt: skip
"""The keys of result.json that --json has for each run."""


def _accuracy_names(group: Group) -> list[Figure]:
    return [name for name in ACCURACIES if len(group.values(name)) == group.n]


def _calibrated(group: Group) -> bool:
    return len(group.values("calibration_error")) == group.n


def _accuracy_json(group: Group, name: Figure) -> dict[str, Any]:
    found = group.accuracy(name)
    return {
        "mean": found.mean,
        "std": found.std,
        **_interval_json(found.interval),
        "over": found.over,
    }


def _pair_json(pair: Pair) -> dict[str, Any]:
    told = asdict(pair) | {"distinguishable": pair.distinguishable, "verdict": pair.verdict}
    del told["interval"], told["interval_holm"]
    return told | _interval_json(pair.interval) | _interval_json(pair.interval_holm, "_holm")


def _interval_json(interval: Interval | None, which: str = "") -> dict[str, Any]:
    low, high = interval or (None, None)
    return {f"low{which}": low, f"high{which}": high}
