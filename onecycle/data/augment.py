"""Batched augmentation on the device: random crop, horizontal flip, cutout. Pure functions.

What is drawn and what is done are apart: `draw` makes a few numbers per image, the transforms
apply them to a whole batch at once. So a rank can take its slice of the draws, and an audit can
count what was really done.

Shapes: B batch, C channels, H height, W width. Batches come in as B H W C (the order of the
images in memory, which is channels_last) and are handed on as a view of order B C H W.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from onecycle import runtime


@dataclass(frozen=True)
class Draws:
    """What happens to each image of a batch.

    Attributes:
        shifts_B2: int64, top left corner of the crop in the padded image, in [0, 2 * padding].
        flips_B: bool, mirrored or not.
        corners_B2: int64, top left corner of the cut square; it lies wholly inside the image.
    """

    shifts_B2: Tensor
    flips_B: Tensor
    corners_B2: Tensor

    def slice(self, start: int, stop: int) -> "Draws":
        """The draws of images `start` to `stop` of the batch."""
        return Draws(
            self.shifts_B2[start:stop], self.flips_B[start:stop], self.corners_B2[start:stop]
        )

    def to(self, device: torch.device) -> "Draws":
        """The same draws on `device`."""
        return Draws(
            *(
                runtime.sent(each, device)
                for each in (self.shifts_B2, self.flips_B, self.corners_B2)
            )
        )


def draw(
    count: int,
    image_shape: tuple[int, int],
    *,
    crop_padding: int,
    flip: float,
    cutout: int,
    generator: torch.Generator,
) -> Draws:
    """Independent draws for `count` images of `image_shape` (height, width).

    Every position of the crop is equally likely, and so is every position of the cut square
    inside the image. The numbers drawn from `generator` do not depend on which transforms are
    on, so that switching one off leaves the others as they were.

    Args:
        count: number of images of the (global) batch.
        image_shape: height and width in pixels.
        crop_padding: pixels of padding on each side, at least 0.
        flip: probability of a mirror image, in [0, 1].
        cutout: side of the square in pixels, from 0 to the shorter side of the image.
        generator: a CPU generator.
    """
    uniform_B5 = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    height, width = image_shape
    rooms = torch.tensor([height - cutout + 1, width - cutout + 1], dtype=torch.float64)
    return Draws(
        shifts_B2=(uniform_B5[:, 0:2] * (2 * crop_padding + 1)).long(),
        flips_B=uniform_B5[:, 2] < flip,
        corners_B2=(uniform_B5[:, 3:5] * rooms).long(),
    )


def normalise(images_BHWC: Tensor, mean_C: Tensor, std_C: Tensor) -> Tensor:
    """float32 images of channel mean 0 and standard deviation 1 from uint8 ones.

    Args:
        images_BHWC: uint8.
        mean_C, std_C: float32, of the images scaled to [0, 1].
    """
    return images_BHWC.float().mul_(1 / (255 * std_C)).sub_(mean_C / std_C)


def random_crop(images_BHWC: Tensor, shifts_B2: Tensor, padding: int) -> Tensor:
    """Each image shifted within a border of `padding` zeros: the channel mean, once normalised."""
    if padding == 0:
        return images_BHWC
    batch, height, width, channels = images_BHWC.shape
    padded = F.pad(images_BHWC, (0, 0, padding, padding, padding, padding))
    image, row, column, channel = padded.stride()
    positions = 2 * padding + 1
    windows = padded.as_strided(  # every crop of every image, as a view
        (batch, positions, positions, height, width, channels),
        (image, row, column, row, column, channel),
    )
    each = torch.arange(batch, device=images_BHWC.device)
    return windows[each, shifts_B2[:, 0], shifts_B2[:, 1]]


def random_flip(images_BHWC: Tensor, flips_B: Tensor) -> Tensor:
    """The images, those marked in `flips_B` mirrored left to right."""
    return torch.where(flips_B[:, None, None, None], images_BHWC.flip(2), images_BHWC)


def cut_out(images_BHWC: Tensor, corners_B2: Tensor, side: int) -> Tensor:
    """The images with a square of `side` pixels set to zero: the channel mean, once normalised.

    The square lies wholly inside the image, so that exactly `side` x `side` pixels are lost.
    (DeVries and Taylor, 2017, whose squares may be clipped at the border.)
    """
    if side == 0:
        return images_BHWC
    _, height, width, _ = images_BHWC.shape
    rows_BH = _within(corners_B2[:, :1], side, height)
    columns_BW = _within(corners_B2[:, 1:], side, width)
    square_BHW = rows_BH[:, :, None] & columns_BW[:, None, :]
    return images_BHWC.masked_fill(square_BHW[..., None], 0)


def _within(start_B1: Tensor, length: int, total: int) -> Tensor:
    """Bool B x total: whether a position lies in [start, start + length)."""
    position = torch.arange(total, device=start_B1.device)
    return (position >= start_B1) & (position < start_B1 + length)


def augment(images_BHWC: Tensor, draws: Draws, *, crop_padding: int, cutout: int) -> Tensor:
    """Crop, then flip, then cutout: all of them on every image, in the brief's order.

    Args:
        images_BHWC: normalised float images.
        draws: from `draw`, on the same device.
        crop_padding, cutout: as given to `draw`.
    """
    cropped = random_crop(images_BHWC, draws.shifts_B2, crop_padding)
    return cut_out(random_flip(cropped, draws.flips_B), draws.corners_B2, cutout)
