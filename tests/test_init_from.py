"""Trainings that start from the weights of a run or a file."""

import json
import shutil
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_folders import drawn, make_flat
from torch import nn

from onecycle import models, training
from onecycle.audit import audit, failures
from onecycle.cli import main
from onecycle.config import Recipe, override, read_recipe
from onecycle.engine.state import Initial
from onecycle.errors import InputError, Interrupted
from onecycle.inference.network import load_network
from onecycle.progress import SILENT, Progress
from onecycle.report import write_report
from onecycle.run_dir import RunDir
from onecycle.training import initial_weights, peak_search
from onecycle.training.preparation import prepare

FIRST = Recipe(
    recipe="tiny", data="shapes", image_size=16, train_limit=60, test_limit=40, width=0.05,
    epochs=1, batch_size=30, crop_padding=2, cutout=4, precision="fp32", lr_max=0.1, lr_min=0.01,
    seed=5,
)  # fmt: skip


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def trained(recipe: Recipe, runs: Path, progress: Progress = SILENT) -> Path:
    return training.train(recipe, runs=runs, progress=progress, report=False).path


def begun(recipe: Recipe, progress: Progress = SILENT):
    return prepare(recipe, threads=1, progress=progress)[0]


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_network(RunDir.open(run)).model.state_dict())


def same(one, two) -> set[str]:
    return {name for name in one if name in two and torch.equal(one[name], two[name])}


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """The run that others start from."""
    return trained(FIRST, tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def other_classes(tmp_path_factory) -> str:
    """Class folders, with ten other classes."""
    names = [f"class {number}" for number in range(10)]
    return str(make_flat(tmp_path_factory.mktemp("photos"), 8, names))


@pytest.fixture(scope="module")
def second(first, other_classes, tmp_path_factory) -> tuple[Path, list[str]]:
    """A run on other classes that starts from the first, with two range tests; and its notes."""
    recipe = override(
        FIRST, data=other_classes, train_limit=0, test_limit=0, seed=0, init_from=str(first),
        freeze="prep", lr_max="auto", lr_min="auto", lr_steps=10, lr_repeats=2,
    )  # fmt: skip
    notes = Notes()
    return trained(recipe, tmp_path_factory.mktemp("second"), notes), notes.lines


def test_it_starts_from_the_run_and_says_so(first, second):
    run, notes = second
    model = models.build("custom-resnet", classes=10, width=0.05)
    loaded = sum(p.numel() for p in model.parameters())
    loaded -= sum(p.numel() for p in model.linear.parameters())
    (told,) = [line for line in notes if line.startswith("initial weights: ")]
    assert told in (run / "train.log").read_text()
    assert told == (
        f"initial weights: 48 tensors with {loaded:,} parameters from {first}, step 2; left out: "
        "linear.weight, linear.bias; new: linear.weight, linear.bias; the head is new (other "
        "classes there); channel means and deviations are those of the run"
    )
    before, after = tensors_of(first), tensors_of(run)
    assert same(before, after) == {name for name in before if name.startswith("prep.")}
    assert read_recipe(run / "recipe.toml").mean == read_recipe(first / "recipe.toml").mean


def test_the_record_has_every_name_and_the_audit_recomputes_its_checksum(first, second):
    run, _ = second
    record = RunDir.open(run).environment().initial_weights
    assert record is not None
    assert (record.kind, record.step, record.path) == ("run", 2, str(first))
    head = ["linear.weight", "linear.bias"]
    assert (record.left_out, record.new) == (head, head)
    assert record.loaded == [name for name in tensors_of(first) if name not in head]
    sections = audit(RunDir.open(run))
    assert not failures(sections)
    lines = {line.name: line for lines in sections.values() for line in lines}
    assert lines["Weights to start from"].asked.startswith("48 tensors, SHA-256 ")
    assert lines["Weights to start from"].found == "the same before the first step"


@pytest.mark.faults
def test_the_report_names_the_weights(first, second):
    page = write_report(RunDir.open(second[0])).read_text()
    assert "The training started from other weights: 48 tensors with" in page
    assert str(first) in page


def test_every_repeat_and_probe_starts_from_the_weights_with_a_new_head(first, other_classes):
    job = begun(
        override(FIRST, data=other_classes, train_limit=0, test_limit=0, init_from=str(first))
    )
    again = peak_search.fresh(job, initialized_by=77)
    different = {"linear.weight", "linear.bias"}
    assert (
        same(job.model.state_dict(), again.model.state_dict())
        == job.model.state_dict().keys() - different
    )
    assert again.initial is job.initial


def test_a_run_with_the_same_classes_gives_its_head_too(first):
    job = begun(override(FIRST, seed=1, init_from=str(first)))
    assert same(job.model.state_dict(), tensors_of(first)) == job.model.state_dict().keys()


def test_given_statistics_stay(first):
    job = begun(override(FIRST, init_from=str(first), mean=(0.5, 0.5, 0.5)))
    assert job.batches.mean == (0.5, 0.5, 0.5)
    assert job.batches.std == read_recipe(first / "recipe.toml").std


def test_a_file_leaves_the_statistics_measured(first, tmp_path, other_classes):
    path = tmp_path / "weights.safetensors"
    save_file(tensors_of(first), path)
    recipe = override(FIRST, data=other_classes, train_limit=0, test_limit=0)
    job = begun(override(recipe, init_from=str(path)))
    assert job.batches.mean == begun(recipe).batches.mean
    assert job.initial is not None
    assert "those of the run" not in initial_weights.told(job.initial.record)
    assert same(job.model.state_dict(), tensors_of(first)) == job.model.state_dict().keys()


def test_grey_images_get_a_new_stem(first, tmp_path):
    for number in range(2):
        for index in range(8):
            path = tmp_path / "grey" / str(number) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn(index, (16, 16), "L").save(path)
    recipe = override(FIRST, data=str(tmp_path / "grey"), train_limit=0, test_limit=0, batch_size=4)
    job = begun(override(recipe, init_from=str(first)))
    assert job.initial is not None
    assert set(job.initial.record.new) == {"prep.conv.weight", "linear.weight", "linear.bias"}
    assert job.initial.record.new_head == "10 classes there, 2 here"
    assert not job.initial.record.statistics
    assert len(job.batches.mean) == 1


def interrupted(recipe: Recipe, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was killed in its range test: it has no checkpoint."""
    with monkeypatch.context() as patch:

        def stopped(*_):
            raise Interrupted(15)

        patch.setattr(training, "resolve_rates", stopped)
        with pytest.raises(Interrupted):
            trained(recipe, runs)
    (run,) = runs.iterdir()
    return run


@pytest.fixture
def moved(first, tmp_path) -> Path:
    """A file of weights that a test may change."""
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": tensors_of(first)}, path)
    return path


def resumed(run: Path, *words: str) -> int:
    return main(["resume", str(run), "--no-report", "--quiet", *words])


def test_without_a_checkpoint_the_file_is_read_again_and_must_be_the_same(
    moved, tmp_path, monkeypatch, capsys
):
    run = interrupted(override(FIRST, init_from=str(moved)), tmp_path / "runs", monkeypatch)
    content = moved.read_bytes()
    changed = torch.load(moved, weights_only=True)["state_dict"]
    changed["layer2.norm.bias"][0] += 1e-3
    torch.save(changed, moved)
    assert resumed(run) == 2
    assert "initial_weights was " in capsys.readouterr().err
    moved.unlink()
    assert resumed(run) == 2
    assert "there is no run folder or file" in capsys.readouterr().err
    moved.write_bytes(content)
    assert resumed(run) == 0
    whole = trained(override(FIRST, init_from=str(moved)), tmp_path / "whole")
    results = [json.loads((path / "result.json").read_text()) for path in (run, whole)]
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]
    assert not failures(audit(RunDir.open(run)))


@pytest.mark.faults
def test_with_a_checkpoint_the_file_is_not_needed(moved, tmp_path):
    run = trained(override(FIRST, init_from=str(moved)), tmp_path / "runs")
    assert training.verify(run, progress=SILENT).equal
    moved.unlink()
    (run / "result.json").unlink()
    assert resumed(run) == 0
    assert not failures(audit(RunDir.open(run)))


@pytest.mark.faults
def test_the_audit_fails_if_the_weights_are_not_loaded(first, tmp_path, monkeypatch):
    monkeypatch.setattr(Initial, "apply", lambda self, model: None)
    run = trained(override(FIRST, seed=1, init_from=str(first)), tmp_path)
    names = {line.name for line in failures(audit(RunDir.open(run)))}
    assert names == {"Weights to start from"}


@pytest.mark.faults
def test_the_weights_of_an_export_are_understood(first, tmp_path, other_classes):
    place = tmp_path / "export"
    line = ["export", str(first), "--format", "safetensors", "--output", str(place), "--quiet"]
    assert main(line) == 0
    job = begun(override(FIRST, seed=1, init_from=str(place / "model.safetensors")))
    assert job.initial is not None
    assert not [name for name in job.initial.record.new if "num_batches" not in name]
    exported = load_file(place / "model.safetensors")
    assert torch.equal(exported["layer2_conv.weight"], job.model.state_dict()["layer2.conv.weight"])


NETWORK = """
from torch import nn

def make(classes, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )
"""


@pytest.mark.faults
def test_an_own_network_with_adamw_starts_from_a_file_and_from_a_run_whose_code_is_not_run(
    tmp_path, other_classes, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORK)
    recipe = override(FIRST, optimizer="adamw", lr_max=0.01, lr_min=1e-3, freeze="body")
    recipe = override(recipe, width=1.0)
    run = training.train(recipe, network="net.py:make", runs="runs", progress=SILENT, report=False)
    torch.save(OrderedDict(module=tensors(run.path)), "weights.pth")
    text = NETWORK + "\nraise SystemExit('the code of a stranger')\n"
    Path("net.py").write_text(text)
    Path("mine.py").write_text(NETWORK)
    more = override(recipe, data=other_classes, train_limit=0, test_limit=0)
    for start in (str(run.path), "weights.pth"):
        job = training.train(
            override(more, init_from=start), network="mine.py:make", runs="more", progress=SILENT,
            report=False,
        )  # fmt: skip
        found = RunDir.open(job.path).environment().initial_weights
        assert found is not None
        assert "0.weight" in found.loaded
        assert not failures(audit(RunDir.open(job.path)))


def tensors(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = RunDir.open(run).newest_checkpoint()
    assert checkpoint is not None
    return {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith("model.")
    }


@pytest.mark.faults
def test_a_range_test_alone_starts_from_the_weights_too(first):
    notes = Notes()
    recipe = override(FIRST, init_from=str(first), lr_max="auto", lr_steps=10)
    training.find_lr(recipe, progress=notes)
    assert any(line.startswith("initial weights: 50 tensors") for line in notes.lines)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "init_from: there is no run folder or file '"),
        (lambda path: path.mkdir(), "is a folder without recipe.toml, so it is not a run"),
        (lambda path: path.write_bytes(b"text"), "neither a safetensors file nor one of PyTorch's"),
        (lambda path: path.write_bytes(b""), "' is empty; fetch it again"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), "' is a web page, probably from"),
        (
            lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
            "' is a Git LFS pointer, not the file itself; fetch it with: git lfs pull",
        ),
        (lambda path: torch.save(nn.Linear(2, 2), path), "holds more than tensors"),
        (
            lambda path: torch.save(nn.Linear(2, 2).state_dict(), path),
            "only 0 % of the network's parameters fit",
        ),
        (
            lambda path: torch.save(
                models.build("custom-resnet", classes=10, width=0.1).state_dict(), path
            ),
            "weights of this network in another size; give the width that they were trained with; "
            "not fitting: prep.conv.weight (6×3×3×3 there, 3×3×3×3",
        ),
    ],
)
def test_what_can_not_be_started_from_is_one_line_and_leaves_nothing(
    make, message, tmp_path, capsys
):
    path, runs = tmp_path / "weights.pth", tmp_path / "runs"
    make(path)
    line = f"train demo --train-limit 40 --test-limit 40 --width 0.05 --runs {runs} --quiet"
    assert main([*line.split(), "--init-from", str(path)]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert told[0].startswith("onecycle: error: init_from: ")
    assert message in told[0]
    assert not runs.exists() or not list(runs.iterdir())


def test_a_run_without_a_checkpoint_has_no_weights_to_start_from(first, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match="init_from: the run .* has no checkpoint yet"):
        initial_weights.read(str(copy))
