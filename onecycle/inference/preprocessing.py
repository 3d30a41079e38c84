"""Bring images into the form that a network takes, as in its training.

Shapes: N images, H height, W width, C channels.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onecycle.data.batches import normalise
from onecycle.data.folder.decoding import Unreadable, pixels_of, quiet
from onecycle.data.folder.messages import quoted
from onecycle.data.folder.streaming import Form, decoded
from onecycle.errors import InputError
from onecycle.run_dir.records import Network

FEW = 256
"""Up to this many files, worker processes would take longer to start than to decode."""

Picture = str | os.PathLike[str] | Image.Image | np.ndarray
"""An image: the path of a file, a Pillow image, or uint8 pixels `H W`, `H W 1` or `H W 3`."""


@dataclass(frozen=True)
class Preprocess:
    """Decoding, resizing and normalising, as in a network's training.

    Attributes:
        form: size, channels and resizing rule of the images.
        mean, std: of each channel, of images scaled to [0, 1].
    """

    form: Form
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, about: Network, source: str) -> "Preprocess":
        """That of a described network. `source`: where the description is from, for messages.

        Raises:
            InputError: its images' size is unknown, or its number of channels is neither 1 nor 3.
        """
        if about.size is None:
            raise InputError(
                f"{source}: does not say what size the network's images have; train again with "
                "this version"
            )
        if about.channels not in (1, 3):
            raise InputError(f"{source}: the network takes {about.channels} channels, not 1 or 3")
        form = Form((*about.size, about.channels), about.resize or "crop")
        return cls(form, tuple(about.mean), tuple(about.std))

    def __call__(self, images: Picture | Sequence[Picture]) -> Tensor:
        """float32 `N C H W` in channels_last order, as `Classifier.network` takes them.

        Raises:
            InputError: an image can't be used.
        """
        images_NHWC = torch.from_numpy(self.pixels(images))
        mean_C, std_C = torch.tensor(self.mean), torch.tensor(self.std)
        return normalise(images_NHWC, mean_C, std_C).permute(0, 3, 1, 2)

    def pixels(self, images: Picture | Sequence[Picture]) -> np.ndarray:
        """uint8 `N H W C`: the images decoded, upright, on white, resized; not normalised.

        Args:
            images: one image, a sequence of images, or an array `N H W C`.

        Raises:
            InputError: an image can't be used.
        """
        if isinstance(images, np.ndarray) and self._has_form(images):
            return np.ascontiguousarray(images)
        listed = _listed(images)
        paths = [os.fspath(each) for each in listed if isinstance(each, str | os.PathLike)]
        if len(paths) == len(listed):
            return self._decoded(paths)
        found = [self._one(image, index) for index, image in enumerate(listed)]
        return np.stack(found)

    def _has_form(self, images: np.ndarray) -> bool:
        """Whether an array is a number of images as the network takes them."""
        return images.dtype == np.uint8 and images.shape[1:] == self.form.shape

    def _decoded(self, paths: list[str]) -> np.ndarray:
        """Files, decoded on all cores."""
        found = [np.zeros((0, *self.form.shape), np.uint8)]
        for chunk in decoded(paths, self.form, few=len(paths) <= FEW):
            assert chunk is not None
            for path, reason in chunk.reasons.items():
                raise InputError(f"images: can't read {quoted(path)}: {reason}")
            found.append(chunk.images_NHWC)
        return np.concatenate(found)

    def _one(self, image: Picture, index: int) -> np.ndarray:
        if isinstance(image, str | os.PathLike):
            return self._decoded([os.fspath(image)])[0]
        try:
            with quiet():
                opened = image if isinstance(image, Image.Image) else _opened(image)
                found_HWC = pixels_of(opened, self.form.size, self.form.resize)
        except Unreadable as error:
            raise InputError(f"images: can't use image {index}: {error}") from None
        return self.form.fitted(found_HWC)


def _listed(images: Picture | Sequence[Picture]) -> Sequence[Picture]:
    """A sequence of images; a single image becomes a sequence of one."""
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return [images] if images.ndim in (2, 3) else list(images)
    return images


def _opened(image: np.ndarray) -> Image.Image:
    """Pixels as a Pillow image.

    Raises:
        Unreadable: they are not uint8 with one or three channels.
    """
    given = np.asarray(image)
    plain = given[..., 0] if given.ndim == 3 and given.shape[2] == 1 else given
    if plain.dtype != np.uint8 or not (plain.ndim == 2 or plain.shape[2:] == (3,)):
        shape = "x".join(map(str, given.shape))
        raise Unreadable(
            f"an array of {given.dtype} and shape {shape} is not an image; give uint8 pixels, "
            "H W or H W C with 1 or 3 channels"
        )
    return Image.fromarray(plain)
