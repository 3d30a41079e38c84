"""Frozen stages and the head: which they are, and that nothing in them changes."""

import pytest
import torch
from torch import nn

from onecycle import models
from onecycle.errors import InputError
from onecycle.models import freezing
from onecycle.models.heads import head_of


def network() -> nn.Module:
    return models.build("custom-resnet", classes=4, width=0.05, dropout=0.5)


class Tokens(nn.Module):
    """With a parameter of its own, and a head within a classifier that drops out."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 8, 1, 1))
        self.stem = nn.Conv2d(3, 8, 3)
        self.blocks = nn.Sequential(nn.BatchNorm2d(8), nn.Sequential(nn.Conv2d(8, 8, 1)))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 5))

    def forward(self, batch_BCHW: torch.Tensor) -> torch.Tensor:
        features = self.blocks(self.stem(batch_BCHW) + self.token)
        return self.classifier(features.mean((2, 3)))


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def evaluating(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if not module.training}


@pytest.mark.parametrize(
    ("model", "classes", "head"),
    [
        (network(), 4, "linear"),
        (Tokens(), 5, "classifier.2"),
        (nn.Sequential(nn.Linear(3, 7), nn.LayerNorm(7)), 7, "0"),
        (nn.Sequential(nn.Conv2d(3, 6, 1), nn.Flatten(), nn.Linear(6, 6)), 2, "2"),
        (nn.Linear(3, 2), 2, ""),
    ],
)
def test_the_head_is_the_last_layer_with_an_output_for_each_class(model, classes, head):
    assert head_of(model, classes) == head


def test_a_network_without_parameters_has_no_head():
    with pytest.raises(InputError, match="nothing to train"):
        head_of(nn.Sequential(nn.Flatten()), 2)


def test_frozen_stages_get_no_gradient_and_stay_in_eval_mode():
    model = network()
    frozen = freezing.freeze(model, "prep, layer1.0", 4)
    assert frozen == ("prep", "layer1.0")
    every = {name for name, _ in model.named_parameters()}
    inside = {name for name in every if name.startswith(("prep.", "layer1.0."))}
    assert trained(model) == every - inside
    freezing.train(model.eval(), frozen)
    assert evaluating(model) == {
        name for name, _ in model.named_modules() if f"{name}.".startswith(("prep.", "layer1.0."))
    }
    buffers = {name for name, _ in model.named_buffers() if name.startswith(("prep.", "layer1.0."))}
    assert set(freezing.asked_to_stay(model, "prep, layer1.0", 4)) == inside | buffers


@pytest.mark.parametrize(
    ("model", "classes", "left", "frozen"),
    [
        (network(), 4, {"linear.weight", "linear.bias"}, "prep layer1 layer2 layer3"),
        (Tokens(), 5, {"classifier.2.weight", "classifier.2.bias"}, "stem blocks"),
    ],
)
def test_the_body_is_all_but_the_head_and_leaves_the_dropout_before_it(
    model, classes, left, frozen
):
    names = freezing.freeze(model, "body", classes)
    assert names == tuple(frozen.split())
    assert trained(model) == left
    assert set(freezing.asked_to_stay(model, "body", classes)) == set(model.state_dict()) - left
    freezing.train(model, names)
    assert all(module.training for module in model.modules() if isinstance(module, nn.Dropout))
    assert not any(
        module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d)
    )


def test_a_module_that_is_called_body_wins():
    model = nn.ModuleDict(
        {"body": nn.Linear(2, 3), "neck": nn.Linear(3, 3), "head": nn.Linear(3, 2)}
    )
    assert freezing.freeze(model, "body", 2) == ("body",)
    assert trained(model) == {"neck.weight", "neck.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("layer4", "freeze: the network has no module 'layer4'; did you mean 'layer"),
        ("layer1.1.frist", "did you mean 'layer1.1.first'?"),
        ("xyz", "choose one of body, layer1, layer2, layer3, linear, prep"),
        ("prep,,layer1", "freeze: the network has no module ''"),
        ("bo\x1bdy", r"no module 'bo\\x1bdy'; did you mean"),
        ("pool", "'pool' has no parameters and no statistics to freeze; leave it out"),
        ("body,linear", "nothing is left to train; leave out the head, 'linear'"),
    ],
)
def test_what_can_not_be_frozen_is_refused_with_the_remedy(asked, message):
    with pytest.raises(
        InputError, match=message.replace("?", "[?]").replace("(", "[(]")
    ) as refused:
        freezing.freeze(network(), asked, 4)
    assert "\n" not in str(refused.value)
