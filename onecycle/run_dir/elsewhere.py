"""The run folder as processes have it that don't own it: process 0 writes, and they don't."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from onecycle.config import Recipe
from onecycle.run_dir import Checkpoint, RunDir


class RunElsewhere(RunDir):
    """A run folder in which nothing is written, and which need not be on this machine."""

    def write_recipe(self, recipe: Recipe) -> None:
        """Nothing."""

    def write(self, name: str, content: bytes) -> None:
        """Nothing."""

    def set_aside(self, name: str) -> None:
        """Nothing."""

    def save_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Nothing."""

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def cut_back(self, checkpoint: Checkpoint | None) -> None:
        """Nothing."""

    @contextmanager
    def log(self) -> Iterator[Callable[[str], None]]:
        """A function that writes nothing."""
        yield lambda line: None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nothing: process 0 owns the folder."""
        yield

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Nothing."""

    def save_best(self, checkpoint: Checkpoint, **figures: float) -> None:
        """Nothing."""
