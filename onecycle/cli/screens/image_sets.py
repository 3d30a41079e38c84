"""What a source of images holds, and what was removed from the cache."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.columns import Columns

from onecycle.cli.screens.parts import (
    LONGEST_NAME,
    MOST_ROWS,
    console,
    new_table,
    on_a_line,
    print_pairs,
    print_table,
    print_text,
    shortened,
)
from onecycle.writing.numbers import amount, counted

MOST_CELLS, WIDEST = 120, 120
"""Classes that are shown side by side, and columns of them all."""

MOST_PAIRS = 3
"""Equal images named for each kind; --json names more."""

LONGEST_BAR = 20
BAR_COLUMNS, SPLIT_COLUMNS = LONGEST_BAR + 3, 18
"""Columns that bars take, and that a split's figures take, with the space before them."""


def data(found: Mapping[str, Any], left_out: str = "") -> None:
    """Print what a source holds: splits, statistics, classes, equal images and warnings.

    Args:
        found: the description as JSON knows it.
        left_out: in words, what the source has besides the images.
    """
    height, width, channels = found["image_shape"]
    pairs = {"what it is": found["kind"]} if found["kind"] else {}
    pairs |= {name: _evenness(split) for name, split in found["splits"].items()}
    if left_out:
        pairs["left out"] = on_a_line(left_out)
    pairs |= {
        "size": f"{width}×{height} pixels, {counted(channels, 'channel')}, "
        f"{amount(found['bytes'])} in all",
        "channel means": _decimals(found["mean"]) + "  (train split, pixels in [0, 1])",
        "deviations": _decimals(found["std"]),
        "fingerprint": found["fingerprint"],
    }
    equal = any(kind["images"] for kind in found["duplicates"].values())
    if not equal:
        pairs["equal images"] = "none, neither between the splits nor within one"
    if "contact_sheet" in found:
        pairs["contact sheet"] = found["contact_sheet"]
    print_pairs(on_a_line(found["source"]), pairs)
    print_text("")
    if len(found["classes"]) > MOST_ROWS:
        _print_many_classes(found)
    else:
        _print_classes(found)
    if equal:
        _print_equal(found)
    for warning in found["warnings"]:
        console().print(f"warning: {on_a_line(warning)}")


def _evenness(split: Mapping[str, Any]) -> str:
    """`1,000 images, 50 to 200 in a class, a ratio of 4.0`."""
    fewest, most = min(split["class_counts"]), max(split["class_counts"])
    text = f"{counted(split['images'], 'image')}, {fewest:,}"
    if fewest == most:
        return f"{text} in each class"
    ratio = f", a ratio of {split['imbalance']:,.1f}" if fewest else ""
    return f"{text} to {most:,} in a class{ratio}"


def _print_classes(found: Mapping[str, Any]) -> None:
    """A row for each class: its count and share in each split, and a bar if train is uneven."""
    splits, screen = found["splits"], console()
    counts = splits["train"]["class_counts"]
    names = [on_a_line(name) for name in found["classes"]]
    room = screen.width - SPLIT_COLUMNS * len(splits)
    bars = min(counts) < max(counts)
    bars &= room - BAR_COLUMNS >= min(max(map(cell_len, names)), LONGEST_NAME)
    room -= BAR_COLUMNS if bars else 0
    columns = [column for name in splits for column in (name, "share")]
    table = new_table("class", *columns, numbers=len(columns))
    if bars:
        table.add_column("")
    mark = "━" if screen.encoding.startswith("utf") else "#"
    for index, name in enumerate(names):
        row = [shortened(name, max(room, LONGEST_NAME // 2))]
        for split in splits.values():
            share = split["class_shares"][index]
            row += [f"{split['class_counts'][index]:,}", f"{100 * share:.1f} %"]
        if bars:
            row.append(mark * math.ceil(LONGEST_BAR * counts[index] / max(counts)))
        table.add_row(*row)
    print_table(table)


def _print_many_classes(found: Mapping[str, Any]) -> None:
    """Classes and their training images side by side; of very many the largest and smallest."""
    counts, classes = found["splits"]["train"]["class_counts"], found["classes"]
    order, told = range(len(counts)), "images of each class in train"
    if min(counts) < max(counts):
        order, told = sorted(order, key=lambda index: -counts[index]), f"{told}, the most first"
    names = [shortened(on_a_line(name), LONGEST_NAME) for name in classes]
    width, digits = max(map(cell_len, names)), len(f"{max(counts):,}")
    cells = [f"{set_cell_size(names[index], width)} {counts[index]:>{digits},}" for index in order]
    if len(cells) > MOST_CELLS:
        left_out = len(cells) - MOST_CELLS
        told = f"{told}; {left_out:,} in the middle left out; --json has all"
        half = MOST_CELLS // 2
        cells = [*cells[:half], "…", *cells[-half:]]
    screen = console()
    screen.print(told, style="bold")
    screen.print(Columns(cells, padding=(0, 3), column_first=True), width=min(screen.width, WIDEST))
    screen.print()


def _print_equal(found: Mapping[str, Any]) -> None:
    """Which images have the same pixels: how many, and a few by name."""
    screen = console()
    screen.print("equal images", style="bold")
    for name, kind in found["duplicates"].items():
        if not kind["images"]:
            continue
        one, _, other = name.partition("_")
        total = found["splits"][other or one]["images"]
        images = counted(total, f"{other or one} image")
        verbs = ("is", "repeats") if kind["images"] == 1 else ("are", "repeat")
        told = f"{verbs[0]} in {one} too" if other else f"{verbs[1]} another one"
        unlike = kind["conflicting_labels"]
        told += f", {unlike:,} of them under another class" if unlike else ""
        screen.print(f"  {kind['images']:,} of {images} {told}", soft_wrap=True)
        for pair in kind["examples"][:MOST_PAIRS]:
            screen.print(f"    {on_a_line(_equation(pair))}", style="dim", soft_wrap=True)
    screen.print()


def _equation(pair: Mapping[str, str]) -> str:
    """`test/0012 = train/0345`, with the classes where they differ."""
    if pair["first_class"] == pair["second_class"]:
        return f"{pair['second']} = {pair['first']}"
    return f"{pair['second']} ({pair['second_class']}) = {pair['first']} ({pair['first_class']})"


def cleaned(found: Mapping[str, Any]) -> None:
    """What was removed from the cache."""
    count = found["removed"]
    print_text(
        f"{counted(count, 'entry', 'entries')} removed, "
        f"{amount(found['freed_bytes'])} freed, {amount(found['kept_bytes'])} kept"
    )


def _decimals(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.4f}" for number in numbers)
