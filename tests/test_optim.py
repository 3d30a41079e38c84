"""Optimizers against the textbook formulas, and who gets weight decay."""

import json
import typing

import pytest
import torch
from torch import nn

from onecycle import optim
from onecycle.config import Recipe
from onecycle.errors import InputError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("everywhere", [False, True])
def test_weight_decay_reaches_weights_and_only_on_request_norms_and_biases(everywhere):
    model = network()
    optimizer = optim.build(model, Recipe(weight_decay=0.1, decay_norms_and_biases=everywhere))
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        is_weight = name in ("0.weight", "3.weight")
        assert decays[id(parameter)] == (0.1 if is_weight or everywhere else 0.0), name


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_follows_the_formula(nesterov):
    lr, momentum, decay = 0.1, 0.9, 0.01
    model = nn.Linear(3, 1, bias=False)
    optimizer = optim.build(model, Recipe(weight_decay=decay, momentum=momentum, nesterov=nesterov))
    optim.set_rates(optimizer, lr, momentum)
    weight = model.weight.detach().double().clone()
    velocity = torch.zeros_like(weight)
    for step in range(4):
        gradient = torch.tensor([[1.0, -2.0, step]])
        model.weight.grad = gradient.clone()
        optimizer.step()
        total = gradient.double() + decay * weight
        velocity = momentum * velocity + total
        weight -= lr * (total + momentum * velocity if nesterov else velocity)
        torch.testing.assert_close(model.weight.detach().double(), weight, rtol=1e-5, atol=1e-6)


def test_adamw_follows_the_formula():
    """Loshchilov and Hutter (2019), algorithm 2, with the rate as the schedule's multiplier."""
    lr, first, decay, second, eps = 0.1, 0.8, 0.01, 0.999, 1e-8
    model = nn.Linear(3, 1, bias=False)
    recipe = Recipe(optimizer="adamw", weight_decay=decay, momentum=first)
    optimizer = optim.build(model, recipe)
    optim.set_rates(optimizer, lr, first)
    weight = model.weight.detach().double().clone()
    mean = square = torch.zeros_like(weight)
    for step in range(4):
        gradient = torch.tensor([[1.0, -2.0, step]])
        model.weight.grad = gradient.clone()
        optimizer.step()
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        mean_, square_ = mean / (1 - first ** (step + 1)), square / (1 - second ** (step + 1))
        weight = weight - lr * decay * weight - lr * mean_ / (square_.sqrt() + eps)
        torch.testing.assert_close(model.weight.detach().double(), weight, rtol=1e-5, atol=1e-6)


def test_every_optimizer_that_a_recipe_may_name_is_there():
    choices = typing.get_args(typing.get_type_hints(Recipe)["optimizer"])
    assert sorted(choices) == sorted(optim.OPTIMIZERS)


def test_set_rates_reaches_adamw_through_its_first_beta():
    optimizer = optim.build(network(), Recipe(optimizer="adamw", weight_decay=0.1))
    optim.set_rates(optimizer, 0.3, 0.8)
    for group in optimizer.param_groups:
        assert group["lr"] == 0.3
        assert group["betas"] == (0.8, 0.999)


def test_l1_norm_counts_weights_alone():
    model = network()
    expected = sum(m.weight.abs().sum().item() for m in (model[0], model[3]))
    assert optim.l1_norm(model).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_rates_that_are_tensors_are_filled_in_place(kind):
    optimizer = optim.build(network(), Recipe(optimizer=kind))
    lr, momentum = torch.tensor(0.0), torch.tensor(0.9)
    for group in optimizer.param_groups:
        group["lr"] = lr
        if kind == "adamw":
            group["betas"] = (momentum, 0.999)
    optim.set_rates(optimizer, 0.3, 0.8)
    assert all(group["lr"] is lr for group in optimizer.param_groups)
    assert optim.applied_rates(optimizer) == pytest.approx((0.3, 0.8))
    if kind == "adamw":
        assert all(group["betas"][0] is momentum for group in optimizer.param_groups)
    assert json.loads(json.dumps(optim.settings(optimizer)))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_with_a_factor_the_body_learns_slower_by_it_and_weight_decay_stays(name):
    model = network()
    head = list(model[3].parameters())
    plain = optim.build(model, Recipe(optimizer=name, weight_decay=0.1))
    optimizer = optim.build(model, Recipe(optimizer=name, weight_decay=0.1, head_lr_factor=7), head)
    optim.set_rates(optimizer, 0.3, 0.8)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    before = {id(p): group for group in plain.param_groups for p in group["params"]}
    assert groups.keys() == before.keys()
    for parameter in model.parameters():
        group, is_head = groups[id(parameter)], any(parameter is each for each in head)
        assert group["lr"] == (0.3 if is_head else 0.3 / 7)
        assert group["weight_decay"] == before[id(parameter)]["weight_decay"]
        assert group.get("momentum", group.get("betas", (0,))[0]) == 0.8
    assert optim.applied_rates(optimizer) == (0.3, 0.8)
    assert set(optim.lr_factors(optimizer, head)) == {0.3 / (0.3 / 7)}
    optimizer.param_groups[-1]["lr"] = 0.3
    assert optim.applied_rates(optimizer) == (pytest.approx(2.1), 0.8)
    assert 1.0 in optim.lr_factors(optimizer, head)


def test_without_a_factor_the_groups_are_as_they_were():
    model = network()
    groups = optim.build(model, Recipe(), list(model[3].parameters())).param_groups
    assert [len(group["params"]) for group in groups] == [2, 4]
    assert not any("lr_divisor" in group for group in groups)


@pytest.mark.parametrize("frozen", ["head", "rest"])
def test_a_factor_between_frozen_and_trained_parts_is_refused(frozen):
    model = network()
    head = list(model[3].parameters())
    for parameter in model.parameters():
        is_head = any(parameter is each for each in head)
        parameter.requires_grad_(is_head == (frozen == "rest"))
    with pytest.raises(InputError, match="head_lr_factor: 2 has no meaning, because .* frozen"):
        optim.build(model, Recipe(head_lr_factor=2), head)
