"""Command lines carried out by several processes together, each forked from one that has it all.

They find each other as under torchrun, but without its agent: process 0 holds the store.
"""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from trained import Done, Server


class Several(Server):
    """Runs command lines in several processes that know of each other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, TORCH_CPP_LOG_LEVEL="ERROR")

    def run(
        self,
        count: int,
        line: str,
        *,
        code: str = "",
        meanwhile: Callable[[Sequence[int]], None] = lambda pids: None,
    ) -> list[Done]:
        """Run a command line in `count` processes; `meanwhile` gets their ids as they start."""
        all_have = {
            "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        }  # fmt: skip
        envs = [{**all_have, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
        return self._carry_out(line, code, self._folder, envs, meanwhile)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def said(done: Sequence[Done]) -> str:
    """What all processes said on standard error."""
    return "".join(each.err for each in done)
