"""Several processes that train one network together, as torchrun starts them.

This module knows from the environment alone which process this is, without PyTorch. `group` has
what they exchange, `joining` brings them together and parts them, `watching` notices that one is
gone.
"""

import os
from dataclasses import dataclass

from onecycle.errors import InputError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets in each process that it starts. Without all of them there is one process."""

MOST = 65_536
"""Largest number of processes."""


@dataclass(frozen=True)
class Place:
    """Which process this is.

    Attributes:
        rank: its number, from 0. Process 0 owns the run folder.
        count: of all processes.
        local_rank, local_count: the same among the processes on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1


def place() -> Place:
    """Which process this is, from the environment that torchrun makes.

    Raises:
        InputError: a variable has no number that makes sense.
    """
    if any(not os.environ.get(name) for name in VARIABLES):
        return Place()
    count = _number("WORLD_SIZE", 1, MOST)
    if count == 1:
        return Place()
    rank = _number("RANK", 0, count - 1)
    local_count = _number("LOCAL_WORLD_SIZE", 1, count, count)
    return Place(rank, count, _number("LOCAL_RANK", 0, local_count - 1, rank), local_count)


def calm_pytorch() -> None:
    """Keep PyTorch from writing warnings and traces where one of several processes ends.

    It reads the variable when it is imported.
    """
    if all(os.environ.get(name) for name in VARIABLES):
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _number(name: str, least: int, most: int, usual: int | None = None) -> int:
    text = os.environ.get(name, "" if usual is None else str(usual))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise InputError(
            f"{name}: '{text}' is not a number from {least} to {most}; start with torchrun"
        )
    return int(text)


@dataclass
class _Voice:
    """Whether this process tells the user what happens. None: nothing has been decided yet."""

    speaks: bool | None = None


_VOICE = _Voice()


def speaks() -> bool:
    """Whether this process writes for the user: one of all does.

    Until the processes have joined, it is the first one on each machine; then process 0. If the
    work fails, it is the one that knows why.
    """
    if _VOICE.speaks is not None:
        return _VOICE.speaks
    try:
        return place().local_rank == 0
    except InputError:
        return True


def let_speak(allowed: bool | None) -> None:
    """Decide whether this process writes for the user; None: as before the processes joined."""
    _VOICE.speaks = allowed
