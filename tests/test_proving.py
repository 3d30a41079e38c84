"""`lr_max = proven` in a training: what it leaves, and that its probes are what they say."""

import json
from pathlib import Path

import pytest

from onecycle import training
from onecycle.config import Recipe, from_toml, override, read_recipe, to_toml
from onecycle.errors import InputError
from onecycle.progress import Progress

PROVEN = Recipe(
    recipe="tiny", data="shapes", image_size=16, train_limit=300, test_limit=60, width=0.125,
    head_scale=0.125, epochs=4, batch_size=32, crop_padding=2, cutout=4, nesterov=True,
    weight_decay=5e-4, precision="fp32", lr_max="proven", lr_steps=30, val_fraction=0.3,
)  # fmt: skip


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    notes = Notes()
    run = training.train(PROVEN, runs=tmp_path_factory.mktemp("runs"), progress=notes, report=False)
    return run, json.loads((run.path / "lr_range_test.json").read_text()), notes.notes


def test_the_winner_is_trained_with_and_the_evidence_kept(proven):
    run, found, _ = proven
    recipe, proof = read_recipe(run.path / "recipe.toml"), found["proof"]
    assert (proof["epochs"], proof["steps"], proof["images"]) == (2, 14, 90)
    best = max(proof["probes"], key=lambda probe: probe["score"])
    assert recipe.lr_max == proof["lr_max"] == found["chosen"]["lr_max"] == run.result["lr_max"]
    assert best["score"] == next(
        probe["score"] for probe in proof["probes"] if probe["lr"] == proof["best"]
    )
    assert 3**-0.5 <= proof["lr_max"] / proof["best"] <= 3**0.5
    assert any(
        probe["lr"] == found["suggestions"]["recommended"]["lr"] for probe in proof["probes"]
    )


def test_the_cost_is_stated_before_the_first_probe(proven):
    _, found, notes = proven
    cost = next(i for i, note in enumerate(notes) if note.startswith("proof of lr_max: 3 to 7"))
    first = next(i for i, note in enumerate(notes) if note.startswith("probe at"))
    assert cost < first
    assert "trainings of 14 steps" in notes[cost]  # two epochs: 210 images in batches of 32
    assert "judged on 90 images of the train split" in notes[cost]
    assert sum(note.startswith("probe at") for note in notes) == len(found["proof"]["probes"])


def test_a_probe_is_the_training_of_its_length_at_its_rate(proven, tmp_path):
    """The score is the validation accuracy of a run of its own with the same numbers."""
    _, found, _ = proven
    for probe in found["proof"]["probes"][:2]:
        low = found["suggestions"]["lr_min"]["lr"]
        low = min(max(low, probe["lr"] / 1000), probe["lr"] / 10)
        recipe = override(
            PROVEN, epochs=2, lr_max=probe["lr"], lr_min=low, lr_final=low, peak_epoch=10 / 24
        )
        run = training.train(recipe, runs=tmp_path, report=False)
        assert run.result["val_accuracy"] == probe["score"]


@pytest.mark.faults
def test_without_a_validation_split_a_tenth_of_train_judges(tmp_path):
    notes = Notes()
    run = training.train(
        override(PROVEN, val_fraction=0.0), runs=tmp_path, progress=notes, report=False
    )
    assert any("judged on 30 images of the train split" in note for note in notes.notes)
    assert run.result["train_images"] == 300  # the training itself keeps them all
    assert isinstance(read_recipe(run.path / "recipe.toml").lr_max, float)


def test_too_few_images_are_refused(tmp_path):
    recipe = override(PROVEN, val_fraction=0.0, train_limit=40, batch_size=32)
    with pytest.raises(InputError, match="too few to hold some out"):
        training.train(recipe, runs=tmp_path, report=False)


@pytest.mark.faults
def test_a_given_lr_min_bounds_the_probes(tmp_path):
    run = training.train(override(PROVEN, lr_min=0.01), runs=tmp_path, report=False)
    recipe = read_recipe(Path(run.path) / "recipe.toml")
    assert recipe.lr_min == 0.01
    assert isinstance(recipe.lr_max, float)
    assert recipe.lr_max >= 0.01


def test_find_lr_says_that_it_does_not_prove(tmp_path):
    notes = Notes()
    finding = training.find_lr(PROVEN, progress=notes)
    assert finding.lr_max > 0
    assert notes.notes == [
        "lr_max: 'proven' needs trainings, which only train runs; here is the range test"
    ]


def test_the_word_goes_to_toml_and_back():
    assert from_toml(to_toml(PROVEN)) == PROVEN
    with pytest.raises(InputError, match="give a number or auto or proven"):
        override(PROVEN, lr_max="best")
