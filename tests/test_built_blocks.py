"""Fused operations on every kind of convolution and norm, against PyTorch's own layers in float64.

The operations have to find by themselves that they don't apply. Each combination is a millisecond,
and there are two thousand of them.
"""

import copy
import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onecycle.kernels import Kernels, find, operators
from onecycle.models import fused
from onecycle.models.built import is_usual
from onecycle.models.resnet import ConvBlock

pytestmark = pytest.mark.skipif(
    isinstance(find(torch.float64), str), reason=f"no kernels: {find(torch.float64)}"
)

CONVOLUTIONS = tuple(
    itertools.product(
        [1, 3, (3, 1)], [1, 2], [0, 1], [1, 2], [1, 2], [False, True], ["zeros", "reflect"]
    )
)
"""Kernel, stride, padding, dilation, groups, bias, padding mode."""

NORMS = tuple(itertools.product([True, False], [True, False], [0.3, None, 0.0], [1e-5, 0.1]))
"""Affine, tracking, momentum, eps."""

USUAL_CONVOLUTION, USUAL_NORM = (3, 1, 1, 1, 1, False, "zeros"), (True, True, 0.3, 1e-5)

MODES = ((True, True), (True, False), (False, True), (False, False))
"""Whether it trains, whether there are gradients."""


def kernels() -> Kernels:
    found = find(torch.float64)
    assert isinstance(found, Kernels)
    return found


def drawn(*shape: int) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return values.contiguous(memory_format=torch.channels_last)


def convolution(settings: tuple) -> nn.Conv2d:
    kernel, stride, padding, dilation, groups, bias, mode = settings
    return nn.Conv2d(
        4, 6, kernel, stride, padding, dilation, groups, bias, mode, dtype=torch.float64
    )


def norm(settings: tuple, *, frozen: bool = False) -> nn.BatchNorm2d:
    affine, tracks, momentum, eps = settings
    layer = nn.BatchNorm2d(6, eps, momentum, affine, tracks, dtype=torch.float64)
    for vector in [*layer.parameters(), *layer.buffers()]:
        if vector.is_floating_point():
            nn.init.uniform_(vector.detach(), 0.5, 1.5)
    return layer.requires_grad_(not frozen)


def results(
    layers: nn.Module, run: Callable[..., Tensor], inputs: list[Tensor], training: bool, grads: bool
) -> dict[str, Tensor]:
    """Output, gradients and buffers after it."""
    layers.train(training)
    inputs = [each.clone().requires_grad_(grads) for each in inputs]
    with torch.set_grad_enabled(grads):
        output = run(layers, *inputs)
    found = {"output": output.detach()}
    if grads:
        wanted = [*inputs, *(p for p in layers.parameters() if p.requires_grad)]
        weights = torch.linspace(-1, 2, output.numel(), dtype=torch.float64).view(output.shape)
        gradients = torch.autograd.grad((output * weights).sum(), wanted)
        found |= {f"gradient {i}": each for i, each in enumerate(gradients)}
    return found | {name: each.clone() for name, each in layers.named_buffers()}


def assert_same(
    layers: nn.Module,
    run: Callable[..., Tensor],
    truth: Callable[..., Tensor],
    inputs: list[Tensor],
    modes: tuple[tuple[bool, bool], ...] = MODES,
) -> None:
    for training, grads in modes:
        found, expected = (
            results(copy.deepcopy(layers), each, inputs, training, grads) for each in (run, truth)
        )
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=name)


def test_any_convolution_is_pytorchs():
    usual = []
    for settings in CONVOLUTIONS:
        conv = convolution(settings)
        usual += [settings] * is_usual("conv", conv)
        assert_same(
            conv,
            lambda conv, batch: fused.conv3x3(batch, conv, kernels()),
            lambda conv, batch: conv(batch),
            [drawn(3, 4, 7, 6)],
            ((True, True), (True, False)),
        )
    assert usual == [USUAL_CONVOLUTION]


def layers_of_norm(layer: nn.Module, batch: Tensor, pool: bool, *residual: Tensor) -> Tensor:
    output = F.relu(layer(F.max_pool2d(batch, 2) if pool else batch))
    return output + residual[0] if residual else output


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("pool", [False, True])
def test_any_norm_is_pytorchs(pool, residual):
    batch = drawn(3, 6, 7, 6)
    inputs = [batch, *[drawn(3, 6, 3, 3) if pool else drawn(3, 6, 7, 6)] * residual]

    def run(layer: nn.BatchNorm2d, batch: Tensor, *added: Tensor) -> Tensor:
        added_BCHW = added[0] if added else None
        return fused.norm_relu(batch, layer, kernels(), pool=pool, residual_BCHW=added_BCHW)

    def truth(layer: nn.Module, batch: Tensor, *added: Tensor) -> Tensor:
        return layers_of_norm(layer, batch, pool, *added)

    for settings, frozen in itertools.product(NORMS, (False, True)):
        assert_same(norm(settings, frozen=frozen), run, truth, inputs)


def blocks() -> Iterator[nn.Module]:
    """Every convolution with the usual norm, and every norm with the usual convolution."""
    pairs = [(each, USUAL_NORM) for each in CONVOLUTIONS]
    pairs += [(USUAL_CONVOLUTION, each) for each in NORMS]
    for (conv_settings, norm_settings), pool in itertools.product(pairs, (False, True)):
        block = ConvBlock(4, 6, pool=pool)
        block.conv, block.norm = convolution(conv_settings), norm(norm_settings)
        yield block


@pytest.mark.faults
@pytest.mark.parametrize("residual", [False, True])
def test_any_block_is_pytorchs(residual):
    def truth(block: ConvBlock, batch: Tensor, *added: Tensor) -> Tensor:
        return layers_of_norm(block.norm, block.conv(batch), block.pools, *added)

    for block in blocks():
        batch = drawn(2, 4, 12, 10)
        shape = nn.Sequential(*block)(batch).shape
        inputs = [batch, *[drawn(*shape)] * residual]
        modes = MODES if is_usual("conv", block.conv) else MODES[:1]
        assert_same(block, lambda block, *each: block(*each), truth, inputs, modes)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_network_of_blocks_with_stride_is_as_its_layers(kernel, stride):
    """A residual stage, as in He et al. (2016), with a shortcut convolution."""
    torch.manual_seed(0)
    stage = nn.ModuleDict(
        {
            "first": ConvBlock(4, 6, kernel=kernel, stride=stride),
            "second": ConvBlock(6, 6),
            "shortcut": ConvBlock(4, 6, kernel=1, stride=stride),
        }
    ).double()

    def run(stage: nn.ModuleDict, batch: Tensor) -> Tensor:
        return stage["second"](stage["first"](batch), residual_BCHW=stage["shortcut"](batch))

    def truth(stage: nn.ModuleDict, batch: Tensor) -> Tensor:
        def by_layers(name: str, x: Tensor) -> Tensor:
            block = stage[name]
            x = F.conv2d(x, block.conv.weight, None, block.conv.stride, block.conv.padding)
            return F.relu(block.norm(x))

        return by_layers("second", by_layers("first", batch)) + by_layers("shortcut", batch)

    assert_same(stage, run, truth, [drawn(3, 4, 11, 8)])


def test_operators_refuse_what_they_have_no_kernel_for():
    low = torch.bfloat16
    for shape in ((16, 16, 5, 5), (16, 16, 1, 1), (16, 8, 3, 3)):
        with pytest.raises(ValueError, match="are not 3 x 3 for the channels of"):
            operators.conv3x3(drawn(16, 16, 4, 4).to(low), drawn(*shape).to(low))
    one, six = torch.ones(1, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
    for weight, bias in ((one, six), (six, one), (six.float(), six)):
        with pytest.raises(ValueError, match="a kernel takes"):
            operators.norm_relu(drawn(2, 6, 4, 4), weight, bias, None, 1e-5, False)
