"""What an evaluation shows to a person: its figures, and a row for each class."""

from collections.abc import Mapping
from typing import Any

from onecycle.cli.screens import (
    LONGEST_NAME,
    MOST_ROWS,
    balanced,
    new_table,
    on_a_line,
    print_pairs,
    print_table,
    print_text,
    shortened,
)
from onecycle.run_dir.checking import from_json
from onecycle.run_dir.records import TestFigures
from onecycle.writing.numbers import counted, percent

MOST_WORST, MOST_TAKEN_FOR = 20, 3
"""Of many classes, the worst ones that are shown; classes named that each is taken for."""


def evaluated(result: Mapping[str, Any]) -> None:
    """The figures of an evaluation, of each class, and which are taken for which."""
    figures = from_json(result, TestFigures)
    pairs = {"checkpoint": _named(result)} if result.get("checkpoint") == "best" else {}
    pairs |= {
        "test accuracy": f"{percent(figures.test_accuracy)} of "
        f"{counted(figures.test_images, 'image')}",
        **balanced(figures),
        "test loss": f"{figures.test_loss:.4f}",
    }
    if figures.test_accuracy_tta is not None:
        pairs["with TTA"] = percent(figures.test_accuracy_tta)
    if ignored := result.get("ignored_classes"):
        images = counted(sum(ignored.values()), "image")
        classes = counted(len(ignored), "unknown class", "unknown classes")
        pairs["left out"] = f"{images} of {classes}"
    if "predictions" in result:
        pairs["predictions"] = result["predictions"]
    print_pairs(f"{result['run']} on {on_a_line(result['data'])}", pairs)
    if "per_class" in result:
        print_text("")
        _print_per_class(result)


def _named(result: Mapping[str, Any]) -> str:
    return f"{result['checkpoint']}, of step {result['step']:,}"


def _print_per_class(result: Mapping[str, Any]) -> None:
    """A row for each class that has images or was predicted; of many, the worst ones."""
    rows = [row for row in result["per_class"] if row["images"] or row["predicted"]]
    shown = rows
    if len(rows) > MOST_ROWS:
        tested = [row for row in rows if row["images"]]
        shown = sorted(tested, key=lambda row: (row["accuracy"], -row["images"]))[:MOST_WORST]
    table = new_table("class", "images", "accuracy", "precision", numbers=3)
    table.add_column("taken for", overflow="fold")
    places = {row["class"]: place for place, row in enumerate(result["per_class"])}
    for row in shown:
        taken = _taken_for(result, places[row["class"]])
        table.add_row(
            shortened(on_a_line(row["class"]), LONGEST_NAME),
            f"{row['images']:,}",
            "–" if row["accuracy"] is None else percent(row["accuracy"]),
            "–" if row["precision"] is None else percent(row["precision"]),
            taken,
        )
    print_table(table)
    if len(shown) < len(rows):
        classes = counted(len(rows), "class", "classes")
        print_text(f"the worst {len(shown)} of {classes}; --json has all\n")


def _taken_for(result: Mapping[str, Any], row: int) -> str:
    """`bee 3, cat 1`: what images of a class were wrongly taken for, the most frequent first."""
    if result["confusion"] is None:
        return ""
    counts = result["confusion"][row]
    wrong = [place for place, count in enumerate(counts) if count and place != row]
    wrong.sort(key=lambda place: -counts[place])
    name = [shortened(on_a_line(result["classes"][place]), LONGEST_NAME) for place in wrong]
    told = [f"{each} {counts[place]:,}" for each, place in zip(name, wrong, strict=True)]
    more = len(told) - MOST_TAKEN_FOR
    return ", ".join(told[:MOST_TAKEN_FOR]) + (f" and {more:,} more" if more > 0 else "")
