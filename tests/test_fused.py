"""The compiled kernels and the operations made of them, against PyTorch's own layers."""

import copy
from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torch.fx
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from onecycle import models, runtime
from onecycle.kernels import Kernels, find, operators
from onecycle.models import fused
from onecycle.models.resnet import ConvBlock

LAST = torch.channels_last
DTYPES = (torch.float64, torch.float32, torch.bfloat16)

pytestmark = pytest.mark.skipif(
    isinstance(find(torch.float64), str), reason=f"no kernels: {find(torch.float64)}"
)


def kernels(dtype: torch.dtype) -> Kernels:
    found = find(dtype)
    assert isinstance(found, Kernels)
    return found


def images(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.to(dtype, memory_format=LAST)


def seen_by_hooks(model: nn.Module) -> nn.Module:
    """A copy that runs layer by layer: a hook on a layer makes its block do so."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda *_: None)
    return model


shapes = st.tuples(
    st.integers(1, 5), st.integers(1, 70), st.integers(2, 9), st.integers(2, 9)
).filter(lambda shape: shape[0] * (shape[2] // 2) * (shape[3] // 2) > 1)


# ------------------------------------------------------------------------------------- kernels


@settings(deadline=None, max_examples=60)
@given(shape=shapes, dtype=st.sampled_from(DTYPES), offset=st.sampled_from((0.0, 100.0)))
def test_moments_are_mean_and_variance(shape, dtype, offset):
    x = (images(*shape) + offset).to(dtype).contiguous(memory_format=LAST)
    mean, variance = kernels(dtype).moments(x)
    exact = x.double()
    torch.testing.assert_close(mean, exact.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
    expected = exact.var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(variance, expected, rtol=1e-4, atol=1e-5)


def layers_variance(x: torch.Tensor) -> torch.Tensor:
    """The biased variance that PyTorch's norm computes."""
    running, rows = torch.zeros(x.shape[1]), x.numel() // x.shape[1]
    F.batch_norm(x, torch.zeros(x.shape[1]), running, training=True, momentum=1.0)
    return running.double() * ((rows - 1) / rows)


def with_outlier(x: torch.Tensor, row: int, value: float) -> None:
    x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])[row] = value


HARD = {
    "an outlier in the first row": lambda x: with_outlier(x, 0, 1e4),
    "a small outlier in the first row": lambda x: with_outlier(x, 0, 100),
    "an outlier in the last row": lambda x: with_outlier(x, -1, -1e4),
    "an outlier that begins a block": lambda x: with_outlier(x, 512 * 77, 1e4),
    "an outlier that ends a block": lambda x: with_outlier(x, 512 * 77 - 1, 1e6),
    "an outlier in every block": lambda x: with_outlier(x, slice(None, None, 512), 1e4),
    "an outlier in every eight rows": lambda x: with_outlier(x, slice(3, None, 8), 1e3),
    "a large mean": lambda x: x.add_(1e3),
    "a large mean and an outlier": lambda x: (x.add_(1e3), with_outlier(x, 0, -1e5)),
    "a step in the middle": lambda x: x[32:].add_(1e3),
    "a slow drift": lambda x: x.add_(torch.linspace(-1e3, 1e3, 64)[:, None, None, None]),
    "a tiny spread": lambda x: x.mul_(1e-3).add_(1),
    "nothing hard": lambda x: x,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", HARD)
def test_the_variance_is_as_exact_as_pytorchs(case, dtype):
    """With 65,536 rows, one of which may be far from the others."""
    x = images(64, 4, 32, 32, dtype=torch.float32)
    HARD[case](x)
    x = x.to(dtype)
    exact = x.double().var((0, 2, 3), correction=0)
    found = kernels(dtype).moments(x)[1]
    error, layers = (
        float(((each - exact) / exact).abs().max()) for each in (found, layers_variance(x.float()))
    )
    assert error < 2e-6
    assert error <= max(layers, 2e-7)  # which is three roundings


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 12345.678, -3e4])
def test_a_constant_channel_has_no_variance(value, dtype):
    x = torch.full((70, 3, 31, 31), value, dtype=dtype).contiguous(memory_format=LAST)
    mean, variance = kernels(dtype).moments(x)
    assert torch.equal(variance, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(mean, x[0, :, 0, 0].double())


@settings(deadline=None, max_examples=60)
@given(shape=shapes, dtype=st.sampled_from(DTYPES), values=st.sampled_from(("normal", "ties")))
def test_max_pooling_equals_pytorchs(shape, dtype, values):
    x = images(*shape)
    x = (x if values == "normal" else x.round()).to(dtype).contiguous(memory_format=LAST)
    x = x + 0.0  # no negative zero, which PyTorch takes for equal to zero
    y, places = kernels(dtype).max_pool(x)
    expected, flat = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(y, expected)
    rows, columns = flat // shape[3], flat % shape[3]
    assert torch.equal(places.long(), rows % 2 * 2 + columns % 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nan_is_the_maximum_and_passes_the_relu(dtype, sign):
    """x86 makes negative NaNs of invalid operations; a loss must not hide them."""
    x = images(1, 40, 4, 4, dtype=dtype)
    x[0, :, 1, 2] = torch.copysign(torch.tensor(float("nan"), dtype=dtype), torch.tensor(sign))
    y, _ = kernels(dtype).max_pool(x)
    assert y[0, :, 0, 1].isnan().all()
    assert y.isnan().sum() == 40
    ones = torch.ones(40, dtype=kernels(dtype).real)
    assert kernels(dtype).norm_relu(y, ones, ones)[0, :, 0, 1].isnan().all()


def test_rounding_to_bfloat16_equals_pytorchs():
    """Every bfloat16 sum of two values, including ties."""
    low, high = images(1, 64, 64, 64, dtype=torch.bfloat16), images(1, 64, 64, 64, seed=1)
    high = (high * 50).to(torch.bfloat16).contiguous(memory_format=LAST)
    one, zero = torch.ones(64), torch.zeros(64)
    found = kernels(torch.bfloat16).norm_relu(low, one, zero, high)
    assert torch.equal(found, (low.float().relu() + high.float()).to(torch.bfloat16))


def test_sums_do_not_depend_on_the_number_of_threads():
    x, gradient = images(40, 24, 16, 16, dtype=torch.float32), images(40, 24, 16, 16, seed=1)
    vectors = [torch.rand(24, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    found = {}
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        moments = kernels(torch.float32).moments(x)
        sums = kernels(torch.float32).gradient_sums(gradient.float(), x, *vectors)
        found[threads] = torch.cat([*moments, *sums])
    torch.set_num_threads(before)
    assert torch.equal(found[1], found[2])
    assert torch.equal(found[1], found[3])


# ---------------------------------------------------------------------------------- operations


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("pool", [False, True])
def test_gradients_in_float64(pool, residual):
    """Against differences of the function itself; the second ones, of its gradients."""
    side = 6 if pool else 3
    x = images(2, 3, side, side).requires_grad_()
    added = images(2, 3, 3, 3, seed=1).requires_grad_() if residual else None
    weight, bias = (images(1, 3, 1, 1, seed=s).flatten().requires_grad_() for s in (2, 3))

    def block(x, added, weight, bias):
        return operators.norm_relu(x, weight, bias, added, 1e-5, pool)[0]

    assert torch.autograd.gradcheck(block, (x, added, weight, bias))
    assert torch.autograd.gradgradcheck(block, (x, added, weight, bias))


def test_scattered_tensors_are_refused():
    ones = torch.ones(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="dense"):
        kernels(torch.float64).norm_relu(images(2, 4, 3, 3)[:, :2], ones, ones)


def test_scattered_activations_are_gathered():
    block, batch = ConvBlock(2, 8).double(), images(4, 4, 8, 8)[:, 1:3, ::2, 1:7]
    torch.testing.assert_close(block(batch), seen_by_hooks(block)(batch))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("custom-resnet", (16, 16)),
        ("custom-resnet", (33, 35)),
        ("resnet18", (33, 35)),
        ("wide-resnet-16-4", (17, 15)),
    ],
)
def test_a_step_of_the_network_is_the_layers_step_in_float64(name, size):
    model = models.build(name, classes=10, width=0.125).double().to(memory_format=LAST)
    layers = seen_by_hooks(model)
    batch, labels = images(6, 3, *size), torch.arange(6)
    for network in (model, layers):
        for _ in range(2):
            F.cross_entropy(network(batch), labels).backward()
    for (name, one), two in zip(model.named_parameters(), layers.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=name)
    for (name, one), two in zip(model.named_buffers(), layers.buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(batch), layers.eval()(batch))


@pytest.mark.faults
@pytest.mark.skipif(
    not runtime.has_native_bf16(torch.device("cpu")), reason="bf16 is slow on this CPU"
)
def test_bf16_is_as_exact_as_the_layers():
    model = models.build("custom-resnet", classes=10, width=0.5).to(memory_format=LAST)
    exact = copy.deepcopy(model).double()
    layers = seen_by_hooks(model)
    batch, labels = images(64, 3, 32, 32, dtype=torch.float32), torch.arange(64) % 10
    F.cross_entropy(exact(batch.double()), labels).backward()
    for network in (model, layers):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(batch)
        F.cross_entropy(logits.float(), labels).backward()

    def error(network: nn.Module) -> float:
        pairs = zip(network.parameters(), exact.parameters(), strict=True)
        return sum(float((p.grad - q.grad).norm() / q.grad.norm()) for p, q in pairs)

    assert error(model) < 1.1 * error(layers)


# ------------------------------------------------------------------------------ when they serve


def served(block: ConvBlock, batch: torch.Tensor) -> bool:
    output = block(batch)
    return output.grad_fn is not None and "onecycle_norm_relu" in output.grad_fn.name()


def test_a_block_is_one_operation_in_training():
    block = ConvBlock(3, 8)
    assert served(block, images(2, 3, 8, 8, dtype=torch.float32))


@pytest.mark.parametrize("layer", ["conv", "norm", "relu"])
def test_hooks_on_a_layer_see_it_run(layer):
    block, seen = ConvBlock(3, 8), []
    getattr(block, layer).register_forward_hook(lambda *_: seen.append(layer))
    assert not served(block, images(2, 3, 8, 8, dtype=torch.float32))
    assert seen == [layer]


class Twice(nn.Module):
    """norm and ReLU, then a convolution, under names that no `ConvBlock` has."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.act = nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        self.last = nn.Conv2d(16, 16, 3, 1, 1, bias=False)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return fused.through_conv(self.last, fused.through_norm_relu(self.bn, self.act, batch))


def kinds_of_nodes(output: torch.Tensor) -> set[str]:
    """Names of the operations that an output was computed by."""
    nodes, names = [output.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None:
            names.add(node.name())
            nodes += [before for before, _ in node.next_functions]
    return names


@pytest.mark.parametrize("spoiled", ["nothing", "a hook", "another norm", "another activation"])
def test_parts_of_a_block_under_other_names_are_replaced_only_as_they_are(spoiled):
    torch.manual_seed(0)
    parts = Twice().to(memory_format=LAST)
    if spoiled == "a hook":
        parts.bn.register_forward_hook(lambda *_: None)
    if spoiled == "another norm":
        parts.bn = nn.GroupNorm(4, 16)
    if spoiled == "another activation":
        parts.act = nn.SiLU()
    plain = copy.deepcopy(parts)
    batch = images(20, 16, 5, 7, dtype=torch.float32)
    output = parts(batch)
    expected = plain.last(plain.act(plain.bn(batch)))
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    assert any("norm_relu" in kind for kind in kinds_of_nodes(output)) == (spoiled == "nothing")


def test_parts_of_a_block_are_traced_as_pytorchs_layers():
    traced = torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False), Twice()))
    called = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    assert called == {"0", "1.bn", "1.act", "1.last"}


def test_unusual_norms_are_left_to_pytorch():
    batch = images(2, 3, 8, 8, dtype=torch.float32)
    for settings_ in ({"affine": False}, {"track_running_stats": False}, {"momentum": None}):
        block = ConvBlock(3, 8)
        block.norm = nn.BatchNorm2d(8, **settings_)
        assert not served(block, batch)
    assert not served(ConvBlock(3, 8).half(), batch.half())


def test_gradients_through_fixed_statistics_come_from_the_layers():
    """A heat map needs them."""
    block = ConvBlock(3, 8).eval()
    batch = images(2, 3, 8, 8, dtype=torch.float32).requires_grad_()
    assert not served(block, batch)
    block(batch).sum().backward()
    assert batch.grad is not None


def test_one_value_per_channel_is_refused_as_pytorch_does():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ConvBlock(3, 8, pool=True)(images(1, 3, 2, 2, dtype=torch.float32))


def test_a_deep_copy_and_an_exported_network_still_work():
    model = models.build("custom-resnet", classes=10, width=0.125).eval()
    batch = images(2, 3, 16, 16, dtype=torch.float32)
    exported = torch.export.export(copy.deepcopy(model), (batch,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(batch), model(batch))


def test_a_step_passes_over_the_activations_as_often_as_documented(monkeypatch):
    """Two passes forward and two backward for each of the eight blocks, one more to pool."""
    names = Counter()
    call = Kernels._call
    monkeypatch.setattr(
        Kernels, "_call", lambda self, name, *rest: (names.update([name]), call(self, name, *rest))
    )
    model = models.build("custom-resnet", classes=10, width=0.125).to(memory_format=LAST)
    model(images(8, 3, 32, 32, dtype=torch.float32)).sum().backward()
    assert names == {
        "moments": 8, "norm_relu": 8, "gradient_sums": 8, "max_pool": 3,
        "norm_relu_backward": 5, "pool_norm_relu_backward": 3,
    }  # fmt: skip


def allocations(size: int, work: Callable[[], object]) -> int:
    """How often `work` takes at least `size` bytes of memory, by PyTorch's own account."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    events = profile.profiler.kineto_results.events()
    return sum(event.name() == "[memory]" and event.nbytes() >= size for event in events)


def test_a_block_allocates_only_its_outputs():
    block, batch = ConvBlock(8, 8), images(32, 8, 16, 16, dtype=torch.float32)
    batch = batch.requires_grad_()
    outputs = []
    # The convolution's output and the block's; then their gradients, the input's among them.
    assert allocations(batch.nbytes, lambda: outputs.append(block(batch))) == 2
    gradient = torch.ones_like(outputs[0])
    assert allocations(batch.nbytes, lambda: outputs[0].backward(gradient)) == 2
