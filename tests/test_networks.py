"""The built-in networks: their sizes, names, stages and starts, each against what was published."""

import json
import re
import resource
from collections.abc import Iterator

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from onecycle import models, training
from onecycle.cli import main
from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.models.channels import ChannelNorm, StochasticDepth
from onecycle.models.summary import summarize
from onecycle.recipes import RECIPES

RESIDUAL = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
PARAMETERS = {  # at 10 classes and 3 channels; the first four are those of the papers' networks
    "custom-resnet": 6_573_130,
    "resnet18": 11_181_642,
    "resnet34": 21_289_802,
    "wide-resnet-16-4": 2_748_890,
    "small-convnext": 2_621_130,
    "small-vit": 1_197_450,
}
PARAMETERS_SMALL_STEM = {
    name: count - (3 * 64 * (7**2 - 3**2) if name in RESIDUAL else 0)
    for name, count in PARAMETERS.items()
}
STAGES = {
    "resnet18": {
        "conv1": (64, 32, 32), "layer1": (64, 32, 32), "layer2": (128, 16, 16),
        "layer3": (256, 8, 8), "layer4": (512, 4, 4), "avgpool": (512,),
    },
    "wide-resnet-16-4": {
        "conv": (16, 32, 32), "group1": (64, 32, 32), "group2": (128, 16, 16),
        "group3": (256, 8, 8), "norm": (256, 8, 8), "pool": (256,),
    },
    "small-convnext": {
        "stem": (64, 16, 16), "stage1": (64, 16, 16), "stage2": (128, 8, 8),
        "stage3": (256, 4, 4), "pool": (256,),
    },
    "small-vit": {
        "patches": (128, 8, 8), **{f"block{index}": (128, 8, 8) for index in range(1, 7)},
        "norm": (128, 8, 8), "pool": (128,),
    },
}  # fmt: skip


def torchvisions_tensors(blocks: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors in torchvision's weights files of ResNets, in their order."""

    def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for each in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{each}", (channels,)
        yield f"{name}.num_batches_tracked", ()

    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    before = 64
    for layer, (count, channels) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 1):
        for block in range(count):
            name = f"layer{layer}.{block}"
            yield f"{name}.conv1.weight", (channels, before, 3, 3)
            yield from norm(f"{name}.bn1", channels)
            yield f"{name}.conv2.weight", (channels, channels, 3, 3)
            yield from norm(f"{name}.bn2", channels)
            if block == 0 and layer > 1:
                yield f"{name}.downsample.0.weight", (channels, before, 1, 1)
                yield from norm(f"{name}.downsample.1", channels)
            before = channels
    yield "fc.weight", (1000, 512)
    yield "fc.bias", (1000,)


@pytest.mark.parametrize(
    ("name", "published"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)]
)
def test_the_tensors_of_residual_networks_are_those_of_torchvisions_files(name, published):
    with torch.device("meta"):
        model = models.NETWORKS[name](classes=1000)
    shapes = [(each, tuple(tensor.shape)) for each, tensor in model.state_dict().items()]
    assert shapes == list(torchvisions_tensors(RESIDUAL[name]))
    assert sum(p.numel() for p in model.parameters()) == published


def small_stem(name: str) -> dict[str, str]:
    return {"stem": "small"} if "stem" in models.takes(name) else {}


@pytest.mark.parametrize("name", models.NETWORKS)
def test_parameters(name):
    with torch.device("meta"):
        model = models.NETWORKS[name](classes=10)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    with torch.device("meta"):
        small = models.NETWORKS[name](classes=10, **small_stem(name))
    assert sum(p.numel() for p in small.parameters()) == PARAMETERS_SMALL_STEM[name]


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_named_after_modules_and_have_the_papers_sizes(name):
    model = models.build(name, classes=10, **small_stem(name)).to("meta").eval()
    stages = model.forward_features(torch.empty(1, 3, 32, 32, device="meta"))
    assert {stage: tuple(output.shape[1:]) for stage, output in stages.items()} == STAGES[name]
    assert set(stages) <= dict(model.named_children()).keys()


@pytest.mark.parametrize("name", RESIDUAL)
def test_the_large_stem_has_a_quarter_of_the_side_in_its_first_layer(name):
    model = models.build(name, classes=10, stem="large", width=0.1).to("meta").eval()
    stages = model.forward_features(torch.empty(1, 3, 224, 224, device="meta"))
    sides = [output.shape[-1] for output in list(stages.values())[:-1]]
    assert sides == [112, 56, 28, 14, 7]


@pytest.mark.parametrize("name", models.NETWORKS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 33, 47), (1, 8, 8), (3, 9, 8)])
def test_grey_and_colour_images_of_any_size_from_8_pixels_train(name, shape):
    model = models.build(name, classes=7, channels=shape[0], width=0.05, **small_stem(name))
    logits_BK = model.train()(torch.rand(2, *shape))
    assert logits_BK.shape == (2, 7)
    logits_BK.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", models.NETWORKS)
def test_the_last_layer_is_linear_and_its_logits_are_scaled(name):
    images = torch.rand(2, 3, 16, 16)
    plain = models.build(name, classes=5, width=0.05, **small_stem(name)).eval()
    scaled = models.build(name, classes=5, width=0.05, head_scale=0.125, **small_stem(name)).eval()
    torch.testing.assert_close(scaled(images), plain(images) * 0.125)
    *_, (_, last) = (
        each for each in plain.named_modules() if list(each[1].parameters(recurse=False))
    )
    assert type(last) is torch.nn.Linear
    assert last.out_features == 5
    dropping = models.build(name, classes=5, width=0.05, dropout=0.999999, **small_stem(name))
    *_, (_, last) = (
        each for each in dropping.named_modules() if list(each[1].parameters(recurse=False))
    )
    torch.testing.assert_close(dropping(images), last.bias.expand(2, -1))


@pytest.mark.parametrize("name", models.NETWORKS)
def test_the_same_seed_gives_the_same_weights_logits_and_gradients(name):
    images = torch.rand(4, 3, 16, 16)

    def step() -> list[torch.Tensor]:
        model = models.build(name, classes=3, width=0.05, seed=1, **small_stem(name)).train()
        logits_BK = model(images)
        logits_BK.square().sum().backward()
        return [logits_BK.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    for one, other in zip(step(), step(), strict=True):
        assert torch.equal(one, other)


def test_convolutions_start_by_their_outputs_and_norms_at_one_and_zero():
    """He et al. (2015): a deviation of the square root of 2 over outputs times kernel."""
    model = models.build("resnet18", classes=10)
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 4:
            outputs, _, height, width = tensor.shape
            expected = (2 / (outputs * height * width)) ** 0.5
            assert float(tensor.std()) == pytest.approx(expected, rel=0.05), name
            assert abs(float(tensor.mean())) < 0.05 * expected, name
        elif name.endswith(("weight", "bias")) and not name.startswith("fc"):
            assert bool((tensor == (1 if name.endswith("weight") else 0)).all()), name


def test_the_stem_follows_the_images_where_it_is_auto():
    def stem(name: str, height: int, width: int, asked: str = "auto") -> str:
        recipe = Recipe(model=name, stem=asked)
        return models.for_size(recipe, models.architecture(name), height, width).stem

    assert stem("resnet18", 64, 32) == "small"
    assert stem("resnet18", 48, 65) == "large"
    assert stem("resnet18", 224, 224, "small") == "small"
    assert stem("small-vit", 32, 32) == "auto"
    small, large = (
        training.describe(Recipe(model="resnet18", width=0.1, image_size=side)) for side in (64, 65)
    )
    assert small.layers[0].output_shape == (8, 64, 64)
    assert large.layers[0].output_shape == (8, 33, 33)


def test_a_stem_that_a_network_does_not_have_is_refused():
    with pytest.raises(InputError, match="'tiny' is not one that a network has; give small or lar"):
        models.build("resnet18", classes=3, stem="tiny")
    with pytest.raises(InputError, match="network 'small-vit' has no such argument"):
        models.arguments(Recipe(model="small-vit", stem="small"))


def test_norm_over_channels_is_that_of_each_pixel():
    norm = ChannelNorm(5)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.uniform_(norm.bias)
    batch_BCHW = torch.rand(2, 5, 3, 4)
    centred = batch_BCHW - batch_BCHW.mean(1, keepdim=True)
    expected = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(batch_BCHW), expected)


def test_stochastic_depth_leaves_out_images_and_keeps_the_mean():
    layer = StochasticDepth(0.25)
    torch.manual_seed(3)
    output = layer(torch.ones(4000, 2, 1, 1))
    kept = output[:, 0, 0, 0] > 0
    assert torch.equal(
        output, torch.where(kept, 1 / 0.75, 0.0)[:, None, None, None].expand(-1, 2, 1, 1)
    )
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.03)
    torch.manual_seed(3)
    assert torch.equal(layer(torch.ones(4000, 2, 1, 1)), output)  # the global generator decides
    assert torch.equal(layer.eval()(torch.ones(4, 2, 1, 1)), torch.ones(4, 2, 1, 1))


@pytest.mark.parametrize("name", ["small-convnext", "small-vit"])
def test_stochastic_depth_rises_from_the_first_block_to_the_last(name):
    model = models.build(name, classes=3, width=0.05, stochastic_depth=0.3)
    found = [m.probability for m in model.modules() if isinstance(m, StochasticDepth)]
    assert found == pytest.approx([0.3 * k / (len(found) - 1) for k in range(len(found))])


def test_the_command_lists_them_in_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["networks"]
    assert {each["name"]: each["parameters"] for each in found} == PARAMETERS_SMALL_STEM
    assert found[-1]["settings"] == ["width", "head_scale", "dropout"]
    assert found[-1]["model_args"] == ["stochastic_depth"]
    for row in found:
        assert re.search(rf"^{row['name']} .*{row['parameters'] / 1e6:.1f} M", out, re.MULTILINE)


@pytest.mark.parametrize("name", models.NETWORKS)
def test_a_recipe_of_eight_epochs_trains_each_network(name):
    recipes = [named.recipe for named in RECIPES.values() if named.recipe.model == name]
    assert [r for r in recipes if (r.epochs, r.data) == (8, "cifar10")]


@pytest.mark.parametrize("name", models.NETWORKS)
def test_macs_are_those_of_pytorchs_own_counter(name):
    """Attention's products too, which no layer of PyTorch does."""
    model = models.build(name, classes=10, width=0.1, **small_stem(name)).eval()
    unfused = sdpa_kernel(SDPBackend.MATH)  # it does not know the fused attention of CPUs
    with FlopCounterMode(display=False) as counter, torch.no_grad(), unfused:
        model(torch.randn(1, 3, 33, 47))
    summary = summarize(model, (33, 47, 3))
    assert summary.macs * 2 == counter.get_total_flops()
    assert sum(layer.macs for layer in summary.layers) == summary.macs


def test_a_token_sees_the_whole_image_after_the_first_attention():
    """Brute force: the pixels that move the first token, and what the summary says of them."""
    model = models.build("small-vit", classes=10, width=0.1).eval()
    field = {layer.name: layer.receptive_field for layer in summarize(model).layers}
    for stage, layer, side in (("patches", "patches.conv", 4), ("block1", "block1.reduce", 32)):
        images = torch.rand(1, 3, 32, 32, requires_grad=True)
        model.forward_features(images)[stage][0, :, 0, 0].square().sum().backward()
        seen = (images.grad.abs().sum((0, 1)) > 0).any(1).nonzero()
        assert int(seen.max() - seen.min()) + 1 == side
        assert field[layer] == side


@pytest.mark.parametrize("name", sorted(models.NETWORKS))
def test_weights_beyond_all_memory_are_refused_before_they_are_made(name, monkeypatch):
    """64 times as wide is allowed; some of these networks then have 100 GB and more."""
    size = sum(each.nbytes for each in models.build(name, classes=10).parameters())
    monkeypatch.setattr("onecycle.models.room._memory", lambda: size)
    models.build(name, classes=10)  # it fits exactly
    monkeypatch.setattr("onecycle.models.room._memory", lambda: size - 1)
    with pytest.raises(InputError, match=f"width: the weights of '{name}' would need .* lower wid"):
        models.build(name, classes=10)


def test_nothing_is_allocated_for_weights_that_do_not_fit():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"would need \d+\.\d GB, but this machine has"):
        models.build("resnet34", classes=10, width=64.0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # kB
