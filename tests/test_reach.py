"""Receptive fields against where gradients reach: of one output, to every pixel that it sees.

With positive weights everywhere nothing cancels out, so that the pixels with a gradient are all
that the output sees. A maximum hands its gradient to one pixel alone, so the truth sums instead.
"""

import copy
from collections import OrderedDict

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from onecycle.models.summary import summarize

SIDE = 72
CHANNELS = 2


class Branches(nn.Module):
    """Branches that run beside each other, added up or side by side, cut to their common size."""

    def __init__(self, branches: list[nn.Module], join: str) -> None:
        super().__init__()
        self.branches, self.join = nn.ModuleList(branches), join
        self.mix = nn.Conv2d(CHANNELS * len(branches), CHANNELS, 1)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        outputs = [branch(batch_BCHW) for branch in self.branches]
        height, width = (min(each.shape[dim] for each in outputs) for dim in (2, 3))
        outputs = [each[:, :, :height, :width] for each in outputs]
        if self.join == "cat":
            return self.mix(torch.cat(outputs, 1))
        return sum(outputs[1:], start=outputs[0])


pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def layers(draw, stride: tuple[int, int] = (1, 1)) -> nn.Module:
    kernel = draw(pairs)
    padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
    kind = draw(st.sampled_from(["conv", "max", "average", "shuffled"]))
    if kind == "average":
        return nn.AvgPool2d(kernel, stride, padding)
    dilation = draw(st.sampled_from([1, 1, 2]))
    if kind == "max":
        return nn.MaxPool2d(kernel, stride, padding, dilation)
    mode = "reflect" if kind == "shuffled" else "zeros"
    return nn.Conv2d(CHANNELS, CHANNELS, kernel, stride, padding, dilation, padding_mode=mode)


@st.composite
def stages(draw) -> nn.Module:
    stride = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (3, 3)]))
    branches = []
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.lists(layers(), max_size=2))
        branches.append(nn.Sequential(*row, nn.ReLU(), draw(layers(stride))))
    return Branches(branches, draw(st.sampled_from(["cat", "sum"])))


def summing(model: nn.Module) -> nn.Module:
    """The network with ones for all weights, and sums in place of maxima."""
    model = copy.deepcopy(model).double()
    for parent in list(model.modules()):
        for name, each in list(parent.named_children()):
            if isinstance(each, nn.MaxPool2d):
                conv = nn.Conv2d(
                    CHANNELS, CHANNELS, each.kernel_size, each.stride, each.padding, each.dilation,
                    groups=CHANNELS,
                )  # fmt: skip
                setattr(parent, name, conv.double())
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    return model


def seen(model: nn.Module, image: Tensor, position: tuple[int, int]) -> list[tuple[int, int]]:
    """First and last pixel with a gradient, of the rows and of the columns."""
    image = image.clone().requires_grad_()
    model(image)[0, :, *position].sum().backward()
    gradient_HW = image.grad.abs().sum((0, 1))
    found = [gradient_HW.sum(axis).nonzero() for axis in (1, 0)]
    return [(int(each.min()), int(each.max())) for each in found]


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(stages(), min_size=1, max_size=3))
def test_fields_and_jumps_are_where_gradients_reach(rows):
    model = nn.Sequential(OrderedDict((f"stage{i}", each) for i, each in enumerate(rows)))
    model.add_module("last", nn.Conv2d(CHANNELS, CHANNELS, 1))
    image = torch.ones(1, CHANNELS, SIDE, SIDE, dtype=torch.float64)
    truth = summing(model)
    with torch.no_grad():
        height, width = truth(image).shape[2:]
    middle = (height // 2, width // 2)
    assume(middle[0] + 1 < height and middle[1] + 1 < width)
    here, there = (seen(truth, image, (middle[0] + i, middle[1] + i)) for i in (0, 1))
    assume(all(first > 0 and last < SIDE - 1 for first, last in here + there))
    found = summarize(model, (SIDE, SIDE, CHANNELS)).layers[-1]
    assert found.receptive_field == max(last - first + 1 for first, last in here)
    assert found.jump == max(b[0] - a[0] for a, b in zip(here, there, strict=True))


class Block(nn.Module):
    """A residual block whose shortcut is a convolution, which is listed first or last."""

    def __init__(self, shortcut_first: bool) -> None:
        super().__init__()
        self.shortcut_first = shortcut_first
        self.shortcut = nn.Conv2d(3, 4, 1, stride=2)
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        if self.shortcut_first:
            short = self.shortcut(batch_BCHW)
            return self.second(self.first(batch_BCHW)) + short
        return self.second(self.first(batch_BCHW)) + self.shortcut(batch_BCHW)


@pytest.mark.parametrize("first", [False, True])
def test_a_shortcut_convolution_widens_nothing(first):
    summary = summarize(nn.Sequential(Block(first), nn.Conv2d(4, 4, 3)), (32, 32, 3))
    order = ["0.shortcut"] * first + ["0.first", "0.second"] + ["0.shortcut"] * (not first) + ["1"]
    assert [layer.name for layer in summary.layers] == order
    fields = {layer.name: (layer.receptive_field, layer.jump) for layer in summary.layers}
    assert fields == {"0.shortcut": (1, 2), "0.first": (3, 2), "0.second": (7, 2), "1": (11, 2)}


class Gated(nn.Module):
    """Channels are weighed by what all of the image says (Hu et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        batch_BCHW = self.conv(batch_BCHW)
        return self.last(batch_BCHW * self.gate(F.adaptive_avg_pool2d(batch_BCHW, 1)).sigmoid())


def test_where_jumps_differ_the_smaller_is_kept_and_all_is_seen():
    layers = {each.name: each for each in summarize(Gated(), (16, 16, 3)).layers}
    assert (layers["gate"].receptive_field, layers["gate"].jump) == (17, 16)
    assert (layers["last"].receptive_field, layers["last"].jump) == (17, 2)


@pytest.mark.parametrize("network", [
    nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 2)),
    nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2), nn.Linear(100, 2)),
])  # fmt: skip
def test_what_sees_a_whole_map_sees_the_whole_image(network):
    assert summarize(network, (12, 12, 3)).layers[-1].receptive_field == 12


def test_a_padding_that_wraps_around_is_followed():
    chain = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), nn.Conv2d(3, 3, 3)
    )
    assert [layer.receptive_field for layer in summarize(chain, (16, 16, 3)).layers] == [3, 5]


class ChannelsLast(nn.Module):
    """Depthwise convolution, then norm and linear layer on channels alone (Liu et al., 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 5, padding=2, groups=3)
        self.norm, self.linear = nn.LayerNorm(3), nn.Linear(3, 3)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        batch_BHWC = self.conv(batch_BCHW).permute(0, 2, 3, 1)
        return batch_BCHW + self.linear(self.norm(batch_BHWC)).permute(0, 3, 1, 2)


def test_a_linear_layer_on_channels_sees_no_more_pixels():
    network = nn.Sequential(ChannelsLast(), ChannelsLast(), nn.Conv2d(3, 3, 1))
    fields = [each.receptive_field for each in summarize(network, (20, 16, 3)).layers]
    assert fields == [5, 5, 5, 9, 9, 9, 9]
