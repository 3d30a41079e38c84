"""The transforms once more, for one image at a time, in plain NumPy and SciPy: for the audit.

Nothing here is used in training, and none of the transforms' own code is used here, except for the
meaning of the numbers that they draw. Pixels are float64 H W C from 0 to 255.

Shapes: C channels, H height, W width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from onecycle.data.transforms import (
    ColourJitter,
    Crop,
    Cutout,
    Flip,
    ResizedCrop,
    Rotation,
    Transform,
    TrivialAugment,
)

LUMA_C = np.array([0.299, 0.587, 0.114])
SMOOTH_33 = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13


def transformed(
    image_HWC: np.ndarray, each: Transform, drawn: Sequence[float], mean_C: np.ndarray
) -> np.ndarray:
    """The image after a transform with what was drawn for it. `mean_C`: fills what is blank."""
    return PLAIN[type(each)](image_HWC, each, drawn, mean_C)


def _resized_crop(image_HWC, each: Any, drawn: Sequence[float], mean_C) -> np.ndarray:
    top, left, high, wide = map(int, drawn)
    part = image_HWC[top : top + high, left : left + wide]
    height, width, _ = image_HWC.shape
    scales: Any = np.array([high / height, wide / width])
    return _each_channel(
        part,
        lambda channel, _: ndimage.affine_transform(
            channel, scales, scales / 2 - 0.5, (height, width), order=1, mode="nearest"
        ),
        mean_C,
    )


def _crop(image_HWC, each: Any, drawn: Sequence[float], mean_C) -> np.ndarray:
    height, width, channels = image_HWC.shape
    border, (top, left) = each.padding, map(int, drawn)
    padded = np.broadcast_to(mean_C, (height + 2 * border, width + 2 * border, channels)).copy()
    padded[border : border + height, border : border + width] = image_HWC
    return padded[top : top + height, left : left + width]


def _flip(image_HWC, each: Any, drawn: Sequence[float], mean_C) -> np.ndarray:
    return image_HWC[:, ::-1] if drawn[0] else image_HWC


def _cutout(image_HWC, each: Any, drawn: Sequence[float], mean_C) -> np.ndarray:
    (top, left), cut_HWC = map(int, drawn), image_HWC.copy()
    cut_HWC[top : top + each.side, left : left + each.side] = mean_C
    return cut_HWC


def _rotation(image_HWC, each: Any, drawn: Sequence[float], mean_C) -> np.ndarray:
    return _rotated(image_HWC, drawn[0], mean_C)


def _colour_jitter(image_HWC, each: Any, drawn: Sequence[float], mean_C) -> np.ndarray:
    light, contrast, saturation, shift = drawn
    image_HWC = _towards(image_HWC, 0.0, light)
    image_HWC = _towards(image_HWC, _luma(image_HWC).mean(), contrast)
    image_HWC = _towards(image_HWC, _luma(image_HWC), saturation)
    return _turned_hue(image_HWC, shift) if each.hue else image_HWC


def _trivial_augment(image_HWC, each: Any, drawn: Sequence[float], mean_C) -> np.ndarray:
    kind, step, direction = map(int, drawn)
    share = step / 30
    signed, (height, width, _) = share * direction, image_HWC.shape
    factor = 1 + 0.99 * signed
    row, column = (1, 0, 0), (0, 1, 0)
    operations: list[Callable[[], np.ndarray]] = [
        lambda: image_HWC,
        lambda: _moved(image_HWC, (row, (0.99 * signed, 1, 0.99 * signed / 2)), mean_C),
        lambda: _moved(image_HWC, ((1, 0.99 * signed, 0.99 * signed / 2), column), mean_C),
        lambda: _moved(image_HWC, (row, (0, 1, min(32, width) * signed)), mean_C),
        lambda: _moved(image_HWC, ((1, 0, min(32, height) * signed), column), mean_C),
        lambda: _rotated(image_HWC, 135 * signed, mean_C),
        lambda: _towards(image_HWC, 0.0, factor),
        lambda: _towards(image_HWC, _luma(image_HWC), factor),
        lambda: _towards(image_HWC, _luma(image_HWC).mean(), factor),
        lambda: _sharpened(image_HWC, factor),
        lambda: np.rint(image_HWC) // 2 ** round(6 * share) * 2 ** round(6 * share),
        lambda: np.where(image_HWC > 254.99 - 255 * share, 255 - image_HWC, image_HWC),
        lambda: _each_channel(image_HWC, _stretched, mean_C),
        lambda: _each_channel(image_HWC, _equalized, mean_C),
    ]
    return operations[kind]()


PLAIN: dict[type[Transform], Callable[[np.ndarray, Any, Sequence[float], np.ndarray], Any]] = {
    ResizedCrop: _resized_crop,
    Crop: _crop,
    Flip: _flip,
    Rotation: _rotation,
    ColourJitter: _colour_jitter,
    TrivialAugment: _trivial_augment,
    Cutout: _cutout,
}
"""How each transform is done here. A transform that is missing here can't be checked so."""


def _each_channel(image_HWC: np.ndarray, change: Callable, mean_C: np.ndarray) -> np.ndarray:
    pairs = zip(np.moveaxis(image_HWC, 2, 0), mean_C, strict=True)
    return np.stack([change(channel_HW, mean) for channel_HW, mean in pairs], 2)


def _moved(image_HWC: np.ndarray, rows: Any, mean_C: np.ndarray) -> np.ndarray:
    """At (row, column) is what was at `rows` · (row, column, 1)."""
    matrix: Any = np.array(rows, float)
    return _each_channel(
        image_HWC,
        lambda channel, mean: ndimage.affine_transform(
            channel, matrix[:, :2], matrix[:, 2], order=1, mode="grid-constant", cval=mean
        ),
        mean_C,
    )


def _rotated(image_HWC: np.ndarray, degrees: float, mean_C: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn, middle = np.array([[cos, sin], [-sin, cos]]), (np.array(image_HWC.shape[:2]) - 1) / 2
    return _moved(image_HWC, np.column_stack([turn, middle - turn @ middle]), mean_C)


def _luma(image_HWC: np.ndarray) -> np.ndarray:
    return image_HWC @ LUMA_C[:, None] if image_HWC.shape[2] == 3 else image_HWC


def _towards(image_HWC: np.ndarray, base: Any, factor: float) -> np.ndarray:
    return np.clip(base + factor * (image_HWC - base), 0, 255)


def _sharpened(image_HWC: np.ndarray, factor: float) -> np.ndarray:
    smooth_HWC = image_HWC.copy()
    inner = ndimage.correlate(image_HWC, SMOOTH_33[:, :, None], mode="nearest")
    smooth_HWC[1:-1, 1:-1] = inner[1:-1, 1:-1]
    return _towards(image_HWC, smooth_HWC, factor)


def _turned_hue(image_HWC: np.ndarray, shift: float) -> np.ndarray:
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv  # slow to import, and seldom needed

    hsv_HWC = rgb_to_hsv(image_HWC / 255)
    hsv_HWC[..., 0] = (hsv_HWC[..., 0] + shift) % 1
    return 255 * hsv_to_rgb(hsv_HWC)


def _stretched(channel_HW: np.ndarray, mean: float) -> np.ndarray:
    low, high = channel_HW.min(), channel_HW.max()
    return (channel_HW - low) * (255 / (high - low)) if high > low else channel_HW


def _equalized(channel_HW: np.ndarray, mean: float) -> np.ndarray:
    values_HW = np.rint(channel_HW).astype(int)
    counts_V = np.bincount(values_HW.ravel(), minlength=256)
    step = (values_HW.size - counts_V[values_HW.max()]) // 255
    if not step:
        return values_HW.astype(float)
    before_V = np.cumsum(counts_V) - counts_V
    return np.minimum((step // 2 + before_V) // step, 255)[values_HW].astype(float)
