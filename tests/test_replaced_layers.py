"""A block whose layers were replaced, changed or watched gives what PyTorch's layers give.

The truth is `nn.Sequential` of copies of the same layers: output, gradients, running statistics,
and what is refused, in training and in evaluation with and without gradients.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from reliability import fault
from torch import Tensor, nn
from torch.nn.modules import module as modules
from torch.nn.utils import parametrizations, prune

from onecycle.kernels import find
from onecycle.models.built import is_as_built
from onecycle.models.resnet import ConvBlock, CustomResNet

pytestmark = pytest.mark.skipif(
    isinstance(find(torch.float32), str), reason=f"no kernels: {find(torch.float32)}"
)

Change = Callable[[ConvBlock], object]


class Shifted(nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1


class Doubled(nn.Conv2d):
    def _conv_forward(self, *arguments: Tensor) -> Tensor:
        return 2 * super()._conv_forward(*arguments)


class OwnNorm(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return -super().forward(input)


def wider(x: Tensor) -> Tensor:
    """Eight channels, made from six."""
    return torch.cat((x, x[:, :2]), 1)


def conv(**settings) -> Change:
    settings = {"kernel_size": 3, "padding": 1, "bias": False} | settings
    return lambda block: setattr(block, "conv", nn.Conv2d(6, 8, **settings))


def layer(name: str, new: Callable[[], nn.Module]) -> Change:
    return lambda block: setattr(block, name, new())


def field(name: str, **values) -> Change:
    return lambda block: vars(getattr(block, name)).update(values)


def order(*names: str) -> Change:
    def change(block: ConvBlock) -> None:
        block._modules = OrderedDict((name, block._modules[name]) for name in names)

    return change


def own(name: str, method: str, function: Callable) -> Change:
    return lambda block: setattr(getattr(block, name), method, function)


CHANGES: dict[str, Change] = {
    "relu: leaky": layer("relu", lambda: nn.LeakyReLU(0.3)),
    "relu: gelu": layer("relu", nn.GELU),
    "relu: relu6": layer("relu", nn.ReLU6),
    "relu: identity": layer("relu", nn.Identity),
    "relu: a subclass": layer("relu", Shifted),
    "relu: its own forward": own("relu", "forward", lambda input: input - 3),
    "relu: its own call": own("relu", "_call_impl", lambda input: input - 3),
    "relu: softmax": layer("relu", nn.Softmax2d),
    "pool: average": layer("pool", lambda: nn.AvgPool2d(2)),
    "pool: of 3": layer("pool", lambda: nn.MaxPool2d(3)),
    "pool: stride 1": layer("pool", lambda: nn.MaxPool2d(2, stride=1)),
    "pool: of 3, stride 2": layer("pool", lambda: nn.MaxPool2d(3, stride=2)),
    "pool: padding": layer("pool", lambda: nn.MaxPool2d(2, padding=1)),
    "pool: dilation": layer("pool", lambda: nn.MaxPool2d(2, dilation=2)),
    "pool: ceil": layer("pool", lambda: nn.MaxPool2d(2, ceil_mode=True)),
    "pool: ceil, as a field": field("pool", ceil_mode=True),
    "pool: stride, as a field": field("pool", stride=(2, 1)),
    "pool: with indices": layer("pool", lambda: nn.MaxPool2d(2, return_indices=True)),
    "pool: adaptive": layer("pool", lambda: nn.AdaptiveMaxPool2d(2)),
    "pool: gone": lambda block: delattr(block, "pool"),
    "pool: None": lambda block: setattr(block, "pool", None),
    "conv: dilation": conv(dilation=2, padding=2),
    "conv: dilation, as a field": field("conv", dilation=(2, 2)),
    "conv: reflect": conv(padding_mode="reflect"),
    "conv: circular": conv(padding_mode="circular"),
    "conv: stride 2": conv(stride=2),
    "conv: stride 2, as a field": field("conv", stride=(2, 2)),
    "conv: stride 2 one way": field("conv", stride=(1, 2)),
    "conv: stride as a number": field("conv", stride=2),
    "conv: no padding": conv(padding=0),
    "conv: no padding, as a field": field("conv", padding=(0, 0)),
    "conv: padding same": conv(padding="same"),
    "conv: of 5": conv(kernel_size=5, padding=2),
    "conv: of 1": conv(kernel_size=1, padding=0),
    "conv: of 3 x 1": conv(kernel_size=(3, 1), padding=(1, 0)),
    "conv: bias": conv(bias=True),
    "conv: groups": conv(groups=2),
    "conv: other channels": layer("conv", lambda: nn.Conv2d(6, 9, 3, padding=1, bias=False)),
    "conv: other channels in": layer("conv", lambda: nn.Conv2d(5, 8, 3, padding=1, bias=False)),
    "conv: transposed": layer("conv", lambda: nn.ConvTranspose2d(6, 8, 3, padding=1, bias=False)),
    "conv: a subclass": layer("conv", lambda: Doubled(6, 8, 3, padding=1, bias=False)),
    "conv: its own _conv_forward": own("conv", "_conv_forward", lambda x, *_: wider(x)),
    "conv: weight norm": lambda block: parametrizations.weight_norm(block.conv),
    "conv: pruned": torch.no_grad()(
        lambda block: prune.l1_unstructured(block.conv, "weight", 0.5)
    ),
    "conv: in float64": lambda block: block.conv.double(),
    "conv: two in a row": layer("conv", lambda: nn.Sequential(nn.Conv2d(6, 8, 3, padding=1))),
    "norm: instance": layer("norm", lambda: nn.InstanceNorm2d(8, affine=True)),
    "norm: instance, running": layer(
        "norm", lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
    ),
    "norm: group": layer("norm", lambda: nn.GroupNorm(2, 8)),
    "norm: identity": layer("norm", nn.Identity),
    "norm: of processes": layer("norm", lambda: nn.SyncBatchNorm(8)),
    "norm: a subclass": layer("norm", lambda: OwnNorm(8)),
    "norm: not affine": layer("norm", lambda: nn.BatchNorm2d(8, affine=False)),
    "norm: no statistics": layer("norm", lambda: nn.BatchNorm2d(8, track_running_stats=False)),
    "norm: cumulative": layer("norm", lambda: nn.BatchNorm2d(8, momentum=None)),
    "norm: eps 0": layer("norm", lambda: nn.BatchNorm2d(8, eps=0.0)),
    "norm: no weight": lambda block: setattr(block.norm, "weight", None),
    "norm: no running mean": lambda block: setattr(block.norm, "running_mean", None),
    "norm: does not track": field("norm", track_running_stats=False),
    "norm: other channels": layer("norm", lambda: nn.BatchNorm2d(7)),
    "norm: in float64": lambda block: block.norm.double(),
    "appended": lambda block: block.append(nn.Tanh()),
    "appended dropout": lambda block: block.add_module("dropout", nn.Dropout(1.0)),
    "inserted": lambda block: (
        block.add_module("tanh", nn.Tanh()), order("conv", "pool", "tanh", "norm", "relu")(block)
    ),
    "norm after relu": order("conv", "pool", "relu", "norm"),
    "pool last": order("conv", "norm", "relu", "pool"),
    "relu gone": order("conv", "pool", "norm"),
    "norm gone": order("conv", "pool", "relu"),
}  # fmt: skip

STILL_AS_BUILT = {"pool: gone", "conv: other channels", "conv: other channels in",
                  "norm: other channels", "conv: in float64", "norm: in float64"}  # fmt: skip
"""The layers belong to a block; whether they fit each other and the batch shows later."""


def run(network: Callable[[Tensor], Tensor], batch: Tensor, *, training: bool, gradients: bool):
    """Output, gradients of the batch and of all parameters, and buffers; or the error raised."""
    network.train(training)
    batch = batch.clone().requires_grad_(gradients)
    try:
        with torch.set_grad_enabled(gradients):
            output = network(batch)
            if gradients:
                (output * torch.linspace(-1, 2, output.numel()).view(output.shape)).sum().backward()
    except Exception as error:
        return type(error), str(error)
    found = {"output": output, "batch": batch.grad}
    found |= {name: each.grad for name, each in network.named_parameters()}
    return found | {f"{name}, moved": each.clone() for name, each in network.named_buffers()}


def assert_same(block: ConvBlock, batch: Tensor) -> None:
    layers = nn.Sequential(OrderedDict(copy.deepcopy(dict(block._modules))))
    for training, gradients in ((True, True), (False, True), (False, False), (True, False)):
        found, expected = (
            run(network, batch, training=training, gradients=gradients)
            for network in (block, layers)
        )
        if isinstance(expected, tuple):
            assert found == expected
            continue
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if value is None:
                assert found[name] is None, name
            else:
                assert found[name].dtype == value.dtype
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=name)


@pytest.fixture
def batch() -> Tensor:
    drawn = torch.randn(4, 6, 9, 8, generator=torch.Generator().manual_seed(0))
    return drawn.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("pool", [False, True])
def test_an_unchanged_block(batch, pool):
    block = ConvBlock(6, 8, pool=pool)
    assert is_as_built(block)
    assert_same(block, batch)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_block_gives_its_layers_result(batch, change):
    torch.manual_seed(0)
    block = ConvBlock(6, 8, pool=True)
    CHANGES[change](block)
    assert is_as_built(block) == (change in STILL_AS_BUILT)
    assert_same(block, batch)


def test_conv_and_norm_fused_for_evaluation():
    """As networks are often prepared for use."""
    block, batch = ConvBlock(6, 8).eval(), torch.randn(2, 6, 8, 8)
    with torch.no_grad():
        expected = block(batch)
        block.conv = nn.utils.fuse_conv_bn_eval(block.conv, block.norm)
        block.norm = nn.Identity()
        torch.testing.assert_close(block(batch), expected, rtol=1e-4, atol=1e-4)


@contextmanager
def patched(kind: type[nn.Module], method: str, function: Callable) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, method, function)
        yield


@pytest.mark.parametrize(
    "patch",
    [
        lambda: patched(nn.ReLU, "forward", lambda self, input: input + 1),
        lambda: patched(nn.Conv2d, "_conv_forward", lambda self, x, *_: wider(x)),
        lambda: patched(nn.MaxPool2d, "forward", lambda self, input: input),
        lambda: patched(nn.BatchNorm2d, "forward", lambda self, input: -input),
    ],
)  # fmt: skip
def test_a_method_that_is_replaced_for_all_layers_counts(batch, patch):
    block = ConvBlock(6, 8, pool=True)
    with patch():
        assert not is_as_built(block)
        assert_same(block, batch)


HOOKS = {
    "register_forward_hook": lambda seen: lambda *_: seen.append("seen"),
    "register_forward_pre_hook": lambda seen: lambda *_: seen.append("seen"),
    "register_full_backward_hook": lambda seen: lambda *_: seen.append("seen"),
    "register_full_backward_pre_hook": lambda seen: lambda *_: seen.append("seen"),
}


@pytest.mark.parametrize("name", ["conv", "pool", "norm", "relu"])
@pytest.mark.parametrize("kind", HOOKS)
def test_a_hook_on_a_layer_sees_it_run(batch, kind, name):
    block, seen = ConvBlock(6, 8, pool=True), []
    block.relu.inplace = False  # which a backward hook can't have
    getattr(getattr(block, name), kind)(HOOKS[kind](seen))
    block(batch.requires_grad_()).sum().backward()
    assert seen == ["seen"]


def test_an_always_called_hook_sees_a_layer_that_fails(batch):
    block, seen = ConvBlock(6, 8), []
    block.norm.register_forward_hook(lambda *_: seen.append("seen"), always_call=True)
    with pytest.raises(ValueError, match="more than 1 value"):
        block(batch[:1, :, :1, :1])
    assert seen == ["seen"]


@pytest.mark.parametrize("kind", [
    modules.register_module_forward_hook, modules.register_module_forward_pre_hook,
    modules.register_module_full_backward_hook, modules.register_module_full_backward_pre_hook,
])  # fmt: skip
def test_a_hook_on_all_modules_sees_every_layer(batch, kind):
    block, seen = ConvBlock(6, 8), []
    block.relu.inplace = False
    hook = kind(lambda module, *_: seen.append(type(module)))
    try:
        block(batch.requires_grad_()).sum().backward()
    finally:
        hook.remove()
    assert {nn.Conv2d, nn.BatchNorm2d, nn.ReLU} <= set(seen)


@fault("a layer of a block is replaced or changed, or a hook wants to see it")
def test_a_heat_map_shows_the_network_that_was_evaluated():
    """An evaluation gives the same with and without gradients, for any layers of a block."""
    torch.manual_seed(0)
    model = CustomResNet(classes=10, width=0.1)
    model.prep.relu = nn.LeakyReLU(0.5)
    model.layer2.pool = nn.AvgPool2d(2)
    model.layer1[1].first.append(nn.Tanh())
    batch = torch.randn(4, 3, 32, 32)
    for context in (torch.enable_grad, torch.no_grad):
        with context():
            outputs = model.eval()(batch)
            expected = layer_by_layer(model)(batch)
        torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)


def layer_by_layer(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for each in model.modules():
        each.register_forward_hook(lambda *_: None)
    return model


RESIDUALS = {
    "one value a channel": lambda shape: torch.randn(1, shape[1], 1, 1),
    "of one image": lambda shape: torch.randn(1, *shape[1:]),
    "a number": lambda _: torch.tensor(3.0),
    "of fewer dimensions": lambda shape: torch.randn(shape[2:]),
    "of more dimensions": lambda shape: torch.randn(2, *shape),
    "larger": lambda shape: torch.randn(shape[0], shape[1], 2 * shape[2], shape[3]),
    "smaller": lambda shape: torch.randn(shape[0], shape[1], shape[2] - 1, shape[3]),
    "float64": lambda shape: torch.randn(shape, dtype=torch.float64),
    "whole numbers": lambda shape: torch.arange(torch.Size(shape).numel()).view(shape),
    "bfloat16": lambda shape: torch.randn(shape).bfloat16(),
    "scattered": lambda shape: torch.randn(*shape[:3], 2 * shape[3])[..., ::2],
    "repeated": lambda shape: torch.randn(1, shape[1], 1, 1).expand(shape),
    "at an odd address": lambda shape: at_an_odd_address(shape),
    "as built": torch.randn,
}


def at_an_odd_address(shape: tuple[int, ...]) -> Tensor:
    count = torch.Size(shape).numel()
    flat = torch.frombuffer(bytearray(4 * count + 8), dtype=torch.float32, count=count, offset=1)
    batch, channels, height, width = shape
    return flat.copy_(torch.randn(count)).view(batch, height, width, channels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", RESIDUALS)
def test_a_residual_of_any_shape_is_added_as_in_pytorch(kind, training, pool):
    block, batch = ConvBlock(6, 8, pool=pool).train(training), torch.randn(4, 6, 8, 8)
    layers = nn.Sequential(*copy.deepcopy(list(block)))
    context: AbstractContextManager = nullcontext() if training else torch.no_grad()
    with context:
        output = layers(batch)
        residual = RESIDUALS[kind](tuple(output.shape))
        try:
            expected = residual + output
        except RuntimeError:
            with pytest.raises(RuntimeError):
                block(batch, residual)
            return
        found = block(batch, residual)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
