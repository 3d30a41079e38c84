"""Images made again from what was drawn for them: sound runs pass, and built-in faults do not."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from onecycle import training
from onecycle.audit import audit, drawn, failures
from onecycle.audit.transforms import lines as transform_lines
from onecycle.config import Recipe, override
from onecycle.config.sizes import resolve_shares
from onecycle.data import transforms
from onecycle.data.batches import Batches
from onecycle.data.transforms import ColourJitter, Cutout, ResizedCrop, Rotation, TrivialAugment
from onecycle.engine.replay import Replayed, is_replayed, replayed
from onecycle.engine.transform_check import Applied, applied_to
from onecycle.progress import SILENT
from onecycle.run_dir import RunDir, records
from onecycle.run_dir.checking import from_json

RECIPE = Recipe(
    recipe="tiny", data="shapes", image_size=16, train_limit=96, test_limit=20, width=0.05,
    batch_size=32, epochs=4, precision="fp32", lr_max=0.05, lr_min=0.01, cutout=4,
)  # fmt: skip
EACH: dict[str, dict[str, Any]] = {
    "rotation": {"rotation": 20.0},
    "resized crop": {"resized_crop": 0.2},
    "colour jitter": {"brightness": 0.5, "contrast": 0.4, "saturation": 0.5, "hue": 0.2},
    "TrivialAugment": {"trivial_augment": True},
}
ALL: dict[str, Any] = {name: value for each in EACH.values() for name, value in each.items()}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # so small that a second thread only waits


@cache
def prepared(side: int) -> tuple[Recipe, Batches]:
    """A recipe with all but its transforms resolved, and its batches."""
    found = training.prepare(override(RECIPE, image_size=side), progress=SILENT)[0]
    return found.recipe, found.batches


def looked_at(settings: dict[str, Any], steps: int = 10) -> tuple[Recipe, records.Measured]:
    """The resolved recipe with these settings, and what is measured of its first steps."""
    recipe, batches = prepared(settings.get("image_size", 16))
    recipe = resolve_shares(override(recipe, **settings), *batches.train.image_shape[:2])
    batches = replace(batches, seed=recipe.seed, transforms=transforms.of(recipe))
    applied, again = Applied(), Replayed()
    for step in range(steps):
        batch_BCHW, _ = batches.cut(step)
        applied += applied_to(batches, step, batch_BCHW)
        again += replayed(batches, step, batch_BCHW)
    assert is_replayed(batches.transforms)
    measured = {"applied": applied.to_json(), "replayed": again.to_json()}
    return recipe, from_json(measured, records.Measured)


def failed(recipe: Recipe, measured: records.Measured) -> set[str]:
    """Names of the lines about transforms that don't pass."""
    evidence: Any = SimpleNamespace(recipe=recipe, measured=measured)
    return {line.name for line in transform_lines(evidence) if line.passed is not True}


def random_settings(rng: random.Random) -> dict[str, Any]:
    """Some transforms with any strength; at least one that hides."""

    def perhaps(value: float) -> float:
        return value if rng.random() < 0.5 else 0.0

    area = perhaps(rng.uniform(0.02, 1))
    found: dict[str, Any] = {
        "resized_crop": area, "crop_padding": 0 if area else rng.choice([0, 1, 3]),
        "rotation": perhaps(rng.uniform(0.01, 180)), "brightness": perhaps(rng.random()),
        "contrast": perhaps(rng.random()), "saturation": perhaps(rng.random()),
        "hue": perhaps(rng.random() / 2), "trivial_augment": rng.random() < 0.5,
        "flip": rng.choice([0.0, 0.5, 1.0]), "cutout": rng.choice([0, 4, 0.5]),
        "seed": rng.randrange(10**6), "image_size": rng.choice([16, 24]),
    }  # fmt: skip
    hides = ("resized_crop", "rotation", "brightness", "contrast", "saturation", "hue")
    if not any(found[name] for name in (*hides, "trivial_augment")):
        found["rotation"] = 7.0
    return found


@pytest.mark.parametrize(
    "count", [2, pytest.param(200, marks=pytest.mark.faults)], ids=["few", "many"]
)
def test_random_settings_raise_no_false_alarm(count: int) -> None:
    rng = random.Random(count)
    for _ in range(count):
        settings = random_settings(rng)
        assert failed(*looked_at(settings)) == set(), settings


def test_a_training_with_all_of_them_passes_the_audit(tmp_path) -> None:
    run = training.train(override(RECIPE, **ALL), runs=tmp_path, report=False, progress=SILENT)
    sections = audit(RunDir.open(run.path))
    assert failures(sections) == []
    lines = {line.name: line for line in sections["Transforms"]}
    assert lines[drawn.NAME].found == "100.0 % of 160 are what the network got"
    assert lines["Rotation"].asked == "-20 to 20 degrees"
    assert {"Resized crop", "TrivialAugment", "Jitter of hue", "Horizontal flip"} <= set(lines)


def twice(apply: Callable) -> Callable:
    return lambda self, images, rows: apply(self, apply(self, images, rows), rows)


KINDS = {
    "rotation": Rotation, "resized crop": ResizedCrop, "colour jitter": ColourJitter,
    "TrivialAugment": TrivialAugment,
}  # fmt: skip


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize(
    "together", [False, pytest.param(True, marks=pytest.mark.faults)], ids=["alone", "together"]
)
def test_one_that_is_never_applied_or_twice_is_caught(name: str, together: bool, monkeypatch):
    settings, kind = ALL if together else EACH[name], KINDS[name]
    assert failed(*looked_at(settings)) == set()
    apply = kind.apply
    for fault in (lambda self, images, rows: images, twice(apply)):
        monkeypatch.setattr(kind, "apply", fault)
        assert drawn.NAME in failed(*looked_at(settings))


@pytest.mark.parametrize(
    ("name", "wrong", "line"),
    [
        ("rotation", {"rotation": 40.0}, "Rotation"),
        ("rotation", {"rotation": 10.0}, "Rotation"),
        ("resized crop", {"resized_crop": 0.08}, "Resized crop"),
        ("resized crop", {"resized_crop": 0.5}, "Resized crop"),
        ("colour jitter", {"brightness": 0.9}, "Jitter of brightness"),
        ("colour jitter", {"contrast": 0.1}, "Jitter of contrast"),
        ("colour jitter", {"hue": 0.4}, "Jitter of hue"),
    ],
)
def test_a_wrong_range_is_caught(name: str, wrong: dict[str, float], line: str) -> None:
    """What is trained differs from the recipe that is audited."""
    recipe, measured = looked_at(EACH[name] | wrong)
    assert failed(override(recipe, **EACH[name]), measured) == {line}


def test_a_cutout_that_is_missing_or_has_another_side_is_caught(monkeypatch) -> None:
    settings = EACH["rotation"] | {"image_size": 24, "cutout": 3}  # hardly more than 1 % of pixels
    recipe, measured = looked_at(settings)
    assert failed(recipe, measured) == set()
    assert failed(override(recipe, cutout=2), measured) == {"Cutout"}
    monkeypatch.setattr(Cutout, "apply", lambda self, images, rows: images)
    assert "Cutout" in failed(*looked_at(settings))


def test_one_that_is_left_out_of_the_batches_is_caught() -> None:
    recipe, measured = looked_at(EACH["rotation"])
    asked = override(recipe, hue=0.1, trivial_augment=True)
    assert failed(asked, measured) == {"Jitter of hue", "TrivialAugment"}
    assert failed(asked, replace(measured, replayed=None)) == {drawn.NAME}


def test_a_colour_that_nobody_asked_for_is_caught(tmp_path, monkeypatch) -> None:
    """With all of them off, nothing is altered."""
    cut = Batches.cut
    monkeypatch.setattr(
        Batches, "cut", lambda self, step: (cut(self, step)[0] * 1.3, cut(self, step)[1])
    )
    run = training.train(override(RECIPE, epochs=1), runs=tmp_path, report=False, progress=SILENT)
    names = {line.name for line in failures(audit(RunDir.open(run.path)))}
    assert "Anything else done to images" in names


def test_images_for_validation_and_test_are_not_transformed() -> None:
    """With all transforms on, the figures are those of the images as they are."""
    job, splits = training.prepare(override(RECIPE, **ALL, val_fraction=0.2), progress=SILENT)
    assert splits.val
    for image_set in (splits.test, splits.val):
        shown = (image_set.images_NHWC / 255 - job.batches.mean) / job.batches.std
        batch_BCHW = torch.from_numpy(shown).float().permute(0, 3, 1, 2)
        job.model.eval()
        with torch.no_grad():
            expected = job.model(batch_BCHW.contiguous(memory_format=torch.channels_last))
        found = torch.from_numpy(job.evaluate(image_set).logits_NK)
        torch.testing.assert_close(found.float(), expected.float(), atol=1e-4, rtol=1e-3)
