"""The audit: a sound run passes every line, and each fault of the first program fails its own.

The faults are those at the end of the brief, and each is built into a real training.
"""

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from onecycle import examples, optim, runtime, training
from onecycle.audit import audit, failures
from onecycle.audit.cycle import schedule
from onecycle.config import Recipe, override
from onecycle.data.batches import Batches
from onecycle.engine import loop
from onecycle.engine.plan import AtStep, Plan
from onecycle.evaluate import Evaluation
from onecycle.interpret import most_confidently_wrong
from onecycle.lr_finder import LRCurve
from onecycle.progress import Progress
from onecycle.run_dir import RunDir
from onecycle.training import peak_search, preparation

RECIPE = Recipe(
    recipe="tiny", data="shapes", image_size=16, train_limit=256, test_limit=100, width=0.0625,
    head_scale=0.125, epochs=2, batch_size=64, crop_padding=2, cutout=4, nesterov=True,
    weight_decay=5e-4, precision="fp32", lr_steps=12, lr_start=1e-3, lr_end=1e4,
)  # fmt: skip


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def failed(tmp_path, recipe: Recipe = RECIPE) -> set[str]:
    """Names of the lines that a training fails; each must have been told as a note."""
    notes = Notes()
    run = training.train(recipe, runs=tmp_path, progress=notes, report=False)
    sections = audit(RunDir.open(run.path))
    assert all(line.passed is not None for lines in sections.values() for line in lines)
    names = {line.name for line in failures(sections)}
    told = {line.split(": ", 1)[1] for line in notes.lines if line.startswith("audit: ")}
    assert all(any(line.startswith(name) for line in told) for name in names)
    assert len(told) == len(names)
    return names


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # so small that a second thread only waits


@pytest.fixture
def patch(monkeypatch) -> Callable:
    return monkeypatch.setattr


def test_a_sound_run_passes_every_line(tmp_path):
    assert failed(tmp_path) == set()


def test_a_sound_run_of_another_kind_passes(tmp_path):
    recipe = override(
        RECIPE, optimizer="adamw", nesterov=False, cycle_momentum=True, anneal="cosine",
        three_phase=True, peak_epoch=0.8, lr_final=1e-5, crop_padding=0, cutout=0, flip=0.0,
        lr_max=0.01, val_fraction=0.1,
    )  # fmt: skip
    assert failed(tmp_path, recipe) == set()


def test_one_transform_of_three_on_padded_images_and_nothing_saved(tmp_path, patch):
    """Crop 22 from 22, a no-op, or flip, or cutout; a third of the images each."""
    cut = Batches.cut

    def faulty(self: Batches, step: int):
        _, labels_B = cut(self, step)
        batch_BHWC = F.pad(self.images.normalised(self.indices(step)), (0, 0, 3, 3, 3, 3))
        which_B = torch.arange(len(batch_BHWC)) % 3
        batch_BHWC[which_B == 1] = batch_BHWC[which_B == 1].flip(2)
        batch_BHWC[which_B == 2, 8:12, 8:12] = 0
        return batch_BHWC.permute(0, 3, 1, 2), labels_B

    patch(Batches, "cut", faulty)
    patch(RunDir, "save_checkpoint", lambda *_: None)
    names = failed(tmp_path)
    assert {"Random crop", "Cutout", "Transforms that change images"} <= names
    assert {"Images left untouched", "Anything else done to images"} <= names
    assert "Weights on disk" in names


def test_a_schedule_with_annihilation_and_a_momentum_cycled_by_accident(tmp_path, patch):
    def faulty(plan: Plan, step: int) -> AtStep:
        total, peak, high = plan.total_steps - 1, 3, plan.lr_max
        lr = np.interp(step, [0, peak, total], [high / 25, high, high / 25 / 1e4])
        return AtStep(float(lr), float(np.interp(step, [0, peak, total], [0.95, 0.85, 0.95])))

    patch(Plan, "at", faulty)
    wanted = {"Learning rate in the optimizer", "Momentum in the optimizer"}
    names = failed(tmp_path, override(RECIPE, lr_max=0.05))
    assert names - {"Optimizer of the range test"} == wanted | {"Rate of the last step"}


def test_a_first_rate_never_searched_for_and_a_range_test_that_leaves_a_trace(tmp_path, patch):
    resolve = training.resolve_rates

    def found_by_nobody(recipe: Recipe, finding, proof=None) -> Recipe:
        return override(recipe, lr_max=finding.lr_max, lr_min=finding.lr_max / 25)

    def with_a_trace(training_, *arguments):
        recipe = resolve(training_, *arguments)
        with torch.no_grad():
            next(training_.model.parameters()).add_(1e-6)
        return recipe

    patch(peak_search, "choose_rates", found_by_nobody)
    patch(training, "resolve_rates", with_a_trace)
    assert failed(tmp_path) == {"First rate: searched for", "Seed"}


def test_a_range_test_with_another_optimizer_and_test_images_in_train(tmp_path, patch):
    one, load, set_rates = peak_search._one_range_test, preparation.splits_of, loop.optim.set_rates

    def with_another(trial, *arguments):
        other = torch.optim.SGD(trial.model.parameters(), lr=0.0, momentum=0.0, weight_decay=1e-2)
        patch(loop.optim, "set_rates", lambda optimizer, lr, momentum: None)
        curve = one(replace(trial, optimizer=other), *arguments)
        patch(loop.optim, "set_rates", set_rates)
        return curve

    def with_copies(*arguments):
        splits = load(*arguments)
        pixels = splits.test.images_NHWC.copy()
        pixels[:3] = splits.train.images_NHWC[:3]
        return replace(splits, test=replace(splits.test, images_NHWC=pixels))

    patch(peak_search, "_one_range_test", with_another)
    patch(preparation, "splits_of", with_copies)
    assert failed(tmp_path) == {"Optimizer of the range test", "Test images in train"}


def test_a_peak_on_the_falling_tail_after_the_loss_has_blown_up(tmp_path):
    run = RunDir.open(training.train(RECIPE, runs=tmp_path, report=False).path)
    lrs = np.geomspace(1e-4, 10, 60)
    losses = np.interp(np.log10(lrs), [-4, -3, -1, -0.3, 0.1, 1], [2.3, 2.3, 1.2, 1.4, 9.0, 2.4])
    curve = LRCurve(tuple(lrs.tolist()), tuple(losses.tolist())).to_json()
    found = run.read_json("lr_range_test.json") or {}
    for lr_max, passes in ((0.1, True), (0.3, True), (1.87, False), (2.31, False)):
        chosen = {"lr_min": 0.001, "lr_max": lr_max}
        run.write_json("lr_range_test.json", found | {"curves": [curve], "chosen": chosen})
        lines = audit(run)["Range test"]
        line = next(line for line in lines if line.name == "Peak rate on the curve")
        assert line.passed is passes, lr_max
    beyond = LRCurve(tuple(lrs[:30].tolist()), tuple(losses[:30].tolist())).to_json()
    chosen = {"lr_min": 0.001, "lr_max": 25.0}
    run.write_json("lr_range_test.json", found | {"curves": [beyond], "chosen": chosen})
    assert "Peak rate on the curve" in {line.name for line in failures(audit(run))}


def test_figures_that_are_not_those_of_the_predictions(tmp_path, patch):
    """The loss divided by the images once too often, the accuracy per class from the first four
    images of each batch, the first mistakes in place of those with the largest loss.
    """

    def of_the_first_four(self: Evaluation) -> np.ndarray:
        first = np.arange(len(self.labels_N)) % 64 < 4
        pairs = np.stack([self.labels_N[first], self.predictions_N[first]], axis=1)
        cells, counts = np.unique(pairs, axis=0, return_counts=True)
        return np.concatenate([cells, counts[:, None]], axis=1)

    def unranked(evaluation: Evaluation, count: int) -> np.ndarray:
        return np.sort(most_confidently_wrong(evaluation, 10**6))[:count]

    patch(Evaluation, "loss", property(lambda self: float(self.losses_N.mean() / 500)))
    patch(Evaluation, "confusion_P3", property(of_the_first_four))
    patch(Evaluation, "balanced_accuracy", 0.5)  # a class may have none of these images
    patch(examples, "most_confidently_wrong", unranked)
    assert failed(tmp_path) == {"Test loss", "Accuracy per class", "Mistakes shown"}


def test_a_list_of_mistakes_must_hold_mistakes_alone_and_those_of_greatest_loss(tmp_path):
    """A run of an earlier version, which ranked them by confidence, is not blamed."""
    run = RunDir.open(
        training.train(override(RECIPE, lr_max=0.05), runs=tmp_path, report=False).path
    )
    arrays, predictions = run.load_arrays("examples.npz"), run.load_arrays("predictions.npz")
    evaluation = Evaluation(predictions["logits"], predictions["labels"])
    right = np.flatnonzero(evaluation.predictions_N == evaluation.labels_N)
    wrong = np.flatnonzero(evaluation.predictions_N != evaluation.labels_N)
    ranked = arrays["wrong"]
    assert len(ranked) == 20 < len(wrong)
    by_confidence = wrong[np.argsort(-evaluation.confidence_N[wrong], kind="stable")][:20]
    one_right = np.append(ranked[:19], right[np.argmax(evaluation.losses_N[right])])
    for shown, passes in (
        (ranked, True), (by_confidence, None), (one_right, False), (ranked[::-1], False),
        (ranked[:19], False),
    ):  # fmt: skip
        run.save_arrays("examples.npz", **(arrays | {"wrong": shown}))
        line = next(line for line in audit(run)["Figures"] if line.name == "Mistakes shown")
        assert line.passed is passes


def test_a_seed_that_is_never_set(tmp_path, patch):
    """The peak is given: by chance, the range test can find one that ends in NaN."""
    patch(runtime, "seed_of", lambda *_: int.from_bytes(os.urandom(7), "little"))
    assert "Seed" in failed(tmp_path, override(RECIPE, lr_max=0.05))


def test_a_group_whose_rate_is_not_set(tmp_path, patch):
    def faulty(optimizer, lr: float, momentum: float) -> None:
        for group in optimizer.param_groups:
            group |= {"momentum": momentum, "lr": lr}
        optimizer.param_groups[-1]["lr"] = 0.0123

    patch(optim, "set_rates", faulty)
    assert "Learning rate in the optimizer" in failed(tmp_path, override(RECIPE, lr_max=0.05))


@given(
    epochs=st.integers(1, 6), per_epoch=st.integers(1, 9), share=st.floats(0.01, 0.99),
    cosine=st.booleans(), three=st.booleans(), cycled=st.booleans(),
)  # fmt: skip
@example(epochs=1, per_epoch=2, share=0.75, cosine=False, three=False, cycled=True)  # peak at last
@example(epochs=1, per_epoch=1, share=0.5, cosine=True, three=False, cycled=True)
@example(epochs=1, per_epoch=9, share=0.99, cosine=False, three=True, cycled=True)
def test_the_schedule_computed_anew_is_the_trainings(
    epochs, per_epoch, share, cosine, three, cycled
):
    recipe = Recipe(
        epochs=epochs, peak_epoch=epochs * share / (2 if three else 1), lr_min=0.01, lr_max=0.4,
        lr_final=0.001, anneal="cosine" if cosine else "linear", three_phase=three,
        cycle_momentum=cycled,
    )  # fmt: skip
    lr, momentum = schedule(recipe, per_epoch)
    if three and 2 * max(0, round(recipe.resolved_peak_epoch * per_epoch) - 1) > len(lr) - 1:
        return  # the training refuses it
    wanted = [Plan.of(recipe, per_epoch).at(step) for step in range(epochs * per_epoch)]
    np.testing.assert_allclose(lr, [rate for rate, _ in wanted], rtol=1e-9)
    np.testing.assert_allclose(momentum, [value for _, value in wanted], rtol=1e-9)


def test_images_that_a_cutout_hides_are_not_measured_and_no_failure(tmp_path):
    """A square as large as the image, on grounds of noise: nothing to tell a shift or a flip by."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        place = tmp_path / "images" / "ab"[index % 2] / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    given = {"image_size": 0, "train_limit": 0, "test_limit": 0, "batch_size": 16, "cutout": 8}
    rates = {"lr_max": 0.1, "lr_min": 0.01, "epochs": 1, "crop_padding": 4}
    recipe = override(RECIPE, data=str(tmp_path / "images"), **given, **rates)
    run = RunDir.open(training.train(recipe, runs=tmp_path / "runs", threads=1, report=False).path)
    assert failures(audit(run)) == []
    lines = {line.name: line for section in audit(run).values() for line in section}
    assert lines["Crop, flip and cutout"].passed is None
