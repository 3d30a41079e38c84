"""Networks by name."""

import torch
from torch import nn

from onecycle import runtime
from onecycle.config.names import unknown_name
from onecycle.errors import InputError
from onecycle.models.resnet import CustomResNet

NETWORKS = {"custom-resnet": CustomResNet}


def build(
    name: str,
    *,
    classes: int,
    channels: int = 3,
    width: float = 1.0,
    head_scale: float = 1.0,
    dropout: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """The network called `name`, initialized by PyTorch's defaults from a stream of its own.

    The same seed gives the same weights, and the global random state stays as it was.

    Args:
        name: `custom-resnet`.
        classes: number of classes, at least 2.
        channels: channels of the images.
        width: factor on the channel counts, above 0.
        head_scale: factor on the logits.
        dropout: probability of dropping a feature before the last layer, in [0, 1).
        seed: of the stream `init`.

    Raises:
        InputError: unknown name (with the nearest one).
    """
    check_name(name)
    with runtime.preserved_rng():
        torch.manual_seed(runtime.seed_of(seed, "init"))
        return NETWORKS[name](
            classes=classes, channels=channels, width=width, head_scale=head_scale, dropout=dropout
        )


def check_name(name: str) -> None:
    """Refuse a name that no network has, before any longer work.

    Raises:
        InputError: with the nearest name.
    """
    if name not in NETWORKS:
        raise InputError(unknown_name("model", name, NETWORKS))
