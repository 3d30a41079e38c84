"""Recipes: lossless TOML, overrides, and every value out of range refused in one line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecycle.config import Recipe, differences, from_toml, override, read_recipe, to_toml
from onecycle.errors import InputError

RATES = st.floats(1e-9, 10)


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "epochs": st.integers(6, 1000),
            "lr_max": st.just("auto") | RATES.map(lambda rate: rate + 20),
            "lr_min": st.just("auto") | RATES,
            "mean": st.just("auto") | st.lists(st.floats(0, 1), min_size=1, max_size=4).map(tuple),
            "data": st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            "three_phase": st.booleans(),
            "flip": st.floats(0, 1),
            "seed": st.integers(0, 2**63 - 1),
        },
    )
)
def test_toml_and_back_is_lossless(changes):
    recipe = override(Recipe(), **changes)
    assert from_toml(to_toml(recipe)) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs: 0 is out of range"),
        ({"epochs": 2.5}, "epochs: '2.5' is not a whole number"),
        ({"epochs": True}, "epochs: 'True' is not a whole number"),
        ({"lr_max": math.nan}, "lr_max: nan is out of range"),
        ({"lr_max": -1}, "lr_max: -1.0 is out of range"),
        ({"lr_max": math.inf}, "lr_max: inf is out of range"),
        ({"lr_max": "fast"}, "lr_max: 'fast' is not a number; give a number or auto or proven"),
        ({"weight_decay": -1e-9}, "weight_decay"),
        ({"momentum": 1.0}, "momentum: 1.0 is out of range"),
        ({"dropout": 1.0}, "dropout"),
        ({"flip": 1.01}, "flip"),
        ({"batch_size": 1}, "batch_size"),
        ({"width": 0}, "width"),
        ({"anneal": "cosin"}, "unknown anneal 'cosin'; did you mean 'cosine'?"),
        ({"label_set": "corse"}, "unknown label_set 'corse'; did you mean 'coarse'?"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'"),
        ({"peak_epoch": 24.0}, "peak_epoch: 24 is not within the 24 epochs"),
        ({"peak_epoch": 12.0, "three_phase": True}, "before half of the epochs"),
        ({"lr_start": 1.0, "lr_end": 0.1}, "lr_start: 1 is not below lr_end"),
        ({"lr_min": 1.0, "lr_max": 0.1}, "lr_min: 1 is above lr_max"),
        ({"lr_final": 1.0, "lr_max": 0.1}, "lr_final: 1 is above lr_max"),
        ({"base_momentum": 0.96}, "base_momentum: 0.96 is above max_momentum"),
        ({"nesterov": True, "momentum": 0}, "nesterov: needs a momentum above 0"),
        ({"image_size": 7, "cutout": 0}, "image_size: 7 pixels are too few; give 8 or more, or 0"),
        ({"image_size": 16, "cutout": 17}, "cutout: 17 is larger than the image"),
        ({"mean": (0.5, 2.0)}, "mean"),
        ({"std": (0.5, 0.0)}, "std: 0 can't be divided by"),
        ({"recipe": "../up"}, "recipe"),
        ({"epoch": 3}, "unknown recipe field 'epoch'; did you mean 'epochs'?"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(changes, message):
    with pytest.raises(InputError) as error:
        override(Recipe(), **changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_numeric_peak_keeps_its_share_when_only_epochs_change():
    recipe = Recipe(epochs=24, peak_epoch=6.0)
    assert override(recipe, epochs=8).peak_epoch == 2.0
    assert override(recipe, epochs=8, peak_epoch=3.0).peak_epoch == 3.0
    assert override(recipe, seed=1).peak_epoch == 6.0
    for epochs in ("8", 2.5, None, [8], 10**400):
        with pytest.raises(InputError, match="epochs: "):
            override(recipe, epochs=epochs)
    assert Recipe(epochs=24).resolved_peak_epoch == 5.0
    assert Recipe(epochs=12).resolved_peak_epoch == 2.5


def test_files_that_are_no_recipe_name_the_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.toml: can't be read: No such file"):
        read_recipe(tmp_path / "nowhere.toml")
    for content, message in (
        (b"epochs = ", "not valid TOML"),
        (b"epocs = 3", "did you mean 'epochs'"),
        (b"\xff\xfe", "not UTF-8"),
    ):
        path = tmp_path / "bad.toml"
        path.write_bytes(content)
        with pytest.raises(InputError, match=message) as error:
            read_recipe(path)
        assert str(path) in str(error.value)


def test_small_rates_stay_numbers_in_toml():
    assert from_toml("lr_max = 1e-3").lr_max == 1e-3


def test_differences_name_both_values():
    assert differences(Recipe(seed=3), Recipe()) == {"seed": (0, 3)}


def test_a_bound_is_written_as_a_reader_would():
    with pytest.raises(InputError, match=r"at least 1 and at most 1000000$"):
        Recipe(head_lr_factor=1e7)
    with pytest.raises(InputError, match=r"at least 0 and at most 0\.5$"):
        Recipe(hue=0.6)
