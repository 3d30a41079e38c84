"""Which networks are supported: some are refused at the start, and all others do everything."""

import random
import shutil
from pathlib import Path

import networks_of_all_kinds as kinds
import numpy as np
import pytest
import torch
from torch import nn

from onecycle import cli, examples, models, runtime, training
from onecycle.config import Recipe, override
from onecycle.errors import InputError, TrainingError
from onecycle.evaluate import Evaluation
from onecycle.exporting import export
from onecycle.interpret import grad_cam
from onecycle.models import memory_order
from onecycle.models.summary import summarize
from onecycle.progress import SILENT
from onecycle.run_dir import RunDir

TINY = Recipe(
    recipe="tiny", epochs=2, train_limit=60, test_limit=20, image_size=16, cutout=2, crop_padding=1,
    batch_size=30, lr_max=0.05, lr_min=0.005, nesterov=True, l1=1e-6, weight_decay=1e-4,
)  # fmt: skip


def accepted(network: type[nn.Module], recipe: Recipe = TINY) -> models.Architecture:
    """What the check at the start makes of it for images of 16 pixels and ten classes."""
    recipe, found = models.asked(recipe, network)
    return training.preparation.accepted(recipe, found, (16, 16, 3), 10)


@pytest.mark.parametrize("network", kinds.SUPPORTED)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_supported_is_accepted(network: type[nn.Module], precision: str) -> None:
    accepted(network, override(TINY, precision=precision))


@pytest.mark.parametrize("network", kinds.REFUSED)
def test_what_is_not_is_refused_by_one_line(network: type[nn.Module]) -> None:
    with pytest.raises(InputError, match=kinds.REFUSED[network]) as refused:
        accepted(network)
    assert "\n" not in str(refused.value)


def test_the_check_draws_nothing_from_the_users_generators() -> None:
    def states() -> tuple[object, ...]:
        return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = states()
    accepted(kinds.StochasticDepth)
    assert states() == before


def test_code_that_wants_the_usual_order_gets_it_and_other_code_does_not() -> None:
    found = accepted(kinds.Lenet)
    assert found.usual_order
    assert not accepted(kinds.Plain).usual_order
    model = runtime.placed(models.build(found, classes=10), torch.device("cpu")).eval()
    batch_BCHW = torch.rand(4, 16, 16, 3).permute(0, 3, 1, 2)
    plain = models.build(models.architecture("x:y", kinds.Lenet), classes=10).eval()
    assert torch.equal(model(batch_BCHW), plain(batch_BCHW.contiguous()))
    assert grad_cam(model, batch_BCHW).shape == (4, 16, 16)


def test_a_network_that_fails_in_both_orders_is_left_to_the_check() -> None:
    assert not memory_order.needs_usual(lambda: kinds.Raises(10, 3), (16, 16, 3))


# ------------------------------------------------------------------------- layers, what they see


@pytest.mark.parametrize("network", [kinds.HeldTensor, kinds.ReadsValues])
def test_layers_of_code_that_needs_values_are_listed(network: type[nn.Module]) -> None:
    found = summarize(network(10, 3), (16, 16, 3))
    same = summarize(kinds.Plain(10, 3), (16, 16, 3))
    assert [(each.name, each.macs) for each in found.layers] == [
        (each.name, each.macs) for each in same.layers
    ]


def test_a_layer_with_a_computed_weight_is_one_layer() -> None:
    model = kinds.WeightNorm(10, 3)
    assert [each.name for each in summarize(model, (16, 16, 3)).layers] == ["conv", "fc"]
    assert grad_cam(model, torch.rand(8, 3, 16, 16)).shape == (8, 16, 16)


def test_the_map_is_the_last_one_that_the_logits_depend_on() -> None:
    model, batch_BCHW = kinds.UnusedMap(10, 3), torch.rand(2, 3, 16, 16)
    found = grad_cam(model, batch_BCHW)
    assert torch.equal(found, grad_cam(model, batch_BCHW, stage="norm"))
    with pytest.raises(InputError, match="do not depend on 'aux'"):
        grad_cam(model, batch_BCHW, stage="aux")


def test_features_without_names_leave_the_layers_as_stages() -> None:
    batch_BCHW = torch.rand(2, 3, 16, 16)
    for network in (kinds.TimmLike, kinds.NotCalled):
        torch.manual_seed(0)
        model = network(10, 3)
        assert torch.equal(grad_cam(model, batch_BCHW), grad_cam(model, batch_BCHW, stage="norm"))


def test_images_of_a_network_without_a_map_are_kept_without_one() -> None:
    job, _ = training.prepare(*models.asked(TINY, kinds.Perceptron), progress=SILENT)
    logits_NK = np.eye(10, dtype=np.float32)[np.arange(20) % 10]
    kept = examples.gather(job, Evaluation(logits_NK, (np.arange(20) + 1) % 10))
    assert len(kept["cam_predicted"]) == len(kept["cam_indices"]) > 0
    assert not kept["cam_predicted"].any()
    assert kept["fields"].shape[0] == len(kept["field_stages"]) == 0


@pytest.mark.faults
def test_a_report_says_that_there_is_no_grad_cam(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{kinds.__file__}:Perceptron"
    run = training.train(TINY, network=name, runs=tmp_path, threads=1, progress=SILENT).path
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "There is no Grad-CAM" in page
    assert "look-predicted:checked" not in page
    words = ["predict", str(run), str(run / "plots" / "curves.png"), "--model", name]
    assert cli.main([*words, "--grad-cam", str(tmp_path / "maps")]) == 2
    assert "no output of this network has a height and a width" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- every job


@pytest.mark.faults
@pytest.mark.parametrize("network", kinds.SUPPORTED)
def test_what_is_supported_does_everything(network: type[nn.Module], tmp_path: Path) -> None:
    given = {"network": network, "threads": 1, "progress": SILENT}
    run = training.train(TINY, runs=tmp_path, report=False, **given)
    assert training.verify(run.path, **given).equal
    found = training.evaluate_run(run.path, **given)
    assert found["test_accuracy"] == run.record.test_accuracy
    assert RunDir.open(run.path).network().source_sha256
    begun = tmp_path / "begun"
    shutil.copytree(run.path, begun)
    (begun / "result.json").unlink()
    shutil.rmtree(begun / "checkpoints" / "step-0000004")
    again = training.resume(begun, report=False, **given)
    assert again.record.weights_sha256 == run.record.weights_sha256


@pytest.mark.faults
@pytest.mark.parametrize("network", [kinds.Lenet, kinds.TiedWeights])
@pytest.mark.parametrize("format", ["pt2", "safetensors"])
def test_what_is_supported_is_exported(
    network: type[nn.Module], format: str, tmp_path: Path
) -> None:
    run = training.train(TINY, network=network, runs=tmp_path, report=False, progress=SILENT)
    made = export(run.path, network=network, format=format, progress=SILENT)
    assert made.check.network.equal_classes == 20


@pytest.mark.faults
@pytest.mark.parametrize("format", ["pt2", "safetensors"])
def test_what_a_format_cannot_hold_is_refused_by_one_line(
    format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = kinds.ReadsValues
    run = training.train(TINY, network=network, runs=tmp_path, report=False, progress=SILENT)
    with pytest.raises((TrainingError, InputError), match=r"can't be (written|traced)") as refused:
        export(run.path, network=network, format=format, progress=SILENT)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().err == ""
    assert not (run.path / "export").exists()
