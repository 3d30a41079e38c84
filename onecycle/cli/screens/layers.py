"""A network, layer by layer."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from onecycle.cli.screens.parts import (
    UNLIMITED,
    console,
    new_table,
    print_pairs,
    print_table,
)

SHORTEST_FOLD = 9
"""Characters below which a layer's name is not folded further."""


def summary(name: str, found: Mapping[str, Any]) -> None:
    """The network layer by layer, and its totals."""
    screen, table = console(), _table_of_layers(found["layers"])
    unfolded = screen.measure(table, options=screen.options.update(width=UNLIMITED))
    if (excess := unfolded.maximum - screen.width) > 0:
        longest = max(len(layer["name"]) for layer in found["layers"])
        table = _table_of_layers(found["layers"], max(longest - excess, SHORTEST_FOLD))
    print_table(table)
    print_pairs(
        name,
        {
            "parameters": _of_network(found),
            "MACs": f"{found['macs']:,} for one image, forward",
        },
    )


def _table_of_layers(layers: Sequence[Mapping[str, Any]], room: int = UNLIMITED) -> Table:
    """A row for each layer; names of more than `room` characters take several lines."""
    table = new_table(
        "layer", "output", "parameters", "MACs", "receptive\nfield", "jump", numbers=4
    )
    for column in table.columns[1:]:
        column.no_wrap = True
    for layer in layers:
        table.add_row(
            "\n".join(folded(layer["name"], room)),
            "×".join(map(str, layer["output_shape"])),
            _of_layer(layer),
            f"{layer['macs']:,}" if layer["macs"] else "",
            str(layer["receptive_field"]),
            str(layer["jump"]),
        )
    return table


def folded(name: str, room: int) -> list[str]:
    """A dotted name in lines of up to `room` characters, broken after dots, else after `_`."""
    parts = re.findall(r"[^.]*\.|[^.]+$", name)
    if max(map(len, parts)) > room:
        parts = re.findall(r"[^._]*[._]|[^._]+$", name)
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > room:
            lines.append("")
        lines[-1] += part
    return lines


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
