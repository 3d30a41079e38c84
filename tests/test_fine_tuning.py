"""The page on fine-tuning: its commands run as they stand, on few images."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_folders import make_flat
from test_readme import ROOT

from onecycle import models, training
from onecycle.audit import audit, failures
from onecycle.cli import main
from onecycle.config import Recipe
from onecycle.progress import SILENT
from onecycle.run_dir import RunDir

PAGE = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for text in re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines()
]
MODULES = [
    text
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    if "def make" in text
]
SMALLER = (
    "--epochs 1 --batch-size 8 --cutout 2 --crop-padding 0 --lr-max 0.01 --lr-min 0.001 "
    "--threads 1 --quiet"
)
TIMM = """
from torch import nn

def create_model(name, num_classes, in_chans):
    assert name == "efficientnet_lite0"
    return nn.Sequential(
        nn.Conv2d(in_chans, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, num_classes),
    )
"""
"""Stands for timm, which is not installed."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two kinds, a run on the first, the files of weights, and the page's module."""
    folder = tmp_path_factory.mktemp("fine-tuning")
    make_flat(folder / "animals", 8, ("ant", "bee", "cow", "dog"))
    make_flat(folder / "my-photos", 8, ("cup", "pen"))
    recipe = Recipe(
        recipe="custom-resnet-8", data=str(folder / "animals"), image_size=16, width=0.05, epochs=1,
        batch_size=8, cutout=2, lr_max=0.01, lr_min=0.001, precision="fp32", head_scale=0.125,
    )  # fmt: skip
    run = training.train(recipe, runs=folder / "first", report=False, progress=SILENT).path
    run.rename(folder / "RUN")
    (folder / "timm.py").write_text(TIMM)
    (module,) = MODULES
    (folder / "my_timm.py").write_text(module)
    scope: dict = {}
    exec(TIMM, scope)
    pretrained = scope["create_model"]("efficientnet_lite0", num_classes=1000, in_chans=3)
    save_file(pretrained.state_dict(), folder / "timm.safetensors")
    return folder


def test_the_page_has_commands_for_each_of_its_ways():
    assert len(COMMANDS) >= 7
    assert len(MODULES) == 1
    for words in ("--init-from RUN", "--init-from resnet18.pth", "--init-from timm.safetensors"):
        assert any(words in command for command in COMMANDS)


@pytest.mark.faults
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_works(command, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    if "resnet18" in command:
        if "resnet18" not in models.NETWORKS:
            pytest.skip("there is no such network yet")
        there = models.build("resnet18", classes=1000, stem="large")
        torch.save(there.state_dict(), "resnet18.pth")
    words = shlex.split(command)[1:]
    if words[0] == "summary":
        assert main(words) == 0
        assert "162 frozen" in capsys.readouterr().out.replace("1,728 frozen", "162 frozen")
        return
    words[words.index("--image-size") + 1] = "16" if "resnet18" not in command else "32"
    if "custom-resnet-8" in command and "--model" not in command:
        words += ["--width", "0.05"]
    runs = workplace / "runs" / str(COMMANDS.index(command))
    words += [*SMALLER.split(), "--no-report", "--runs", str(runs)]
    assert main(words) == 0, capsys.readouterr().err
    (run,) = runs.iterdir()
    assert not failures(audit(RunDir.open(run)))
    initial = RunDir.open(run).environment().initial_weights
    assert (initial is not None) == ("--init-from" in command)
    if initial is not None:
        assert len(initial.new) == 2  # the head's weight and bias
        assert len(initial.left_out) == 2
        assert re.search("[0-9]+ classes there, 2 here", initial.new_head)


@pytest.mark.faults
def test_the_line_of_the_page_is_what_is_said(workplace, monkeypatch, capsys):
    """Numbers and names aside."""
    monkeypatch.chdir(workplace)
    words = "find-lr custom-resnet-8 --data my-photos --image-size 16 --width 0.05 --lr-steps 10"
    assert main([*words.split(), "--init-from", "RUN"]) == 0
    told = capsys.readouterr().err
    (line,) = (line for line in told.splitlines() if line.startswith("initial weights: "))
    indented = re.search(r"^    (initial weights: .*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert indented
    on_page = " ".join(indented[1].split())
    assert re.sub(r"[\d,]+\b", "0", line) == re.sub(r"[\d,]+\b", "0", on_page)
