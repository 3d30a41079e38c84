"""Images sampled at other places: one bilinear sampling for a whole batch.

A place is measured in pixels from the top left corner of the image, so the middle of the first
pixel is at 0.5. Outside the image there is the channel mean: 0, once images are normalised.

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def affine(images_BHWC: Tensor, matrix_B23: Tensor) -> Tensor:
    """Each image under an affine map: at the place (x, y) is what was at matrix · (x, y, 1).

    Args:
        images_BHWC: float32, normalised.
        matrix_B23: float32, on the images' device; it maps places of the result to places of the
            image, as in Pillow's `Image.transform`.
    """
    x_W, y_H1 = _places(images_BHWC)
    a, b, c, d, e, f = matrix_B23.flatten(1).T[:, :, None, None].unbind()
    return _sampled(images_BHWC, a * x_W + b * y_H1 + c, d * x_W + e * y_H1 + f)


def boxes(images_BHWC: Tensor, boxes_B4: Tensor) -> Tensor:
    """A box of each image, enlarged to the size of the image.

    Nothing beyond the box is seen. Since it is only enlarged, there is nothing to antialias.

    Args:
        images_BHWC: float32.
        boxes_B4: int64; top, left, height and width in pixels, within the image.
    """
    _, height, width, _ = images_BHWC.shape
    x_W, y_H1 = _places(images_BHWC)
    top, left, high, wide = boxes_B4.to(images_BHWC.dtype).T[:, :, None, None].unbind()
    x_B1W = left + (x_W * (wide / width)).clamp(min=0.5).minimum(wide - 0.5)
    y_BH1 = top + (y_H1 * (high / height)).clamp(min=0.5).minimum(high - 0.5)
    return _sampled(images_BHWC, x_B1W, y_BH1)


def rotations(degrees_B: Tensor, height: int, width: int) -> Tensor:
    """float32 B 2 3: counterclockwise rotations about the middle of the image, for `affine`."""
    angle_B = torch.deg2rad(degrees_B.double())
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    x, y = width / 2, height / 2
    rows = (cos_B, -sin_B, x - x * cos_B + y * sin_B, sin_B, cos_B, y - x * sin_B - y * cos_B)
    return torch.stack(rows, 1).reshape(-1, 2, 3).float()


def _places(images_BHWC: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of each column, W, and of each row, H 1."""
    _, height, width, _ = images_BHWC.shape
    kind = {"dtype": images_BHWC.dtype, "device": images_BHWC.device}
    return torch.arange(width, **kind) + 0.5, torch.arange(height, **kind)[:, None] + 0.5


def _sampled(images_BHWC: Tensor, x_BHW: Tensor, y_BHW: Tensor) -> Tensor:
    """The images at these places, which are broadcast to B H W."""
    batch, height, width, _ = images_BHWC.shape
    grid_BHW2 = images_BHWC.new_empty(batch, height, width, 2)
    grid_BHW2[..., 0] = x_BHW * (2 / width) - 1
    grid_BHW2[..., 1] = y_BHW * (2 / height) - 1
    images_BCHW = images_BHWC.permute(0, 3, 1, 2)
    return F.grid_sample(images_BCHW, grid_BHW2, align_corners=False).permute(0, 2, 3, 1)
