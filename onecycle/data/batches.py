"""Training batches as a function of the step, without any state.

Shapes: N images, B batch, C channels, H height, W width.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from onecycle import runtime
from onecycle.config.sizes import steps_per_epoch
from onecycle.data.image_set import ImageSet
from onecycle.data.transforms import Transform

RESIDENT_SHARE = 0.5
"""Share of a GPU's free memory that images may take. If they need more, they stay in RAM."""


class Images:
    """The pixels of a set, ready to be cut into batches: on the device if they fit, else in RAM.

    Args:
        images_NHWC: uint8; may be memory-mapped.
        device: where the batches are wanted.
        mean, std: of the channels, of images scaled to [0, 1].
    """

    def __init__(
        self,
        images_NHWC: np.ndarray,
        device: torch.device,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self._host_NHWC = images_NHWC
        self._device = device
        self._mean_C = torch.tensor(mean, dtype=torch.float32, device=device)
        self._std_C = torch.tensor(std, dtype=torch.float32, device=device)
        resident = device.type != "cpu" and _fits(images_NHWC.nbytes, device)
        self._resident_NHWC = (
            torch.from_numpy(np.array(images_NHWC)).to(device) if resident else None
        )

    @classmethod
    def of(
        cls,
        image_set: ImageSet,
        device: torch.device,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> "Images":
        """The pixels of a set. The same set gives the same object.

        So a set moves to a GPU once, even if a training, its range test and its probes all use it.
        """
        copies = _COPIES.setdefault(image_set, {})
        wanted = (device, mean, std)
        if wanted not in copies:
            copies[wanted] = cls(image_set.images_NHWC, device, mean, std)
        return copies[wanted]

    def normalised(self, indices_B: np.ndarray) -> Tensor:
        """float32 B H W C images at `indices_B`, on the device."""
        if self._resident_NHWC is not None:
            # A copy: the order of an epoch is read-only, which PyTorch warns of.
            indices = torch.from_numpy(indices_B.copy())
            picked = self._resident_NHWC[runtime.sent(indices, self._device)]
        else:
            picked = runtime.sent(torch.from_numpy(self._host_NHWC[indices_B]), self._device)
        return normalise(picked, self._mean_C, self._std_C)


def normalise(images_BHWC: Tensor, mean_C: Tensor, std_C: Tensor) -> Tensor:
    """float32 images of channel mean 0 and standard deviation 1 from uint8 ones.

    Args:
        images_BHWC: uint8.
        mean_C, std_C: float32, of the images scaled to [0, 1].
    """
    return images_BHWC.float().mul_(1 / (255 * std_C)).sub_(mean_C / std_C)


_COPIES: WeakKeyDictionary[ImageSet, dict[tuple[object, ...], Images]] = WeakKeyDictionary()
"""By image set. A copy is dropped when its set is."""


def _fits(size: int, device: torch.device) -> bool:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return size <= RESIDENT_SHARE * free
    return True  # Apple's GPUs share the machine's memory


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of `count` images in `epoch`: a permutation, int64, the same at every call."""
    order_N = torch.randperm(count, generator=runtime.generator(seed, "shuffle", epoch)).numpy()
    order_N.setflags(write=False)
    return order_N


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Augmented training batches. `cut(step)` is a pure function, so steps can come in any order.

    An epoch visits every image once. Its last batch may be smaller, but a single image that is left
    over joins the batch before it: batch norm can't be trained on a single image, and PyTorch
    refuses it if the map is a single value. A rank cuts its slice of each global batch, with the
    draws that a single process would make. The slice is made of whole parts, each of which goes
    through the network by itself.

    Attributes:
        train: the images.
        batch_size: images in a global batch.
        seed: of the stream `shuffle`, and of the transforms' streams.
        mean, std: channel statistics for normalising.
        transforms: the transforms of the images, in order.
        device: where batches are made.
        rank, world_size: number of this process, and of all processes of the training.
        micro_batch: images in a part of the global batch, about; 0: a part for each process.
        least: images that a part must have.
    """

    train: ImageSet
    batch_size: int
    seed: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    transforms: tuple[Transform, ...]
    device: torch.device
    rank: int = 0
    world_size: int = 1
    micro_batch: int = 0
    least: int = 2
    images: Images = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for transform in self.transforms:
            transform.check(*self.train.image_shape)
        images = Images.of(self.train, self.device, self.mean, self.std)
        object.__setattr__(self, "images", images)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, including the last, which may be smaller."""
        return steps_per_epoch(len(self.train), self.batch_size)

    def indices(self, step: int) -> np.ndarray:
        """int64 indices into `train` of the global batch of `step` (0-based over the training)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order_N = epoch_order(self.seed, epoch, len(self.train))
        last = position == self.steps_per_epoch - 1
        stop = len(order_N) if last else (position + 1) * self.batch_size
        return order_N[position * self.batch_size : stop]

    def draws(self, step: int) -> tuple[Tensor, ...]:
        """For each transform, what it does to each image of the global batch of `step`."""
        height, width, _ = self.train.image_shape
        count = len(self.indices(step))
        return tuple(
            each.draw(count, (height, width), runtime.generator(self.seed, each.stream, step))
            for each in self.transforms
        )

    def transformed(self, images_BHWC: Tensor, draws: tuple[Tensor, ...]) -> Tensor:
        """Apply the transforms to normalised images on the device.

        Args:
            images_BHWC: float32.
            draws: for each transform, what it does to each of these images.
        """
        for transform, drawn_B in zip(self.transforms, draws, strict=True):
            if not transform.draws_on_host:
                drawn_B = runtime.sent(drawn_B, self.device)
            images_BHWC = transform.apply(images_BHWC, drawn_B)
        return images_BHWC

    def bounds(self, step: int) -> list[int]:
        """Where the parts of the global batch of `step` begin, and the last one ends.

        No part is a single image if each has its own batch norm, which needs at least two. So the
        last batch of an epoch may have fewer parts than there are processes.
        """
        images = len(self.indices(step))
        count = -(-images // self.micro_batch) if self.micro_batch else self.world_size
        count = max(1, min(count, images // self.least))
        size, larger = divmod(images, count)
        return [number * size + min(number, larger) for number in range(count + 1)]

    def own(self, parts: int) -> range:
        """Which of so many parts this rank takes."""
        first, end = (parts * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return range(first, end)

    def own_slice(self, step: int) -> slice:
        """This rank's place in the global batch of `step`."""
        bounds = self.bounds(step)
        mine = self.own(len(bounds) - 1)
        return slice(bounds[mine.start], bounds[mine.stop])

    def cut(self, step: int) -> tuple[Tensor, Tensor]:
        """This rank's batch of `step`: float32 images B C H W (channels_last), int64 labels B."""
        indices = self.indices(step)
        mine = self.own_slice(step)
        start, stop = mine.start, mine.stop
        if start == stop:
            return self._nothing()
        batch_BHWC = self.transformed(
            self.images.normalised(indices[start:stop]),
            tuple(drawn_B[start:stop] for drawn_B in self.draws(step)),
        )
        labels_B = runtime.sent(
            torch.from_numpy(self.train.labels_N[indices[start:stop]]), self.device
        )
        return batch_BHWC.permute(0, 3, 1, 2), labels_B

    def _nothing(self) -> tuple[Tensor, Tensor]:
        """A batch without images, of a rank that gets none of a small one."""
        height, width, channels = self.train.image_shape
        batch_BCHW = torch.zeros(0, channels, height, width, device=self.device)
        return batch_BCHW, torch.zeros(0, dtype=torch.int64, device=self.device)
