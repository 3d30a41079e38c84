"""What the commands show to a person. Each function gets figures and prints them."""

import math
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from onecycle.writing.names import printable
from onecycle.writing.numbers import amount, counted, duration, percent

if TYPE_CHECKING:
    from onecycle.run_dir.records import Result, TestFigures

UNLIMITED = 10_000
"""Width assumed for a file or pipe, so that nothing is folded."""

MOST_ROWS = 30
"""With more classes than these, they are shown side by side."""
MOST_CELLS, LONGEST_NAME, WIDEST = 120, 24, 120
"""Classes that are shown side by side, characters of their names, and columns of them all."""
MOST_PAIRS = 3
"""Equal images named for each kind; --json names more."""
LONGEST_BAR = 20
BAR_COLUMNS, SPLIT_COLUMNS = LONGEST_BAR + 3, 18
"""Columns that bars take, and that a split's figures take, with the space before them."""


class Screen(Console):
    """A console that leaves it to the command what a closed pipe means."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console(unfolded: int = UNLIMITED) -> Screen:
    """Standard output: coloured and as wide as the terminal, or plain and of `unfolded` columns."""
    folded = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if folded else unfolded
    return Screen(highlight=False, markup=False, emoji=False, width=width)


def recipes(rows: Sequence[Mapping[str, Any]]) -> None:
    """The named recipes, with the evidence for each; a dash where nothing was measured.

    A table where it fits without folding, as in a file; else a few lines for each.
    """
    screen, table = console(), _table_of_recipes(rows)
    unfolded = screen.measure(table, options=screen.options.update(width=UNLIMITED))
    if unfolded.maximum <= screen.width:
        print_table(table)
        return
    for row in rows:
        screen.print(row["name"], style="bold")
        for line in (row["summary"], *_evidence(row)):
            screen.print(Padding(line, (0, 0, 0, 2)))
        screen.print()


def _evidence(row: Mapping[str, Any]) -> list[str]:
    """What was measured of a recipe, in two lines, or that nothing was."""
    if row["accuracy"] is None:
        return ["not measured yet"]
    time = "" if row["minutes"] is None else f", in {duration(60 * row['minutes'])}"
    places = ", ".join(part for part in (row["measured_on"], row["device"]) if part)
    return [f"test accuracy {_expected(row)}{time}", *([f"measured on {places}"] if places else [])]


def _table_of_recipes(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = new_table("recipe", "what it is", "test accuracy", "time", "measured on")
    table.leading = 1
    for row in rows:
        measured = ", ".join(part for part in (row["measured_on"], row["device"]) if part)
        table.add_row(
            row["name"],
            row["summary"],
            _expected(row),
            "–" if row["minutes"] is None else duration(60 * row["minutes"]),
            measured or "–",
        )
    return table


def _expected(row: Mapping[str, Any]) -> str:
    """`94.08 ± 0.10 % (n = 5)`, or as much of it as was measured."""
    if row["accuracy"] is None:
        return "–"
    spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.2f}"
    return f"{100 * row['accuracy']:.2f}{spread} % (n = {row['n']})"


def summary(name: str, found: Mapping[str, Any]) -> None:
    """The network layer by layer, and its totals."""
    table = new_table(
        "layer", "output", "parameters", "MACs", "receptive\nfield", "jump", numbers=4
    )
    for layer in found["layers"]:
        table.add_row(
            layer["name"],
            "×".join(map(str, layer["output_shape"])),
            _of_layer(layer),
            f"{layer['macs']:,}" if layer["macs"] else "",
            str(layer["receptive_field"]),
            str(layer["jump"]),
        )
    print_table(table)
    print_pairs(
        name,
        {
            "parameters": _of_network(found),
            "MACs": f"{found['macs']:,} for one image, forward",
        },
    )


def _of_layer(layer: Mapping[str, Any]) -> str:
    """A layer's parameters, and whether they are frozen."""
    if not layer["parameters"]:
        return ""
    trainable = layer["trainable"]
    note = (
        "" if trainable == layer["parameters"] else " frozen" if not trainable else " partly frozen"
    )
    return f"{layer['parameters']:,}{note}"


def _of_network(found: Mapping[str, Any]) -> str:
    """All parameters, and how many of them are trained."""
    trainable = found["trainable_parameters"]
    some = "" if trainable == found["parameters"] else f", of which {trainable:,} are trained"
    return f"{found['parameters']:,}{some}"


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


def shortened(name: str, room: int) -> str:
    """Its middle left out where it would take more than `room` columns."""
    if cell_len(name) <= room:
        return name
    tail = set_cell_size(name[::-1], room // 2)[::-1]
    return f"{set_cell_size(name, room - room // 2 - 1)}…{tail}"


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


def found_rates(found: Mapping[str, Any], plot: str) -> None:
    """What a range test suggests, and how to train with it."""
    shown = {"lr": "lr"}
    if len(found["curves"]) > 1:
        shown |= {"low": "lowest", "high": "highest"}
    table = new_table("method", *shown.values(), numbers=len(shown))
    for name, suggestion in found["suggestions"].items():
        table.add_row(name, *(f"{suggestion[key]:.3g}" for key in shown))
    print_table(table)
    for warning in found["warnings"]:
        print_text(f"warning: {warning}")
    if found["warnings"]:
        print_text("")
    lr_min, lr_max = f"{found['lr_min']:.3g}", f"{found['lr_max']:.3g}"
    pairs = {"lr_min": lr_min, "lr_max": lr_max}
    if plot:
        pairs["plot"] = plot
    pairs["to use them"] = f"onecycle train … --lr-min {lr_min} --lr-max {lr_max}"
    print_pairs("recommended", pairs)


def trained(run: Path, result: "Result") -> None:
    """The end of a training."""
    pairs = {"test accuracy": percent(result.test_accuracy)}
    pairs |= balanced(result)
    if result.test_accuracy_tta is not None:
        pairs["with TTA"] = percent(result.test_accuracy_tta)
    if result.val_accuracy is not None:
        pairs["validation"] = percent(result.val_accuracy)
    rates = (f"{rate:.3g}" for rate in (result.lr_min, result.lr_max, result.lr_final))
    pairs |= {
        "train accuracy": f"{percent(result.train_accuracy)}  (last epoch, augmented images)",
        "learning rate": " → ".join(rates),
        "time": f"{duration(result.total_seconds)}, of which "
        f"{duration(result.train_seconds)} training",
        "throughput": f"{result.images_per_second:,.0f} images/s",
        "run folder": str(run),
        "report": f"open {run}/report.html"
        if (Path(run) / "report.html").is_file()
        else f"draw it with: onecycle report {shlex.quote(str(run))}",
    }
    if result.allowed_differences:
        changed = ", ".join(dict.fromkeys(entry.what for entry in result.allowed_differences))
        pairs["resumed with"] = (
            f"other {changed}: the result may differ from that of an unbroken run"
        )
    print_pairs(f"{result.recipe} on {result.data}, {counted(result.epochs, 'epoch')}", pairs)


def balanced(figures: "TestFigures") -> dict[str, str]:
    """The balanced accuracy, where it isn't the accuracy because classes differ in size."""
    smallest, largest = figures.test_class_sizes or (0, 0)  # a run of an older version: not known
    if smallest == largest or figures.test_balanced_accuracy is None:
        return {}
    classes = f"mean over classes of {smallest:,} to {counted(largest, 'image')}"
    return {"balanced accuracy": f"{percent(figures.test_balanced_accuracy)}  ({classes})"}


def new_table(*columns: str, numbers: int = 0) -> Table:
    """An empty table, its last `numbers` columns flush right."""
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(table.columns):
        column.overflow = "fold"
        if index >= len(columns) - numbers:
            column.justify = "right"
    return table


def print_table(table: Table) -> None:
    """Print it with an empty line below."""
    screen = console()
    screen.print(table)
    screen.print()


def print_text(text: str) -> None:
    """Print it without folding."""
    console().print(text, soft_wrap=True)


def print_pairs(title: str, pairs: Mapping[str, str]) -> None:
    """A heading and lines of a name and a value, never folded, so that a path can be copied."""
    screen = console()
    screen.print(on_a_line(title), style="bold", soft_wrap=True)
    width = max(map(len, pairs)) + 2
    for name, value in pairs.items():
        screen.print(f"  {name:<{width}}{on_a_line(value)}", soft_wrap=True)


def on_a_line(text: str) -> str:
    """A name from a file system as one line that moves no cursor: odd characters as their codes."""
    return printable(text)


def _decimals(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.4f}" for number in numbers)
