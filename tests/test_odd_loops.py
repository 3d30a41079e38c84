"""Loops that don't fit `loss_fn` and `batches` work, or one line shows how to use `step=`."""

import ast
import copy
import re
import warnings
from collections import UserDict, namedtuple
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from onecycle.errors import InputError
from onecycle.lr_finder import lr_range_test

x, y = torch.randn(16, 5, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3
Pair = namedtuple("Pair", "image label")
Item = type("Item", (), {"image": x, "label": y})


def tried(batches, *, model=None, optimizer=torch.optim.SGD, loss_fn=F.cross_entropy, **options):
    torch.manual_seed(0)
    model = model or nn.Linear(5, 3)
    optimizer = optimizer(model.parameters(), lr=0.1)
    options = {"steps": 5, "lr_end": 0.1} | options
    return lr_range_test(model, optimizer, loss_fn, batches, **options)


def shown_step(message):
    """The step in a message, as Python code; prose may follow only its last words."""
    code = re.search(r"def step\(i\): .+", message)[0].split(", where ")[0]
    return ast.parse(code)


@pytest.mark.parametrize(
    ("batch", "named", "shown"),
    [
        ({"image": x, "label": y}, "a dict with 'image', 'label'", "model(b['image']), b['label']"),
        (UserDict(a=x, b=y), "a UserDict with 'a', 'b'", "loss_fn(model(b['a']), b['b'])"),
        ({"input_ids": x, "mask": x, "labels": y}, "a dict with", "model(**b).loss"),
        ({"image": x}, "a dict with 'image'", "b['image']"),
        ({}, "an empty dict", "def step(i)"),
        ((x, y, x), "a tuple of 3", "x, y, z = next(it)"),
        ([x, y, x, x, x, x, x], "a list of 7", "x, y, *rest = next(it)"),
        ((x,), "a tuple of 1", "(x,) = next(it)"),
        (x, "one tensor of shape (16, 5)", "loss_fn(model(x), x)"),
        (x[:2], "one tensor of shape (2, 5)", "loss_fn(model(x), x)"),
        ("ab", "text ('ab')", "def step(i)"),
        (Item(), "a Item", "loss_fn(model(b), b)"),
        (None, "a NoneType", "def step(i)"),
        (x.numpy()[:2], "a ndarray", "def step(i)"),
    ],
)
@pytest.mark.parametrize("as_validation", [False, True])
def test_a_batch_that_is_not_a_pair_is_named_with_a_suitable_step(
    batch, named, shown, as_validation
):
    options = {"validation": [batch]} if as_validation else {}
    with pytest.raises(InputError, match="^batches: a batch is ") as caught:
        tried([(x, y)] * 3 if as_validation else [batch] * 3, **options)
    message = str(caught.value)
    assert named in message
    assert shown in message
    assert "step=" in message
    assert "\n" not in message
    shown_step(message)


@pytest.mark.parametrize("batches", [[Pair(x, y)] * 3, [[x, y]] * 3, ((x, y) for _ in range(9))])
def test_pairs_of_every_kind_are_accepted(batches):
    assert len(tried(batches)) == 5


class Two(nn.Linear):
    def forward(self, x):
        return super().forward(x), x.sum()


class Needy(nn.Linear):
    def forward(self, x, mask):
        return super().forward(x * mask)


class Sam(torch.optim.SGD):
    """Evaluates the loss twice per step, which shows late."""

    def step(self, closure=None):
        assert closure is not None, "give a closure"


def no_reduction(output, target):
    return F.cross_entropy(output, target, reduction="none")


MISFITS = {
    "a closure": ({"optimizer": torch.optim.LBFGS}, "optimizer: LBFGS.step needs a closure"),
    "a closure, said late": ({"optimizer": Sam}, "optimizer.step() fails (AssertionError: give"),
    "outputs in a tuple": ({"model": Two(5, 3)}, "the model's output, a tuple (TypeError"),
    "two inputs": ({"model": Needy(5, 3)}, "fails (TypeError: Needy.forward() missing"),
    "a loss for each": ({"loss_fn": no_reduction}, "a tensor of shape (16,), not one number"),
    "a loss of three": (
        {"loss_fn": lambda o, t, w: 0},
        "fails (TypeError: test_odd_loops.<lambda>() missing",
    ),
    "a loss as a number": (
        {"loss_fn": lambda o, t: F.cross_entropy(o, t).item()},
        "loss_fn: it returned a float",
    ),
    "a loss with its parts": (
        {"loss_fn": lambda o, t: (F.cross_entropy(o, t), {})},
        "loss_fn: it returned a tuple",
    ),
    "no gradient": (
        {"loss_fn": lambda o, t: F.cross_entropy(o.detach(), t)},
        "doesn't depend on any trainable parameter",
    ),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_different_kind_of_loop_gives_one_line_and_leaves_no_trace(what):
    options, named = MISFITS[what]
    model = copy.deepcopy(options.get("model", nn.Linear(5, 3)))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError) as caught:
        tried([(x, y)] * 3, **(options | {"model": model}))
    message = str(caught.value)
    assert named.replace("test_odd_loops.", "") in message
    assert "step=" in message
    assert "\n" not in message
    shown_step(message)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_an_error_that_pytorch_explains_is_kept_and_gets_a_note():
    with pytest.raises(RuntimeError, match="mat1 and mat2") as caught:
        tried([(x[:, :4], y)] * 3)
    assert "pass step=" in "".join(caught.value.__notes__)


def test_an_error_in_a_later_step_is_passed_on():
    calls = []

    def loss(output, target):
        calls.append(1)
        if len(calls) > 2:
            raise KeyError("label 7")
        return F.cross_entropy(output, target)

    with pytest.raises(KeyError, match="label 7") as caught:
        tried([(x, y)] * 3, loss_fn=loss)
    assert not hasattr(caught.value, "__notes__")


def test_an_error_in_the_loader_is_passed_on():
    def failing():
        raise ValueError("row 3")
        yield

    with pytest.raises(ValueError, match="row 3") as caught:
        tried(failing())
    assert not isinstance(caught.value, InputError)


def test_different_devices_are_named():
    with pytest.raises(InputError, match=r"inputs are on meta, the model is on cpu; .* step="):
        tried([(x.to("meta"), y.to("meta"))] * 3, loss_fn=lambda o, t: o.sum().to("cpu"))


def test_a_model_without_values_is_refused():
    with torch.device("meta"):
        model = nn.Linear(5, 3)
    with pytest.raises(InputError, match=r"meta device .* model.to_empty\(device='cpu'\)"):
        tried([(x, y)] * 3, model=model)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (7, "batches: a int can't be iterated over; give a list"),
        (lambda: iter([]), "a function can't be iterated over; call it"),
        ("train", r"batches: a batch is text \('t'\)"),
        (iter([(x, y)]), "batches: 1 gave a loss"),
    ],
)
def test_arguments_that_do_not_supply_batches_are_refused(batches, message):
    with pytest.raises(InputError, match=message):
        tried(batches)


LOSS = nn.Parameter(torch.tensor(2.0))
NUMBERS = {
    "a loss with its graph": lambda: LOSS * 1,
    "a parameter": lambda: LOSS,
    "one element": lambda: LOSS.reshape(1, 1) * 1,
    "bfloat16": lambda: (LOSS * 1).bfloat16(),
    "a number": lambda: 2,
    "a number of NumPy": lambda: np.float32(2),
    "an array": lambda: np.array([2.0]),
    "a fraction": lambda: Fraction(2),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_a_step_may_return_its_loss_in_any_form(what):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = lr_range_test(model, optimizer, step=lambda i: NUMBERS[what](), steps=3)
    assert curve.loss == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "step: it returned None, not its loss; end step= with `return loss`"),
        ((LOSS, 3), r"a tuple, not its loss; write step=lambda i: train_step\(i\)\[0\]"),
        ({"train_loss": LOSS}, r"a dict, .* step=lambda i: train_step\(i\)\['train_loss'\]"),
        (torch.ones(3), r"values of shape \(3,\), not its loss; return their mean"),
        (np.ones(3), r"values of shape \(3,\)"),
        ("0.5", "step: it returned a str"),
    ],
)
def test_results_that_are_not_a_loss_are_named(returned, message):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match=message):
        lr_range_test(model, optimizer, step=lambda i: returned, steps=3)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda: 1.0, r"must take one argument, .* step=lambda i: train_step\(\)"),
        (2.0, "step: a float can't be called; pass def step"),
    ],
)
def test_arguments_that_are_not_a_step_are_named(step, message):
    model = nn.Linear(2, 2)
    with pytest.raises(InputError, match=message):
        lr_range_test(model, torch.optim.SGD(model.parameters(), lr=0.1), step=step)


def test_the_proposed_steps_for_dicts_and_closures_work():
    """The examples in the messages run unchanged."""
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError) as caught:
        lr_range_test(model, optimizer, F.cross_entropy, [{"image": x, "label": y}] * 3)
    it = iter([{"image": x, "label": y}] * 9)
    names = {"it": it, "model": model, "optimizer": optimizer, "loss_fn": F.cross_entropy}
    exec(compile(shown_step(str(caught.value)), "message", "exec"), names)
    assert len(lr_range_test(model, optimizer, step=names["step"], steps=9, lr_end=0.1)) == 9

    newton = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)
    with pytest.raises(InputError) as caught:
        lr_range_test(model, newton, F.cross_entropy, [(x, y)] * 3)

    def closure(x, y):
        newton.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    names = {"it": iter([(x, y)] * 9), "optimizer": newton, "closure": closure}
    exec(compile(shown_step(str(caught.value)), "message", "exec"), names)
    before = copy.deepcopy(model.state_dict())
    assert len(lr_range_test(model, newton, step=names["step"], steps=5, lr_end=0.1)) == 5
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not newton.state


def test_an_optimizer_without_a_rate_is_refused():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(InputError, match="optimizer: a group has no rate"):
        lr_range_test(model, optimizer, step=lambda i: 1.0)
