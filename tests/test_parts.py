"""A network, an optimizer and a transform that only this file knows: each is one class or function,
named in its registry, and nothing else is written for it."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onecycle import models, optim, training
from onecycle.audit import audit
from onecycle.config import Recipe, override
from onecycle.data import transforms
from onecycle.data.transforms import Expected, Transform
from onecycle.run_dir import RunDir

SHARE = 0.4
"""Of images that are made brighter."""


@dataclass(frozen=True)
class Brighter(Transform):
    """Some images, made brighter."""

    amount: float

    name = "brighter"
    stream = "brighter"
    by = 0.5

    @classmethod
    def of(cls, recipe: Recipe) -> Self | None:
        return cls(cls.by)

    @property
    def expected(self) -> Expected:
        return Expected(altered=SHARE)

    def draw(self, count: int, image_shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        return torch.rand(count, generator=generator) < SHARE

    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        return images_BHWC + self.amount * drawn_B[:, None, None, None]


class Small(nn.Module):
    """A network that takes the setting `width`, and has no `forward_features`."""

    def __init__(self, *, classes: int, channels: int, width: float, depth: int = 3) -> None:
        super().__init__()
        sizes = [channels, *[round(width * 16)] * depth]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in itertools.pairwise(sizes)
            )
        )
        self.linear = nn.Linear(sizes[-1], classes)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        return self.linear(self.layers(batch_BCHW).mean((2, 3)))


class SignDescent(torch.optim.Optimizer):
    """Steps of one length along the sign of the averaged gradient."""

    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for each in group["params"]:
                mean = self.state[each].setdefault("mean", torch.zeros_like(each))
                mean.lerp_(each.grad, 1 - group["momentum"])
                with torch.no_grad():
                    each.mul_(1 - group["lr"] * group["weight_decay"])
                    each.sub_(group["lr"] * mean.sign())


def sign_descent(groups: optim.Groups, recipe: Recipe) -> SignDescent:
    return SignDescent(groups, {"lr": 0.0, "momentum": recipe.momentum})


RECIPE = Recipe(
    recipe="own", data="shapes", image_size=16, train_limit=200, test_limit=60, width=2.0,
    epochs=12, batch_size=40, crop_padding=2, cutout=4, weight_decay=1e-3, precision="fp32",
    lr_max=0.01, lr_min=0.001,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    """A training with all three, through the front door."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.NETWORKS, "small", Small)
        # Under a name that recipes know: which names these are, the setting itself declares.
        patch.setitem(optim.OPTIMIZERS, "sgd", sign_descent)
        patch.setattr(transforms, "TRANSFORMS", [*transforms.TRANSFORMS, Brighter])
        done = training.train(override(RECIPE, model="small"), runs=tmp_path_factory.mktemp("runs"))
        yield RunDir(done.path)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_three_train(run):
    losses = [row["loss"] for row in rows(run.path / "steps.jsonl")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    assert json.loads((run.path / "audit.json").read_text())["optimizer"]["name"] == "SignDescent"


def test_the_network_is_rebuilt_from_the_run_folder(run):
    known = json.loads((run.path / "network.json").read_text())
    assert (known["name"], known["arguments"]) == ("small", {"width": 2.0})
    result = json.loads((run.path / "result.json").read_text())
    assert training.evaluate_run(run.path)["test_accuracy"] == result["test_accuracy"]


def test_the_audit_expects_what_the_transforms_say(run):
    lines = {line.name: line for line in audit(run)["Transforms"]}
    assert [name for name, line in lines.items() if not line.passed] == []
    assert lines["Anything else done to images"].asked == "40.0 % in other pixels, by brighter"
    assert lines["Transforms that change images"].found == "4 of 4 do"


def test_a_transform_that_does_nothing_is_noticed(run, monkeypatch, tmp_path):
    monkeypatch.setattr(Brighter, "by", 0.0)
    idle = training.train(override(RECIPE, model="small", epochs=1), runs=tmp_path)
    lines = {line.name: line for line in audit(RunDir(idle.path))["Transforms"]}
    assert lines["Transforms that change images"].found == "brighter did nothing"
    failed = {name for name, line in lines.items() if not line.passed}
    assert failed == {"Transforms that change images", "Anything else done to images"}


def test_a_new_transform_leaves_the_draws_of_the_others_alone(monkeypatch):
    before = training.prepare(RECIPE)[0].batches
    monkeypatch.setattr(transforms, "TRANSFORMS", [Brighter, *transforms.TRANSFORMS])
    after = training.prepare(RECIPE)[0].batches
    brighter, *others = after.draws(7)
    for one, other in zip(before.draws(7), others, strict=True):
        assert torch.equal(one, other)
    assert 0 < int(brighter.sum()) < 40
    assert torch.equal(before.cut(7)[0][~brighter], after.cut(7)[0][~brighter])
    assert not torch.equal(before.cut(7)[0][brighter], after.cut(7)[0][brighter])


def test_no_two_transforms_share_a_stream_but_the_oldest_three():
    oldest = {transforms.Crop, transforms.Flip, transforms.Cutout}
    assert {each.stream for each in oldest} == {"augment"}
    others = [each.stream for each in transforms.TRANSFORMS if each not in oldest]
    taken = {"augment", "init", "shuffle", "layers", "range test"}
    assert len({*others} - taken) == len(others)
