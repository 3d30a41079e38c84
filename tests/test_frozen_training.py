"""Trainings with frozen stages and a slower body: what is updated, by how much, and the audit."""

import json

import pytest
import torch

from onecycle import models, optim, training
from onecycle.audit import audit, failures
from onecycle.cli import main
from onecycle.config import Recipe, override
from onecycle.engine import loop
from onecycle.engine.plan import AtStep
from onecycle.engine.state import Training
from onecycle.evaluate import evaluating
from onecycle.inference.network import load_network
from onecycle.interpret import grad_cam
from onecycle.models import freezing
from onecycle.progress import SILENT
from onecycle.report import write_report
from onecycle.run_dir import RunDir
from onecycle.training.preparation import prepare

FROZEN = Recipe(
    recipe="tiny", data="shapes", image_size=16, train_limit=120, test_limit=40, width=0.05,
    head_scale=0.125, epochs=2, batch_size=32, crop_padding=2, cutout=4, weight_decay=5e-4,
    dropout=0.2, val_fraction=0.3, precision="fp32", lr_steps=12, lr_repeats=2,
    freeze="prep,layer1", head_lr_factor=4.0, cycle_momentum=True,
)  # fmt: skip
SHORT = override(FROZEN, lr_max=0.1, lr_min=0.01, epochs=1, val_fraction=0.0)


def found(run, name: str):
    return [
        line for lines in audit(RunDir.open(run)).values() for line in lines if line.name == name
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """With two range tests, and an evaluation after each epoch."""
    runs = tmp_path_factory.mktemp("runs")
    return training.train(FROZEN, runs=runs, progress=SILENT, report=False).path


def test_frozen_stages_are_at_the_end_what_the_seed_made_of_them(run):
    first = models.build("custom-resnet", classes=10, width=0.05, seed=0).state_dict()
    last = load_network(RunDir.open(run)).model.state_dict()
    same = {name for name in first if torch.equal(first[name], last[name])}
    assert same == {name for name in first if name.startswith(("prep.", "layer1."))}


def test_the_audit_passes_and_says_what_it_measured(run):
    assert not failures(audit(RunDir.open(run)))
    (frozen,), (rate,) = found(run, "Frozen stages"), found(run, "Rate of the head")
    assert frozen.asked.startswith("prep,layer1")
    assert (frozen.passed, frozen.found) == (True, "24 tensors: the same")
    assert (rate.passed, rate.found) == (True, "4 times, in the optimizer")


@pytest.mark.faults
def test_the_records_and_the_report_count_trained_parameters(run):
    model = models.build("custom-resnet", classes=10, width=0.05)
    frozen = sum(p.numel() for stage in (model.prep, model.layer1) for p in stage.parameters())
    every = sum(p.numel() for p in model.parameters())
    result = json.loads((run / "result.json").read_text())
    assert result["parameters"] == every
    assert result["trainable_parameters"] == every - frozen
    page = write_report(RunDir.open(run)).read_text()
    assert f"{every:,} parameters, of which {every - frozen:,} were trained" in page
    assert page.count("frozen</td>") == 8  # four blocks of a convolution and a norm


def test_the_replay_of_an_epoch_gives_the_same_bits(run):
    assert training.verify(run, progress=SILENT).equal


def test_a_summary_shows_what_is_frozen(capsys):
    line = "summary demo --width 0.05 --freeze layer1.1,layer2.norm"
    assert main([*line.split(), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    frozen = {layer["name"] for layer in told["layers"] if layer["trainable"] < layer["parameters"]}
    parts = [
        f"layer1.1.{block}.{part}" for block in ("first", "second") for part in ("conv", "norm")
    ]
    assert frozen == {*parts, "layer2.norm"}
    lost = sum(layer["parameters"] for layer in told["layers"] if layer["name"] in frozen)
    assert told["trainable_parameters"] == told["parameters"] - lost
    assert main(line.split()) == 0
    assert f"of which {told['trainable_parameters']:,} are trained" in capsys.readouterr().out


def begun(recipe: Recipe) -> Training:
    return prepare(recipe, threads=1, progress=SILENT)[0]


def test_a_step_moves_the_body_by_a_part_of_the_rate():
    """Without momentum and decay, a parameter moves by its rate times its gradient."""
    recipe = override(SHORT, momentum=0.0, cycle_momentum=False, weight_decay=0.0, freeze="prep")
    job = begun(recipe)
    before = {name: p.detach().clone() for name, p in job.model.named_parameters()}
    reading = loop.step(job, 0, AtStep(0.2, 0.0))
    assert reading.lr == 0.2
    for name, parameter in job.model.named_parameters():
        if name.startswith("prep."):
            assert torch.equal(parameter, before[name])
            continue
        lr = 0.2 if name.startswith("linear.") else 0.05
        expected = before[name] - lr * parameter.grad
        torch.testing.assert_close(parameter.detach(), expected, msg=name)


def test_modes_return_after_an_evaluation():
    job = begun(SHORT)
    modes = [module.training for module in job.model.modules()]
    assert not all(modes)
    job.evaluate(job.test)
    with evaluating(job.model):
        assert not any(module.training for module in job.model.modules())
    assert modes == [module.training for module in job.model.modules()]


@pytest.mark.faults
def test_probes_leave_frozen_stages_alone_too(tmp_path):
    recipe = override(FROZEN, lr_max="proven", lr_repeats=1)
    assert not failed(tmp_path, recipe)


def failed(tmp_path, recipe: Recipe) -> set[str]:
    path = training.train(recipe, runs=tmp_path, progress=SILENT, report=False).path
    return {line.name for line in failures(audit(RunDir.open(path)))}


@pytest.mark.faults
def test_the_audit_fails_if_norms_of_frozen_stages_move(tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "train_mode", lambda self: self.model.train())
    assert failed(tmp_path, SHORT) == {"Frozen stages"}


@pytest.mark.faults
def test_the_audit_fails_if_nothing_is_frozen_although_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(freezing, "freeze", lambda *_: ())
    assert failed(tmp_path, SHORT) == {"Frozen stages"}


@pytest.mark.faults
def test_the_audit_fails_if_the_body_learns_at_the_rate_of_the_head(tmp_path, monkeypatch):
    monkeypatch.setattr(optim, "LR_DIVISOR", "none")  # which no group has
    assert failed(tmp_path, SHORT) == {"Rate of the head"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_without_either_a_training_is_what_it_was(optimizer, monkeypatch):
    """The groups are the two of before, in their order, so its bits are, too."""
    recipe = override(SHORT, freeze="", head_lr_factor=1.0, optimizer=optimizer)
    job = begun(recipe)
    weights = [p for p in job.model.parameters() if p.ndim >= 2]
    others = [p for p in job.model.parameters() if p.ndim < 2]
    for group, expected in zip(job.optimizer.param_groups, (weights, others), strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in expected]
    assert all(module.training for module in job.model.modules())


@pytest.mark.faults
def test_a_checkpoint_of_other_frozen_stages_is_refused(tmp_path):
    """The optimizer's state belongs to parameters by their numbers."""
    run = training.train(SHORT, runs=tmp_path, progress=SILENT, report=False).path
    (run / "result.json").unlink()
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace('"prep,layer1"', '"prep"'))
    assert main(["resume", str(run), "--quiet"]) == 2
    assert main(["resume", str(run), "--quiet", "--allow-differences"]) == 2
    (run / "recipe.toml").write_text(text)
    assert main(["resume", str(run), "--quiet", "--no-report"]) == 0


@pytest.mark.faults
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--freeze prepp", "freeze: the network has no module 'prepp'; did you mean 'prep'?"),
        ("--freeze body,linear", "freeze: nothing is left to train; leave out the head, 'linear'"),
        (
            "--freeze body --head-lr-factor 2",
            "head_lr_factor: 2 has no meaning, because everything",
        ),
        ("--head-lr-factor 0.5", "head_lr_factor: 0.5 is out of range"),
    ],
)
def test_what_does_not_work_is_one_line(words, message, capsys, tmp_path):
    line = f"train demo --train-limit 40 --test-limit 40 --width 0.05 --runs {tmp_path} {words}"
    assert main(line.split()) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith(f"onecycle: error: {message}")
    assert not list(tmp_path.iterdir())


def test_grad_cam_explains_a_network_with_a_frozen_body():
    job = begun(override(SHORT, freeze="body", head_lr_factor=1.0))
    batch = job.test_batch(range(4))
    frozen = grad_cam(job.model, batch)
    job.model.requires_grad_(True)
    torch.testing.assert_close(frozen, grad_cam(job.model, batch))
