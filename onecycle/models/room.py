"""Whether a network's weights fit into this machine's memory, before they are made."""

import os
from collections.abc import Callable

import torch
from torch import nn

from onecycle.errors import InputError
from onecycle.writing.numbers import amount


def check_room(make: Callable[[], nn.Module], name: str) -> None:
    """Refuse a network whose weights alone need more than all memory.

    Args:
        make: makes the network, here without values.
        name: of the network, for the message.

    Raises:
        InputError: the weights don't fit.
    """
    with torch.device("meta"):
        model = make()
    needed = sum(each.nbytes for each in model.parameters())
    if needed > (there := _memory()):
        raise InputError(
            f"width: the weights of '{name}' would need {amount(needed)}, but this machine has "
            f"{amount(there)} of memory; lower width"
        )


def _memory() -> int:
    """Bytes of physical memory; a very large number where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**63
