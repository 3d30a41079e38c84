"""What a network answers to images, in batches.

Shapes: N images, H height, W width, C channels, K classes.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

BATCH_SIZE = 64
"""Images of a forward pass: few enough for large images, and as fast as more of small ones."""


class Answers(NamedTuple):
    """A network's answers to N images: float32 N K each."""

    logits_NK: np.ndarray
    probabilities_NK: np.ndarray


def batches(images_NHWC: np.ndarray) -> Iterator[np.ndarray]:
    """Copies of the images in order, `BATCH_SIZE` at a time. The images may be read-only."""
    for start in range(0, len(images_NHWC), BATCH_SIZE):
        yield np.array(images_NHWC[start : start + BATCH_SIZE])


def of_batches(
    answer: Callable[[np.ndarray], tuple[np.ndarray, ...]], images_NHWC: np.ndarray
) -> Answers:
    """The answers to all images of a function that answers a batch with logits, probabilities."""
    parts = zip(*map(answer, batches(images_NHWC)), strict=True)
    return Answers(*map(np.concatenate, parts))


@torch.no_grad()
def of_program(program: nn.Module, images_NHWC: np.ndarray) -> Answers:
    """The answers of a PyTorch module that takes uint8 images N H W C."""
    return of_batches(
        lambda batch: tuple(each.numpy() for each in program(torch.from_numpy(batch))), images_NHWC
    )
