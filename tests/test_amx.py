"""The convolutions on AMX, against PyTorch's in float64 of the same bfloat16 values.

Without AMX, the same C code runs on tiles in plain C (`emulated_amx.h`).
"""

from collections.abc import Iterator

import pytest
import torch
from building_kernels import emulated_convolutions
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from onecycle.kernels import amx, operators
from onecycle.models import fused
from onecycle.models.resnet import ConvBlock

LAST = torch.channels_last
BF16 = torch.bfloat16

on_amx = pytest.mark.skipif(isinstance(amx.find(), str), reason=f"no kernels: {amx.find()}")


@pytest.fixture(scope="module", autouse=True)
def found_or_emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if not isinstance(amx.find(), str):
        yield
        return
    emulated = emulated_convolutions(tmp_path_factory.mktemp("emulated"))
    if isinstance(emulated, str):
        pytest.skip(emulated)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amx, "find", lambda: emulated)
        yield


def convolutions() -> amx.Convolutions:
    found = amx.find()
    assert isinstance(found, amx.Convolutions)
    return found


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(BF16, memory_format=LAST)


def exact_gradients(x, weight, gradient):
    """The gradients of the input and the weights, in float64."""
    x, weight = x.double().requires_grad_(), weight.double().requires_grad_()
    return torch.autograd.grad(F.conv2d(x, weight, padding=1), (x, weight), gradient.double())


def shapes(step: int):
    """B C H W K: full and partial groups of images, one block of channels and two."""
    channels = st.integers(1, 160 // step).map(lambda count: count * step)
    return st.tuples(st.integers(1, 70), channels, st.integers(1, 9), st.integers(1, 9), channels)


@settings(deadline=None, max_examples=40)
@given(shape=shapes(16))
@example(shape=(40, 32, 33, 33, 16))  # more pixels than one visit takes
@example(shape=(513, 16, 1, 1, 272))
def test_the_gradient_of_the_weights_is_exact_to_float32(shape):
    batch, inputs, height, width, outputs = shape
    x, gradient = (
        values(batch, inputs, height, width),
        values(batch, outputs, height, width, seed=1),
    )
    found = convolutions().weight_gradient(x, gradient)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=LAST)
    _, expected = exact_gradients(x, values(outputs, inputs, 3, 3), gradient)
    size = batch * height * width  # of each sum; so the largest is some 4 times its root
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5 * size**0.5)


@settings(deadline=None, max_examples=40)
@given(shape=shapes(32), mirrored=st.booleans())
@example(shape=(33, 32, 20, 3, 288), mirrored=False)
def test_a_convolution_is_exact_but_for_one_rounding(shape, mirrored):
    batch, inputs, height, width, outputs = shape
    weight = values(outputs, inputs, 3, 3, seed=2)
    x, gradient = (
        values(batch, inputs, height, width),
        values(batch, outputs, height, width, seed=1),
    )
    if mirrored:
        found = convolutions().convolve(gradient, weight, mirrored=True)
        expected, _ = exact_gradients(x, weight, gradient)
    else:
        found = convolutions().convolve(x, weight)
        expected = F.conv2d(x.double(), weight.double(), padding=1)
    assert found.dtype == BF16
    # Half of the last of 8 bits; sums near zero are off by their terms' float32 roundings.
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=1e-3)


def test_rounding_is_to_the_nearest_even():
    """One product per output, so that the sum is known and only the rounding is tested."""
    x, weight = torch.zeros(32, 32, 1, 1), torch.zeros(32, 32, 3, 3)
    x[:, 0], x[:, 1] = 1 + torch.arange(32.0).view(32, 1, 1) / 128, 1
    weight[:, 0, 1, 1], weight[:, 1, 1, 1] = 1, torch.arange(32.0) / 1024
    x, weight = (each.to(BF16, memory_format=LAST) for each in (x, weight))
    expected = F.conv2d(x.double(), weight.double(), padding=1).to(torch.float32).to(BF16)
    assert torch.equal(convolutions().convolve(x, weight), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_values_reach_every_pixel_that_sees_them(value):
    x, weight = values(20, 32, 4, 4), values(32, 32, 3, 3, seed=1)
    x[3, 5, 0, 0] = value
    for found in (
        convolutions().convolve(x, weight),
        convolutions().convolve(x, weight, mirrored=True),
    ):
        broken = ~found.isfinite()
        assert broken[3, :, :2, :2].all()
        assert broken.sum() == 32 * 4
    gradient = convolutions().weight_gradient(x, values(20, 32, 4, 4, seed=2))
    broken = ~gradient.isfinite()
    # The corner is the centre, or the left or upper neighbour, of pixels of the map.
    assert broken[:, 5, :2, :2].all()
    assert broken.sum() == 32 * 4


def test_results_do_not_depend_on_the_number_of_threads():
    x, weight, gradient = values(300, 64, 8, 8), values(96, 64, 3, 3), values(300, 96, 8, 8, seed=1)
    found, before = [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(
            (convolutions().convolve(x, weight), convolutions().weight_gradient(x, gradient))
        )
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@on_amx
def test_pytorchs_own_use_of_the_tiles_is_not_disturbed():
    """oneDNN keeps its own tile shapes on the same threads from one call to the next."""
    one, two = values(1, 1, 70, 200)[0, 0].contiguous(), values(1, 1, 200, 50)[0, 0].contiguous()
    x, weight = values(20, 64, 16, 16), values(64, 64, 3, 3)
    product, convolved = one @ two, F.conv2d(x, weight, padding=1)
    small = values(40, 32, 4, 4)
    expected = convolutions().weight_gradient(small, small)
    for _ in range(3):
        assert torch.equal(convolutions().weight_gradient(small, small), expected)
        assert torch.equal(one @ two, product)
        assert torch.equal(F.conv2d(x, weight, padding=1), convolved)


# ---------------------------------------------------------------------------- in the network


@pytest.mark.parametrize("side", [4, 8, 12])  # all of it by our kernels; the weights' gradient
@pytest.mark.parametrize("channels", [(32, 64), (16, 48)])
def test_a_blocks_convolution_has_the_gradients_of_a_convolution(side, channels):
    inputs, outputs = channels
    x = values(20, inputs, side, side).requires_grad_()
    weight = values(outputs, inputs, 3, 3, seed=1).float().requires_grad_()
    gradient = values(20, outputs, side, side, seed=2)
    found = operators.conv3x3(x, weight)
    expected = F.conv2d(x.double(), weight.double(), padding=1)
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=1e-3)
    dx, dweight = torch.autograd.grad(found, (x, weight), gradient)
    exact_dx, exact_dweight = exact_gradients(x, weight, gradient)
    torch.testing.assert_close(dx.double(), exact_dx, rtol=2**-8, atol=1e-2)
    assert dweight.dtype == torch.float32
    torch.testing.assert_close(dweight.double(), exact_dweight, rtol=1e-5, atol=1e-3)


def used(block: ConvBlock, batch: torch.Tensor) -> bool:
    with torch.autocast("cpu", BF16):
        kernels = fused.kernels_for(block, batch)
        assert kernels is not None
        convolved = fused.conv3x3(batch, block.conv, kernels)
    return convolved.grad_fn is not None and "onecycle_conv3x3" in convolved.grad_fn.name()


def test_they_are_used_where_they_are_faster():
    assert used(ConvBlock(32, 16), values(16, 32, 8, 8).float())
    assert not used(ConvBlock(32, 16), values(15, 32, 8, 8).float())
    assert not used(ConvBlock(3, 16), values(16, 3, 8, 8).float())
    assert not used(ConvBlock(16, 24), values(16, 16, 8, 8).float())


@on_amx
@pytest.mark.parametrize(
    ("limit", "serve"),
    [("AVX512_CORE_BF16", False), ("avx2", False), ("AVX512_CORE_AMX", True), ("DEFAULT", True)],
)
def test_settings_that_keep_onednn_from_amx_also_apply_to_us(monkeypatch, limit, serve):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert isinstance(amx.find.__wrapped__(), amx.Convolutions) == serve


def test_nothing_is_computed_for_an_input_without_a_gradient(monkeypatch):
    calls = []
    run = amx.Convolutions._run
    monkeypatch.setattr(
        amx.Convolutions, "_run",
        lambda self, name, *rest: (calls.append(name), run(self, name, *rest)),
    )  # fmt: skip
    block, batch = ConvBlock(32, 32), values(16, 32, 4, 4)
    with torch.autocast("cpu", BF16):
        block(batch).float().sum().backward()
    assert calls == ["convolve", "weight_gradient"]
    calls.clear()
    with torch.autocast("cpu", BF16):
        block(batch.requires_grad_()).float().sum().backward()
    assert calls == ["convolve", "convolve", "weight_gradient"]


def test_a_differentiated_gradient_is_pytorchs():
    """The kernels' weights are a bfloat16 copy, which second derivatives pass through."""
    x = values(16, 32, 4, 4).requires_grad_()
    weight = (values(32, 32, 3, 3, seed=1) / 16).float().requires_grad_()
    found = []
    for convolve in (
        lambda: operators.conv3x3(x, weight),
        lambda: F.conv2d(x, weight.to(BF16), padding=1),
    ):
        first = torch.autograd.grad(
            convolve().float().square().sum(), (x, weight), create_graph=True
        )
        second = torch.autograd.grad(
            sum(each.float().square().sum() for each in first), (x, weight)
        )
        found.append((*first, *second))
    for one, two in zip(*found, strict=True):
        one, two = one.detach().float(), two.detach().float()
        assert float((one - two).norm() / two.norm()) < 0.01


def test_a_change_of_low_weights_before_the_backward_pass_is_detected():
    x, weight = values(16, 32, 4, 4), values(32, 32, 3, 3, seed=1).contiguous().requires_grad_()
    output = operators.conv3x3(x, weight)
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.float().sum().backward()


def test_the_operators_pass_pytorchs_own_checks():
    x, low = values(16, 32, 4, 4), values(32, 32, 3, 3, seed=1)
    weight = low.float().requires_grad_()
    library = torch.ops.onecycle
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(library.conv3x3, (x.requires_grad_(), weight, low), test_utils=checks)
    arguments = (torch.ones_like(x), x.detach(), low)
    for wants in ((True, True), (False, True), (True, False)):
        torch.library.opcheck(library.conv3x3_backward, (*arguments, *wants), test_utils=checks)


@pytest.mark.parametrize(
    "arguments",
    [
        (values(2, 32, 4, 4), values(32, 64, 3, 3)),  # channels that don't agree
        (values(2, 48, 4, 4), values(32, 48, 3, 3)),  # and that are no multiples
        (values(2, 32, 4, 4), values(32, 32, 3, 1)),
        (values(2, 32, 4, 4), values(32, 32, 3, 3).float()),
        (values(2, 32, 4, 4).float(), values(32, 32, 3, 3)),
        (values(2, 32, 4, 4).contiguous(), values(32, 32, 3, 3)),
        (values(0, 32, 4, 4), values(32, 32, 3, 3)),
        (values(2, 32, 4, 4)[0], values(32, 32, 3, 3)),
    ],
)
def test_unsuitable_arguments_never_reach_c(arguments):
    with pytest.raises(ValueError, match="kernel|convolution|channels"):
        convolutions().convolve(*arguments)


@pytest.mark.parametrize(
    "gradient",
    [
        values(2, 32, 4, 5), values(3, 32, 4, 4), values(2, 24, 4, 4), values(2, 0, 4, 4),
        values(2, 32, 4, 4).float(), values(2, 32, 4, 4).contiguous(),
    ],
)  # fmt: skip
def test_an_unsuitable_gradient_never_reaches_c(gradient):
    with pytest.raises(ValueError, match="kernel|channels"):
        convolutions().weight_gradient(values(2, 16, 4, 4), gradient)
