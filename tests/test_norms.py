"""The norms of a network's weights, in audit.json and in the report."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import onecycle
from onecycle.config import override
from onecycle.models.norms import weight_norms
from onecycle.progress import SILENT
from onecycle.recipes import RECIPES

TINY = override(
    RECIPES["demo"].recipe, epochs=2, train_limit=64, test_limit=40, image_size=16, width=0.0625,
    batch_size=32, crop_padding=2, cutout=0, precision="fp32", lr_max=0.05, lr_min=0.005,
)  # fmt: skip


def test_weights_have_a_norm_and_biases_and_factors_have_none() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    found = weight_norms(model)
    assert list(found) == ["0.weight", "2.weight"]
    for name, norm in found.items():
        values = model.get_parameter(name).detach().double().numpy()
        assert norm == pytest.approx(float(np.sqrt(np.sum(values**2))), rel=1e-12)


def test_parameters_of_any_type_do_not_stop_a_training() -> None:
    model = nn.Module()
    for kind in (torch.float16, torch.bfloat16, torch.complex64, torch.int8):
        values = torch.tensor([[3, 4]]).to(kind)
        parameter = nn.Parameter(values, requires_grad=kind != torch.int8)
        model.register_parameter(f"of_{str(kind).rpartition('.')[2]}", parameter)
    found = {"of_float16": 5.0, "of_bfloat16": 5.0, "of_complex64": 5.0}
    assert weight_norms(model) == found


def test_a_run_records_the_norms_of_its_last_weights_and_shows_them(tmp_path: Path) -> None:
    run = onecycle.train(TINY, runs=tmp_path, progress=SILENT, threads=1)
    found = json.loads((run.path / "audit.json").read_text(encoding="utf-8"))["weight_norms"]
    newest = max((run.path / "checkpoints").rglob("*.safetensors"), key=lambda p: str(p))
    tensors = load_file(newest)
    expected = {
        name.removeprefix("model."): float(np.sqrt(np.sum(tensor.astype(np.float64) ** 2)))
        for name, tensor in tensors.items()
        if name.startswith("model.") and tensor.ndim > 1
    }
    assert found == pytest.approx(expected, rel=1e-9)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert ">weight norm</th>" in page
    assert f">{found['layer1.0.conv.weight']:.3g}</td>" in page
