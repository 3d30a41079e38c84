"""The order in memory of the images that a network takes.

Batches and weights are in channels_last order, which is faster. Some code can't take it: above all
`x.view(len(x), -1)` after a convolution. Such a network gets its images and its weights in
PyTorch's usual order.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from onecycle import runtime


def needs_usual(make: Callable[[], nn.Module], shape: tuple[int, int, int]) -> bool:
    """Whether a network fails on images in channels_last order, and does not on others.

    Args:
        make: builds the network, on the CPU. What it builds is thrown away.
        shape: height, width and channels of the images.
    """
    height, width, channels = shape
    batch_BCHW = torch.zeros(2, height, width, channels).permute(0, 3, 1, 2)
    last = runtime.placed(make(), torch.device("cpu"))
    return not _runs(last, batch_BCHW) and _runs(make(), batch_BCHW.contiguous())


def keep_usual(model: nn.Module) -> None:
    """From now on, leave the weights in the usual order, and bring images to it."""
    setattr(model, runtime.USUAL_ORDER, True)
    model.register_forward_pre_hook(_in_usual_order)


def _runs(model: nn.Module, batch_BCHW: Tensor) -> bool:
    """Whether the network answers, in both modes."""
    try:
        with torch.no_grad(), runtime.preserved_rng():
            model.train()(batch_BCHW)
            model.eval()(batch_BCHW)
    except Exception:  # of the user's code; the check that follows tells it
        return False
    return True


def _in_usual_order(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].contiguous(), *inputs[1:])
