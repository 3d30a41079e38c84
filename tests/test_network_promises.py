"""What docs/networks.md promises of each built-in network: a test for every cell of its table."""

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from test_resume import stopped
from test_training import assert_same_outcome

from onecycle import exporting, models, training
from onecycle.config import Recipe, override
from onecycle.interpret import grad_cam
from onecycle.models.listing import built_in
from onecycle.run_dir import RunDir

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
ADAMW = {"optimizer": "adamw", "lr_max": 3e-3, "lr_min": 3e-4}
RECIPE = Recipe(
    recipe="promises", data="shapes", image_size=16, train_limit=64, test_limit=24, width=0.1,
    epochs=2, batch_size=16, cutout=4, crop_padding=2, lr_max=0.05, lr_min=0.005, lr_steps=10,
    precision="fp32",
)  # fmt: skip


def recipe(name: str, **changes: object) -> Recipe:
    adamw = ADAMW if name in ("small-convnext", "small-vit") else {}
    return override(RECIPE, model=name, **(adamw | changes))


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A trained run of each network, with its report, when it is asked for."""

    @cache
    def trained(name: str) -> Path:
        return training.train(recipe(name), runs=tmp_path_factory.mktemp("runs")).path

    return trained


each_network = pytest.mark.parametrize("name", models.NETWORKS)


@each_network
def test_range_test(name):
    finding = training.find_lr(recipe(name, lr_max="auto", lr_min="auto"))
    assert 0 < finding.lr_min < finding.lr_max < math.inf


@pytest.mark.faults
@each_network
def test_resume_to_the_bit(name, run_of, tmp_path):
    resumed = training.resume(stopped(recipe(name), tmp_path, 5), report=False).path
    assert_same_outcome(run_of(name), resumed)


@each_network
def test_grad_cam(name):
    """The map is of the image's size, and has its maximum where something speaks for the class."""
    model = models.build(name, classes=4, width=0.1, **small_stem(name))
    maps_BHW = grad_cam(model, torch.rand(2, 3, 33, 47), torch.tensor([0, 3]))
    assert maps_BHW.shape == (2, 33, 47)
    assert bool(torch.isfinite(maps_BHW).all())
    assert float(maps_BHW.max()) > 0


@pytest.mark.faults
@each_network
def test_report(name, run_of):
    run = run_of(name)
    page = (run / "report.html").read_text("utf-8")
    assert name in page
    with np.load(run / "examples.npz") as found:
        names, fields = found["field_stages"].tolist(), found["fields"]
    assert np.isfinite(fields).all()
    model = models.build(name, classes=4, width=0.1, **small_stem(name)).eval()
    stages = model.forward_features(torch.rand(1, 3, 16, 16))
    maps = [stage for stage, output in stages.items() if output.ndim == 4]
    assert names == maps
    for stage in maps:  # each has its picture
        assert re.search(rf">\s*{stage}\b", page), stage


@pytest.mark.faults
@pytest.mark.parametrize("form", exporting.FORMATS)
@each_network
def test_export(name, form, run_of):
    """Each format is run on the test images, and its answers are those of the run's network."""
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    done = exporting.export(run_of(name), format=form)
    assert done.check.network.equal_classes == done.check.network.images


@each_network
def test_frozen_stages(name, tmp_path):
    """Frozen tensors stay to the bit, statistics too, and the others are trained."""
    stage = next(iter(STAGES[name]))
    asked = recipe(name, epochs=1, train_limit=32, freeze=stage)
    run = RunDir.open(training.train(asked, runs=tmp_path, report=False).path)
    checkpoint = run.newest_checkpoint()
    assert checkpoint is not None
    channels, classes = 3, len(run.network().classes)  # pyright: ignore[reportOptionalMemberAccess]
    before = models.build(
        name, classes=classes, channels=channels, width=0.1, **small_stem(name)
    ).state_dict()
    changed = {
        each
        for each, tensor in before.items()
        if not torch.equal(tensor, checkpoint.tensors[f"model.{each}"])
    }
    assert changed
    assert not [each for each in changed if each.startswith(f"{stage}.")]


@each_network
def test_odd_sizes(name):
    """A training step and an evaluation of grey and colour images of 33 x 47 and 9 x 8 pixels."""
    for channels, height, width in ((3, 33, 47), (1, 9, 8)):
        model = models.build(
            name, classes=3, channels=channels, width=0.1, **small_stem(name)
        ).train()
        images = torch.rand(2, channels, height, width)
        model(images).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert bool(torch.isfinite(model.eval()(images)).all())


def small_stem(name: str) -> dict[str, str]:
    return {"stem": "small"} if "stem" in models.takes(name) else {}


STAGES = {
    "custom-resnet": ("prep", "layer1"),
    "resnet18": ("layer1", "layer2"),
    "resnet34": ("layer1", "layer2"),
    "wide-resnet-16-4": ("group1", "group2"),
    "small-convnext": ("stem", "stage1"),
    "small-vit": ("patches", "block1"),
}
"""Stages to freeze, of each network."""

PROMISES = {
    "range test": test_range_test,
    "resume to the bit": test_resume_to_the_bit,
    "Grad-CAM": test_grad_cam,
    "report": test_report,
    "export": test_export,
    "frozen stages": test_frozen_stages,
    "odd sizes": test_odd_sizes,
}
"""The columns of the table, and the test of each."""


def tables() -> list[list[list[str]]]:
    """The cells of the page's tables, headings first."""
    text = PAGE.read_text("utf-8")
    found = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    return [
        [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for table in found
    ]


def test_the_table_of_promises_has_a_row_for_each_network_and_a_column_for_each_test():
    heading, _, *rows = tables()[1]
    assert heading == ["network", *PROMISES]
    assert [row[0] for row in rows] == list(models.NETWORKS)
    assert all(cell == "yes" for row in rows for cell in row[1:])
    for test in PROMISES.values():
        marks = [mark.args for mark in test.pytestmark if mark.name == "parametrize"]  # pyright: ignore[reportFunctionMemberAccess]
        assert ("name", models.NETWORKS) in marks


def test_the_table_of_figures_is_that_of_the_networks():
    heading, _, *rows = tables()[0]
    assert heading[:4] == ["network", "stages", "parameters", "MACs"]
    for row, known in zip(rows, built_in(), strict=True):
        assert row[0] == known.name
        assert row[2].replace(",", "") == str(known.parameters)
        assert row[3].replace(",", "") == str(known.macs)
