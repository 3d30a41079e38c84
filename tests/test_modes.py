"""What PyTorch does besides computing sees the network's layers: modes, transforms, tracing.

And tensors that are not values in memory on the CPU never reach C.
"""

import copy

import pytest
import torch
from reliability import fault
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, grad, jacfwd, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from onecycle.kernels import Kernels, find, operators
from onecycle.models.resnet import ConvBlock, CustomResNet

pytestmark = [
    pytest.mark.skipif(
        isinstance(find(torch.float32), str), reason=f"no kernels: {find(torch.float32)}"
    ),
    # PyTorch's own forward mode uses what PyTorch deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]
LAST = torch.channels_last


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def entered(monkeypatch) -> list[str]:
    """The list of C functions called so far."""
    names, call = [], Kernels._call
    monkeypatch.setattr(
        Kernels, "_call", lambda self, name, *rest: (names.append(name), call(self, name, *rest))
    )
    return names


def network() -> CustomResNet:
    return CustomResNet(classes=10, width=0.05)


def batch() -> Tensor:
    return torch.randn(4, 3, 16, 16)


def layers_of(model: nn.Module) -> nn.Module:
    """A copy that runs layer by layer: a hook on a layer makes its block do so."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda *_: None)
    return model


# --------------------------------------------------------------------------------------- modes


@pytest.mark.parametrize("training", [True, False])
def test_fake_tensors_flow_through(training, entered):
    network()(batch())  # the kernels are there
    entered.clear()
    with FakeTensorMode(), torch.set_grad_enabled(training):
        output = network().train(training)(batch())
    assert output.shape == (4, 10)
    assert not entered


def test_tensors_on_the_meta_device_flow_through():
    assert network().to("meta")(batch().to("meta")).shape == (4, 10)


class Seen(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


class Called(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [Seen, Called])
def test_a_mode_sees_every_layer(mode, entered):
    with mode() as seen:
        ConvBlock(3, 8)(batch())
    for layer in ("conv", "batch_norm", "relu"):
        assert any(layer in name for name in seen.names)
    assert not entered


def test_a_mode_entered_later_sees_the_backward_pass(entered):
    block, x = ConvBlock(3, 8, pool=True), batch().requires_grad_()
    output = block(x)
    [expected] = torch.autograd.grad(output.square().sum(), x, retain_graph=True)
    entered.clear()
    with Seen() as seen:
        [found] = torch.autograd.grad(output.square().sum(), x)
    assert_close(found, expected)
    assert any("convolution_backward" in name for name in seen.names)
    assert not entered


def test_operations_are_counted_as_for_the_layers():
    counts = []
    model = network()
    for each in (model, layers_of(model)):
        with FlopCounterMode(display=False) as counter:
            each(batch()).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_a_default_device_is_not_a_mode_that_matters(entered):
    with torch.device("meta"):
        block = ConvBlock(3, 8, pool=True)
    block = block.to_empty(device="cpu").train()
    for each in block.modules():
        if hasattr(each, "reset_parameters"):
            each.reset_parameters()
    x = batch()
    with torch.device("meta"):
        block(x).sum().backward()
    assert entered


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_default_type_changes_nothing(dtype):
    block, x = ConvBlock(3, 8), batch()
    expected = block(x)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = block(x)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, expected)


# ------------------------------------------------------------------------------------- tracing


@pytest.mark.parametrize("tracing", ["real", "symbolic"])
def test_make_fx_traces_the_layers(tracing):
    model, x = network().eval(), batch()
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())

    def work(tensors, x):
        return functional_call(model, tensors, (x,))

    with torch.no_grad():
        traced = make_fx(work, tracing_mode=tracing)(tensors, x)
        assert "onecycle" not in traced.code
        other = batch()
        assert_close(traced(tensors, other), model(other), rtol=1e-4, atol=1e-4)


def test_fx_traces_the_layers():
    model, x = network().eval(), batch()
    traced = torch.fx.symbolic_trace(model)
    assert "prep.relu" in {str(node.target) for node in traced.graph.nodes}
    with torch.no_grad():
        assert_close(traced(x), model(x), rtol=1e-4, atol=1e-4)


def test_jit_traces_the_layers():
    model, x, other = network().eval(), batch(), batch()
    with torch.no_grad():
        traced = torch.jit.trace(model, x)
        assert "aten::batch_norm" in str(traced.inlined_graph)
        assert_close(traced(other), model(other), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strict", [True, False])
def test_an_export_contains_only_the_layers(strict):
    """So that other programs, which don't have our kernels, can read it."""
    model, x = network().eval(), batch()
    exported = torch.export.export(model, (x,), strict=strict)
    assert not any("onecycle" in str(node.target) for node in exported.graph.nodes)
    with torch.no_grad():
        assert_close(exported.module()(x), model(x), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------- transforms


def assert_as_the_layers(work, *, training: bool = False) -> None:
    """Check that `work` gives the same on a network and on its layers."""
    model, x = network().double().train(training), batch().double()
    with torch.no_grad():  # statistics that are not 0 and 1, a norm that is not the identity
        for each in model.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.running_mean.uniform_(-0.2, 0.2)
                each.running_var.uniform_(0.5, 2)
                each.weight.uniform_(0.5, 2)
    expected = work(layers_of(model), x)
    assert_close(work(model, x), expected)


@pytest.mark.parametrize("training", [True, False])
def test_forward_mode_keeps_the_tangent(training):
    def work(model, x):
        with torch.no_grad(), forward_ad.dual_level():
            output = model(forward_ad.make_dual(x, torch.ones_like(x)))
            return tuple(forward_ad.unpack_dual(output))

    assert_as_the_layers(work, training=training)


def test_forward_mode_of_the_weights():
    def work(model, x):
        weight = model.prep.norm.weight.detach()
        with torch.no_grad(), forward_ad.dual_level():
            dual = forward_ad.make_dual(weight, torch.ones_like(weight))
            output = functional_call(model, {"prep.norm.weight": dual}, (x,))
            return forward_ad.unpack_dual(output).tangent

    assert_as_the_layers(work)


def test_jvp():
    assert_as_the_layers(lambda model, x: jvp(model, (x,), (torch.ones_like(x),)))


def test_vmap():
    assert_as_the_layers(lambda model, x: vmap(model)(torch.stack((x, 2 * x))))


def test_an_ensemble_by_vmap():
    """Stacked weights, one batch."""

    def work(model, x):
        names = dict(model.named_parameters())
        stacked = {name: torch.stack((each, 2 * each)).detach() for name, each in names.items()}
        return vmap(lambda weights: functional_call(model, weights, (x,)))(stacked)

    assert_as_the_layers(work)


def test_gradients_of_each_image():
    def work(model, x):
        weights = {name: each.detach() for name, each in model.named_parameters()}

        def loss(weights, image):
            return functional_call(model, weights, (image[None],)).square().sum()

        return vmap(grad(loss), (None, 0))(weights, x)

    assert_as_the_layers(work)


def test_the_transform_grad():
    assert_as_the_layers(lambda model, x: grad(lambda x: model(x).square().sum())(x))


def test_jacobian_by_forward_mode():
    def work(model, x):
        return jacfwd(lambda shift: model(x + shift))(torch.zeros(1, dtype=x.dtype))

    assert_as_the_layers(work)


# ---------------------------------------------------------------------------- second derivatives


@fault("a mode, a transform, tracing or a second derivative meets the compiled kernels")
def test_a_gradient_penalty():
    """The gradient of the gradient's norm, in training."""

    def work(model, x):
        x = x.clone().requires_grad_()
        [first] = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        weights = list(model.parameters())
        return first, torch.autograd.grad(first.square().sum(), (x, *weights), allow_unused=True)

    assert_as_the_layers(work, training=True)


def test_third_derivatives():
    def work(block, x):
        x = x.clone().requires_grad_()
        found = block(x).pow(3).sum()
        for _ in range(3):
            [each] = torch.autograd.grad(found, x, create_graph=True)
            found = each.pow(2).sum()
        return each.detach()

    def plain(x):
        """Of single operations: PyTorch's norm has two derivatives only."""
        x = F.max_pool2d(F.conv2d(x, block.conv.weight, padding=1), 2)
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        return ((x - mean) / (variance + block.norm.eps).sqrt()).relu()

    block, x = ConvBlock(2, 3, pool=True).double(), torch.randn(2, 2, 4, 4).double()
    assert_close(work(block, x), work(plain, x))


def test_many_gradients_at_once():
    """A batch of gradients by `is_grads_batched`, through a graph that the kernels made."""

    def work(model, x):
        output = model(x.clone().requires_grad_())
        weights = (model.prep.conv.weight, model.layer1[0].norm.weight)
        several = torch.eye(10, dtype=x.dtype)[:3, None].expand(3, len(x), 10)
        return torch.autograd.grad(output, weights, several, is_grads_batched=True)

    assert_as_the_layers(work, training=True)


def test_a_hessian():
    def work(block, x):
        return torch.autograd.functional.hessian(lambda x: block(x).pow(2).sum(), x)

    block, x = ConvBlock(2, 3).double(), torch.randn(2, 2, 3, 3).double()
    assert_close(work(block, x), work(layers_of(block), x))


def test_a_graph_can_be_used_twice():
    block, x = ConvBlock(3, 8, pool=True), batch().requires_grad_()
    output = block(x).sum()
    [first] = torch.autograd.grad(output, x, retain_graph=True)
    [second] = torch.autograd.grad(output, x)
    assert torch.equal(first, second)


# ------------------------------------------------------------------------- what is kept between


@pytest.mark.parametrize("name", ["norm.weight", "conv.weight"])
@pytest.mark.parametrize("pool", [False, True])
def test_a_weight_changed_before_the_backward_pass_is_detected(name, pool):
    block = ConvBlock(3, 8, pool=pool)
    output = block(batch().requires_grad_())
    with torch.no_grad():
        block.get_parameter(name).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_an_input_changed_before_the_backward_pass_is_detected():
    block, x = ConvBlock(3, 8), batch().contiguous(memory_format=LAST)
    output = block(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_a_bias_may_be_changed_as_with_the_layers():
    """PyTorch's layers don't need it again, and neither do the kernels."""
    block, x = ConvBlock(3, 8), batch()
    gradients = []
    for each in (block, layers_of(block)):
        output = each(x)
        with torch.no_grad():
            each.norm.bias.add_(1)
        output.square().sum().backward()
        gradients.append([parameter.grad for parameter in each.parameters()])
    assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pool", [False, True])
def test_kept_tensors_may_come_back_in_another_order(pool):
    """As from a disk or from another device."""
    block, x = ConvBlock(3, 8, pool=pool), batch().requires_grad_()
    [expected] = torch.autograd.grad(block(x).square().sum(), x)
    with saved_tensors_hooks(lambda kept: kept.contiguous().clone(), lambda kept: kept):
        output = block(x)
    [found] = torch.autograd.grad(output.square().sum(), x)
    assert_close(found, expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_blocks(reentrant):
    block, x = ConvBlock(3, 8, pool=True), batch().requires_grad_()
    [expected] = torch.autograd.grad(block(x).square().sum(), x)
    checkpoint(block, x, use_reentrant=reentrant).square().sum().backward()
    assert_close(x.grad, expected)


# ------------------------------------------------------------------------------- odd tensors


class Tagged(Tensor):
    """A subclass without any changes."""


ODD = {
    "a subclass": lambda x: x.as_subclass(Tagged),
    "a lazy sign": lambda x: torch.complex(torch.zeros_like(x), -x).conj().imag,
    "every second value": lambda x: torch.stack((x, x), -1)[..., 0],
    "one image many times": lambda x: x[:1].expand(4, -1, -1, -1),
    "backwards in memory": lambda x: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
    "a parameter": nn.Parameter,
    "one image": lambda x: x[:1],
    "no image": lambda x: x[:0],
    "one pixel": lambda x: x[..., :1, :1],
    "no pixel": lambda x: x[..., :0],
    "no batch": lambda x: x[0],
    "another number of channels": lambda x: x[:, :2],
    "float64": lambda x: x.double(),
    "bfloat16": lambda x: x.bfloat16(),
    "float16": lambda x: x.half(),
    "whole numbers": lambda x: x.to(torch.int64),
    "sparse": lambda x: x.to_sparse(),
    "mkldnn": lambda x: x.to_mkldnn(),
    "on meta": lambda x: x.to("meta"),
}


def attempt(network: nn.Module, x: Tensor, low: bool):
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            return network(x)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("low", [False, True], ids=["fp32", "autocast"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("kind", ODD)
def test_odd_tensors_give_the_layers_results(kind, pool, training, low):
    block = ConvBlock(3, 8, pool=pool).train(training)
    layers = layers_of(block)
    with torch.set_grad_enabled(training):
        x = ODD[kind](torch.randn(4, 3, 8, 8))
        found, expected = attempt(block, x, low), attempt(layers, x, low)
    if isinstance(expected, type):
        assert found == expected
        return
    assert (type(found), found.dtype, found.shape) == (
        type(expected),
        expected.dtype,
        expected.shape,
    )
    if found.device.type == "cpu":
        found, expected = found.to_dense(), expected.to_dense()
        near = {"rtol": 0.05, "atol": 0.05} if low else {"rtol": 1e-4, "atol": 1e-4}
        assert_close(found, expected, equal_nan=True, **near)
    for (name, one), two in zip(block.named_buffers(), layers.buffers(), strict=True):
        assert_close(one, two, equal_nan=True, rtol=0.01, atol=0.01, msg=name)


def test_inference_mode():
    model, x = network().eval(), batch()
    with torch.inference_mode():
        found = model(x)
    assert_close(found, layers_of(model)(x), rtol=1e-4, atol=1e-4)


# ----------------------------------------------------------------- the operators by themselves


def operator_arguments(pool: bool) -> tuple:
    x = torch.randn(2, 3, 5, 6).contiguous(memory_format=LAST).requires_grad_()
    size = (2, 3) if pool else (5, 6)
    residual = torch.randn(2, 3, *size).contiguous(memory_format=LAST).requires_grad_()
    return x, torch.rand(3).requires_grad_(), torch.rand(3).requires_grad_(), residual, 1e-5, pool


def test_the_operators_pass_pytorchs_own_checks():
    """Their schemas, fake results and gradients, by PyTorch's own check."""
    pool = True
    library = torch.ops.onecycle
    x, weight, bias, residual, eps, _ = operator_arguments(pool)
    torch.library.opcheck(library.norm_relu, (x, weight, bias, residual, eps, pool))
    mean, variance = torch.zeros(3), torch.ones(3)
    detached = (x.detach(), weight.detach(), bias.detach(), mean, variance, residual.detach())
    torch.library.opcheck(library.norm_relu_fixed, (*detached, eps, pool))
    _, pooled, places, moments, factors = library.norm_relu(
        x.detach(), weight.detach(), bias.detach(), None, eps, pool
    )
    kept = (pooled, places) if pool else (x.detach(), None)
    arguments = (torch.randn_like(kept[0]), *kept, moments, factors, eps, (5, 6))
    for wants_dx in (True, False):
        torch.library.opcheck(library.norm_relu_backward, (*arguments, wants_dx))


def test_fake_tensors_pass_through_an_operator_without_values():
    with FakeTensorMode():
        x = torch.empty(2, 3, 4, 4).contiguous(memory_format=LAST)
        y, moments = operators.norm_relu(x, torch.ones(3), torch.ones(3), None, 1e-5, True)
    assert y.shape == (2, 3, 2, 2)
    assert moments.dtype == torch.float64


def test_an_operator_has_no_forward_gradient_and_says_so():
    x, weight, bias, _, eps, pool = operator_arguments(False)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.detach(), torch.ones_like(x))
        with pytest.raises(NotImplementedError, match="forward"):
            operators.norm_relu(dual, weight, bias, None, eps, pool)


# ------------------------------------------------------------------------- what C is given


GOOD = {"x": (2, 4, 6, 6), "other": (2, 4, 6, 6), "vector": (4,)}


def like(kind: str, *, dtype: torch.dtype = torch.float32, shape=None) -> Tensor:
    drawn = torch.randn(shape or GOOD[kind]).to(dtype)
    return drawn.contiguous(memory_format=LAST) if drawn.ndim == 4 else drawn


BAD = {
    "shape": lambda kind: like(kind, shape=tuple(side + 1 for side in GOOD[kind])),
    "smaller": lambda kind: like(kind, shape=tuple(max(1, side - 2) for side in GOOD[kind])),
    "dimensions": lambda kind: like(kind)[None],
    "type": lambda kind: like(kind, dtype=torch.float64),
    "short type": lambda kind: like(kind, dtype=torch.bfloat16),
    "order": lambda kind: torch.stack((like(kind), like(kind)), -1)[..., 0],
    "no memory": lambda kind: like(kind).to("meta"),
    "a subclass": lambda kind: like(kind).as_subclass(Tagged),
}


def calls():
    """Each function with its arguments, divided into activations and vectors."""
    serve = find(torch.float32)
    assert isinstance(serve, Kernels)
    x, other, vector = "x", "other", "vector"
    return {
        "moments": (serve.moments, (x,)),
        "norm_relu": (serve.norm_relu, (x, vector, vector, other)),
        "gradient_sums": (serve.gradient_sums, (other, x, vector, vector, vector)),
        "norm_relu_backward": (serve.norm_relu_backward, (other, x, *[vector] * 4)),
        "max_pool": (serve.max_pool, (x,)),
    }


# A single argument of another shape is not wrong by itself.
ALONE = {"moments": {"shape", "smaller"}, "max_pool": {"shape", "smaller"}}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    "name", ["moments", "norm_relu", "gradient_sums", "norm_relu_backward", "max_pool"]
)
def test_unsuitable_tensors_never_reach_c(name, bad):
    function, kinds = calls()[name]
    function(*map(like, kinds))
    if bad in ALONE.get(name, ()):
        return
    for place, kind in enumerate(kinds):
        arguments = [like(each) for each in kinds]
        arguments[place] = BAD[bad](kind)
        if kind == "vector" and bad == "order":
            assert not arguments[place].is_contiguous()
        with pytest.raises(ValueError, match="kernel"):
            function(*arguments)


@pytest.mark.parametrize("wrong", ["gradient", "places", "type of places", "size"])
def test_tensors_unsuitable_for_the_pooled_size_never_reach_c(wrong):
    serve = find(torch.float32)
    assert isinstance(serve, Kernels)
    x, places = serve.max_pool(like("x"))
    gradient, size, vectors = torch.ones_like(x), (6, 6), [like("vector") for _ in range(4)]
    serve.pool_norm_relu_backward(gradient, x, places, (7, 6), *vectors)
    if wrong == "gradient":
        gradient = like("x")
    elif wrong == "places":
        places = places[:1]
    elif wrong == "type of places":
        places = places.to(torch.int32)
    else:
        size = (8, 6)
    with pytest.raises(ValueError, match="kernel|pooled"):
        serve.pool_norm_relu_backward(gradient, x, places, size, *vectors)
