"""The main job at a small size: what it leaves, that it repeats, and that it goes on to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import onecycle
from onecycle import schedule, training
from onecycle.cli import main
from onecycle.config import Recipe, override, read_recipe
from onecycle.data import load_splits
from onecycle.errors import InputError, Interrupted, TrainingError
from onecycle.inference.network import CHECKPOINTS, load_network
from onecycle.progress import Progress
from onecycle.run_dir import RunDir

TINY = Recipe(
    recipe="tiny", data="shapes", image_size=16, train_limit=200, test_limit=60, width=0.125,
    head_scale=0.125, epochs=3, batch_size=64, crop_padding=2, cutout=4, nesterov=True,
    weight_decay=5e-4, precision="fp32", lr_max=0.05, lr_min=0.005,
)  # fmt: skip

RESULT_KEYS = """recipe data data_fingerprint model parameters seed device precision torch epochs
steps batch_size lr_min lr_max lr_final peak_step train_loss train_accuracy test_loss test_accuracy
test_balanced_accuracy test_class_sizes best_test_accuracy best_epoch train_seconds eval_seconds
total_seconds images_per_second peak_memory_bytes weights_sha256 finished""".split()

FILES = """recipe.toml network.json environment.json lr_range_test.json steps.jsonl
metrics.jsonl result.json predictions.npz audit.json examples.npz
plots/lr_range_test.png plots/one_cycle.png plots/augmented_samples.png plots/curves.png
plots/confusion.png plots/misclassified.png report.html train.log""".split()


class Stopper(Progress):
    """Sends this process a signal after some steps of the training."""

    def __init__(self, steps: int, number: int = signal.SIGTERM) -> None:
        self.left, self.number, self.active = steps, number, False

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        self.active = title == "training"

    def advance(self, count: int = 1, **figures: float) -> None:
        if self.active and figures:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A run whose rates were found by a range test."""
    recipe = override(TINY, lr_max="auto", lr_min="auto", lr_steps=25, lr_start=1e-4, tta=True)
    return training.train(recipe, runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A run whose rates were given."""
    return training.train(TINY, runs=tmp_path_factory.mktemp("runs"))


def rows(path: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (path / name).read_text().splitlines()]


def without_times(row: dict) -> dict:
    return {key: value for key, value in row.items() if key != "seconds"}


def assert_same_outcome(one: Path, other: Path) -> None:
    """Everything but times is the same, to the bit."""
    results = [json.loads((path / "result.json").read_text()) for path in (one, other)]
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]
    assert (one / "steps.jsonl").read_bytes() == (other / "steps.jsonl").read_bytes()
    for left, right in zip(rows(one, "metrics.jsonl"), rows(other, "metrics.jsonl"), strict=True):
        assert without_times(left) == without_times(right)
    with np.load(one / "predictions.npz") as a, np.load(other / "predictions.npz") as b:
        for name in a.files:
            assert np.array_equal(a[name], b[name])


def test_a_run_leaves_every_promised_file(found):
    for name in FILES:
        assert (found.path / name).stat().st_size > 0, name
    assert len(list((found.path / "checkpoints").glob("step-*"))) == 2
    assert set(RESULT_KEYS) <= set(found.result)
    assert json.loads((found.path / "result.json").read_text()) == found.result


def test_the_figures_of_a_run_agree_with_each_other(found):
    steps, metrics = rows(found.path, "steps.jsonl"), rows(found.path, "metrics.jsonl")
    result, recipe = found.result, read_recipe(found.path / "recipe.toml")
    assert result["steps"] == len(steps) == 3 * 4
    assert [row["step"] for row in steps] == list(range(12))
    assert [row["epoch"] for row in metrics] == [1, 2, 3]
    for row in steps:
        expected = schedule.one_cycle(
            row["step"], total_steps=12, peak_step=result["peak_step"],
            lr_min=recipe.lr_min, lr_max=recipe.lr_max,
        )  # fmt: skip
        assert row["lr"] == pytest.approx(expected, rel=1e-12)
    assert result["lr_final"] == result["lr_min"] == recipe.lr_final
    assert steps[-1]["lr"] == pytest.approx(recipe.lr_final, rel=1e-12)
    sizes = np.array([64, 64, 64, 8])  # the last batch is smaller
    for row in metrics:
        epoch = steps[4 * (row["epoch"] - 1) : 4 * row["epoch"]]
        mean = np.average([step["loss"] for step in epoch], weights=sizes)
        assert row["train_loss"] == pytest.approx(mean, rel=1e-9)
    evaluation = found.evaluation
    assert result["test_accuracy"] == evaluation.accuracy == metrics[-1]["test_accuracy"]
    assert result["test_loss"] == evaluation.loss
    assert result["best_test_accuracy"] == max(row["test_accuracy"] for row in metrics)
    assert 0 <= result["test_accuracy_tta"] <= 1
    assert result["images_per_second"] == pytest.approx(600 / result["train_seconds"])


def test_the_range_test_is_recorded_with_what_was_chosen(found):
    record = json.loads((found.path / "lr_range_test.json").read_text())
    recipe = read_recipe(found.path / "recipe.toml")
    assert record["chosen"] == {"lr_min": recipe.lr_min, "lr_max": recipe.lr_max}
    assert {"steepest", "valley", "minimum/10", "recommended", "lr_min"} <= set(
        record["suggestions"]
    )
    assert record["optimizer"]["momentum"] == 0.9
    assert record["optimizer"]["nesterov"] is True
    assert record["optimizer"]["weight_decay"] == 5e-4


def test_training_after_a_range_test_is_that_without_one_at_the_same_rates(found, tmp_path):
    """The resolved recipe repeats the run: same rates, no range test, the same bits."""
    again = training.train(read_recipe(found.path / "recipe.toml"), runs=tmp_path, report=False)
    assert not (again.path / "lr_range_test.json").exists()
    assert_same_outcome(found.path, again.path)


def test_seeds_decide(given, tmp_path):
    assert_same_outcome(given.path, training.train(TINY, runs=tmp_path, report=False).path)
    other = training.train(override(TINY, seed=1), runs=tmp_path, report=False)
    assert other.result["weights_sha256"] != given.result["weights_sha256"]


def test_pictures_that_were_left_out_are_drawn_later(given, tmp_path, capsys):
    run = training.train(TINY, runs=tmp_path, report=False).path
    assert not list((run / "plots").iterdir())
    assert not (run / "report.html").exists()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    drawn = {path.name: path.read_bytes() for path in (given.path / "plots").iterdir()}
    assert {path.name: path.read_bytes() for path in (run / "plots").iterdir()} == drawn


def test_dropout_has_a_stream_of_its_own(tmp_path):
    recipe = override(TINY, dropout=0.3, epochs=1)
    one = training.train(recipe, runs=tmp_path, report=False)
    torch.rand(17)  # whatever happens to the global state in between
    assert_same_outcome(one.path, training.train(recipe, runs=tmp_path, report=False).path)


@pytest.mark.parametrize("steps", [1, 4, 6, 12])
def test_a_stopped_run_goes_on_to_the_same_bits(given, tmp_path, steps):
    """Stopped in the middle of an epoch, at its end, and after the last step."""
    with pytest.raises(Interrupted) as stopped:
        training.train(TINY, runs=tmp_path, progress=Stopper(steps), report=False)
    assert stopped.value.signal_number == signal.SIGTERM
    run = Path(stopped.value.run or "")
    assert not (run / "result.json").exists()
    resumed = training.resume(run, report=False)
    assert_same_outcome(given.path, resumed.path)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_killed_process_goes_on_to_the_same_bits(given, tmp_path):
    """A real kill -9 in the middle of a real process."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_training import TINY, training\n"
        f"training.train(TINY, runs={str(tmp_path)!r}, threads=2)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    (run,) = tmp_path.iterdir()
    assert_same_outcome(given.path, training.resume(run, report=False).path)


def test_a_finished_run_is_not_trained_again(given):
    before = {path: path.stat().st_mtime_ns for path in given.path.rglob("*")}
    assert training.resume(given.path, report=False).result == given.result
    assert before == {path: path.stat().st_mtime_ns for path in given.path.rglob("*")}


def test_evaluate_reproduces_the_result_exactly(found):
    again = training.evaluate_run(found.path)
    for key in ("test_accuracy", "test_loss", "test_accuracy_tta", "data_fingerprint"):
        assert again[key] == found.result[key]


def test_evaluate_on_other_data_and_on_other_classes(given, tmp_path):
    from PIL import Image

    splits = load_splits("shapes", image_size=16, train_limit=200, test_limit=60)
    for split, images in (("train", splits.train), ("test", splits.test)):
        for index, (pixels, label) in enumerate(
            zip(images.images_NHWC, images.labels_N, strict=True)
        ):
            folder = tmp_path / "same" / split / images.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    result = training.evaluate_run(given.path, data=str(tmp_path / "same"))
    assert result["test_images"] == 60
    (tmp_path / "same").rename(tmp_path / "other")
    for split in ("train", "test"):
        (tmp_path / "other" / split / "star").rename(tmp_path / "other" / split / "sun")
    with pytest.raises(InputError, match="images of class 'sun' unknown to the run, which knows"):
        training.evaluate_run(given.path, data=str(tmp_path / "other"))


def test_a_loss_that_blows_up_says_where_and_what_to_try(tmp_path):
    recipe = override(TINY, lr_max=1e30, lr_min=1e30, head_scale=1.0)
    with pytest.raises(TrainingError, match=r"non-finite at step \d+ \(lr 1e\+30\); try a lower"):
        training.train(recipe, runs=tmp_path, report=False)
    (run,) = tmp_path.iterdir()
    assert not (run / "result.json").exists()


def test_validation_is_cut_from_train_and_keeps_the_best(tmp_path):
    run = training.train(override(TINY, val_fraction=0.2, epochs=2), runs=tmp_path, report=False)
    metrics = rows(run.path, "metrics.jsonl")
    assert all({"val_loss", "val_accuracy"} <= row.keys() for row in metrics)
    assert run.result["train_images"] == 160
    assert run.result["val_accuracy"] == metrics[-1]["val_accuracy"]
    best = max(metrics, key=lambda row: (row["val_accuracy"], -row["epoch"]))
    found = training.evaluate_run(run.path, checkpoint="best")
    assert (found["checkpoint"], found["step"]) == ("best", best["step"])
    assert found["test_loss"] == best["test_loss"]
    last = training.evaluate_run(run.path)
    assert (last["checkpoint"], last["test_loss"]) == ("last", metrics[-1]["test_loss"])
    with pytest.raises(InputError, match="unknown checkpoint 'bets'; did you mean 'best'"):
        training.evaluate_run(run.path, checkpoint="bets")


def test_temperatures_are_those_that_fit_the_validation_split_best(tmp_path):
    run = training.train(override(TINY, val_fraction=0.2, epochs=1), runs=tmp_path, report=False)
    arrays = np.load(run.path / "predictions.npz")
    logits, labels = torch.tensor(arrays["val_logits"]).double(), arrays["val_labels"]
    for checkpoint in CHECKPOINTS:  # of a single epoch, both are the same network
        temperature = load_network(RunDir.open(run.path), checkpoint=checkpoint).temperature
        assert temperature is not None
        losses = [
            F.cross_entropy(logits / (temperature * factor), torch.tensor(labels)).item()
            for factor in (0.99, 1, 1.01)
        ]
        assert min(losses) == losses[1]


def test_a_run_without_validation_has_no_best_checkpoint_and_no_temperature(given):
    assert load_network(RunDir.open(given.path)).temperature is None
    with pytest.raises(InputError, match="no checkpoint 'best', which needs a validation split"):
        training.evaluate_run(given.path, checkpoint="best")


def test_a_given_rate_is_kept_and_the_other_one_found(tmp_path):
    recipe = override(TINY, lr_max=0.02, lr_min="auto", lr_steps=15, epochs=1)
    run = training.train(recipe, runs=tmp_path, report=False)
    assert run.result["lr_max"] == 0.02
    assert 0 < run.result["lr_min"] <= 0.02


def test_repeats_leave_the_training_as_it_is(tmp_path):
    recipe = override(TINY, lr_max="auto", lr_steps=12, lr_repeats=3, epochs=1)
    run = training.train(recipe, runs=tmp_path, report=False)
    record = json.loads((run.path / "lr_range_test.json").read_text())
    assert len(record["curves"]) == 3
    again = training.train(
        override(recipe, lr_max=run.result["lr_max"]), runs=tmp_path, report=False
    )
    assert again.result["weights_sha256"] == run.result["weights_sha256"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (0.5, 0.5)}, "mean: 2 given, but the images have 3 channels"),
        ({"cutout": 20, "image_size": 0, "data": "FOLDER"}, "cutout: 20 is larger than the image"),
        ({"data": "/nowhere"}, "there is no path '/nowhere'"),
        ({"model": "custom-resnett"}, "did you mean 'custom-resnet'"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data_is_refused_and_leaves_nothing(
    changes, message, tmp_path
):
    if changes.get("data") == "FOLDER":
        from PIL import Image

        for split in ("train", "test"):
            for label in ("a", "b"):
                (tmp_path / "images" / split / label).mkdir(parents=True)
                image = Image.new("RGB", (16, 16), "black" if label == "a" else "white")
                image.save(tmp_path / "images" / split / label / "1.png")
        changes = changes | {"data": str(tmp_path / "images"), "train_limit": 0, "test_limit": 0}
    with pytest.raises(InputError, match=message):
        training.train(override(TINY, **changes), runs=tmp_path / "runs", report=False)
    assert not (tmp_path / "runs").exists()


def test_the_summary_is_that_of_the_brief():
    summary = training.describe(onecycle.named("brief").recipe)
    assert summary.parameters == 6_573_130
    assert summary.layers[-1].receptive_field == 88


def test_a_scaled_recipe_keeps_its_peak_share(given):
    assert given.result["peak_step"] == round(3 * 5 / 24 * 4) - 1
    assert replace(TINY, epochs=24).resolved_peak_epoch == 5
