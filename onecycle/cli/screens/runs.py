"""What a range test suggests, and what a training reached."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onecycle.cli.screens.parts import (
    balanced,
    new_table,
    print_pairs,
    print_table,
    print_text,
)
from onecycle.writing.numbers import counted, duration, percent

if TYPE_CHECKING:
    from onecycle.run_dir.records import Result


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
