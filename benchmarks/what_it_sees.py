"""What a trained network sees of its images: the fields and maps of docs/results.md.

    python -m benchmarks.what_it_sees RUN --name custom-resnet-24

RUN is a run of the brief's network, with its weights, whose images are still there. Two pictures
are written to benchmarks/images. `results_fields_NAME.png` shows the effective receptive field of
each stage, before and after training. `results_maps_NAME.png` shows the first test image of each
class that the network gets right, with its Grad-CAM map. A table of the fields is printed, as
Markdown.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.results import IMAGES, compressed
from onecycle import plots
from onecycle.engine.state import Training, load_model
from onecycle.interpret import EffectiveField, effective_receptive_fields, grad_cam
from onecycle.models.summary import summarize
from onecycle.plots import heat, style, tiles
from onecycle.plots.style import DPI, HEADING, MARGIN, QUIET, SMALL
from onecycle.run_dir import RunDir, write_atomically
from onecycle.training import prepare

FIELD_IMAGES = 200
"""Images that a field is averaged over, spread evenly over the test split."""

ACROSS = 5
"""Pairs of image and map in a row."""

Fields = Mapping[str, EffectiveField]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="a finished run with its weights")
    parser.add_argument("--name", required=True, help="last part of the pictures' names")
    given = parser.parse_args()
    run = RunDir.open(given.run)
    checkpoint = run.newest_checkpoint()
    if checkpoint is None:
        sys.exit(f"{given.run}: has no weights")
    training, _ = prepare(run.read_recipe())
    before = fields(training)
    load_model(training.model, checkpoint.tensors)
    after = fields(training)
    print(table(training, before, after))
    write(draw_fields(before, after), IMAGES / f"results_fields_{given.name}.png")
    write(draw_maps(training), IMAGES / f"results_maps_{given.name}.png")


def write(figure: plots.Figure, place: Path) -> None:
    write_atomically(place, compressed(figure))


def fields(training: Training) -> Fields:
    """The effective receptive field of each stage of the network as it is now."""
    chosen = np.linspace(0, len(training.test) - 1, FIELD_IMAGES).astype(int)
    return effective_receptive_fields(training.model, training.test_batch(chosen))


def table(training: Training, before: Fields, after: Fields) -> str:
    """A row for each stage: its theoretical field, and the effective one before and after."""
    found = summarize(training.model, training.test.image_shape)
    theoretical = {
        stage: max(
            layer.receptive_field
            for layer in found.layers
            if f"{layer.name}.".startswith(f"{stage}.") and len(layer.output_shape) > 2
        )
        for stage in after
    }
    rows = ["| stage | theoretical | before training | after |", "|---|---:|---:|---:|"]
    for stage, field in after.items():
        sides = f"{before[stage].side:.1f} | {field.side:.1f}"
        rows.append(f"| {stage} | {theoretical[stage]} | {sides} |")
    return "\n".join(rows)


@style.styled
def draw_fields(before: Fields, after: Fields) -> plots.Figure:
    """A row of fields before training and one after, a column for each stage."""
    side, gap, left = 190, 14, MARGIN * DPI + 70
    top = HEADING * DPI + 34
    width = left + len(after) * (side + gap) - gap + MARGIN * DPI
    axes = tiles.canvas(width / DPI, (top + 2 * (side + 36)) / DPI)
    style.heading(
        axes.figure,  # pyright: ignore[reportArgumentType]
        "Effective receptive fields",
        f"Influence of each pixel on the middle unit, mean of {FIELD_IMAGES} test images (root)",
    )
    for row, (name, found) in enumerate((("before", before), ("after", after))):
        y = top + row * (side + 36)
        axes.text(left - 12, y + side / 2, name, ha="right", va="center_baseline")
        for column, stage in enumerate(after):
            x = left + column * (side + gap)
            strength_HW = np.sqrt(found[stage].influence_HW)[..., None]
            colours_HW3 = 255 * heat.COLOURS[np.rint(255 * strength_HW[..., 0]).astype(int)]
            image_HW3 = np.rint(strength_HW * colours_HW3).astype(np.uint8)
            tiles.show(axes, image_HW3, x, y, side, side)
            if row == 0:
                axes.text(x, top - 10, stage, va="baseline", fontweight="bold")
            note = f"{found[stage].side:.1f} pixels a side"
            axes.text(x, y + side + 18, note, va="baseline", fontsize=SMALL, color=QUIET)
    return axes.figure  # pyright: ignore[reportReturnType]


@style.styled
def draw_maps(training: Training) -> plots.Figure:
    """The images of `first_right` next to their maps, in rows of `ACROSS` pairs."""
    chosen = first_right(training)
    maps_NHW = grad_cam(training.model, training.test_batch(chosen)).cpu().numpy()
    side, gap, pitch, down = 96, 4, 216, 140
    top = HEADING * DPI + 24
    rows = -(-len(chosen) // ACROSS)
    width = 2 * MARGIN * DPI + ACROSS * pitch - (pitch - 2 * side - gap)
    axes = tiles.canvas(width / DPI, (top + rows * down) / DPI)
    style.heading(
        axes.figure,  # pyright: ignore[reportArgumentType]
        "What speaks for the class",
        "The first test image of each class that the network gets right, and its Grad-CAM map",
    )
    for place, index in enumerate(chosen):
        x = MARGIN * DPI + place % ACROSS * pitch
        y = top + place // ACROSS * down
        image_HWC = np.asarray(training.test.images_NHWC[index])
        axes.text(
            x, y - 8, training.test.classes[training.test.labels_N[index]],
            va="baseline", fontweight="bold",
        )  # fmt: skip
        tiles.show(axes, image_HWC, x, y, side, side)
        tiles.show(axes, heat.overlay(image_HWC, maps_NHW[place]), x + side + gap, y, side, side)
    return axes.figure  # pyright: ignore[reportReturnType]


def first_right(training: Training, looked_at: int = 50) -> np.ndarray:
    """The index of each class's first test image that is classified rightly, of `looked_at`."""
    chosen = []
    for label in range(len(training.test.classes)):
        own = np.flatnonzero(training.test.labels_N == label)[:looked_at]
        with torch.no_grad():
            predicted = training.model.eval()(training.test_batch(own)).argmax(1).cpu().numpy()
        chosen.extend(own[predicted == label][:1])
    return np.array(chosen)


if __name__ == "__main__":
    main()
