"""Images that are not 32 x 32 and in colour: the whole program, mostly in processes of its own."""

import base64
import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onecycle import optim, training
from onecycle.cli import main
from onecycle.config import Recipe
from onecycle.engine import loop

CLASSES = ("across", "down", "rings")
SIZES = {"grey like MNIST": (28, 28, 1), "larger": (64, 64, 3), "not square": (40, 24, 3)}
"""Height, width and channels."""
PLOTS = ("one_cycle", "augmented_samples", "curves", "confusion", "misclassified")


def pattern(label: str, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Waves across, down or around the middle, in [-1, 1], H W."""
    y, x = np.mgrid[:height, :width]
    distance = {
        "across": y, "down": x, "rings": np.hypot(y - height / 2, x - width / 2),
    }[label]  # fmt: skip
    return np.sin(2 * np.pi * (distance / rng.uniform(6, 9) + rng.uniform()))


def draw(folder: Path, size: tuple[int, int, int], counts: dict[str, int]) -> Path:
    """Class folders of noisy PNGs; of each class one test image lies in the next one's folder."""
    rng = np.random.default_rng(3)
    for split, count in counts.items():
        for place, label in enumerate(CLASSES):
            (folder / split / label).mkdir(parents=True)
            for index in range(count):
                save(folder / split / label / f"{index:03}.png", label, size, rng)
            if split == "test":
                save(folder / split / label / "wrong.png", CLASSES[place - 1], size, rng)
    return folder


def save(path: Path, label: str, size: tuple[int, int, int], rng: np.random.Generator) -> None:
    height, width, channels = size
    colour = rng.uniform(30, 80, channels) * rng.choice([-1, 1], channels)
    pixels = pattern(label, height, width, rng)[..., None] * colour + 128
    pixels = (pixels + rng.normal(0, 15, size)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)


def onecycle(*words: str) -> dict[str, Any]:
    """What a command answers with --json, in a process of its own."""
    command = [sys.executable, "-m", "onecycle", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answer(size: tuple[int, int, int], *words: str) -> dict[str, Any]:
    """The same; for all but grey images in this process, since starting one takes long."""
    if size[2] == 1:
        return onecycle(*words)
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
        assert main([*words, "--json"]) == 0
    return json.loads(out.getvalue())


SLOWER = {"larger": pytest.mark.faults}
PARAMETERS = [pytest.param(name, marks=SLOWER.get(name, ())) for name in SIZES]


@pytest.fixture(scope="module", params=PARAMETERS)
def trained(request, tmp_path_factory) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """The size, and what `train` answered on images of it."""
    size, folder = SIZES[request.param], tmp_path_factory.mktemp("sizes")
    images = draw(folder / "images", size, {"train": 56, "test": 12})
    result = onecycle(
        "train", "demo", "--data", str(images), "--runs", str(folder / "runs"), "--epochs", "2",
        "--width", "0.0625", "--batch-size", "16", "--lr-max", "0.3", "--lr-min", "0.03",
        "--precision", "fp32", "--threads", "2",
    )  # fmt: skip
    return size, result


def test_the_classes_are_told_apart(trained):
    """All but the three images in a wrong folder, of 39, can be right."""
    _, result = trained
    assert 0.6 < result["test_accuracy"] <= 36 / 39  # chance: a third
    assert result["test_balanced_accuracy"] == pytest.approx(result["test_accuracy"], rel=1e-12)
    assert result["test_class_sizes"] == [13, 13]


def test_evaluate_repeats_it(trained):
    size, result = trained
    found = answer(size, "evaluate", result["run"], "--threads", "2")
    assert found["test_accuracy"] == result["test_accuracy"]
    assert found["test_loss"] == result["test_loss"]


def test_report_and_plots_are_written_and_grey_is_shown_grey(trained):
    size, result = trained
    page = Path(answer(size, "report", result["run"])["report"]).read_text()
    assert page.count('<figure class="plot chart') == 2  # the cycle, and the curves
    (sheet,) = re.findall(r"\.strip \{.*?base64,([^)]+)\)", page)
    files = [Path(result["run"], "plots", f"{name}.png") for name in PLOTS]
    assert all(file.is_file() for file in files)
    for picture in (files[PLOTS.index("augmented_samples")], io.BytesIO(base64.b64decode(sheet))):
        pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
        colourful = (pixels.max(axis=2) - pixels.min(axis=2) > 40).mean()
        assert colourful == 0 if size[2] == 1 else colourful > 0.05


@pytest.mark.parametrize("side", [8, 12, 15])
def test_an_image_left_over_can_be_trained_on_where_the_last_map_is_one_value(side, tmp_path):
    """PyTorch refuses batch norm over a single value per channel."""
    folder = draw(tmp_path / "images", (side, side, 1), {"train": 3, "test": 1})
    recipe = Recipe(data=str(folder), width=0.125, batch_size=4, crop_padding=1, cutout=2)
    job, _ = training.prepare(recipe)
    assert len(job.batches.train) == 9
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        job.model.train()(job.batches.cut(0)[0][:1])
    optim.set_rates(job.optimizer, 0.01, 0.9)
    sizes = []
    for step in range(job.batches.steps_per_epoch):
        batch, labels = job.batches.cut(step)
        loss, _ = loop.train_step(job.model, job.optimizer, batch, labels, job.recipe)
        assert torch.isfinite(loss)
        sizes.append(len(labels))
    assert sizes == [4, 5]


@pytest.mark.parametrize(
    "words", ["data shapes", "summary demo --cutout 0", "train demo --cutout 0"]
)
def test_images_too_small_to_be_halved_three_times_are_refused(words, capsys):
    assert main([*words.split(), "--image-size", "7"]) == 2
    assert capsys.readouterr().err == (
        "onecycle: error: image_size: 7 pixels are too few; give 8 or more, or 0 for the data's "
        "own size\n"
    )
