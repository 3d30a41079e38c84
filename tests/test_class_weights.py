"""Uneven classes: weights against copied images, exactly; what is said, measured and selected."""

import json
import math
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional as F

from onecycle import optim, training
from onecycle.config import Recipe, override
from onecycle.data import load_splits
from onecycle.data.image_set import ImageSet
from onecycle.engine import loop
from onecycle.engine.state import Training
from onecycle.errors import Interrupted
from onecycle.progress import Progress
from onecycle.training import probes

COUNTS = (3, 12, 4, 1)
COPIES = (4, 1, 3, 12)
"""Copies of each image that make the classes even."""

BALANCED = Recipe(
    recipe="uneven", width=0.125, head_scale=0.125, epochs=2, batch_size=16, crop_padding=1,
    cutout=3, precision="fp32", lr_max=0.05, lr_min=0.005, class_weights="balanced",
)  # fmt: skip


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)

    @property
    def uneven(self) -> list[str]:
        return [note for note in self.notes if note.startswith("uneven classes")]


def image_set(counts: tuple[int, ...]) -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    classes = tuple("abcdefgh"[: len(counts)])
    return ImageSet(pixels, labels, classes, tuple(map(str, range(len(labels)))))


def paint(root: Path, counts: dict[str, dict[str, int]], side: int = 12) -> Path:
    """Class folders whose images differ in brightness, as many as asked for."""
    for split, classes in counts.items():
        for place, (label, count) in enumerate(classes.items()):
            (root / split / label).mkdir(parents=True)
            for index in range(count):
                rng = np.random.default_rng([place, index, len(split)])
                pixels = rng.normal(60 + 70 * place, 25, (side, side)).clip(0, 255)
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(root / split / label / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Path:
    """40 and 8 images to train, 12 and 4 to test."""
    counts = {"train": {"many": 40, "few": 8}, "test": {"many": 12, "few": 4}}
    return paint(tmp_path_factory.mktemp("images") / "uneven", counts)


# ------------------------------------------------------------------------------------- the weights


@given(counts=st.lists(st.integers(1, 500), min_size=2, max_size=8))
def test_balanced_weights_are_the_formula_and_average_to_one(counts):
    images = image_set(tuple(counts))
    weights = images.balanced_weights()
    for weight, count in zip(weights, counts, strict=True):
        assert weight == pytest.approx(len(images) / (len(counts) * count), rel=1e-12)
        assert weight * count == pytest.approx(weights[0] * counts[0], rel=1e-12)
    assert weights[images.labels_N].mean() == pytest.approx(1, rel=1e-12)


def test_a_class_without_images_has_no_weight():
    weights = image_set((2, 0, 6)).balanced_weights()
    assert weights.tolist() == [2.0, 0.0, 8 / 12]


BATCHES = {"all of them": range(20), "any": [0, 3, 4, 9, 19], "no rare one": [1, 5, 6, 16]}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("changes", [{}, {"label_smoothing": 0.2}, {"l1": 0.01}])
def test_a_weighted_step_is_the_step_on_copied_images(changes, batch):
    """Brute force: as many copies of each image as make the classes even, and no weights."""
    images, recipe = image_set(COUNTS), override(BALANCED, **changes)
    chosen = torch.tensor(list(BATCHES[batch]))
    pixels = torch.from_numpy(images.images_NHWC).permute(0, 3, 1, 2)[chosen].float() / 255
    labels = torch.from_numpy(images.labels_N)[chosen]
    weights = torch.from_numpy(images.balanced_weights()).float()
    each = torch.repeat_interleave(torch.arange(len(labels)), torch.tensor(COPIES)[labels])
    if batch == "all of them":
        assert torch.bincount(labels[each]).tolist() == [12, 12, 12, 12]

    weighted, copied = linear_model(recipe), linear_model(recipe)
    loss, correct = loop.train_step(*weighted, pixels, labels, recipe, weights)
    expected, _ = loop.train_step(*copied, pixels[each], labels[each], recipe)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert 0 <= correct <= len(labels)
    for one, other in zip(weighted[0].parameters(), copied[0].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def linear_model(recipe: Recipe) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, len(COUNTS)))
    optimizer = optim.build(model, recipe)
    optim.set_rates(optimizer, 0.1, 0.9)
    return model, optimizer


def test_without_label_smoothing_the_loss_is_pytorchs_weighted_one():
    logits, labels = torch.randn(32, 4), torch.randint(0, 4, (32,))
    weights = torch.tensor([0.3, 1.0, 4.0, 2.0])
    expected = F.cross_entropy(logits, labels, weight=weights)
    assert optim.mean_loss(logits, labels, 0.0, weights).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_before_training_the_loss_is_that_of_chance_whatever_a_batch_holds():
    weights = torch.tensor([0.3, 1.0, 40.0])
    for labels in ([0, 0, 0], [0, 1, 2], [2, 2, 2]):
        loss = optim.mean_loss(torch.zeros(3, 3), torch.tensor(labels), 0.1, weights)
        assert loss.item() == pytest.approx(math.log(3), rel=1e-6)


def test_without_weights_the_loss_is_pytorchs_to_the_bit():
    logits, labels = torch.randn(32, 5), torch.randint(0, 5, (32,))
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        assert torch.equal(optim.mean_loss(logits, labels, smoothing), expected)


# ------------------------------------------------------------------------------------ a training


def begun(folder: Path, **changes) -> Training:
    return training.prepare(override(BALANCED, data=str(folder), **changes))[0]


def test_weights_are_those_of_the_train_split_that_is_left(uneven):
    """After the limit and the validation split: 30 images become 23."""
    job = begun(uneven, train_limit=30, val_fraction=0.25)
    counts = job.batches.train.class_counts()
    assert counts.sum() == len(job.batches.train) < 30
    expected = counts.sum() / (2 * counts)
    np.testing.assert_allclose(job.class_weights_K, expected, rtol=1e-6)
    assert begun(uneven, class_weights="none").class_weights_K is None
    shorter = probes.short(begun(uneven))
    counts = shorter.batches.train.class_counts()
    np.testing.assert_allclose(shorter.class_weights_K, counts.sum() / (2 * counts), rtol=1e-6)


def test_training_range_test_and_probes_all_weigh(uneven, tmp_path, monkeypatch):
    seen, step = [], loop.train_step

    def spy(*arguments):
        seen.append(arguments[5])
        return step(*arguments)

    monkeypatch.setattr(loop, "train_step", spy)
    recipe = override(BALANCED, data=str(uneven), lr_max="proven", lr_min="auto", lr_steps=10)
    run = training.train(recipe, runs=tmp_path, report=False)
    found = json.loads((run.path / "lr_range_test.json").read_text())
    probes = len(found["proof"]["probes"]) * 3  # an epoch of 43 images in batches of 16
    assert len(seen) == len(found["curve"]["lr"]) + probes + run.result["steps"]
    for weights in seen:
        assert weights is not None
        few, many = weights.tolist()
        assert few / many == pytest.approx(5, rel=0.05)  # probes lack a tenth: 36 / 7


def test_a_stopped_run_with_weights_goes_on_to_the_same_bits(uneven, tmp_path):
    class Stopper(Progress):
        def advance(self, count: int = 1, **figures: float) -> None:
            if figures.get("step") == 2:
                signal.raise_signal(signal.SIGTERM)

    recipe = override(BALANCED, data=str(uneven))
    whole = training.train(recipe, runs=tmp_path, report=False)
    with pytest.raises(Interrupted) as stopped:
        training.train(recipe, runs=tmp_path, progress=Stopper(), report=False)
    again = training.resume(stopped.value.run, report=False)
    assert again.result["weights_sha256"] == whole.result["weights_sha256"]


def test_what_is_measured_counts_each_image_once_and_balanced_each_class(uneven, tmp_path):
    run = training.train(
        override(BALANCED, data=str(uneven), val_fraction=0.25), runs=tmp_path, report=False
    )
    evaluation, result = run.evaluation, run.result
    right = evaluation.logits_NK.argmax(1) == evaluation.labels_N
    recalls = [right[evaluation.labels_N == label].mean() for label in (0, 1)]
    assert result["test_balanced_accuracy"] == pytest.approx(sum(recalls) / 2, rel=1e-12)
    assert result["test_accuracy"] == pytest.approx(right.mean(), rel=1e-12)
    assert result["test_class_sizes"] == [4, 12]
    logits, labels = torch.tensor(evaluation.logits_NK), torch.tensor(evaluation.labels_N)
    assert result["test_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert result["val_balanced_accuracy"] == run.metrics[-1]["val_balanced_accuracy"]
    again = training.evaluate_run(run.path)
    assert again["test_balanced_accuracy"] == result["test_balanced_accuracy"]
    assert again["test_class_sizes"] == [4, 12]


def test_the_best_checkpoint_and_the_probes_go_by_balanced_accuracy(uneven):
    job = begun(uneven)
    logits = np.eye(2, dtype=np.float32)[[1, 1, 1, 1]]
    evaluation = replace(job.evaluate(job.test), logits_NK=logits, labels_N=np.array([1, 1, 1, 0]))
    assert job.score(evaluation) == 0.5
    job.recipe = override(job.recipe, class_weights="none")
    assert job.score(evaluation) == 0.75


# ---------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("few", "weights", "said"),
    [(20, "none", 1), (21, "none", 0), (8, "balanced", 0)],
)
def test_uneven_classes_are_named_once_with_the_remedy(few, weights, said, tmp_path):
    counts = {"train": {"many": 40, "few": few}, "test": {"many": 2, "few": 2}}
    folder, notes = paint(tmp_path / "images", counts), Notes()
    recipe = override(BALANCED, data=str(folder), class_weights=weights, epochs=1)
    run = training.train(recipe, runs=tmp_path / "runs", progress=notes, report=False)
    assert len(notes.uneven) == said
    if said:
        assert notes.uneven == [
            "uneven classes: 'many' has 40 training images and 'few' 20; to give every class the "
            "same weight in the loss: --class-weights balanced"
        ]
        assert (run.path / "train.log").read_text().count("--class-weights balanced") == 1


def test_a_limit_keeps_an_image_of_the_smallest_class(tmp_path):
    folder = paint(tmp_path / "images", {"train": {"a": 60, "b": 2}, "test": {"a": 60, "b": 2}})
    splits = load_splits(str(folder), train_limit=10, test_limit=2)
    assert splits.train.class_counts().tolist() == [9, 1]
    assert splits.test.class_counts().tolist() == [1, 1]
