"""What is known of the built-in networks, for lists."""

import inspect
from dataclasses import dataclass

import torch

from onecycle import models
from onecycle.models.arguments import stem_for
from onecycle.models.summary import summarize

SIDE, CHANNELS, CLASSES = 32, 3, 10
"""The images and classes that the figures are for."""


@dataclass(frozen=True)
class BuiltIn:
    """A built-in network.

    Attributes:
        name: that of `--model`.
        description: what it is, in one line.
        parameters: at 10 classes and 3 channels.
        macs: multiply-accumulates for one image of 32 x 32 pixels, forward only.
        settings: names of the recipe's settings that it takes.
        model_args: names of its further arguments, which `--model-args` sets.
    """

    name: str
    description: str
    parameters: int
    macs: int
    settings: tuple[str, ...]
    model_args: tuple[str, ...]


def built_in() -> list[BuiltIn]:
    """All built-in networks, in their order. No weights are made."""
    return [_described(name) for name in models.NETWORKS]


def _described(name: str) -> BuiltIn:
    factory, settings = models.NETWORKS[name], models.takes(name)
    stem = {"stem": stem_for(SIDE, SIDE)} if "stem" in settings else {}
    with torch.device("meta"):
        model = factory(classes=CLASSES, channels=CHANNELS, **stem)
    summary = summarize(model, (SIDE, SIDE, CHANNELS))
    names = inspect.signature(factory).parameters
    further = [each for each in names if each not in ("classes", "channels", *settings)]
    description = models.DESCRIPTIONS[name]
    return BuiltIn(name, description, summary.parameters, summary.macs, settings, tuple(further))
