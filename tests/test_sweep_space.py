"""Spaces of a sweep: what is read, what is refused, and that all points lie within."""

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecycle.config import Recipe, override
from onecycle.errors import InputError
from onecycle.sweep.space import read_space, space_of

optuna.logging.set_verbosity(optuna.logging.ERROR)
RECIPE = Recipe(val_fraction=0.2)


class AtRandom:
    """Chooses values by Python's own generator, without Optuna."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int, log: bool) -> int:
        return self.random.choice(range(low, high + 1, step))

    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None, log: bool
    ) -> float:
        return low + step * self.random.randrange(2) if step else self.random.uniform(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        return self.random.choice(list(choices))


def test_a_file_is_read(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        "[momentum]\nlow = 0.8\nhigh = 0.95\nwhen = { optimizer = 'sgd' }\n"
        "[optimizer]\nvalues = ['sgd', 'adamw']\n"
        "[lr_max]\nlow = 0.01\nhigh = 0.5\nlog = true\n"
        "[epochs]\nlow = 8\nhigh = 24\nstep = 4\n"
    )
    space = read_space(path, RECIPE)
    assert set(space.names) == {"momentum", "optimizer", "lr_max", "epochs"}
    assert space.names.index("optimizer") < space.names.index("momentum")
    rate = next(each for each in space if each.name == "lr_max")
    assert (rate.low, rate.high, rate.log, rate.whole) == (0.01, 0.5, True, False)


def test_a_condition_decides_what_is_in_use():
    space = space_of(
        {
            "momentum": {"low": 0.8, "high": 0.95, "when": {"optimizer": "sgd"}},
            "nesterov": {"values": [True, False], "when": {"optimizer": ["sgd"]}},
            "optimizer": {"values": ["sgd", "adamw"]},
        },
        RECIPE,
    )
    seen = {frozenset(space.suggested(AtRandom(seed))) for seed in range(40)}
    assert seen == {frozenset({"optimizer"}), frozenset({"optimizer", "momentum", "nesterov"})}


def test_optuna_draws_log_scales_whole_numbers_and_steps():
    tables = {
        "lr_max": {"low": 1e-3, "high": 1.0, "log": True},
        "epochs": {"low": 8, "high": 24, "step": 4},
        "label_smoothing": {"low": 0.0, "high": 0.2, "step": 0.1},
        "trivial_augment": {"values": [True, False]},
        "cutout": {"low": 0, "high": 16},
        "crop_padding": {"low": 0.1, "high": 0.25},
    }
    space = space_of(tables, RECIPE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [space.suggested(study.ask()) for _ in range(300)]
    assert {point["epochs"] for point in points} == {8, 12, 16, 20, 24}
    smoothings = {round(float(point["label_smoothing"]), 9) for point in points}
    assert smoothings == {0.0, 0.1, 0.2}
    below = sum(float(point["lr_max"]) < 1e-3**0.5 for point in points)
    assert 110 < below < 190  # half of a logarithmic scale: 150 of 300, and four deviations of 9
    assert {type(point["cutout"]) for point in points} == {int}
    assert all(0.1 <= float(point["crop_padding"]) <= 0.25 for point in points)
    for point in points:
        recipe = override(RECIPE, **point)
        assert space.nearest_to(recipe) == point


@given(
    low=st.integers(1, 50),
    span=st.integers(1, 50),
    seed=st.integers(0, 99),
    log=st.booleans(),
)
def test_every_point_lies_within(low, span, seed, log):
    space = space_of({"epochs": {"low": low, "high": low + span, "log": log}}, RECIPE)
    (dimension,) = space
    value = space.suggested(AtRandom(seed))["epochs"]
    assert dimension.holds(value)
    outside = (low - 1, low + span + 1, "auto", True, math.nan)
    assert not any(dimension.holds(each) for each in outside)


def test_the_recipe_s_values_are_taken_as_far_as_the_space_has_them():
    space = space_of(
        {
            "lr_max": {"low": 0.01, "high": 0.5},  # auto: is found, and so left out
            "weight_decay": {"values": [0, 5e-4]},
            "cutout": {"low": 10, "high": 16},  # 8 is outside
            "label_smoothing": {"low": 0, "high": 0.2, "step": 0.1},
        },
        RECIPE,
    )
    assert space.nearest_to(RECIPE) == {"weight_decay": 0.0, "label_smoothing": 0.0}


REFUSED = {
    "nothing": ({}, "no setting to search"),
    "unknown": ({"weight_deca": {"values": [0, 1]}}, "did you mean 'weight_decay'"),
    "unknown key": ({"epochs": {"low": 1, "hihg": 2}}, "did you mean 'high'"),
    "no table": ({"epochs": 3}, "is no table"),
    "images": ({"train_limit": {"low": 1, "high": 2}}, "judged on different images"),
    "validation": ({"val_fraction": {"low": 0.1, "high": 0.2}}, "judged on different images"),
    "seed": ({"seed": {"low": 0, "high": 9}}, "the best seed is luck"),
    "record": ({"tta": {"values": [True, False]}}, "doesn't change the training"),
    "list": ({"mean": {"low": 0, "high": 1}}, "list of numbers"),
    "text": ({"optimizer": {"low": 0, "high": 1}}, "give values"),
    "no high": ({"epochs": {"low": 1}}, "high is missing"),
    "text as low": ({"epochs": {"low": "a", "high": 2}}, "'a' is not a number"),
    "nan": ({"lr_max": {"low": math.nan, "high": 2}}, "is not a number"),
    "wrong order": ({"epochs": {"low": 5, "high": 2}}, "not below high"),
    "out of range": ({"dropout": {"low": 0, "high": 1}}, "less than 1"),
    "fraction": ({"epochs": {"low": 1.5, "high": 3}}, "not a whole number"),
    "log of 0": ({"l1": {"low": 0, "high": 1, "log": True}}, "low above 0"),
    "log as text": ({"l1": {"low": 0.1, "high": 1, "log": "yes"}}, "not true or false"),
    "log and step": ({"l1": {"low": 0.1, "high": 1.1, "log": True, "step": 0.5}}, "logarithmic"),
    "step of 0": ({"epochs": {"low": 1, "high": 3, "step": 0}}, "number above 0"),
    "half step": ({"epochs": {"low": 1, "high": 3, "step": 0.5}}, "not a whole number"),
    "uneven step": ({"epochs": {"low": 1, "high": 4, "step": 2}}, "whole number of steps"),
    "tiny step": ({"dropout": {"low": 0, "high": 0.5, "step": 1e-300}}, "1e-300 is too small"),
    "no step at all": ({"l1": {"low": 0, "high": 1e300, "step": 5e-324}}, "is too small; raise"),
    "equal ends": ({"epochs": {"low": 3, "high": 3}}, "low and high are both 3; raise high"),
    "equal shares": ({"dropout": {"low": 0.5, "high": 0.5}}, "low and high are both 0.5"),
    "empty condition": (
        {
            "momentum": {"low": 0.8, "high": 0.9, "when": {"optimizer": []}},
            "optimizer": {"values": ["sgd", "adamw"]},
        },
        "momentum: when: optimizer: has no values; name one, or leave it out",
    ),
    "one value": ({"epochs": {"values": [3]}}, "two or more"),
    "twice": ({"epochs": {"values": [3, 3]}}, "there twice"),
    "bad value": ({"optimizer": {"values": ["sgd", "adam"]}}, "did you mean 'adamw'"),
    "both": ({"epochs": {"values": [3, 4], "low": 1}}, "not both"),
    "mixed": ({"cutout": {"low": 0.25, "high": 8}}, "two of a kind"),
    "foreign condition": (
        {"momentum": {"low": 0.1, "high": 0.2, "when": {"optimizer": "sgd"}}},
        "is not searched with values",
    ),
    "impossible condition": (
        {
            "momentum": {"low": 0.1, "high": 0.2, "when": {"optimizer": "adam"}},
            "optimizer": {"values": ["sgd", "adamw"]},
        },
        "'adam' is none of its values: sgd, adamw",
    ),
    "circle": (
        {
            "optimizer": {"values": ["sgd", "adamw"], "when": {"nesterov": True}},
            "nesterov": {"values": [True, False], "when": {"optimizer": "sgd"}},
        },
        "depend on each other",
    ),
    "condition is no table": ({"epochs": {"low": 1, "high": 2, "when": 3}}, "when: is no table"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_what_to_do(name):
    tables, told = REFUSED[name]
    with pytest.raises(InputError) as refusal:
        space_of(tables, RECIPE)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_dimension_that_never_fits_the_recipe_is_refused():
    recipe = override(RECIPE, lr_max=0.01)
    with pytest.raises(InputError, match=r"no value fits the recipe .* lr_min: 0.1 is above"):
        space_of({"lr_min": {"low": 0.1, "high": 0.2}}, recipe)


@pytest.mark.parametrize("content", [b"\xff", b"[a", b"x = 1"], ids=["not UTF-8", "cut", "no"])
def test_a_file_that_is_no_space_is_named(tmp_path, content):
    path = tmp_path / "space.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="space.toml: "):
        read_space(path, RECIPE)
    with pytest.raises(InputError, match="can't be read"):
        read_space(tmp_path / "none.toml", RECIPE)


def test_the_order_of_the_tables_does_not_matter():
    tables: dict[str, Any] = {
        "optimizer": {"values": ["sgd", "adamw"]},
        "nesterov": {"values": [True, False], "when": {"optimizer": "sgd"}},
        "momentum": {"low": 0.8, "high": 0.9, "when": {"nesterov": True}},
    }
    for order in itertools.permutations(tables):
        names = space_of({name: tables[name] for name in order}, RECIPE).names
        assert names.index("optimizer") < names.index("nesterov") < names.index("momentum")
