"""The network against the brief's table, and its summary against brute force."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from onecycle import models, training
from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.models.summary import summarize


def test_parameters_and_stages_are_those_of_the_brief():
    model = models.build("custom-resnet", classes=10)
    assert sum(p.numel() for p in model.parameters()) == 6_573_130
    shapes = {
        name: tuple(output.shape[1:])
        for name, output in model.forward_features(torch.randn(2, 3, 32, 32)).items()
    }
    assert shapes == {
        "prep": (64, 32, 32),
        "layer1": (128, 16, 16),
        "layer2": (256, 8, 8),
        "layer3": (512, 4, 4),
        "pool": (512,),
    }


def test_layers_come_in_the_briefs_order():
    kinds = [layer.kind for layer in summarize(models.build("custom-resnet", classes=10)).layers]
    plain, pooled = (
        ["Conv2d", "BatchNorm2d", "ReLU"],
        ["Conv2d", "MaxPool2d", "BatchNorm2d", "ReLU"],
    )
    expected = plain + (pooled + 2 * plain) + pooled + (pooled + 2 * plain)
    assert kinds == [*expected, "AdaptiveMaxPool2d", "Dropout", "Linear"]


def test_receptive_fields_are_those_of_the_brief():
    layers = summarize(models.build("custom-resnet", classes=10)).layers
    field = {layer.name: layer.receptive_field for layer in layers}
    assert field["prep.relu"] == 3
    assert (field["layer1.0.relu"], field["layer1.1.second.relu"]) == (6, 14)
    assert field["layer2.relu"] == 20
    assert (field["layer3.0.relu"], field["layer3.1.second.relu"]) == (32, 64)
    assert field["linear"] == 88


def test_the_receptive_field_is_where_the_gradient_reaches():
    """Brute force: the input pixels that move one output value in the middle."""
    model = models.build("custom-resnet", classes=10, width=0.05).eval()
    for stage, field in (("prep", 3), ("layer1", 14), ("layer2", 20), ("layer3", 64)):
        images = torch.rand(1, 3, 128, 128, requires_grad=True)
        output = model.forward_features(images)[stage]
        middle = output.shape[2] // 2
        seen = torch.zeros(128, dtype=torch.bool)
        for _ in range(4):  # a maximum hides some pixels of each draw
            images = torch.rand(1, 3, 128, 128, requires_grad=True)
            output = model.forward_features(images)[stage]
            output[0, :, middle, middle].sum().backward()
            seen |= images.grad.abs().sum((0, 1, 3)) > 0
        rows = seen.nonzero()
        assert field - 4 <= int(rows.max() - rows.min()) + 1 <= field


def test_macs_agree_with_pytorchs_own_counter():
    model = models.build("custom-resnet", classes=10, width=0.25)
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.randn(1, 3, 32, 32))
    assert summarize(model).macs * 2 == counter.get_total_flops()


def test_training_one_image_costs_what_the_docs_say():
    """Forward, and twice as much backward; two operations per multiply-accumulate."""
    macs = summarize(models.build("custom-resnet", classes=10)).macs
    assert 3 * 2 * macs / 1e9 == pytest.approx(2.27, abs=0.01)


def test_the_summary_leaves_the_model_untouched():
    model = models.build("custom-resnet", classes=10, width=0.1).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    summarize(model)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not any(module._forward_hooks for module in model.modules())


@given(
    kernel=st.integers(1, 5), stride=st.integers(1, 3), dilation=st.integers(1, 2),
    pool=st.integers(1, 3),
)  # fmt: skip
def test_receptive_field_and_jump_of_a_chain_follow_the_recurrence(kernel, stride, dilation, pool):
    chain = nn.Sequential(
        nn.Conv2d(3, 2, kernel, stride=stride, dilation=dilation), nn.MaxPool2d(pool),
        nn.Conv2d(2, 2, 3),
    )  # fmt: skip
    fields = [(layer.receptive_field, layer.jump) for layer in summarize(chain, (96, 96, 3)).layers]
    first = 1 + (kernel - 1) * dilation
    second = first + (pool - 1) * stride
    assert fields == [
        (first, stride),
        (second, stride * pool),
        (second + 2 * stride * pool, stride * pool),
    ]


@pytest.mark.parametrize("side", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_sizes_and_grey_images_work(side, channels):
    model = models.build("custom-resnet", classes=7, channels=channels, width=0.1)
    assert model(torch.randn(2, channels, side, side)).shape == (2, 7)


def test_head_scale_multiplies_the_logits_and_dropout_sits_before_the_last_layer():
    plain = models.build("custom-resnet", classes=5, width=0.1).eval()
    scaled = models.build("custom-resnet", classes=5, width=0.1, head_scale=0.125).eval()
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(scaled(images), plain(images) * 0.125)
    dropping = models.build("custom-resnet", classes=5, width=0.1, dropout=0.999999)
    bias = dropping.linear.bias
    torch.testing.assert_close(dropping(images), bias.expand(3, -1))


def test_the_seed_decides_the_weights_and_the_global_state_stays():
    state = torch.get_rng_state()
    one, same, other = (
        models.build("custom-resnet", classes=3, width=0.1, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.prep.conv.weight, same.prep.conv.weight)
    assert not torch.equal(one.prep.conv.weight, other.prep.conv.weight)


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'custom-resnet'"):
        models.build("customresnet", classes=3)


class Plain(nn.Module):
    """A network with a setting of the recipe's, an argument of its own, and no other."""

    def __init__(self, *, classes: int, channels: int, dropout: float, depth: int = 2) -> None:
        super().__init__()
        self.dropout, self.depth = dropout, depth
        self.linear = nn.Linear(channels, classes)

    def forward(self, batch_BCHW: torch.Tensor) -> torch.Tensor:
        return self.linear(batch_BCHW.mean((2, 3)))


def test_a_network_gets_the_settings_that_it_declares_and_no_others(monkeypatch):
    monkeypatch.setitem(models.NETWORKS, "plain", Plain)
    assert models.takes("custom-resnet") == ("width", "head_scale", "dropout")
    assert models.takes("resnet18") == ("width", "head_scale", "dropout", "stem")
    recipe = Recipe(model="plain", dropout=0.3)
    assert models.arguments(recipe) == {"dropout": 0.3}
    network = models.build("plain", classes=5, channels=1, depth=7, **models.arguments(recipe))
    assert (network.dropout, network.depth, network.linear.in_features) == (0.3, 7, 1)


def test_a_setting_that_the_network_does_not_have_is_refused_with_those_it_has(monkeypatch):
    monkeypatch.setitem(models.NETWORKS, "plain", Plain)
    expected = (
        "width: 0.25 is given, but network 'plain' has no such argument (it has: dropout); "
        "leave width at 1.0"
    )
    for use in (training.find_lr, training.describe, training.prepare):
        with pytest.raises(InputError) as refused:
            use(Recipe(model="plain", width=0.25))
        assert str(refused.value) == expected


class PaddedConv(nn.Conv2d):
    """A convolution that pads by a child of its own, as EfficientNet's do."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3)
        self.pad = nn.ZeroPad2d(1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(self.pad(input), self.weight, self.bias)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(8))  # a network's own parameter makes it no layer
        self.conv = PaddedConv(3, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, batch_BCHW: torch.Tensor) -> torch.Tensor:
        tokens_BTC = self.conv(batch_BCHW).flatten(2).mT + self.token
        return self.attention(tokens_BTC, tokens_BTC, tokens_BTC)[0].mean(1)


def test_layers_that_have_children_are_listed_with_their_own_weights():
    found = summarize(Attending(), (4, 4, 3))
    conv, attention = found.layers
    assert (conv.name, conv.parameters, conv.macs) == ("conv", 8 * 3 * 9 + 8, 16 * 8 * 3 * 9)
    assert (conv.receptive_field, conv.output_shape) == (3, (8, 4, 4))
    assert (attention.name, attention.parameters) == ("attention", 4 * 8 * 8 + 4 * 8)
    assert found.parameters == conv.parameters + attention.parameters + 8
