"""One training over several real processes, against the same training in one."""

import json
import os
import signal
import textwrap
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from several import said
from torch import nn
from trained import Done, Forks, result_of, rows, run_in

import onecycle
from onecycle import processes
from onecycle.audit import audit
from onecycle.config import Recipe, override
from onecycle.data import shapes
from onecycle.data.batches import Batches
from onecycle.errors import InputError
from onecycle.models.synchronized import SyncBatchNorm, synchronize
from onecycle.processes import Place
from onecycle.processes.group import SINGLE, Processes
from onecycle.run_dir import RunDir
from onecycle.training import sharing

CLASSES = {"many": 60, "some": 30, "few": 12}

TRAIN = (
    "train demo --data {data} --epochs {epochs} --batch-size 37 --micro-batch 13 --width 0.125 "
    "--precision fp32 --crop-padding 2 --cutout 4 --lr-max 0.05 --lr-min 0.005 --l1 1e-5 "
    "--label-smoothing 0.1 --class-weights balanced --weight-decay 5e-4 --nesterov --threads 1 "
    "--quiet --no-report"
)
"""Batches of 37, 37 and 28 images: parts of 13, 12 and 12, and of 10, 9 and 9."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uneven classes of 16 x 16 pixels that differ in brightness; every tenth is for the test."""
    root = tmp_path_factory.mktemp("uneven")
    for place, (label, count) in enumerate(CLASSES.items()):
        for index in range(count + 10):
            split = "test" if index < 10 else "train"
            (root / split / label).mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([place, index])
            pixels = rng.normal(60 + 50 * place, 30, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / split / label / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def alone(forks: Forks, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    runs = tmp_path_factory.mktemp("alone")
    done = forks.run(train_line(images, runs), code="")
    assert done.code == 0, done.err
    return run_in(runs)


def train_line(images: Path, runs: Path, epochs: int = 2) -> str:
    return TRAIN.format(data=images, epochs=epochs) + f" --runs {runs}"


def assert_all_done(done: Sequence[Done]) -> None:
    assert [each.code for each in done] == [0] * len(done), said(done)


def assert_same_training(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    """Every step has the same rate and loss, every epoch the same figures."""
    for name in ("steps.jsonl", "metrics.jsonl"):
        there, here = rows(one, name), rows(other, name)
        assert len(there) == len(here)
        for before, after in zip(there, here, strict=True):
            assert after == pytest.approx(before, abs=tolerance)


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_train_as_one_does(several, alone, images, tmp_path, count):
    done = several.run(count, train_line(images, tmp_path) + " --json")
    assert_all_done(done)
    assert said(done) == ""
    assert done[0].out.startswith("{")
    assert [each.out for each in done[1:]] == [""] * (count - 1)
    run = run_in(tmp_path)
    assert_same_training(alone, run)
    result, environment = result_of(run), RunDir.open(run).environment()
    assert (result["processes"], environment.processes) == (count, count)
    assert result_of(alone)["processes"] == 1
    whole, shared = (RunDir.open(each).newest_checkpoint() for each in (alone, run))
    assert whole is not None
    assert shared is not None
    assert whole.tensors.keys() == shared.tensors.keys()
    for name, tensor in whole.tensors.items():
        torch.testing.assert_close(shared.tensors[name], tensor, rtol=1e-4, atol=1e-5)
    assert whole.state["correct"] == shared.state["correct"]
    with np.load(alone / "predictions.npz") as one, np.load(run / "predictions.npz") as two:
        np.testing.assert_allclose(one["logits"], two["logits"], atol=1e-4)
        assert one["names"].tolist() == two["names"].tolist()


@pytest.mark.parametrize("count", [2, 3])
def test_synchronized_norms_are_those_of_the_whole_batch(several, forks, images, tmp_path, count):
    """Against one process without parts, by PyTorch's layers."""
    line = train_line(images, tmp_path / "1").replace("--micro-batch 13", "")
    one = forks.run(line, code="", env={"ONECYCLE_KERNELS": "off"})
    assert one.code == 0, one.err
    done = several.run(count, line[:-1] + "2 --sync-batch-norm")
    assert_all_done(done)
    alone, shared = run_in(tmp_path / "1"), run_in(tmp_path / "2")
    steps = [np.array([row["loss"] for row in rows(run, "steps.jsonl")]) for run in (alone, shared)]
    np.testing.assert_allclose(steps[1][:3], steps[0][:3], atol=2e-5)
    np.testing.assert_allclose(*steps, atol=2e-3)  # rounding grows from step to step


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_synchronized_norm_of_one_process_is_pytorchs(momentum):
    norm = nn.BatchNorm2d(5, momentum=momentum)
    nn.init.normal_(norm.weight)
    model = nn.Sequential(norm)
    other = deepcopy(model)
    synchronize(other, SINGLE)
    assert isinstance(other[0], SyncBatchNorm)
    for _ in range(2):
        batches = [torch.randn(6, 5, 4, 3).requires_grad_()]
        batches.append(batches[0].detach().clone().requires_grad_())
        weights = torch.randn(6, 5, 4, 3)
        for each, batch_BCHW in zip((model, other), batches, strict=True):
            (each(batch_BCHW) * weights).sum().backward()
        torch.testing.assert_close(batches[1].grad, batches[0].grad, rtol=1e-4, atol=1e-5)
    assert model.state_dict().keys() == other.state_dict().keys()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-5)


def test_a_range_test_copies_synchronized_norms(several, images, tmp_path):
    line = train_line(images, tmp_path, epochs=1).replace("--micro-batch 13", "--lr-steps 10")
    line = line.replace("--lr-max 0.05 --lr-min 0.005", "--sync-batch-norm")
    done = several.run(2, line)
    assert_all_done(done)
    assert said(done) == ""


def test_the_audit_counts_the_images_of_all_processes(several, images, tmp_path):
    done = several.run(2, train_line(images, tmp_path, epochs=1))
    assert_all_done(done)
    measured = RunDir.open(run_in(tmp_path)).measured()
    assert measured.applied["images"] == 102  # three batches, all of their images
    assert measured.applied["unexplained"] == 0
    assert measured.initial_weights_repeat
    assert agreement(run_in(tmp_path)) == ("2 processes: the same", True)


def test_the_audit_sees_processes_that_end_with_other_weights(several, images, tmp_path):
    drift = """
import torch; from onecycle.training import loop; fit = loop.fit
def drifting(training, *given):
    fit(training, *given)
    if os.environ["RANK"] == "1":
        with torch.no_grad():
            next(training.model.parameters()).mul_(1.000001)
loop.fit = drifting
"""
    done = several.run(2, train_line(images, tmp_path, epochs=1), code=drift)
    assert_all_done(done)
    assert agreement(run_in(tmp_path)) == ("2 processes: 2 different", False)


def agreement(run: Path) -> tuple[str, bool | None]:
    """What the audit says about the processes' weights."""
    lines = audit(RunDir.open(run))["Repeating it"]
    return next((line.found, line.passed) for line in lines if line.name == "Processes")


def test_each_image_is_evaluated_once(several, tmp_path):
    """Three passes of two processes, against one process that evaluates the same weights."""
    count = "import torch; from onecycle.engine.state import Training\n"
    count += "from torch import nn; call = nn.Linear.forward\n"
    count += f"place = '{tmp_path}/' + os.environ['RANK']\n"
    count += """
def counting(layer, features):
    if not layer.training:
        open(place, "a").write(f"{len(features)}\\n")
    return call(layer, features)
nn.Linear.forward = counting
"""
    line = (
        "train demo --epochs 1 --train-limit 60 --test-limit 1100 --image-size 16 --width 0.125 "
        "--batch-size 30 --lr-max 0.05 --lr-min 0.005 --threads 1 --quiet --no-report --runs "
    )
    done = several.run(2, f"{line}{tmp_path / 'runs'}", code=count)
    assert_all_done(done)
    passes = [sorted(map(int, (tmp_path / rank).read_text().split())) for rank in "01"]
    own = [size for size in passes[0] if size >= 100]  # without the report's few examples
    assert (own, passes[1]) == ([100, 100, 500, 500], [500, 500])  # after the epoch, and at the end
    run = run_in(tmp_path / "runs")
    onecycle.evaluate_run(run, predictions=tmp_path / "again.npz", threads=1)
    with np.load(run / "predictions.npz") as one, np.load(tmp_path / "again.npz") as two:
        assert one["logits"].tobytes() == two["logits"].tobytes()
        assert one["labels"].tolist() == two["labels"].tolist()


@pytest.mark.faults
def test_the_range_test_finds_the_same_rates(several, forks, tmp_path):
    line = (
        "train demo --epochs 2 --train-limit 100 --test-limit 20 --image-size 16 --width 0.125 "
        "--batch-size 32 --micro-batch 16 --precision fp32 --cutout 4 --crop-padding 2 --lr-steps "
        "12 --lr-repeats 2 --lr-max proven --threads 1 --quiet --no-report --runs "
    )
    alone = forks.run(line + str(tmp_path / "1"), code="")
    assert alone.code == 0, alone.err
    done = several.run(2, line + str(tmp_path / "2"))
    assert_all_done(done)
    one, two = (run_in(tmp_path / name) for name in "12")
    assert_same_training(one, two, 1e-4)
    found = [RunDir.open(run).range_test() for run in (one, two)]
    assert found[0] is not None
    assert found[1] is not None
    assert vars(found[1].chosen) == pytest.approx(vars(found[0].chosen))
    pairs = zip(found[0].curves, found[1].curves, strict=True)
    for there, here in pairs:
        assert here.loss == pytest.approx(there.loss, abs=1e-4)


# ------------------------------------------------------------------------------- stopped, resumed


def once(run: RunDir, step: int) -> None:
    """Wait until a run has logged so many steps."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if (run.path / "steps.jsonl").is_file() and len(run.read_rows("steps.jsonl")) >= step:
            return
        time.sleep(0.01)
    raise AssertionError("the run has not come so far")


def begun(runs: Path) -> RunDir:
    """The run that is being made in `runs`."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = [run for run in runs.glob("*") if (run / "environment.json").is_file()]
        if found:
            return RunDir(found[0])
        time.sleep(0.01)
    raise AssertionError("no run has begun")


@pytest.mark.faults
def test_a_signal_to_one_stops_all_and_any_number_goes_on(several, forks, alone, images, tmp_path):
    """Two processes begin, three go on, one ends it: the losses are those of one that began."""
    slow = "import time; from onecycle.data.batches import Batches; cut = Batches.cut\n"
    slow += "Batches.cut = lambda *given: (time.sleep(0.1), cut(*given))[1]"

    def stop_second(pids: Sequence[int]) -> None:
        once(begun(tmp_path), 1)
        os.kill(pids[1], signal.SIGTERM)

    line = train_line(images, tmp_path)
    done = several.run(2, line, code=slow, meanwhile=stop_second)
    assert [each.code for each in done] == [143, 143]
    run = run_in(tmp_path)
    assert said(done) == f"onecycle: stopped; go on with: onecycle resume {run}\n"
    reached = len(rows(run, "steps.jsonl"))
    assert 1 <= reached < 6

    def stop_first(pids: Sequence[int]) -> None:
        once(RunDir(run), reached + 1)
        os.kill(pids[0], signal.SIGINT)

    again = f"resume {run} --quiet --no-report --threads 1"
    done = several.run(3, again, code=slow, meanwhile=stop_first)
    assert [each.code for each in done] in ([130] * 3, [0] * 3)
    last = forks.run(again, code="")
    assert last.code == 0, last.err
    assert_same_training(alone, run)
    resumed = RunDir.open(run).environment().resumed
    assert resumed is not None
    changes = [(d.what, d.was, d.now) for entry in resumed for d in entry.allowed_differences]
    assert changes[0] == ("processes", 2, 3)
    if len(resumed) > 1:
        assert changes[1] == ("processes", 3, 1)


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("find-lr demo", "onecycle: error: find-lr: works in one process; start it without"),
        ("train demo --batch-size 5", "batch_size: 5 images can't be shared by 3 processes, which"),
        ("train demo --batch-size 60 --micro-batch 30", "micro_batch: 30 makes 2 parts of a batch"),
        ("train demo --data nowhere", "nowhere"),
        ("train demo --epochs x", "epochs: 'x'"),
        ("resume nowhere", "run: there is no folder 'nowhere'"),
    ],
    ids=lambda value: value.split(" ", 2)[1] if " " in value else value,
)
def test_what_several_processes_cant_do_is_one_line(several, line, message):
    line += " --train-limit 200 --image-size 16" if line.startswith("train") else ""
    done = several.run(3, f"{line} --quiet")
    assert done[0].code == 2
    assert all(each.code for each in done)
    assert message in said(done)
    assert said(done).count("\n") == 1
    assert "".join(each.out for each in done) == ""


def test_none_ends_before_all_are_connected(several):
    """Process 0 fails at once; the others are slow to shake hands, and still see it there."""
    code = """
        import os, time
        from torch import distributed
        connect = distributed.init_process_group
        def slow(*args, store, **others):
            connect(*args, store=store, **others)
            if os.environ["RANK"] != "0":
                time.sleep(5)  # longer than process 0 waits at its end
                store.set("still", "there")  # which process 0 holds
        distributed.init_process_group = slow
    """
    done = several.run(3, "resume nowhere --quiet", code=textwrap.dedent(code))
    assert done[0].code == 2
    assert said(done).count("\n") == 1
    assert "run: there is no folder 'nowhere'" in said(done)


def test_a_failure_to_connect_is_one_line(several):
    code = """
        from torch import distributed
        def broken(*args, **others):
            raise distributed.DistBackendError("Connection reset by peer")
        distributed.init_process_group = broken
    """
    done = several.run(2, "resume nowhere --quiet", code=textwrap.dedent(code))
    assert [each.code for each in done] == [2, 2]
    assert said(done) == done[0].err  # the first one on a machine speaks for all there
    assert said(done).startswith("onecycle: error: processes: another one has ended before all")
    assert said(done).count("\n") == 1


def test_a_run_of_several_processes_is_verified_by_as_many(several, images, forks, tmp_path):
    assert_all_done(several.run(2, train_line(images, tmp_path)))
    run = run_in(tmp_path)
    again = f"resume {run} --verify"
    done = several.run(2, f"{again} --json --quiet")
    assert_all_done(done)
    found = json.loads(done[0].out)
    assert (found["equal"], found["from_step"], found["to_step"]) == (True, 3, 6)
    assert (done[1].out, said(done)) == ("", "")
    alone = forks.run(again, code="")
    assert alone.code == 2
    told = f"verify it with: torchrun --nproc-per-node 2 -m onecycle resume {run} --verify\n"
    assert alone.err.endswith(told)
    assert alone.err.startswith(f"onecycle: error: {run}: was trained by 2 processes, and another")

    logged = (run / "steps.jsonl").read_text().splitlines(keepends=True)
    changed = json.loads(logged[4])
    changed["loss"] += 1e-12
    (run / "steps.jsonl").write_text("".join([*logged[:4], json.dumps(changed) + "\n", logged[5]]))
    done = several.run(2, f"{again} --quiet")
    assert [each.code for each in done] == [1, 1]
    assert said(done).startswith(f"onecycle: error: {run}: the replay differs: step 4: loss was ")
    assert said(done).count("\n") == 1


def test_a_device_for_each_process(monkeypatch):
    group = Processes(Place(1, 2, 1, 2))
    assert sharing.device("cpu", group) == torch.device("cpu")
    monkeypatch.setattr("onecycle.runtime.resolve_device", torch.device)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    found = sharing.device("cuda", group)
    assert (found, sharing.recorded_device(found, group)) == (torch.device("cuda", 1), "cuda")
    for name, told in (
        ("mps", "device: 2 processes can't train on 'mps'; give --device cpu, or"),
        ("cuda:0", "device: each process takes a GPU of its own, not 'cuda:0'; give --device cuda"),
    ):
        with pytest.raises(InputError, match=told):
            sharing.device(name, group)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(InputError, match="2 processes on a machine with 1 GPU; start one for each"):
        sharing.device("cuda", group)


# ------------------------------------------------------------------------------------------ parts


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, Place(3, 4, 3, 4)),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, Place(3, 4, 1, 2)),
        ({"WORLD_SIZE": "1", "RANK": "0"}, Place()),
        ({"MASTER_ADDR": ""}, Place()),
        ({"RANK": "4"}, None),
        ({"WORLD_SIZE": "many"}, None),
    ],
    ids=["global", "local", "one", "no-address", "rank", "word"],
)
def test_which_process_this_is(monkeypatch, changes, found):
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (TORCHRUN | changes).items():
        monkeypatch.setenv(name, value)
    if found is None:
        with pytest.raises(InputError, match="is not a number from"):
            processes.place()
    else:
        assert processes.place() == found


@pytest.mark.parametrize("micro_batch", [0, 5, 7])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_ranks_take_whole_parts_of_each_batch(count, micro_batch):
    """Together they see each image once; parts are even, and of two images or more."""
    train = shapes.draw(57, "train", size=16)
    whole = Batches(
        train=train, batch_size=17, seed=1, mean=(0.5,) * 3, std=(0.2,) * 3, transforms=(),
        device=torch.device("cpu"), world_size=count, micro_batch=micro_batch,
    )  # fmt: skip
    for step in range(4):
        bounds, images = whole.bounds(step), len(whole.indices(step))
        sizes = np.diff(bounds)
        assert (bounds[0], bounds[-1]) == (0, images)
        assert sizes.min() >= 2
        assert sizes.max() - sizes.min() <= 1
        expected = torch.zeros(images).tensor_split(len(sizes))  # as one process cuts them
        assert sizes.tolist() == [len(part) for part in expected]
        ranks = [replace(whole, rank=rank) for rank in range(count)]
        taken = [each.own(len(sizes)) for each in ranks]
        assert [part for own in taken for part in own] == list(range(len(sizes)))
        labels = torch.cat([each.cut(step)[1] for each in ranks])
        assert labels.tolist() == train.labels_N[whole.indices(step)].tolist()


def test_the_cores_are_divided_among_the_processes_of_a_machine(monkeypatch):
    monkeypatch.setattr(sharing, "_cores", lambda: 8)
    assert sharing.threads(Processes()) == 0
    assert sharing.threads(Processes(Place(0, 6, 0, 3))) == 2
    assert sharing.threads(Processes(Place(0, 16, 0, 16))) == 1


def test_shares_of_the_batch_are_refused_before_anything_is_written():
    group, recipe = Processes(Place(0, 4, 0, 4)), override(Recipe(), batch_size=64)
    sharing.refuse(recipe, 1000, group)
    sharing.refuse(override(recipe, micro_batch=16), 1000, group)
    with pytest.raises(InputError, match="batch_size: 7 images can't be shared by 4 processes"):
        sharing.refuse(recipe, 7, group)
    synchronized = override(recipe, sync_batch_norm=True)
    sharing.refuse(synchronized, 1028, group)
    with pytest.raises(InputError, match="the last batch of an epoch has 3 images for 4 processes"):
        sharing.refuse(synchronized, 1027, group)
    with pytest.raises(InputError, match="sync_batch_norm: can't be compiled"):
        sharing.refuse(override(synchronized, compile=True), 1028, group)
    with pytest.raises(InputError, match="sync_batch_norm: with micro_batch each part has its own"):
        override(synchronized, micro_batch=8)
    with pytest.raises(InputError, match="micro_batch: 22 makes 3 parts of a batch of 64 for 4"):
        sharing.refuse(override(recipe, micro_batch=22), 1000, group)
