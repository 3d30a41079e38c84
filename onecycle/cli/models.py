"""`onecycle models`: the networks that are built in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from onecycle.cli.call import Call
from onecycle.config.declaring import spelled

if TYPE_CHECKING:
    from rich.table import Table


def models(call: Call) -> None:
    """List the built-in networks. JSON: `networks`, each with the fields of `models.BuiltIn`."""
    from onecycle.models.listing import built_in

    rows = [asdict(each) for each in built_in()]
    call.answer({"networks": rows}, lambda: _show(rows))


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of 80 columns, and where the figures come from."""
    from onecycle.cli import screens

    screens.print_table(_table(rows))
    screens.print_text("parameters at 10 classes and 3 channels, MACs of one image of 32×32 pixels")
    screens.print_text("settings, and further arguments for --model-args, of each:")
    for row in rows:
        flags = ", ".join(map(spelled, row["settings"]))
        further = ", ".join(row["model_args"])
        screens.print_text(f"  {row['name']}: {flags}{f'; {further}' if further else ''}")


def _table(rows: Sequence[Mapping[str, Any]]) -> "Table":
    from onecycle.cli import screens

    table = screens.new_table("network", "what it is", "parameters", "MACs", numbers=2)
    for row in rows:
        table.add_row(
            row["name"],
            row["description"],
            f"{row['parameters'] / 1e6:.1f} M",
            f"{row['macs'] / 1e6:.0f} M",
        )
    return table
