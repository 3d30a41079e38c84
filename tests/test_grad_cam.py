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
from onecycle.errors import InputError
from onecycle.interpret import effective_receptive_fields, grad_cam
from onecycle.models import build


class HandMade(nn.Module):
    """A stage that copies the image's channels, their means, and a linear layer.

    The gradient of logit k by channel c is W[k, c] / (H W) everywhere, so the map is
    max(0, sum over c of W[k, c] A_c), scaled to a largest value of 1.
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


def test_the_map_of_a_network_made_by_hand():
    weights_KC = torch.tensor([[1.0, -2.0], [0.5, 0.0], [-1.0, -1.0]])
    batch_BCHW = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    for label in range(3):
        found = grad_cam(HandMade(weights_KC), batch_BCHW, torch.tensor([label] * 3), stage="maps")
        expected = torch.einsum("c,bchw->bhw", weights_KC[label], batch_BCHW).clamp(min=0)
        if label == 2:  # nothing speaks for it
            assert not found.any()
        else:
            torch.testing.assert_close(found, expected / expected.amax((1, 2), keepdim=True))


def test_a_batch_is_its_images_one_by_one_and_the_predicted_class_is_the_default():
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


def test_any_other_network_by_the_path_of_a_layer():
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


def test_what_cannot_be_asked_is_told():
    model = build("custom-resnet", classes=4, width=0.125)
    batch_BCHW = torch.randn(2, 3, 16, 16)
    with pytest.raises(InputError, match="unknown 'layer4'; did you mean 'layer3'"):
        grad_cam(model, batch_BCHW, stage="layer4")
    with pytest.raises(InputError, match="'pool' has no height"):
        grad_cam(model, batch_BCHW, stage="pool")
    with pytest.raises(InputError, match="from 0 to 3"):
        grad_cam(model, batch_BCHW, torch.tensor([0, 4]))
    with pytest.raises(InputError, match="1 given for 2"):
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


def test_blacking_out_what_speaks_for_the_class_costs_more_than_chance(tmp_path, monkeypatch):
    """Deletion, on a trained run: the top 20 % of pixels against regions of like shape by chance.

    The chance regions are the maps of other images, and so as connected as the true ones.
    """
    monkeypatch.setattr(training.figures, "write", lambda *_: None)
    monkeypatch.setattr(training, "write_report", lambda *_: None)
    trained = {}
    monkeypatch.setattr(
        training.examples, "gather", lambda t, e: trained.update(it=t) or {"wrong": np.arange(0)}
    )
    recipe = Recipe(
        recipe="tiny", data="shapes", train_limit=1500, test_limit=200, width=0.125, epochs=5,
        head_scale=0.125, batch_size=50, nesterov=True, lr_min=0.02, lr_max=0.3, precision="fp32",
    )  # fmt: skip
    result = training.train(recipe, runs=tmp_path).result
    assert result["test_accuracy"] > 0.3  # it has learned something to be explained
    it = trained["it"]
    batch_BCHW = it.test_batch(np.arange(200))
    labels_B = torch.from_numpy(it.test.labels_N)
    maps_BHW = grad_cam(it.model, batch_BCHW, labels_B, stage="layer2")
    black_C11 = (-torch.tensor(it.batches.mean) / torch.tensor(it.batches.std))[:, None, None]
    it.model.eval()

    def score(maps_BHW: Tensor) -> float:
        """The true class's mean probability without the top fifth of the pixels."""
        top = maps_BHW.flatten(1).argsort(1, descending=True)[:, : 32 * 32 // 5]
        mask = torch.zeros(len(maps_BHW), 32 * 32).scatter(1, top, 1.0).view(-1, 1, 32, 32).bool()
        with torch.no_grad():
            logits = it.model(torch.where(mask, black_C11, batch_BCHW))
        return float(logits.softmax(1).gather(1, labels_B[:, None]).mean())

    noise = torch.rand(maps_BHW.shape, generator=torch.Generator().manual_seed(0))
    assert score(maps_BHW) < score(maps_BHW.roll(1, 0))
    assert score(maps_BHW) < score(noise) or score(noise) < score(maps_BHW.roll(1, 0))
