"""The engines of `onecycle trials`: what is asked for, how a cluster is shared, what is refused."""

import importlib.util
import io
import json
import shlex
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import pytest
from small_slurm import installed
from test_layers import imported_by

from onecycle.cli import main
from onecycle.errors import InputError
from onecycle.recipes import RECIPES
from onecycle.trials import driver, engines, manifest, ray_engine, slurm_engine
from onecycle.trials.folder import Outcome, TrialsFolder
from onecycle.trials.grid import trials_of
from onecycle.trials.held import HeldWorker, Order
from onecycle.trials.manifest import Jobs
from onecycle.trials.ray_engine import Node

DEMO = RECIPES["demo"].recipe
SMALL = (
    "--epochs 1 --train-limit 64 --test-limit 40 --image-size 16 --width 0.0625 --batch-size 32 "
    "--crop-padding 2 --cutout 0 --precision fp32 --lr-max 0.05 --lr-min 0.005 --seeds 1"
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def refused(line: str) -> str:
    """The one line with which a command is refused."""
    with redirect_stderr(io.StringIO()) as err:
        assert main(shlex.split(f"trials demo {line}")) == 2
    *_, last = err.getvalue().splitlines()
    assert "Traceback" not in err.getvalue()
    return last.removeprefix("onecycle: error: ")


@pytest.fixture
def with_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in installed(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)


# ------------------------------------------------------------------------------ what is asked for


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--engine roy", "unknown --engine 'roy'; did you mean 'ray'?"),
        ("--address h:1", "--address: is for a Ray cluster; give --engine ray with it"),
        ("--engine slurm --address h:1", "--address: is for a Ray cluster; give --engine ray with"),
 ("--engine ray --address ray://h:1", "--address: Ray's client (ray://) is not supported;"),
        ("--slurm gpus=1", "--slurm: is for SLURM; give --engine slurm with it"),
        ("--engine slurm --slurm 4G", "--slurm: '4G' is not an option of sbatch and its value;"),
        ("--engine slurm --slurm a=1,a=2", "--slurm: a is given twice; give it once"),
        ("--engine slurm --slurm array=1-9", "--slurm: array is set by onecycle, a job has one"),
        ("--engine slurm --slurm cpus_per_task=no", "--slurm: cpus-per-task: 'no' is not a number"),
        ("--engine slurm", "--engine slurm: there is no sbatch on this machine; call it where"),
    ],
)  # fmt: skip
def test_an_engine_is_refused_before_anything_is_made(
    line: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert refused(f"{SMALL} {line}").startswith(told)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra_is_told_with_the_command_that_brings_it(
    engine: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find(name)
    )
    told = refused(f"{SMALL} --engine {engine} --into t")
    assert told == f"{module} is not installed; get it with: pip install 'onecycle[{engine}]'"
    assert not Path("t").exists()


def test_options_of_sbatch_keep_commas_within_their_values() -> None:
    assert slurm_engine.read_options("--partition=a,b,time=4:00:00,gres=gpu:a100:2,exclusive=") == {
        "partition": "a,b",
        "time": "4:00:00",
        "gres": "gpu:a100:2",
        "exclusive": "",
    }
    assert slurm_engine.read_options("") == {}


def test_a_folder_goes_on_with_its_engine_or_with_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/sbatch")
    base = manifest.new(DEMO, {}, (0,), None, ())
    asked = engines.Asked("slurm", slurm={"partition": "low"}).settled(tmp_path)
    noted = replace(asked.noted_in(base), jobs=Jobs(jobs=9, threads=3))
    manifest.write(tmp_path, noted)
    assert manifest.read(tmp_path) == noted
    again = engines.Asked().settled(tmp_path)
    assert again == asked
    assert again.noted_in(noted) == noted
    more = engines.Asked("slurm", slurm={"partition": "high"}).settled(tmp_path)
    assert more.noted_in(noted) == replace(noted, slurm={"partition": "high"})
    other = engines.Asked("local").settled(tmp_path).noted_in(noted)
    assert (other.engine, other.slurm, other.jobs) == ("local", {}, None)


def test_a_manifest_of_before_the_engines_has_the_local_one(tmp_path: Path) -> None:
    path = tmp_path / "trials.json"
    manifest.write(tmp_path, manifest.new(DEMO, {}, (0,), None, ()))
    old = json.loads(path.read_text(encoding="utf-8"))
    for name in ("engine", "address", "slurm"):
        del old[name]
    path.write_text(json.dumps(old), encoding="utf-8")
    assert engines.Asked().settled(tmp_path).engine == "local"


# -------------------------------------------------------------------------- how a cluster is shared

TWO, BIG = [Node("a", 2, 0), Node("b", 2, 0)], [Node("a", 16, 4), Node("b", 8, 0)]


@pytest.mark.parametrize(
    ("nodes", "asked", "threads", "device", "left", "shared"),
    [
        (TWO, "auto", 0, "auto", 9, (4, 1, 0)),
        (TWO, "auto", 0, "auto", 2, (2, 2, 0)),
        (TWO, "auto", 0, "auto", 3, (3, 1, 0)),  # of two threads, there are two places
        (TWO, "auto", 0, "auto", 1, (1, 2, 0)),  # a training is on one node
        (TWO, "auto", 2, "auto", 9, (2, 2, 0)),
        (TWO, 9, 0, "auto", 20, (9, 1, 0)),  # some wait for a place
        (BIG, "auto", 0, "auto", 9, (4, 4, 4)),  # one GPU each, and its share of the CPUs
        (BIG, "auto", 0, "cpu", 9, (9, 2, 0)),
        (BIG, "auto", 8, "cuda", 9, (2, 8, 4)),
    ],
)  # fmt: skip
def test_a_ray_cluster_is_shared_by_its_cpus_and_gpus(
    nodes: list[Node], asked: int, threads: int, device: str, left: int, shared: tuple[int, ...]
) -> None:
    found = ray_engine.shared(nodes, asked, threads, device, left)
    assert (found.jobs, found.threads, found.devices) == shared


@pytest.mark.parametrize(
    ("threads", "device", "told"),
    [
        (0, "cuda", "device: is cuda, and no node of the Ray cluster has a GPU; leave it out"),
        (3, "auto", "--threads: no node of the Ray cluster has 3 CPUs for a training, the largest"),
    ],
)
def test_what_a_ray_cluster_does_not_have_is_refused(threads: int, device: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        ray_engine.shared(TWO, "auto", threads, device, 2)


def test_slurm_gets_so_many_jobs_at_once_with_so_many_threads() -> None:
    share = slurm_engine.shared
    assert share("auto", 0, {}, 9) == Jobs(jobs=9, threads=4)
    assert share("auto", 0, {}, 900) == Jobs(jobs=64, threads=4)
    assert share(5, 2, {}, 900) == Jobs(jobs=5, threads=2)
    assert share(5, 0, {"cpus-per-task": "8"}, 900) == Jobs(jobs=5, threads=8)
    with pytest.raises(InputError, match="--threads: is 2, and cpus-per-task of --slurm is 8"):
        share(5, 2, {"cpus-per-task": "8"}, 900)


def test_the_largest_settings_are_measured() -> None:
    axes = {"width": (0.25, 0.5), "image_size": (0, 16), "batch_size": (64, 128)}
    trials = trials_of(DEMO, axes, (0, 1))
    found = engines.largest_first(trials)
    assert found[0].name == "width=0.5,image_size=0,batch_size=128,seed=0"  # shapes: 32 pixels
    assert found[-1].name == "width=0.25,image_size=16,batch_size=64,seed=1"
    assert sorted(found, key=trials.index) == list(trials)


def test_a_run_that_has_begun_needs_no_initial_weights(tmp_path: Path) -> None:
    trials = trials_of(DEMO, {"init_from": ("", "gone.pth")}, (0,))
    with pytest.raises(InputError, match="there is no run folder or file 'gone.pth'"):
        driver.check_weights(trials, tmp_path)
    (tmp_path / trials[1].name).mkdir()
    (tmp_path / trials[1].name / "environment.json").touch()
    driver.check_weights(trials, tmp_path)


def test_workers_must_see_what_the_trials_read(tmp_path: Path) -> None:
    axes = {"data": ("shapes", "photos"), "init_from": ("", "runs/a")}
    found = engines.needed(trials_of(DEMO, axes, (0,)), "net.py:make")
    assert found == [tmp_path, Path("net.py"), Path("photos"), Path("runs/a")]


# ------------------------------------------------------------------------------------- the workers


def test_a_held_worker_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    order = Order(str(tmp_path), "seed=0", str(tmp_path / "log"), 1, False, str(tmp_path))
    worker = HeldWorker(order)
    assert worker.wait() == 2  # there is no folder of trials
    assert "can't be locked: No such file" in (tmp_path / "log").read_text(encoding="utf-8")
    with pytest.raises(OSError, match="nowhere"):
        HeldWorker(order._replace(directory=str(tmp_path / "nowhere")))


def test_jobs_and_signs_are_kept_in_the_folder(tmp_path: Path) -> None:
    place = TrialsFolder.at(tmp_path / "t", DEMO)
    assert place.job("seed=0") == ""
    place.note_job("seed=0", "417")
    assert place.job("seed=0") == "417"
    place.note_job("seed=0", "")
    assert place.job("seed=0") == ""
    place.note_outcome("seed=0", Outcome(state="saved"))
    with place.visible() as sign:
        assert sign.is_absolute()
        assert sign.exists()
    assert [path.name for path in (tmp_path / "t/.workers").iterdir()] == ["seed=0.json"]


# ------------------------------------------------------------------------------ a cluster refuses


@pytest.mark.usefixtures("with_slurm")
def test_what_sbatch_refuses_is_told_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    told = refused(f"{SMALL} --engine slurm --slurm partition=nowhere --into t")
    assert told == "--slurm: sbatch refuses the job: invalid partition specified: nowhere"
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("with_slurm")
def test_slurm_takes_no_folder_that_it_would_rename() -> None:
    told = refused(f"{SMALL} --engine slurm --into 50%")
    assert told == "--into: SLURM can't write into a folder with % in its name"


@pytest.mark.faults
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--address 127.0.0.1:1", "--address: no Ray cluster can be used at '127.0.0.1:1': "),
        ("--address nowhere", "--address: no Ray cluster can be used at 'nowhere': Invalid addre"),
        ("--threads 999", "--threads: no node of the Ray cluster has 999 CPUs for a training"),
    ],
    ids=["nobody listens", "no address", "too many threads"],
)
def test_a_ray_cluster_that_cannot_be_used_is_told(line: str, told: str) -> None:
    assert refused(f"{SMALL} --engine ray --into t {line}").startswith(told)


@pytest.mark.faults
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_node_that_does_not_see_a_path_is_named(tmp_path: Path) -> None:
    place = TrialsFolder.at(tmp_path / "t", DEMO)
    gone = tmp_path / "photos"
    told = f"--engine ray: node .* does not see '{gone}'; use paths that all nodes share"
    with pytest.raises(InputError, match=told), ray_engine.RayEngine(place, "", [gone]):
        pass


def test_asking_for_an_engine_imports_none() -> None:
    assert imported_by("import onecycle.trials.engines", ("ray", "submitit")) == []
