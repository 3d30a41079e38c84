"""The part of an image that each value of a network sees, followed through the network's tensors.

Each tensor carries the patch of the image that its first value sees, and the distance between the
patches of neighbouring values. A convolution or pooling widens the patch. Where branches meet, the
patch is the smallest one that contains theirs. PyTorch's own operations are observed, so it does
not matter which modules or functions call them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten


@dataclass(frozen=True)
class Axis:
    """Along the height or the width.

    Attributes:
        first, last: first and last pixel that the first value sees; below 0 in the padding.
        jump: pixels between the patches of neighbouring values (cumulative stride).
        size: number of values along the axis.
        shared: whether all values see this same patch, as after attention, whatever the jump.
    """

    first: int
    last: int
    jump: int
    size: int
    shared: bool = False

    @property
    def field(self) -> int:
        """Number of pixels that a value sees."""
        return self.last - self.first + 1

    def through(self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> "Axis":
        """After a window of `kernel` values that moves by `stride`."""
        if self.shared:
            return replace(self, jump=self.jump * stride)
        first = self.first - padding * self.jump
        last = self.last + ((kernel - 1) * dilation - padding) * self.jump
        return Axis(first, last, self.jump * stride, self.size)

    def whole(self) -> "Axis":
        """After an operation on all values together."""
        return self.through(self.size, self.size)

    def everywhere(self) -> "Axis":
        """After an operation in which each value sees all others, and keeps its place."""
        return replace(self.whole(), jump=self.jump, shared=True)

    def joined(self, other: "Axis") -> "Axis":
        """Where two branches meet. If their jumps differ, as after a branch that was enlarged or
        sees the whole image, the smaller jump is kept, and the patch is that of the first value.
        """
        first, last = min(self.first, other.first), max(self.last, other.last)
        shared = (self if self.field > other.field else other).shared
        return Axis(first, last, min(self.jump, other.jump), max(self.size, other.size), shared)


Reach = tuple[Axis, Axis]
"""Along the height and along the width."""


class Reaches(TorchDispatchMode):
    """A context that records what the values of all tensors made from an image see.

    Transposed convolutions and other enlargements leave patches and jumps as they are.

    Args:
        image_BCHW: a batch of one image. On the device `meta` nothing is computed.
    """

    def __init__(self, image_BCHW: Tensor) -> None:
        super().__init__()
        self._known = WeakTensorKeyDictionary()
        height, width = image_BCHW.shape[2:]
        self._known[image_BCHW] = (Axis(0, 0, 1, height), Axis(0, 0, 1, width))

    def of(self, tensor: Tensor) -> Reach:
        """What a tensor's values see: a single pixel if the tensor does not come from the image."""
        return self._known.get(tensor) or (Axis(0, 0, 1, 1), Axis(0, 0, 1, 1))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        sources = [each for each in _tensors((args, kwargs)) if each in self._known]
        if sources:
            height, width = self._known[sources[0]]
            for source in sources[1:]:
                more_height, more_width = self._known[source]
                height, width = height.joined(more_height), width.joined(more_width)
            operation = func.overloadpacket
            change = _CHANGES.get(operation)
            reach = change((height, width), *args) if change else (height, width)
            resizes = change is not None or operation in _ENLARGEMENTS
            for each in _tensors(output):
                self._known[each] = _sized(reach, each) if resizes else reach
                base = each._base
                if func._schema.is_mutable and base is not None and base not in self._known:
                    self._known[base] = _sized(reach, base)  # written into the middle of it
        return output


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


def _sized(reach: Reach, tensor: Tensor) -> Reach:
    """With the map's size. A tensor with fewer dimensions has the size of the map it came from."""
    if tensor.ndim != 4:
        return reach
    height, width = (
        replace(axis, size=size) for axis, size in zip(reach, tensor.shape[2:], strict=True)
    )
    return height, width


def _convolution(
    reach: Reach, batch: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool, *_: Any,
) -> Reach:  # fmt: skip
    if transposed or weight.ndim != 4:
        return reach
    return _windowed(reach, weight.shape[2:], stride, padding, dilation)


def _max_pool(
    reach: Reach, batch: Tensor, kernel: Sequence[int], stride: Sequence[int] = (),
    padding: Sequence[int] = (0,), dilation: Sequence[int] = (1,), *_: Any,
) -> Reach:  # fmt: skip
    return _windowed(reach, kernel, stride or kernel, padding, dilation)


def _average_pool(
    reach: Reach, batch: Tensor, kernel: Sequence[int], stride: Sequence[int] = (),
    padding: Sequence[int] = (0,), *_: Any,
) -> Reach:  # fmt: skip
    return _windowed(reach, kernel, stride or kernel, padding, (1,))


def _adaptive_pool(reach: Reach, batch: Tensor, sizes: Sequence[int]) -> Reach:
    """Adaptive pooling: windows as even as the sizes allow."""
    height, width = (
        axis.through(axis.size - (size - 1) * (axis.size // size), axis.size // size)
        for axis, size in zip(reach, sizes, strict=True)
    )
    return height, width


def _windowed(
    reach: Reach,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Reach:
    height, width = (
        axis.through(
            *(values[index % len(values)] for values in (kernel, stride, padding, dilation))
        )
        for index, axis in enumerate(reach)
    )
    return height, width


def _padded(reach: Reach, batch: Tensor, amounts: Sequence[int], *_: Any) -> Reach:
    """Padding: the amounts are left, right, top, bottom."""
    height, width = reach
    left, top = amounts[0], amounts[2] if len(amounts) > 2 else 0
    return _moved(height, -top), _moved(width, -left)


def _sliced(
    reach: Reach, batch: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> Reach:  # fmt: skip
    height, width = reach
    axis, start = dim % batch.ndim - 2, start or 0
    if batch.ndim != 4 or axis < 0:
        return reach
    start += batch.shape[dim] if start < 0 else 0
    if axis == 0:
        return _moved(height, start).through(1, step), width
    return height, _moved(width, start).through(1, step)


def _moved(axis: Axis, values: int) -> Axis:
    """A slice: another value becomes the first."""
    pixels = values * axis.jump
    return replace(axis, first=axis.first + pixels, last=axis.last + pixels)


def _reduced(reach: Reach, batch: Tensor, dims: Any = None, *_: Any) -> Reach:
    """Mean, sum or maximum over some dimensions, or over all."""
    height, width = reach
    dims = range(batch.ndim) if dims in (None, []) else [dims] if isinstance(dims, int) else dims
    over = {dim % batch.ndim for dim in dims}
    if batch.ndim != 4:
        flat = any(batch.shape[dim] == height.size * width.size for dim in over)
        return (height.whole(), width.whole()) if flat else reach
    return height.whole() if 2 in over else height, width.whole() if 3 in over else width


def _multiplied(reach: Reach, *factors: Any) -> Reach:
    """A product of matrices. If its rows are positions of the map, each sees one position."""
    batch = next(each for each in factors if isinstance(each, Tensor) and each.ndim > 1)
    height, width = reach
    each_position = len(batch) % (height.size * width.size) == 0
    return reach if each_position else (height.whole(), width.whole())


_CHANGES: dict[Any, Callable[..., Reach]] = {
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _max_pool,
    aten.avg_pool2d: _average_pool,
    aten.adaptive_max_pool2d: _adaptive_pool,
    aten._adaptive_avg_pool2d: _adaptive_pool,
    aten.constant_pad_nd: _padded,
    aten.reflection_pad2d: _padded,
    aten.replication_pad2d: _padded,
    aten.slice: _sliced,
    aten.mean: _reduced,
    aten.sum: _reduced,
    aten.amax: _reduced,
    aten.max: _reduced,
    aten.mm: _multiplied,
    aten.addmm: lambda reach, bias, *factors: _multiplied(reach, *factors),
    aten.bmm: lambda reach, *_: (reach[0].everywhere(), reach[1].everywhere()),
}
"""Operations that change what values see. All others keep it."""

_ENLARGEMENTS = (aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.upsample_bicubic2d)
"""Operations that change only the size of a map."""
