"""Sizes that follow the number of images, and what a training on little is told."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_runs import RESULT
from small_folders import Recorder, make_flat

from onecycle import training
from onecycle.audit import audit
from onecycle.cli.call import call_of
from onecycle.cli.commands import COMMANDS
from onecycle.cli.flags import parse
from onecycle.cli.resolving import resolved
from onecycle.config import Recipe, from_toml, override, to_toml
from onecycle.config.sizes import LEAST_STEPS, MOST_EPOCHS, resolve_sizes
from onecycle.errors import InputError
from onecycle.lr_finder import LRCurve, suggest
from onecycle.recipes import RECIPES, named
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import from_json
from onecycle.run_dir.records import Result
from onecycle.training import cautions
from onecycle.training.peak_search import choose_rates, trusted

EIGHT = named("custom-resnet-8").recipe


def sizes(recipe: Recipe, images: int) -> tuple[int, int, int, int]:
    found = resolve_sizes(recipe, images)
    numbers = (found.batch_size, found.epochs, found.lr_steps, found.min_steps)
    assert all(type(number) is int for number in numbers)
    return numbers  # pyright: ignore[reportReturnType]


# --------------------------------------------------------------------------------------- the sizes


@pytest.mark.parametrize("images", [50_000, 45_000, 40_000])
def test_for_large_sets_the_recipes_are_what_they_were(images):
    assert sizes(EIGHT, images) == (512, 8, 100, 0)
    assert sizes(named("custom-resnet-24").recipe, images) == (512, 24, 100, 0)
    assert sizes(named("brief").recipe, images) == (512, 24, 100, 0)
    assert sizes(named("demo").recipe, 10_000) == (128, 5, 100, 0)


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs"),
    [
        (2, 2, 100), (3, 2, 100), (8, 8, 100), (30, 8, 100), (60, 8, 75), (240, 32, 75),
        (1_000, 128, 75), (5_000, 512, 60), (10_000, 512, 30), (25_000, 512, 13),
    ],
)  # fmt: skip
def test_small_sets_get_smaller_batches_and_more_epochs(images, batch_size, epochs):
    assert sizes(EIGHT, images) == (batch_size, epochs, 100, 0)


@given(images=st.integers(2, 100_000), name=st.sampled_from(sorted(RECIPES)))
def test_every_set_gets_a_batch_it_can_fill_and_enough_steps(images, name):
    recipe = named(name).recipe
    batch, epochs, test, least = sizes(recipe, images)
    if recipe.batch_size == "auto":
        assert batch <= images
        assert batch in [2**k for k in range(1, 10)]
    lengths = [len(part) for part in np.array_split(range(images), range(batch, images, batch))]
    steps = epochs * (len(lengths) - (len(lengths) > 1 and lengths[-1] == 1))
    wanted = LEAST_STEPS if recipe.min_steps == "auto" else int(recipe.min_steps)
    assert epochs >= recipe.epochs
    assert steps >= wanted or epochs == MOST_EPOCHS
    assert epochs == recipe.epochs or steps * (epochs - 1) / epochs < wanted  # and no more
    assert test == min(max(steps, 50), 100)
    assert least == 0


@given(
    images=st.integers(2, 60_000), batch=st.integers(2, 2000), epochs=st.integers(1, 30),
    length=st.integers(10, 500),
)  # fmt: skip
def test_what_is_given_is_obeyed(images, batch, epochs, length):
    changes = {"batch_size": batch, "epochs": epochs, "lr_steps": length}
    for recipe in (Recipe(**changes), override(EIGHT, **changes)):
        assert sizes(recipe, images) == (batch, epochs, length, 0)
    text = "".join(f"{name} = {value}\n" for name, value in changes.items())
    assert sizes(from_toml(text, base=EIGHT), images) == (batch, epochs, length, 0)


def test_epochs_by_a_flag_are_obeyed_and_those_of_a_recipe_may_be_raised():
    def recipe(*words):
        given = parse(words, COMMANDS["train"].words("train"))
        return resolved(call_of(given, ("onecycle", "train", *words), 0.0))

    assert recipe("custom-resnet-8", "--epochs", "8").min_steps == 0
    assert recipe("custom-resnet-8").min_steps == "auto"
    assert sizes(recipe("custom-resnet-8", "--epochs", "8", "--min-steps", "70"), 240)[1] == 9
    assert sizes(recipe("custom-resnet-8", "--epochs", "8", "--min-steps", "auto"), 240)[1] == 75
    with pytest.raises(InputError, match="batch_size: '2.5' is not a whole number; give one, or"):
        recipe("demo", "--batch-size", "2.5")


def test_epochs_given_in_python_are_obeyed_and_copies_stay_what_they_are():
    assert Recipe().min_steps == "auto"
    assert Recipe(epochs=24).min_steps == 0  # also where they are those by default
    assert Recipe(epochs=24, min_steps=7).min_steps == 7
    assert dataclasses.replace(Recipe(), seed=1).min_steps == "auto"
    assert override(Recipe(), seed=1) == Recipe(seed=1)
    assert vars(Recipe(epochs=3)).keys() == vars(Recipe()).keys()


def test_a_numeric_peak_keeps_its_share_of_raised_epochs():
    assert resolve_sizes(override(EIGHT, peak_epoch=2.0), 240).peak_epoch == 75 * 2 / 8


@given(images=st.integers(2, 60_000), name=st.sampled_from(sorted(RECIPES)))
def test_a_resolved_recipe_stays_as_it_is(images, name):
    found = resolve_sizes(named(name).recipe, images)
    assert from_toml(to_toml(found)) == found
    for other in (images, 2, 240, 50_000):
        assert resolve_sizes(found, other) == found
    older = "".join(line for line in to_toml(found).splitlines(True) if "min_steps" not in line)
    assert from_toml(older) == found  # a file from before that field was there


# --------------------------------------------------------------------------------------- the rates


def curve(rise_at: float, *, fall: float = 0.0, low=-7.0, high=1.0, steps=100, **more) -> LRCurve:
    """A loss of 2.3 that falls by `fall` on the way to `rise_at`, from where on it rises."""
    lr = np.logspace(low, high, steps)
    noise = np.random.default_rng(0).normal(0, 0.02, steps)
    down = fall * np.clip(1 - np.log10(rise_at / lr) / 3, 0, 1)
    up = 3 * np.maximum(0, np.log10(lr / rise_at))
    values = {"stopped": "completed", "planned": steps, "batch_size": 240} | more
    return LRCurve(tuple(lr.tolist()), tuple((2.3 - down + up + noise).tolist()), **values)


SAFE = 0.05 * (240 / 64) ** 0.5


@pytest.mark.parametrize(
    ("measured", "doubt", "peak"),
    [
        (curve(5.0), "flat", SAFE),  # would be some 3 by where it rises
        (curve(1e9), "flat throughout", SAFE),  # no rise at all: would be the last rate
        (curve(1e9, batch_size=16), "flat throughout", 0.05),
        (curve(1e9, batch_size=4096), "flat throughout", 0.05 * 8**0.5),
        (curve(1e9, adaptive=True), "flat throughout", 1e-3),
        (curve(20.0, fall=1.0), "still falling", SAFE),
        (curve(2e-4, fall=1.0, high=-4), "still falling", SAFE),  # lr_end far too low
        (curve(1e9, high=-4), "flat throughout", SAFE),
        (curve(1.0, low=0, steps=8, stopped="diverged"), "few points", SAFE),
        (curve(0.1, low=-1, steps=5, stopped="non-finite"), "few points", SAFE),
    ],
)
def test_rates_that_cannot_be_read_are_replaced_by_safe_ones(measured, doubt, peak):
    found = suggest(measured)
    assert doubt in found.doubts
    safe = found.made_safe()
    assert safe.lr_max == pytest.approx(peak)
    assert safe.replaced == found.lr_max
    assert safe.lr_max / 1000 <= safe.lr_min <= safe.lr_max / 10
    (warning,) = safe.warnings
    assert found.warnings[0] in warning
    assert f"lr_max is {peak:.3g}, which is safe" in warning
    assert "--lr-max" in warning
    assert safe.to_json()["replaced"] == found.lr_max
    assert doubt in safe.to_json()["doubts"]


@pytest.mark.parametrize(
    "measured",
    [
        curve(0.3, fall=1.0),
        curve(0.3, fall=1.0, adaptive=True),
        curve(0.1, batch_size=128),  # flat, and it rises where rates are known to lie
        curve(0.1, batch_size=64),
    ],
)
def test_rates_that_can_be_read_are_kept_without_a_word(measured):
    found = suggest(measured)
    assert (found.doubts, found.warnings) == ((), ())
    assert found.made_safe() is found


def test_a_network_that_bears_less_than_the_safe_rate_keeps_what_was_read():
    found = suggest(curve(1e-5, low=-6, high=-4, steps=10, stopped="diverged"))
    assert "few points" in found.doubts
    assert found.lr_max < 1e-4
    assert found.made_safe() is found


def test_a_given_peak_is_kept_and_spares_the_warning():
    found = suggest(curve(1e9))
    recipe = override(Recipe(), lr_max=0.2)
    kept = trusted(recipe, found)
    assert kept.warnings == ()
    chosen = choose_rates(recipe, kept)
    assert chosen.lr_max == 0.2
    assert 0.0002 <= float(chosen.lr_min) <= 0.02
    chosen = choose_rates(override(Recipe(), lr_min=1e-4), trusted(Recipe(), found))
    assert (chosen.lr_min, chosen.lr_max) == (1e-4, pytest.approx(SAFE))


# ----------------------------------------------------------------------------- what a person reads


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three classes of 15 images: 12 of each to train, 3 to test."""
    return make_flat(tmp_path_factory.mktemp("photos") / "photos", count=15)


QUICK = {
    "width": 0.05, "image_size": 8, "cutout": 2, "crop_padding": 1, "precision": "fp32",
    "lr_max": 0.05, "lr_min": 0.005, "device": "cpu", "min_steps": 12,
}  # fmt: skip


def test_a_run_says_and_records_what_it_chose(photos, tmp_path):
    told = Recorder()
    recipe = override(EIGHT, data=str(photos), **QUICK | {"epochs": 2, "min_steps": 20})
    run = training.train(recipe, runs=tmp_path, progress=told, report=False)
    (line,) = [note for note in told.notes if "training images: batch" in note]
    assert line == (
        "36 training images: batch 8, 4 epochs (20 steps); 2 epochs would make only 10 steps, so "
        "more are used; to choose: --epochs"
    )
    assert line in (run.path / "train.log").read_text(encoding="utf-8")
    text = (run.path / "recipe.toml").read_text(encoding="utf-8")
    for field in ("batch_size = 8", "epochs = 4", "min_steps = 0", "lr_steps = 50"):
        assert field in text.splitlines()
    assert run.result["steps"] == 20
    assert training.resume(run.path, report=False).result == run.result
    again = training.train(
        from_toml(text), runs=tmp_path, progress=(quiet := Recorder()), report=False
    )
    assert again.result["weights_sha256"] == run.result["weights_sha256"]
    assert not any("training images: batch" in note for note in quiet.notes)


def notes_of(recipe: Recipe) -> list[str]:
    """What the recipe's training is told before it begins."""
    told = Recorder()
    job, _ = training.prepare(recipe)
    cautions.note_sizes(recipe, job, told)
    cautions.note_few_steps(job, told)
    cautions.note_few_images(job, told)
    return told.notes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"epochs": 1},
            "1 epoch of 36 training images at batch size 8 makes only 5 steps, too few to learn "
            "much; give --epochs 100",
        ),
        (
            {"epochs": 8, "batch_size": 512},
            "8 epochs of 36 training images at batch size 512 make only 8 steps, too few to learn "
            "much; give --batch-size 8 and --epochs 100",
        ),
        (
            {"batch_size": 512, "min_steps": "auto"},  # obeyed: an epoch of one step
            "100 epochs of 36 training images at batch size 512 make only 100 steps, too few to "
            "learn much; give --batch-size 8",
        ),
    ],
)
def test_too_few_steps_are_obeyed_and_the_remedy_is_named(photos, changes, message):
    recipe = override(EIGHT, data=str(photos), **{**QUICK, "min_steps": 0, **changes})
    assert f"warning: {message}" in notes_of(recipe)


def test_enough_steps_get_no_warning(photos):
    recipe = override(EIGHT, data=str(photos), **QUICK | {"min_steps": "auto"})
    assert notes_of(recipe) == [
        "36 training images: batch 8, 100 epochs (500 steps); 8 epochs would make only 40 steps, "
        "so more are used; to choose: --epochs"
    ]
    assert notes_of(override(recipe, batch_size=8, epochs=100)) == []


def test_classes_of_a_few_images_are_named(photos):
    recipe = override(EIGHT, data=str(photos), **QUICK, train_limit=8)
    assert (
        "warning: 3 of 3 classes have fewer than 10 training images ('ant' has 2), too few to "
        "learn from; add images"
    ) in notes_of(recipe)


def test_sizes_follow_what_a_validation_split_leaves(photos):
    recipe = override(EIGHT, data=str(photos), **QUICK, val_fraction=0.25)
    job, splits = training.prepare(recipe)
    assert len(splits.train) == 27
    assert job.batches.batch_size == 8
    assert job.total_steps >= 12


def test_a_range_test_in_doubt_trains_at_a_safe_rate_and_the_audit_knows(photos, tmp_path):
    changes = {"lr_max": "auto", "lr_min": "auto", "lr_end": 1e-6, "lr_steps": 25, "epochs": 1}
    told = Recorder()
    recipe = override(EIGHT, data=str(photos), **QUICK | changes)
    run = training.train(recipe, runs=tmp_path, progress=told, report=False)
    (warning,) = [note for note in told.notes if note.startswith("warning: range test: ")]
    assert "lr_max is 0.05, which is safe" in warning
    assert run.result["lr_max"] == 0.05
    found = json.loads((run.path / "lr_range_test.json").read_text(encoding="utf-8"))
    assert found["by"] == {"lr_min": "lr_min", "lr_max": "safe"}
    assert found["replaced"] <= 1e-6
    lines = audit(RunDir.open(run.path))
    rates = {line.name: line.passed for section in lines.values() for line in section}
    assert rates["Peak rate: searched for"] is rates["Peak rate on the curve"] is True
    assert rates["First rate: searched for"] is True

    told = Recorder()
    finding = training.find_lr(recipe, progress=told)
    assert finding.lr_max == 0.05
    assert warning == f"warning: range test: {finding.warnings[0]}"


def test_records_of_older_runs_say_in_words_how_rates_were_found(photos, tmp_path):
    changes = {"lr_max": "auto", "lr_min": "auto", "lr_steps": 25, "epochs": 1}
    recipe = override(EIGHT, data=str(photos), **QUICK | changes)
    run = training.train(recipe, runs=tmp_path, report=False)
    path = run.path / "lr_range_test.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    before = audit(RunDir.open(run.path))
    if found["by"]["lr_max"] == "recommended":
        path.write_text(json.dumps({k: v for k, v in found.items() if k != "by"}))
        assert audit(RunDir.open(run.path)) == before


@pytest.mark.parametrize(
    ("train", "test", "drifts"),
    [(0.95, 0.75, True), (0.95, 0.7501, False), (1.0, 0.3, True), (0.5, 0.9, False)],
)
def test_a_network_that_has_memorized_its_images_is_named(train, test, drifts):
    told = Recorder()
    figures = {"train_accuracy": train, "test_accuracy": test}
    images = {"train_images": 240, "test_images": 60}
    cautions.note_drift(from_json(RESULT | figures | images, Result), told)
    assert len(told.notes) == drifts
    if drifts:
        assert f"train accuracy {100 * train:.1f} %" in told.notes[0]
        assert "240 training images; more images help most, else" in told.notes[0]
