"""What the fuzzed readers share: how bytes are spoiled, and what may come of it."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from onecycle.errors import InputError

FUZZ = int(os.environ.get("ONECYCLE_FUZZ", "150"))
"""Inputs per fuzzed reader; docs/data.md tells with how many they have been tried."""

EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 3), st.binary(max_size=12)),
    min_size=1,
    max_size=6,
)


def outcome(read: Callable[[], Any], refusals: type[ValueError] = InputError) -> None:
    """It reads, or refuses in one line; anything else is an error."""
    line = "read"
    try:
        read()
    except refusals as error:
        line = str(error)
    assert line
    assert line.isprintable()


def edited(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Bytes overwritten, put in, taken out, or all cut off."""
    for where, how, piece in edits:
        place = int(where * len(content))
        if how == 0:
            content = content[:place] + piece + content[place + len(piece) :]
        elif how == 1:
            content = content[:place] + piece + content[place:]
        elif how == 2:
            content = content[:place] + content[place + len(piece) :]
        elif len(piece) > 10:
            content = content[:place]
    return content
