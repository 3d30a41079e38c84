"""Restore the state of random number generators."""

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch

GENERATORS = (
    torch.Generator,
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
    random.Random,
)


def undo_draws(generator: Any) -> Callable[[], None] | None:
    """A function that restores a generator's state; None if it has none (`SystemRandom`)."""
    if isinstance(generator, torch.Generator):
        state = generator.get_state()
        return lambda: void(generator.set_state(state))
    if isinstance(generator, np.random.RandomState):
        legacy = deepcopy(generator.get_state())
        return lambda: generator.set_state(legacy)
    if isinstance(generator, np.random.Generator):
        return undo_draws(generator.bit_generator)
    if isinstance(generator, np.random.BitGenerator):
        kept = deepcopy(generator.state)
        return lambda: setattr(generator, "state", kept)
    if isinstance(generator, random.SystemRandom):
        return None
    drawn = generator.getstate()
    return lambda: generator.setstate(drawn)


def void(_: Any) -> None:
    """Ignore a return value."""
