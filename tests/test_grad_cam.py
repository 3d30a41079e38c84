"""Grad-CAM and receptive fields against networks small enough to be worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from torch import Tensor, nn
from torch.nn import functional as F

import onecycle
from onecycle import training
from onecycle.config import Recipe
from onecycle.data.image_set import ImageSet, Splits
from onecycle.engine.state import load_model
from onecycle.errors import InputError
from onecycle.interpret import effective_receptive_fields, grad_cam
from onecycle.models import build
from onecycle.run_dir import RunDir
from onecycle.training import preparation


class HandMade(nn.Module):
    """A stage that copies the image's channels, their means, and a linear layer.

    The gradient of logit k by channel c is W[k, c] / (H W) everywhere, so the map is
    max(0, sum over c of W[k, c] A_c), scaled to a maximum of 1.
    """

    def __init__(self, weights_KC: Tensor) -> None:
        super().__init__()
        self.weights_KC = nn.Parameter(weights_KC)
        self.scale = nn.Parameter(torch.ones(1))

    def forward_features(self, batch_BCHW: Tensor) -> dict[str, Tensor]:
        maps = batch_BCHW * self.scale
        return {"maps": maps, "means": maps.mean((2, 3))}

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        return self.forward_features(batch_BCHW)["means"] @ self.weights_KC.T


def test_the_map_of_a_hand_made_network():
    weights_KC = torch.tensor([[1.0, -2.0], [0.5, 0.0], [-1.0, -1.0]])
    batch_BCHW = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    for label in range(3):
        found = grad_cam(HandMade(weights_KC), batch_BCHW, torch.tensor([label] * 3), stage="maps")
        expected = torch.einsum("c,bchw->bhw", weights_KC[label], batch_BCHW).clamp(min=0)
        if label == 2:  # nothing speaks for it
            assert not found.any()
        else:
            torch.testing.assert_close(found, expected / expected.amax((1, 2), keepdim=True))


def test_a_batch_gives_the_maps_of_its_images_and_explains_the_predicted_class_by_default():
    model = build("custom-resnet", classes=4, width=0.125).train()
    batch_BCHW = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for stage, together in ((s, grad_cam(model, batch_BCHW, stage=s)) for s in ("prep", "layer2")):
        assert together.shape == (3, 16, 16)
        assert 0 <= float(together.min()) <= float(together.max()) <= 1
        with torch.no_grad():
            predicted = model.eval()(batch_BCHW).argmax(1)
        model.train()
        single = [
            grad_cam(model, batch_BCHW[i : i + 1], predicted[i : i + 1], stage=stage)
            for i in range(3)
        ]
        torch.testing.assert_close(torch.cat(single), together, atol=1e-4, rtol=1e-3)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert "forward_features" not in vars(model)


def test_the_last_map_of_the_residual_network_is_layer3():
    model = build("custom-resnet", classes=4, width=0.125)
    batch_BCHW = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        grad_cam(model, batch_BCHW), grad_cam(model, batch_BCHW, stage="layer3")
    )


def test_other_networks_name_a_stage_by_the_path_of_a_layer():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(3, 2),
    )  # fmt: skip
    batch_BCHW = torch.randn(2, 1, 8, 8)
    found = grad_cam(model, batch_BCHW, torch.tensor([0, 1]), stage="1")
    features = F.relu(model[0](batch_BCHW))
    expected = torch.einsum("bc,bchw->bhw", model[4].weight, features).clamp(min=0)
    largest = expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(found, (expected / torch.where(largest > 0, largest, 1)).detach())


def test_arguments_that_cannot_work_are_refused():
    model = build("custom-resnet", classes=4, width=0.125)
    batch_BCHW = torch.randn(2, 3, 16, 16)
    with pytest.raises(InputError, match="unknown 'layer4'; did you mean 'layer3'"):
        grad_cam(model, batch_BCHW, stage="layer4")
    with pytest.raises(InputError, match="'pool' has no height"):
        grad_cam(model, batch_BCHW, stage="pool")
    with pytest.raises(InputError, match="from 0 to 3"):
        grad_cam(model, batch_BCHW, torch.tensor([0, 4]))
    with pytest.raises(InputError, match="got 1 for 2"):
        grad_cam(model, batch_BCHW, torch.tensor([0]))
    with pytest.raises(InputError, match="no output of this network"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), batch_BCHW)
    assert onecycle.grad_cam is grad_cam


class Blur(nn.Module):
    """Two convolutions of ones: their fields are products of a box and a triangle."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(2))
        for layer in (self.first, self.second):
            nn.init.ones_(layer.weight)

    def forward_features(self, batch_BCHW: Tensor) -> dict[str, Tensor]:
        first = self.first(batch_BCHW)
        return {"first": first, "second": self.second(first)}

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        return self.forward_features(batch_BCHW)["second"].flatten(1)


def test_effective_fields_of_two_blurs():
    fields = effective_receptive_fields(Blur(), torch.randn(4, 1, 11, 9))
    point = np.zeros((11, 9))
    point[5, 4] = 1
    box = convolve(point, np.ones((3, 3)), mode="constant")
    np.testing.assert_allclose(fields["first"].influence_HW, box)
    triangle = convolve(box, np.ones((3, 3)), mode="constant")
    np.testing.assert_allclose(fields["second"].influence_HW, triangle / triangle.max(), atol=1e-6)
    assert (fields["first"].side, fields["second"].side) == (3, 5)


def marked(count: int, seed: int) -> ImageSet:
    """Noise with a mark in red, green, blue or white; the mark's colour is the class."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 160, (count, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(count) % 4
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [250, 250, 250]], np.uint8)
    for image, label, (y, x) in zip(images, labels, rng.integers(0, 11, (count, 2)), strict=True):
        image[y : y + 6, x : x + 6] = colours[label]
    names = tuple(f"{seed}/{index}" for index in range(count))
    return ImageSet(images, labels, ("red", "green", "blue", "white"), names)


@pytest.mark.faults
def test_blacking_out_what_speaks_for_the_class_costs_more_than_chance(tmp_path, monkeypatch):
    """Deletion, over the test split of a trained run: the top 20 % of pixels against a random 20 %.

    Also against regions of similar shape: the maps of other images.
    """
    splits = Splits(marked(400, 0), marked(200, 1), None, "marks", "0" * 16)
    monkeypatch.setattr(preparation, "splits_of", lambda *_: splits)
    recipe = Recipe(
        recipe="tiny", width=0.125, epochs=8, head_scale=0.125, batch_size=50, nesterov=True,
        lr_min=0.02, lr_max=0.4, precision="fp32", cutout=0, crop_padding=2,
    )  # fmt: skip
    run = training.train(recipe, runs=tmp_path, report=False)
    assert run.result["test_accuracy"] > 0.9
    it, _ = training.prepare(recipe)
    checkpoint = RunDir.open(run.path).newest_checkpoint()
    load_model(it.model, checkpoint.tensors)
    found = scores_without_a_fifth(it.model, it.test_batch(np.arange(200)), splits.test.labels_N)
    assert found["map"] < found["random"] - 0.05
    assert found["map"] < found["shuffled"] - 0.05


def scores_without_a_fifth(model: nn.Module, batch_BCHW: Tensor, labels_N: np.ndarray) -> dict:
    """The true class's mean probability without the fifth of the pixels with the highest values."""
    labels_B = torch.from_numpy(labels_N)
    maps_BHW = grad_cam(model, batch_BCHW, labels_B, stage="layer2")
    noise = torch.rand(maps_BHW.shape, generator=torch.Generator().manual_seed(0))
    orders = {"map": maps_BHW, "shuffled": maps_BHW.roll(7, 0), "random": noise}
    black = batch_BCHW.amin()  # the darkest pixel there is
    scores = {}
    for name, order_BHW in orders.items():
        top = order_BHW.flatten(1).argsort(1, descending=True)[:, : order_BHW[0].numel() // 5]
        mask = torch.zeros_like(order_BHW).flatten(1).scatter(1, top, 1.0).bool()
        deleted = torch.where(mask.view_as(order_BHW)[:, None], black, batch_BCHW)
        with torch.no_grad():
            shares = model.eval()(deleted).softmax(1)
        scores[name] = float(shares.gather(1, labels_B[:, None]).mean())
    return scores
