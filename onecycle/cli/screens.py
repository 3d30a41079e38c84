"""What the commands show to a person. Each function gets figures and prints them."""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from rich import box
from rich.console import Console
from rich.table import Table

from onecycle.terminal import duration, percent

UNLIMITED = 10_000
"""Columns of a file or pipe, in which nothing needs to be folded."""


class Screen(Console):
    """A console that leaves it to the command what a closed pipe means."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console() -> Screen:
    """Standard output: coloured and as wide as the terminal, or plain and as wide as need be."""
    folded = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if folded else UNLIMITED
    return Screen(highlight=False, markup=False, emoji=False, width=width)


def recipes(rows: Iterable[Mapping[str, Any]]) -> None:
    """The named recipes, with the evidence for each; a dash where nothing was measured."""
    table = _table("recipe", "what it is", "test accuracy", "time", "measured on")
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
    _print_table(table)


def _expected(row: Mapping[str, Any]) -> str:
    """`94.08 ± 0.10 % (n = 5)`, or as much of it as was measured."""
    if row["accuracy"] is None:
        return "–"
    spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.2f}"
    return f"{100 * row['accuracy']:.2f}{spread} % (n = {row['n']})"


def summary(name: str, found: Mapping[str, Any]) -> None:
    """The network layer by layer, and its totals."""
    table = _table("layer", "output", "parameters", "MACs", "receptive\nfield", "jump", numbers=4)
    for layer in found["layers"]:
        table.add_row(
            layer["name"],
            "×".join(map(str, layer["output_shape"])),
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            f"{layer['macs']:,}" if layer["macs"] else "",
            str(layer["receptive_field"]),
            str(layer["jump"]),
        )
    _print_table(table)
    _print_pairs(
        name,
        {
            "parameters": f"{found['parameters']:,}",
            "MACs": f"{found['macs']:,} for one image, forward",
        },
    )


def data(found: Mapping[str, Any]) -> None:
    """What a source holds: classes, counts, statistics, fingerprint."""
    height, width, channels = found["image_shape"]
    _print_pairs(
        found["source"],
        {
            "images": ", ".join(
                f"{split['images']:,} {name}" for name, split in found["splits"].items()
            ),
            "size": f"{width}×{height} pixels, {channels} channel{'s' if channels > 1 else ''}",
            "channel means": _decimals(found["mean"]) + "  (train split, pixels in [0, 1])",
            "deviations": _decimals(found["std"]),
            "fingerprint": found["fingerprint"],
        },
    )
    table = _table("class", *found["splits"], numbers=len(found["splits"]))
    for index, name in enumerate(found["classes"]):
        counts = (split["class_counts"][index] for split in found["splits"].values())
        table.add_row(name, *(f"{count:,}" for count in counts))
    _print_table(table)


def found_rates(found: Mapping[str, Any], plot: str) -> None:
    """What a range test suggests, and how to train with it."""
    shown = {"lr": "lr"}
    if len(found["curves"]) > 1:
        shown |= {"low": "lowest", "high": "highest"}
    table = _table("method", *shown.values(), numbers=len(shown))
    for name, suggestion in found["suggestions"].items():
        table.add_row(name, *(f"{suggestion[key]:.3g}" for key in shown))
    _print_table(table)
    for warning in found["warnings"]:
        _print(f"warning: {warning}")
    if found["warnings"]:
        _print("")
    lr_min, lr_max = f"{found['lr_min']:.3g}", f"{found['lr_max']:.3g}"
    pairs = {"lr_min": lr_min, "lr_max": lr_max}
    if plot:
        pairs["plot"] = plot
    pairs["to use them"] = f"onecycle train … --lr-min {lr_min} --lr-max {lr_max}"
    _print_pairs("recommended", pairs)


def trained(result: Mapping[str, Any]) -> None:
    """The end of a training."""
    run = result["run"]
    pairs = {"test accuracy": percent(result["test_accuracy"])}
    pairs |= _balanced(result)
    if "test_accuracy_tta" in result:
        pairs["with TTA"] = percent(result["test_accuracy_tta"])
    if "val_accuracy" in result:
        pairs["validation"] = percent(result["val_accuracy"])
    rates = (f"{result[key]:.3g}" for key in ("lr_min", "lr_max", "lr_final"))
    pairs |= {
        "train accuracy": f"{percent(result['train_accuracy'])}  (last epoch, augmented images)",
        "learning rate": " → ".join(rates),
        "time": f"{duration(result['total_seconds'])}, of which "
        f"{duration(result['train_seconds'])} training",
        "throughput": f"{result['images_per_second']:,.0f} images/s",
        "run folder": str(run),
        "report": f"open {run}/report.html",
    }
    _print_pairs(f"{result['recipe']} on {result['data']}, {result['epochs']} epochs", pairs)


def evaluated(result: Mapping[str, Any]) -> None:
    """The figures of an evaluation."""
    pairs = {
        "test accuracy": f"{percent(result['test_accuracy'])} of {result['test_images']:,} images",
        **_balanced(result),
        "test loss": f"{result['test_loss']:.4f}",
    }
    if "test_accuracy_tta" in result:
        pairs["with TTA"] = percent(result["test_accuracy_tta"])
    _print_pairs(f"{result['run']} on {result['data']}", pairs)


def _balanced(result: Mapping[str, Any]) -> dict[str, str]:
    """The balanced accuracy, where it isn't the accuracy because classes differ in size."""
    smallest, largest = result.get("test_class_sizes", (0, 0))  # a run of an older version: none
    if smallest == largest:
        return {}
    classes = f"mean over classes of {smallest:,} to {largest:,} images"
    return {"balanced accuracy": f"{percent(result['test_balanced_accuracy'])}  ({classes})"}


def _table(*columns: str, numbers: int = 0) -> Table:
    """An empty table, its last `numbers` columns flush right."""
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(table.columns):
        column.overflow = "fold"
        if index >= len(columns) - numbers:
            column.justify = "right"
    return table


def _print_table(table: Table) -> None:
    screen = console()
    screen.print(table)
    screen.print()


def _print(text: str) -> None:
    console().print(text, soft_wrap=True)


def _print_pairs(title: str, pairs: Mapping[str, str]) -> None:
    """A heading and lines of a name and a value, never folded, so that a path can be copied."""
    screen = console()
    screen.print(title, style="bold", soft_wrap=True)
    width = max(map(len, pairs)) + 2
    for name, value in pairs.items():
        screen.print(f"  {name:<{width}}{value}", soft_wrap=True)


def _decimals(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.4f}" for number in numbers)
