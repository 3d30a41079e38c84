"""Logging elsewhere: event files as TensorBoard reads them, and the programs of docs/logging.md."""

import io
import json
import logging
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trained import TINY, WITHOUT_PICTURES, Forks, result_of, run_in

import onecycle
from onecycle import pictures
from onecycle.cli import main
from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.training import drawing

RECIPE = Recipe(
    recipe="tiny", data="shapes", image_size=16, train_limit=200, test_limit=60, width=0.125,
    val_fraction=0.2, epochs=2, batch_size=64, cutout=0, precision="fp32", lr_max=0.05, lr_min=0.01,
)  # fmt: skip

KILLED_AFTER = """
import signal
from onecycle.engine import loop
add = loop.Readings.add
def add_and_die(readings, reading):
    add(readings, reading)
    if reading.step + 1 == {steps}:
        os.kill(os.getpid(), signal.SIGKILL)
loop.Readings.add = add_and_die
"""


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a validation split and two pictures."""
    with pytest.MonkeyPatch.context() as patch:
        two = {name: pictures.PLOTS[name] for name in ("curves", "one_cycle")}
        patch.setattr(pictures, "PLOTS", two)
        patch.setattr(drawing, "write_report", lambda run: None)
        return onecycle.train(RECIPE, runs=tmp_path_factory.mktemp("runs"), log="tensorboard").path


@pytest.fixture(autouse=True)
def quiet_reader() -> None:
    """It warns when it forgets what an earlier file holds, which is meant."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)


def shown(run: Path) -> EventAccumulator:
    """What TensorBoard reads, all of it."""
    found = EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "images": 0})
    return found.Reload()


def curve(found: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(tag)]


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text("utf-8").splitlines()]


def assert_shows_the_logs(run: Path) -> None:
    """Every curve holds the figures of the logs, in their order, each once."""
    steps, epochs = rows(run, "steps.jsonl"), rows(run, "metrics.jsonl")
    splits = [split for split in ("train", "val", "test") if f"{split}_loss" in epochs[0]]
    expected = {
        "loss/batch": [(row["step"] + 1, row["loss"]) for row in steps],
        "rates/lr": [(row["step"] + 1, row["lr"]) for row in steps],
        "rates/momentum": [(row["step"] + 1, row["momentum"]) for row in steps],
    } | {
        f"{figure}/{split}": [(row["step"], row[f"{split}_{figure}"]) for row in epochs]
        for split in splits
        for figure in ("loss", "accuracy")
    }
    found = shown(run)
    assert set(found.Tags()["scalars"]) == set(expected)
    for tag, points in expected.items():
        assert curve(found, tag) == [(at, pytest.approx(value, rel=1e-6)) for at, value in points]


def test_curves_hold_the_figures_of_the_logs_and_pictures_are_those_of_the_run(logged):
    assert_shows_the_logs(logged)
    found = shown(logged)
    assert "loss/val" in found.Tags()["scalars"]
    plots = {f"pictures/{path.stem}": path for path in (logged / "plots").iterdir()}
    assert set(found.Tags()["images"]) == set(plots) == {"pictures/curves", "pictures/one_cycle"}
    for tag, path in plots.items():
        (event,) = found.Images(tag)
        assert event.step == result_of(logged)["steps"]
        with Image.open(io.BytesIO(event.encoded_image_string)) as ours, Image.open(path) as plot:
            assert np.array_equal(np.asarray(ours), np.asarray(plot))


def test_a_run_has_the_same_bits_with_and_without_and_no_pictures_without_a_report(
    logged, tmp_path
):
    without = onecycle.train(RECIPE, runs=tmp_path, report=False)
    assert not (without.path / "tensorboard").exists()
    again = onecycle.train(RECIPE, runs=tmp_path, report=False, log="tensorboard")
    for run in (without.path, again.path):
        assert result_of(run)["weights_sha256"] == result_of(logged)["weights_sha256"]
        assert (run / "steps.jsonl").read_bytes() == (logged / "steps.jsonl").read_bytes()
    assert shown(again.path).Tags()["images"] == []
    assert_shows_the_logs(again.path)
    assert [group.n for group in onecycle.compare([logged.parent, tmp_path]).groups] == [1]


def test_a_killed_run_can_be_read_and_a_resumed_one_has_no_step_twice(forks: Forks, tmp_path):
    """It is begun without TensorBoard, and killed twice, each time after its checkpoint."""

    def killed(line: str, steps: int) -> None:
        code = WITHOUT_PICTURES + KILLED_AFTER.format(steps=steps)
        assert forks.run(line, code=code).code == -9

    killed(f"{TINY} --runs {tmp_path}", 6)
    run = run_in(tmp_path)
    assert not (run / "tensorboard").exists()
    killed(f"resume {run} --log tensorboard", 10)
    assert_shows_the_logs(run)
    assert curve(shown(run), "loss/batch")[-1][0] == 10
    done = forks.run(f"resume {run} --log tensorboard")
    assert done.code == 0, done.err
    assert_shows_the_logs(run)
    assert [at for at, _ in curve(shown(run), "rates/lr")] == list(range(1, 13))
    assert [at for at, _ in curve(shown(run), "accuracy/test")] == [4, 8, 12]
    assert len(list((run / "tensorboard").iterdir())) == 2


def test_a_full_disk_stops_the_run_in_one_line(forks: Forks, tmp_path):
    code = """
import resource
from onecycle.training import tensorboard
step = tensorboard.EventFile.step
def limited(self, row):
    if row["step"] == 5:
        size = os.stat(self._path).st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, -1))
    step(self, row)
tensorboard.EventFile.step = limited
"""
    done = forks.run(f"{TINY} --log tensorboard --runs {tmp_path}", code=WITHOUT_PICTURES + code)
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert ": can't be written: File too large; free space or " in line
    assert shown(run_in(tmp_path)).Scalars("loss/batch")[-1].step == 5


def test_nothing_is_written_through_a_link(logged, tmp_path, capsys):
    run, outside = Path(shutil.copytree(logged, tmp_path / "run")), tmp_path / "outside"
    (run / "result.json").unlink()
    (run / "tensorboard").rename(outside)
    (run / "tensorboard").symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.iterdir()}
    assert main(["resume", str(run), "--log", "tensorboard"]) == 2
    assert capsys.readouterr().err == (
        f"onecycle: error: {run / 'tensorboard'}: is a link, not a folder; "
        "put the folder itself in its place\n"
    )
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


def test_without_its_extra_nothing_is_begun(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "onecycle.training.tensorboard", raising=False)
    runs = tmp_path / "runs"
    assert main(["train", "demo", "--log", "tensorboard", "--runs", str(runs)]) == 2
    assert capsys.readouterr().err == (
        "onecycle: error: tensorboard is not installed; "
        "get it with: pip install 'onecycle[tensorboard]'\n"
    )
    assert not runs.exists()


def test_another_log_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(InputError, match="unknown log 'tensorbord'; did you mean 'tensorboard'?"):
        onecycle.train(RECIPE, runs=tmp_path, log="tensorbord")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------ the programs of the docs

GUIDE = Path(__file__).parents[1].joinpath("docs", "logging.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
TINY_RECIPE = """onecycle.override(
    onecycle.named("demo").recipe, epochs=2, train_limit=60, test_limit=30, width=0.1,
    batch_size=20, lr_max=0.05, lr_min=0.01, image_size=16, cutout=4, crop_padding=2)"""

FIRST = """
import warnings
warnings.simplefilter("error")
sys.path.insert(0, os.getcwd())
from onecycle import pictures
from onecycle.training import drawing
pictures.PLOTS = {"curves": pictures.PLOTS["curves"]}
drawing.write_report = lambda run: None
"""

READ_BACK = """
import json
client = mlflow.MlflowClient()
(run,) = client.search_runs(["0"])
id = run.info.run_id
history = {
    name: [(point.step, point.value) for point in client.get_metric_history(id, name)]
    for name in run.data.metrics
}
files = [file.path for file in client.list_artifacts(id)]
print(json.dumps([run.info.status, run.data.params, history, files]))
"""

STAND_IN = """
import json
calls = []
class Run:
    def __enter__(self):
        return self
    def __exit__(self, *error):
        with open("calls.json", "w") as file:
            json.dump([*calls, ["finish", {}]], file)
class Image:
    def __init__(self, path):
        self.path = path
def init(**given):
    calls.append(["init", given])
    return Run()
def log(row, step=None):
    plain = {k: v.path if isinstance(v, Image) else v for k, v in row.items()}
    calls.append(["log", {"row": plain, "step": step}])
"""


def followed(forks: Forks, folder: Path, module: str, then: str, **env: str) -> str:
    """Run the program of the guide that imports `module`, at a small size; what it prints."""
    (program,) = (each for each in PROGRAMS if f"import {module}" in each)
    small = program.replace('onecycle.named("demo").recipe', TINY_RECIPE)
    assert small != program
    done = forks.run("", code=f"{FIRST}{small}{then}\nsys.exit()", cwd=folder, env=env)
    assert (done.code, done.err) == (0, "")
    return done.out


def test_the_guides_program_for_mlflow_logs_each_epoch_and_the_plots(forks: Forks, tmp_path):
    """With its file store, which MLflow keeps for those who ask for it."""
    out = followed(
        forks, tmp_path, "mlflow", READ_BACK, MLFLOW_TRACKING_URI=(tmp_path / "store").as_uri(),
        MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_DISABLE_TELEMETRY="true",
    )  # fmt: skip
    status, params, history, files = json.loads(out.splitlines()[-1])
    epochs = rows(run_in(tmp_path / "runs"), "metrics.jsonl")
    assert status == "FINISHED"
    assert (params["epochs"], params["lr_max"]) == ("2", "0.05")
    assert history == {name: [[row["step"], row[name]] for row in epochs] for name in epochs[0]}
    assert files == ["curves.png"]


def test_the_guides_program_for_wandb_logs_each_epoch_and_the_plots(forks: Forks, tmp_path):
    """On a stand-in of its module: the real one is large, and wants an account."""
    (tmp_path / "wandb.py").write_text(STAND_IN)
    followed(forks, tmp_path, "wandb", "")
    (start, options), *logged, end = json.loads((tmp_path / "calls.json").read_text())
    run = run_in(tmp_path / "runs")
    assert (start, options["project"], options["config"]["epochs"]) == ("init", "onecycle", 2)
    assert logged == [
        *(["log", {"row": row, "step": row["step"]}] for row in rows(run, "metrics.jsonl")),
        ["log", {"row": {"curves": f"runs/{run.name}/plots/curves.png"}, "step": None}],
    ]
    assert end == ["finish", {}]
