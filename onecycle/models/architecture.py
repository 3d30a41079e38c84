"""Which network is built: one of the package, or code of the user's own."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from onecycle.errors import InputError

Network = Callable[..., nn.Module] | str
"""A network that a caller gives: a function or class that makes it, or the name of one."""


@dataclass(frozen=True)
class Architecture:
    """A network before it is built.

    Attributes:
        name: as in a recipe: of a built-in network, or `FILE.py:FUNCTION` or `MODULE:FUNCTION`.
        factory: called with `classes=`, `channels=` and further arguments, all by keyword.
        built_in: whether it is one of the package's own.
        running: the context in which the user's code runs; it turns its errors into one line.
        source_sha256: of the source of the user's code, in hex, once a network has been built;
            empty if it is built in, or its source is not known.
        usual_order: whether its code can't take images in channels_last order.
    """

    name: str
    factory: Callable[..., Any]
    built_in: bool
    running: Callable[[], AbstractContextManager[None]] = nullcontext
    source_sha256: str = ""
    usual_order: bool = False

    @cached_property
    def declared(self) -> Mapping[str, inspect.Parameter]:
        """The arguments that the factory can be given by name.

        Raises:
            InputError: it tells nothing of its arguments.
        """
        try:
            parameters = inspect.signature(self.factory).parameters
        except (ValueError, TypeError):
            raise InputError(
                f"model: '{self.name}' is not a function that makes a network"
            ) from None
        return parameters

    @property
    def takes_any(self) -> bool:
        """Whether the factory takes arguments of any name."""
        return any(each.kind is each.VAR_KEYWORD for each in self.declared.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the factory declares."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return tuple(name for name, each in self.declared.items() if each.kind in kinds)

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments that have no default."""
        without = {name: each for name, each in self.declared.items() if each.default is each.empty}
        many = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return tuple(name for name, each in without.items() if each.kind not in many)
