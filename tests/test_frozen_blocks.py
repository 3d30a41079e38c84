"""Blocks with frozen parameters on the kernels, against PyTorch's own layers."""

import copy
import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from building_kernels import emulated_convolutions
from torch import nn
from torch.nn import functional as F

from onecycle import models
from onecycle.kernels import Kernels, amx, find
from onecycle.models import freezing
from onecycle.models.resnet import ConvBlock

LAST = torch.channels_last

pytestmark = pytest.mark.skipif(
    isinstance(find(torch.float32), str), reason=f"no kernels: {find(torch.float32)}"
)


@pytest.fixture(scope="module", autouse=True)
def convolutions_of_any_cpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """On a CPU without AMX, its convolutions on emulated tiles, if they can be compiled."""
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(amx.find(), str):
            emulated = emulated_convolutions(tmp_path_factory.mktemp("emulated"))
            patch.setattr(amx, "find", lambda: emulated)
        yield


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kernel has run."""
    counted: Counter[str] = Counter()
    for kind, method in ((Kernels, "_call"), (amx.Convolutions, "_run")):
        original = getattr(kind, method)

        def counting(self, name, *rest, original=original):
            counted[name] += 1
            return original(self, name, *rest)

        monkeypatch.setattr(kind, method, counting)
    return counted


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return drawn.contiguous(memory_format=LAST)


def by_layers(model: nn.Module) -> nn.Module:
    """A copy that PyTorch's layers run: a hook on a layer makes its block do so."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda *_: None)
    return model


def drawn_block(pool: bool) -> ConvBlock:
    block = ConvBlock(32, 32, pool=pool).to(memory_format=LAST)
    for seed, vector in enumerate((block.norm.weight, block.norm.bias, block.norm.running_mean)):
        nn.init.uniform_(vector, 0.2, 1.5, generator=torch.Generator().manual_seed(seed))
    return block


def outcome(block: nn.Module, batch, residual, dtype):
    """The output, and the gradients of the batch, the residual and the parameters."""
    inputs = [
        None if x is None else x.detach().clone(memory_format=LAST) for x in (batch, residual)
    ]
    for given, leaf in zip((batch, residual), inputs, strict=True):
        if given is not None:
            leaf.requires_grad_(given.requires_grad)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = block(*inputs)
    if output.requires_grad:
        output.backward(images(*output.shape, seed=9).to(output.dtype))
    leaves = [leaf for leaf in inputs if leaf is not None]
    return output.detach(), [leaf.grad for leaf in (*leaves, *block.parameters())]


COMBINATIONS = list(itertools.product((False, True), repeat=4))
"""Whether the convolution is frozen, the norm, the input needs a gradient, the norm trains."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("pool", "residual"), [(False, False), (True, False), (False, True)])
def test_every_combination_of_frozen_parts_gives_the_layers_values_and_gradients(
    dtype, pool, residual
):
    """In bfloat16 both are rounded differently; their errors to float32 are compared."""
    for conv_frozen, norm_frozen, wants_dx, training in COMBINATIONS:
        for residual_grad in {False, residual}:
            block = drawn_block(pool).train(training)
            block.conv.requires_grad_(not conv_frozen)
            block.norm.requires_grad_(not norm_frozen)
            batch = images(16, 32, 8, 8).to(dtype).requires_grad_(wants_dx)
            added = images(16, 32, 8, 8, seed=1).to(dtype).requires_grad_(residual_grad)
            added = added if residual else None
            layers, exact = by_layers(block), by_layers(block)
            found, gradients = outcome(block, batch, added, dtype)
            expected, wanted = outcome(layers, batch, added, dtype)
            one = (conv_frozen, norm_frozen, wants_dx, training, residual_grad)
            assert [g is None for g in gradients] == [g is None for g in wanted], one
            assert found.dtype == expected.dtype
            pairs = [(found, expected), *zip(gradients, wanted, strict=True)]
            pairs += list(zip(block.buffers(), layers.buffers(), strict=True))
            if dtype == torch.float32:
                for got, right in pairs:
                    torch.testing.assert_close(got, right, rtol=1e-4, atol=1e-4, msg=str(one))
                continue
            as_float = [None if x is None else x.detach().float() for x in (batch, added)]
            for given, same in zip((batch, added), as_float, strict=True):
                if given is not None:
                    same.requires_grad_(given.requires_grad)
            truth, gradients_of_truth = outcome(exact, *as_float, torch.float32)
            truths = [truth, *gradients_of_truth, *exact.buffers()]
            for (got, right), true in zip(pairs, truths, strict=True):
                if true is not None:
                    size = float(true.float().norm()) + 1e-3
                    error, usual = (float((x.float() - true).norm()) for x in (got, right))
                    assert error <= 1.25 * usual + 1e-3 * size, (*one, error / size, usual / size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frozen_body_runs_on_the_kernels_and_nothing_is_computed_backward(dtype, calls):
    model = models.build("custom-resnet", classes=4, width=0.5).to(memory_format=LAST)
    frozen = freezing.freeze(model, "body", 4)
    freezing.train(model, frozen)
    before = copy.deepcopy(model.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model(images(16, 3, 16, 16))
    assert calls["norm_relu"] == 8
    assert calls["moments"] == 0
    calls.clear()
    F.cross_entropy(logits.float(), torch.arange(16) % 4).backward()
    assert not calls
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {"linear.weight", "linear.bias"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_frozen_first_stages_cost_nothing_backward(calls):
    """Gradients stop at the first trained stage, in whose norm only sums are computed for it."""
    model = models.build("custom-resnet", classes=4, width=0.25).to(memory_format=LAST)
    frozen = freezing.freeze(model, "prep,layer1,layer2,layer3.0,layer3.1.first", 4)
    model.get_submodule("layer3.1.second.conv").requires_grad_(False)
    freezing.train(model, frozen)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images(16, 3, 32, 32))
    calls.clear()
    F.cross_entropy(logits.float(), torch.arange(16) % 4).backward()
    assert calls == {"gradient_sums": 1}


@pytest.mark.parametrize("frozen", ["layer1", "prep,layer2", "layer3.1"])
def test_a_step_with_frozen_stages_is_that_of_the_layers_in_float64(frozen):
    model = models.build("custom-resnet", classes=4, width=0.1).double().to(memory_format=LAST)
    with torch.no_grad():
        for _ in range(2):  # so that the statistics are not those of the beginning
            model(images(16, 3, 16, 16).double())
    names = freezing.freeze(model, frozen, 4)
    layers = by_layers(model)
    batch, labels = images(8, 3, 16, 16, seed=3).double(), torch.arange(8) % 4
    losses = []
    for network in (model, layers):
        freezing.train(network, names)
        losses.append(F.cross_entropy(network(batch), labels))
        losses[-1].backward()
    torch.testing.assert_close(*losses)
    for (name, one), two in zip(model.named_parameters(), layers.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None) == (not one.requires_grad), name
        torch.testing.assert_close(one.grad, two.grad, msg=name)
    for (name, one), two in zip(model.named_buffers(), layers.buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=name)
