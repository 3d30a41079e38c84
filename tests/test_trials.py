"""`onecycle trials`: grids, manifests, real workers, what is kept, and what is refused."""

import io
import itertools
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import ask
from rich.console import Console
from simulated_runs import in_memory, write_run
from trained import result_of

import onecycle
from onecycle.cli import board
from onecycle.config import Recipe, override
from onecycle.errors import InputError
from onecycle.experiments import compare, leaderboard
from onecycle.recipes import RECIPES
from onecycle.trials import Measurement, driver, grid, jobs, local, manifest, results, worker
from onecycle.trials.engine import Ended
from onecycle.trials.folder import Outcome, TrialsFolder
from onecycle.trials.listening import Listener, Overview, Standing
from onecycle.trials.manifest import Jobs
from onecycle.trials.source import Source

DEMO = RECIPES["demo"].recipe
SMALL = (
    "--epochs 2 --train-limit 64 --test-limit 40 --image-size 16 --width 0.0625 --batch-size 32 "
    "--crop-padding 2 --cutout 0 --precision fp32 --lr-max 0.05 --lr-min 0.005 --threads 1"
)
TINY = override(
    DEMO, epochs=2, train_limit=64, test_limit=40, image_size=16, width=0.0625, batch_size=32,
    crop_padding=2, cutout=0, precision="fp32", lr_max=0.05, lr_min=0.005,
)  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)


# ------------------------------------------------------------------------------------- the grid


def test_the_trials_are_the_product_of_the_values_and_the_seeds_in_their_order() -> None:
    axes = {"width": (0.25, 1.0, 1e-3), "cutout": (0, 8, 0.25), "nesterov": (True, False)}
    found = grid.trials_of(DEMO, axes, (7, 0, 3))
    combinations = list(itertools.product(*axes.values(), (7, 0, 3)))
    assert [(*t.settings.values(), t.seed) for t in found] == combinations
    assert [t.recipe for t in found] == [
        override(DEMO, width=w, cutout=c, nesterov=n, seed=s) for w, c, n, s in combinations
    ]
    words = {True: "on", False: "off"}
    assert [t.name for t in found] == [
        f"width={w:g},cutout={c},nesterov={words[n]},seed={s}" for w, c, n, s in combinations
    ]


def test_one_at_a_time_is_the_recipe_and_then_each_other_value_alone() -> None:
    axes = {"cutout": (0, DEMO.cutout, 16), "dropout": (0.1, 0.3), "l1": (DEMO.l1,)}
    found = grid.trials_of(DEMO, axes, (0, 4), one_at_a_time=True)
    alone = [{}, {"cutout": 0}, {"cutout": 16}, {"dropout": 0.1}, {"dropout": 0.3}]
    assert [t.settings for t in found] == [each for each in alone for _ in range(2)]
    assert [t.recipe for t in found] == [
        override(DEMO, **each, seed=seed) for each in alone for seed in (0, 4)
    ]
    assert [t.name for t in found[1:4]] == ["seed=4", "cutout=0,seed=0", "cutout=0,seed=4"]


def test_one_at_a_time_keeps_a_value_that_brings_a_change_along() -> None:
    photos = RECIPES["photos"].recipe  # with 600 steps, whatever the epochs
    axes = {"epochs": (photos.epochs, 16)}
    found = grid.trials_of(photos, axes, (0,), one_at_a_time=True)
    assert [t.settings for t in found] == [{}, {"epochs": photos.epochs}, {"epochs": 16}]
    assert [t.recipe.min_steps for t in found] == ["auto", 0, 0]


def test_one_at_a_time_trains_each_way_on_every_fold() -> None:
    axes = {"dropout": (0.1,), "fold": (0, 1)}
    found = grid.trials_of(override(DEMO, folds=2), axes, (0,), one_at_a_time=True)
    assert [t.settings for t in found] == [
        {"fold": 0},
        {"fold": 1},
        {"dropout": 0.1, "fold": 0},
        {"dropout": 0.1, "fold": 1},
    ]


def test_a_grid_that_is_too_large_one_at_a_time_is_refused() -> None:
    axes = {"dropout": tuple(index / 10_000 for index in range(1, 3_001))}
    assert len(grid.trials_of(DEMO, axes, (0, 1, 2), one_at_a_time=True)) == 9_003
    with pytest.raises(InputError, match="the grid has 12,004 trials"):
        grid.trials_of(DEMO, axes, range(4), one_at_a_time=True)


def test_names_are_safe_for_folders_and_differ_where_the_values_do() -> None:
    places = ("a/b", "a_b", "../up", "x" * 300, "x" * 301, "c:d", " lead", "ä")
    found = [trial.name for trial in grid.trials_of(DEMO, {"data": places}, (0, 1))]
    assert len(set(found)) == len(found) == 16
    assert all("/" not in name and len(name.encode()) <= grid.LONGEST_NAME for name in found)
    assert found[2] == "data=a_b,seed=0"  # a value that is its own name has no mark
    again = [trial.name for trial in grid.trials_of(DEMO, {"data": places[::-1]}, (0, 1))]
    assert set(again) == set(found)


@pytest.mark.parametrize(
    ("word", "name", "values"),
    [
        ("cutout=0,8,0.25", "cutout", (0, 8, 0.25)),
        ("lr-max=auto,1e-1", "lr_max", ("auto", 0.1)),
        ("nesterov=on,false", "nesterov", (True, False)),
        ("model_args=depth=3,depth=5", "model_args", ("depth=3", "depth=5")),
        ("--width=1", "width", (1.0,)),
    ],
)
def test_a_word_is_read_as_the_flag_would_read_it(
    word: str, name: str, values: tuple[object, ...]
) -> None:
    assert grid.read_axis(word) == (name, values)
    assert grid.checked_grid({name: values}) == {name: values}


@pytest.mark.parametrize(
    ("text", "first", "seeds"),
    [("5", 0, (0, 1, 2, 3, 4)), ("2", 7, (7, 8)), ("0,3,7", 5, (0, 3, 7)), ("1", 9, (9,))],
)
def test_seeds_are_a_number_of_them_or_a_list(
    text: str, first: int, seeds: tuple[int, ...]
) -> None:
    assert grid.read_seeds(text, first) == seeds


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("demo cutot=0,8", "unknown recipe field 'cutot'; did you mean 'cutout'?"),
        ("demo cutout=0,x", "cutout: 'x' is not a whole number"),
        ("demo cutout=0,,8", "cutout: has an empty value in 'cutout=0,,8'; write cutout=A,B"),
        ("demo cutout=8,8", "cutout: 8 is given twice; give it once"),
        ("demo lr_max=0.1,1e-1", "lr_max: 0.1 is given twice; give it once"),
        ("demo cutout=0 cutout=8", "cutout: is given twice; give all its values at once"),
        ("demo cutout=0,8 --cutout 4", "cutout: is given as a flag and in the grid; give it once"),
        ("demo width=1,-1", "width: -1.0 is out of range"),
        ("demo seed=0,1", "seed: is no part of the grid; give the seeds with --seeds"),
        ("demo mean=0.5,0.4", "mean: is a list of numbers, which a grid can't vary"),
        ("demo model=net.py:a,net.py:b", "model: 'net.py:a' is code, which a grid can't vary"),
        ("demo model=resnet18,resnet19", "model=resnet19,seed=0: unknown model 'resnet19'; did"),
        ("demo --data /nowhere/x", "data: there is no path '/nowhere/x'; check its spelling"),
        ("demo data=shapes,shape --seeds 1", "data=shape,seed=0: data: there is no path 'shape'"),
        ("demo --init-from a.pth", "init_from: there is no run folder or file 'a.pth'; check the"),
        ("demo init_from=a.pth,b.pth", "init_from: there is no run folder or file 'a.pth'; check"),
        ("demo cutout=8,64", "cutout=64,seed=0: cutout: "),
        ("demo peak_epoch=1,4 --epochs 3", "peak_epoch=4,seed=0: peak_epoch: 4"),
        ("demo --seeds 0", "--seeds: 0 is out of range; give a number from 1 to 10000"),
        ("demo --seeds 1,x", "--seeds: '1,x' is not a number of seeds; give 5, or a list: 0,3,7"),
        ("demo --seeds 1,1", "seeds: 1 is given twice; give it once"),
        ("demo --jobs none", "--jobs: 'none' is not a number from 1 to 1024; give one, or auto"),
        ("demo brief", "unexpected 'brief'; trials takes one RECIPE, and 'demo' is it"),
        ("demo --seeds 200 width=0.1,0.2,0.3 " + "cutout=" + ",".join(map(str, range(20))),
         "trials: the grid has 12,000 trials, more than 10,000"),
        ("", "which recipe? name one, see onecycle recipes; or go on with --into DIR"),
        ("--into nowhere", "--into: 'nowhere' is not a folder of trials; name a recipe"),
    ],
)  # fmt: skip
def test_the_whole_command_line_is_checked_before_anything_starts(line: str, told: str) -> None:
    answer = ask(f"trials {line}")
    assert answer.code == 2
    assert answer.err.startswith(f"onecycle: error: {told}"), answer.err
    assert answer.err.count("\n") == 1
    assert not list(Path().iterdir())


def test_print_config_lists_the_trials_and_runs_nothing() -> None:
    answer = ask("trials demo cutout=0,8 --seeds 2 --epochs 3 --print-config")
    assert answer.code == 0
    assert answer.out.splitlines()[-5:] == [
        "# 4 trials:",
        *(f"# cutout={c},seed={s}" for c in (0, 8) for s in (0, 1)),
    ]
    assert not list(Path().iterdir())


def test_print_config_lists_the_trials_of_one_setting_at_a_time() -> None:
    answer = ask("trials demo cutout=0,16 l1=1e-6 --one-at-a-time --seeds 1 --print-config")
    assert answer.out.splitlines()[-5:] == [
        "# 4 trials:",
        *(f"# {name}seed=0" for name in ("", "cutout=0,", "cutout=16,", "l1=1e-06,")),
    ]


# ---------------------------------------------------------------------------------- the manifest


def a_manifest(recipe: Recipe = TINY, **axes: tuple[object, ...]) -> manifest.Manifest:
    return manifest.new(recipe, axes, (0, 1), None, ("onecycle",))


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    written = replace(
        a_manifest(cutout=(0, 0.25, 8), nesterov=(True, False), lr_max=("auto", 0.1)),
        jobs=Jobs(jobs=2, threads=1, measured=[Measurement(jobs=2, threads=1)]),
    )
    manifest.write(tmp_path, written)
    found = manifest.read(tmp_path)
    assert found == written
    assert found.trials() == written.trials()
    assert [p.name for p in tmp_path.iterdir()] == ["trials.json"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seeds"', '"sids"'),
        ('"cutout": [', '"cutot": ['),
        ('"width": 0.0625', '"width": "wide"'),
        ('"grid": {', '"grid": ['),
        ("{", ""),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, old: str, new: str) -> None:
    manifest.write(tmp_path, a_manifest(cutout=(0, 8)))
    path = tmp_path / "trials.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=r"trials\.json: is damaged"):
        manifest.read(tmp_path)


def test_trials_of_a_sweep_are_gone_on_with_by_sweep(tmp_path: Path) -> None:
    place = tmp_path / "a sweep/trials"
    place.mkdir(parents=True)
    for added in ({}, {"trial-0": {"cutout": 4}}):
        manifest.write(place, replace(a_manifest(), seeds=[], added=added))
        answer = ask(f"trials --into {shlex.quote(str(place))}")
        assert answer.code == 2
        assert answer.err.endswith(f"go on with: onecycle sweep --into '{place.parent}'\n")


def test_a_grid_may_only_grow(tmp_path: Path) -> None:
    old = a_manifest(cutout=(0, 8))
    more = replace(a_manifest(cutout=(4, 0, 8)), seeds=[0, 1, 2])
    assert len(manifest.extended(old, more, tmp_path).trials()) == 9
    with pytest.raises(InputError, match=r"trials that this grid lacks \(cutout=8,seed=0 and 1 o"):
        manifest.extended(old, a_manifest(cutout=(0, 4)), tmp_path)
    with pytest.raises(InputError, match="have another epochs"):
        manifest.extended(old, a_manifest(override(TINY, epochs=3), cutout=(0, 8)), tmp_path)


def test_a_folder_keeps_that_its_settings_vary_one_at_a_time(tmp_path: Path) -> None:
    axes = {"cutout": (4, 8), "dropout": (0.1,)}
    old = manifest.new(TINY, axes, (0,), None, ("onecycle",), one_at_a_time=True)
    manifest.write(tmp_path, old)
    found = manifest.read(tmp_path)
    assert found == old
    assert [trial.name for trial in found.trials()] == [
        "seed=0", "cutout=4,seed=0", "cutout=8,seed=0", "dropout=0.1,seed=0",
    ]  # fmt: skip
    asked = ask(f"trials --into {shlex.quote(str(tmp_path))} --print-config").out
    assert asked.splitlines()[-5:] == ["# 4 trials:", *(f"# {t.name}" for t in old.trials())]
    more = manifest.new(TINY, axes | {"l1": (1e-6,)}, (0, 1), None, (), one_at_a_time=True)
    assert len(manifest.extended(old, more, tmp_path).trials()) == 10
    combined = manifest.new(TINY, axes, (0,), None, ())
    with pytest.raises(InputError, match=r"were begun with it; give it, or name another"):
        manifest.extended(old, combined, tmp_path)
    with pytest.raises(InputError, match=r"were begun without it; leave it out, or name another"):
        manifest.extended(combined, old, tmp_path)


def test_a_folder_with_something_else_is_refused() -> None:
    Path("photos").mkdir()
    Path("photos/a.png").touch()
    answer = ask(f"trials demo {SMALL} --into photos")
    assert answer.code == 2
    assert "'photos' is not a folder of trials (it has no trials.json), and not empty" in answer.err
    assert [p.name for p in Path("photos").iterdir()] == ["a.png"]


# --------------------------------------------------------------------------------------- the jobs


@pytest.mark.parametrize(
    ("threads", "trials", "ways"),
    [
        (2, 12, [(1, 2), (2, 1)]),
        (16, 12, [(1, 16), (2, 8), (4, 4), (8, 2)]),
        (6, 99, [(1, 6), (2, 3), (3, 2), (6, 1)]),
        (4, 1, [(1, 4)]),
        (1, 9, [(1, 1)]),
    ],
)
def test_the_threads_are_shared_evenly(
    threads: int, trials: int, ways: list[tuple[int, int]]
) -> None:
    assert jobs.candidates(threads, trials) == ways


@pytest.mark.parametrize(
    ("speeds", "best"),
    [
        ({1: 100.0, 2: 190.0, 4: 150.0}, 2),
        ({1: 100.0, 2: 104.0}, 1),  # hardly faster, and takes more memory
        ({1: 300.0, 2: 100.0}, 1),
        ({1: 100.0, 2: None, 4: 200.0}, 4),
        ({1: None, 2: None}, None),
    ],
)
def test_the_fastest_way_is_chosen_from_what_was_measured(
    speeds: dict[int, float | None], best: int | None
) -> None:
    measured = [Measurement(jobs=n, threads=4 // n, images_per_second=s) for n, s in speeds.items()]
    found = jobs.fastest(measured)
    assert (found and found.jobs) == best
    told = jobs.told(measured, found)
    assert told.startswith("jobs: ")
    assert best is None or all(
        str(s or "failed").removesuffix(".0") in told for s in speeds.values()
    )


@pytest.mark.parametrize(
    ("asked", "threads", "devices", "left", "shared"),
    [
        (3, 8, 0, 9, Jobs(jobs=3, threads=2)),
        (4, 2, 0, 9, Jobs(jobs=4, threads=1)),
        ("auto", 16, 4, 9, Jobs(jobs=4, threads=4, devices=4)),
        ("auto", 16, 4, 2, Jobs(jobs=2, threads=8, devices=4)),
        ("auto", 4, 0, 1, Jobs(jobs=1, threads=4)),
    ],
)
def test_nothing_is_measured_where_there_is_nothing_to_choose(
    asked: jobs.Wanted, threads: int, devices: int, left: int, shared: Jobs, tmp_path: Path
) -> None:
    names = [str(n) for n in range(left)]
    place = TrialsFolder(tmp_path)
    assert jobs.decide(asked, threads, devices, place, names, Listener()) == shared


@pytest.mark.parametrize(
    ("seen", "device", "gets"),
    [(None, None, None), (None, 1, "1"), ("4,7", 1, "7"), ("GPU-a,GPU-b", 0, "GPU-a")],
)
def test_a_worker_gets_its_threads_and_one_of_the_gpus_that_the_driver_sees(
    seen: str | None, device: int | None, gets: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    found = local.environment(3, device)
    assert found["OMP_NUM_THREADS"] == "3"
    assert found.get("CUDA_VISIBLE_DEVICES") == gets


def test_real_processes_are_measured(tmp_path: Path) -> None:
    place = TrialsFolder.at(tmp_path / "t", TINY)
    manifest.write(place.path, a_manifest())
    assert (jobs.speed(place, "seed=0", 2, 1) or 0) > 0
    assert jobs.speed(place, "no such trial", 1, 1) is None


# ------------------------------------------------------------------------------- the real command


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trials, carried out as a user does."""
    folder = tmp_path_factory.mktemp("done") / "t"
    answer = ask(
        f"trials demo epochs=1,2 --seeds 2 {SMALL.replace('--epochs 2', '')} --val-fraction 0.25 "
        f"--into {folder} --jobs 2 --json"
    )
    assert answer.code == 0, answer.err
    (folder / "answer.json").write_text(answer.out, encoding="utf-8")
    (folder / "told.txt").write_text(answer.err, encoding="utf-8")
    return folder


def test_each_trial_is_an_ordinary_run(done: Path, tmp_path: Path) -> None:
    names = [f"epochs={e},seed={s}" for e in (1, 2) for s in (0, 1)]
    found = {p.parent.name for p in done.glob("*/result.json")}
    assert found == set(names)
    alone = onecycle.train(
        override(TINY, epochs=2, seed=1, val_fraction=0.25),
        runs=tmp_path, threads=1, report=False, progress=onecycle.Progress(),
    )  # fmt: skip
    assert result_of(alone.path)["weights_sha256"] == result_of(done / names[3])["weights_sha256"]


def test_json_is_one_object_with_every_trial_and_the_comparison(done: Path) -> None:
    found = json.loads((done / "answer.json").read_text(encoding="utf-8"))
    assert list(found) == [
        "folder",
        "trials",
        "failed",
        "jobs",
        "reports",
        "comparison",
        "cross_validations",
    ]
    assert [t["name"] for t in found["trials"]] == [
        f"epochs={e},seed={s}" for e in (1, 2) for s in (0, 1)
    ]
    for trial in found["trials"]:
        result = result_of(Path(trial["run"]))
        assert trial["state"] == "finished"
        assert {k: trial[k] for k in results.FIGURES} == {k: result.get(k) for k in results.FIGURES}
    compared = compare([t["run"] for t in found["trials"]]).to_json()
    assert found["comparison"] == json.loads(json.dumps(compared))
    assert found["jobs"] == {"jobs": 2, "threads": 1, "devices": 0, "measured": []}


def test_only_the_best_by_validation_is_drawn(done: Path) -> None:
    found = json.loads((done / "answer.json").read_text(encoding="utf-8"))
    by_epochs = {e: [t for t in found["trials"] if t["settings"] == {"epochs": e}] for e in (1, 2)}
    group = max(by_epochs.values(), key=lambda ts: statistics.fmean(t["val_accuracy"] for t in ts))
    best = max(group, key=lambda t: t["val_accuracy"])["name"]
    assert found["reports"]["trials"] == [best]
    assert [p.parent.name for p in done.glob("*/report.html")] == [best]


def test_on_a_log_each_trial_has_a_line(done: Path) -> None:
    lines = (done / "told.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"trials: {done}"
    assert len(lines) == 5
    assert all(" % val (" in line for line in lines[1:])
    assert lines[-1].endswith("(4 of 4 trials finished)")


def test_called_again_it_keeps_what_is_finished_and_shows_it(done: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in done.glob("*/result.json")}
    answer = ask(f"trials --into {done}")
    assert answer.code == 0
    assert "4 trials of 4 finished" in answer.out
    assert "chosen" not in answer.err
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_second_driver_is_refused_in_one_line(done: Path) -> None:
    with TrialsFolder(done).driving():
        answer = ask(f"trials --into {done}")
    assert answer.code == 2
    assert f"{done}: process {os.getpid()} on " in answer.err
    assert answer.err.endswith("is working on these trials; wait for it or stop it\n")


def test_a_failed_trial_is_reported_and_does_not_stop_the_others() -> None:
    answer = ask(
        f"trials demo lr_max=1e30,0.05 --seeds 1 {SMALL.replace('--lr-max 0.05', '')} --into t "
        "--jobs 1"
    )
    assert answer.code == 1
    assert "1 trial of 2 finished" in answer.out
    assert "failed: lr_max=1e+30,seed=0: " in answer.out
    last = answer.err.splitlines()[-1]
    assert last.startswith("onecycle: error: 1 trial of 2 failed (lr_max=1e+30,seed=0: ")
    assert last.endswith("try again with: onecycle trials --into t")
    assert "Traceback" not in answer.err
    assert Path("t/lr_max=0.05,seed=0/result.json").is_file()


def test_a_stopped_driver_saves_says_how_to_go_on_and_does() -> None:
    long = SMALL.replace("--epochs 2", "--epochs 400")
    command = f"trials demo --seeds 2 {long} --into t --jobs 2"
    process = subprocess.Popen(
        [sys.executable, "-m", "onecycle", *shlex.split(command)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(Path("t").glob("*/metrics.jsonl"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert out == ""
    assert err.splitlines()[-1] == "onecycle: stopped; go on with: onecycle trials --into t"
    assert not list(Path("t").glob("*/.owner"))  # the workers have ended
    assert len(list(Path("t").glob("*/checkpoints/step-*"))) >= 2
    assert not list(Path("t").glob("*/result.json"))


# -------------------------------------------------------------------------------------- a worker


def test_a_worker_removes_what_a_kill_left_before_the_run_began(tmp_path: Path) -> None:
    run = tmp_path / "seed=0"
    for name in ("checkpoints", "plots"):
        (run / name).mkdir(parents=True)
    for name in ("recipe.toml", "network.json", ".network.json.123.tmp"):
        (run / name).touch()
    worker.remove_unborn(run)
    assert not run.exists()


@pytest.mark.parametrize("what", ["file", "photo", "full", "link"])
def test_a_worker_removes_nothing_else(what: str, tmp_path: Path) -> None:
    run, other = tmp_path / "seed=0", tmp_path / "other"
    other.mkdir()
    if what == "file":
        run.touch()
    elif what == "link":
        run.symlink_to(other)
    else:
        (run / ("plots" if what == "full" else "photo.png")).mkdir(parents=True)
        (run / "plots").mkdir(exist_ok=True)
        (run / "plots/a.png").touch()
    with pytest.raises(InputError, match="is in the place of a trial's run; move it away"):
        worker.remove_unborn(run)
    assert os.path.lexists(run)


class Scripted:
    """An engine whose workers end as a script says: with a code, and perhaps a file."""

    def __init__(self, place: TrialsFolder, script: dict[str, list[int | str]]) -> None:
        self.place, self.script = place, script
        self.submitted: list[str] = []
        self._running: list[str] = []

    @property
    def free(self) -> int:
        return 1 - len(self._running)

    def submit(self, name: str) -> None:
        self.submitted.append(name)
        self._running.append(name)

    def poll(self) -> list[Ended]:
        ended, running = [], list[str]()
        for name in self._running:
            act = self.script[name].pop(0)
            if act == "train":
                running.append(name)
                continue
            if act == "save":
                act = 128 + signal.SIGTERM
            if act == "finish":
                write_run(self.place.run(name), np.arange(40) < 30)
                act = 0
            elif isinstance(act, str):
                self.place.note_outcome(name, Outcome(state="failed", message=act))
                act = 1
            ended.append(Ended(name, act))
        self._running = running
        return ended

    def cancel(self, name: str) -> None:
        self.script[name].insert(0, "save")

    def stop(self) -> None:
        self._running = []

    def close(self) -> None:
        self._running = []


class Noting(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)

    def ended(self, trial: Standing, told: str, now: Overview) -> None:
        self.lines.append(board.ending(trial, told))


def driven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *scripts: Sequence[int | str]
) -> tuple[driver.Driver, Scripted, list[str]]:
    monkeypatch.setattr(driver, "INTERVAL", 0.0)
    trials = grid.trials_of(TINY, {}, range(len(scripts)))
    place = TrialsFolder.at(tmp_path / "t", TINY)
    engine = Scripted(
        place, {t.name: list(script) for t, script in zip(trials, scripts, strict=True)}
    )
    noting = Noting()
    found = driver.Driver(place, trials, engine, noting)
    found.drive(driver.Signals())
    return found, engine, noting.lines


def test_a_trial_whose_worker_was_killed_is_tried_twice_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, engine, lines = driven(
        tmp_path, monkeypatch, [-9, -9, "finish"], [-9, -9, -9], ["diverged"], [3], ["finish"]
    )
    assert engine.submitted == [f"seed={s}" for s in (0, 0, 0, 1, 1, 1, 2, 3, 4)]
    assert found.failures == {
        "seed=1": "its process was killed (signal 9), 3 times in all; is there enough memory?",
        "seed=2": "diverged",
        "seed=3": "its worker ended with code 3 and could not say why; see "
        f"{tmp_path / 't/.workers/seed=3.log'}",
    }
    assert (
        lines[:2]
        == ["seed=0: its process was killed (signal 9); it goes on where it was saved"] * 2
    )
    assert lines[-1].startswith("seed=4: ")


class Choosing(Source):
    """Adds trials while others run, and gives one of them up."""

    def __init__(self, names: Sequence[str], hopeless: str) -> None:
        self.names, self.hopeless = list(names), hopeless
        self.told: list[tuple[str, str, str]] = []

    @property
    def to_come(self) -> int:
        return len(self.names)

    def more(self) -> grid.Trial | None:
        return grid.added_trial(TINY, self.names.pop(0), {}) if self.names else None

    def is_hopeless(self, trial: Standing) -> bool:
        return trial.name == self.hopeless

    def ended(self, trial: Standing, message: str) -> None:
        self.told.append((trial.name, trial.state, message))


def test_trials_that_are_chosen_while_others_run_are_begun_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "INTERVAL", 0.0)
    place = TrialsFolder.at(tmp_path / "t", TINY)
    engine = Scripted(
        place, {"a": ["finish"], "b": ["train"] * 9, "c": ["diverged"], "d": ["train", "finish"]}
    )
    source = Choosing("abcd", hopeless="b")
    driver.Driver(place, [], engine, Listener(), source).drive(driver.Signals())
    assert engine.submitted == ["a", "b", "c", "d"]
    assert source.told == [
        ("a", "finished", ""), ("b", "pruned", ""), ("c", "failed", "diverged"),
        ("d", "finished", ""),
    ]  # fmt: skip


def test_a_manifest_keeps_trials_outside_of_its_grid(tmp_path: Path) -> None:
    place = TrialsFolder.at(tmp_path / "t", TINY)
    empty = manifest.new(TINY, {}, (), None, ())
    assert empty.trials() == ()
    found = empty.with_trial("trial-0", {"lr_max": 0.07}).with_trial("b", {"seed": 5})
    manifest.write(place.path, found)
    trials = worker.trial_in(place.path, "trial-0")[1], worker.trial_in(place.path, "b")[1]
    assert [t.recipe for t in trials] == [override(TINY, lr_max=0.07), override(TINY, seed=5)]
    assert [(t.settings, t.seed) for t in trials] == [({"lr_max": 0.07}, 0), ({}, 5)]
    for name, settings in (("../up", {}), ("", {}), ("a", {"cutout": -1})):
        manifest.write(place.path, found.with_trial(name, settings))
        with pytest.raises(InputError, match="is damaged"):
            manifest.read(place.path)
    manifest.write(place.path, found)
    answer = ask(f"trials demo --into {place.path}")
    assert answer.code == 2
    assert "are those of a sweep" in answer.err


def test_what_an_earlier_worker_said_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = TrialsFolder.at(tmp_path / "t", TINY)
    place.note_outcome("seed=0", Outcome(state="failed", message="of yesterday"))
    found, _, _ = driven(tmp_path, monkeypatch, [-9, "finish"])
    assert found.failures == {}


# -------------------------------------------------------------------------------- what is shown


def shown_trials(count: int) -> Overview:
    running = Standing("running", "width=0.25,seed=1", 3, 12, 0.8431, "val", 75.0)
    rest = [Standing("waiting", f"seed={n}", 0, 12) for n in range(count - 2)]
    return Overview([Standing("finished", "seed=0", 12, 12, 0.5, "test"), running, *rest], 3600.0)


def test_a_line_tells_how_far_all_are() -> None:
    assert board.together(shown_trials(12)) == (
        "1 of 12 trials finished, 1 running, 1 h 00 min left"
    )
    assert shown_trials(12).share == pytest.approx((1 + 3 / 12) / 12)
    assert board.cells(shown_trials(12).trials[1]) == ("3/12", "84.31 % val", "1 min 15 s")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_live_table_fits_the_screen_and_keeps_the_seed_in_view(width: int) -> None:
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    live = board.LiveBoard(screen)
    names = [f"width=0.25,cutout=8,optimizer=adamw,weight_decay=0.0005,seed={n}" for n in range(20)]
    running = [Standing("running", name, 3, 12, 0.8431, "val", 75.0) for name in names]
    live.overview(Overview(running, 3600.0))
    table = Console(file=io.StringIO(), width=width, color_system=None)
    table.print(live._table())
    live.close()
    lines = table.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert [line.split()[0].endswith(f"seed={n}") for n, line in enumerate(lines[2:18])] == [
            True
        ] * board.MOST_ROWS
        assert lines[2].endswith("3/12   84.31 % val     1 min 15 s")
        assert lines[-2:] == [
            "and 4 others",
            "0 of 20 trials finished, 20 running, 1 h 00 min left",
        ]


def test_nothing_is_chosen_by_the_test_split(tmp_path: Path) -> None:
    def trial(cutout: int, seed: int, val: float | None) -> results.TrialResult:
        result = replace(
            in_memory(np.arange(9) < 5, seed=seed).result, val_accuracy=val, test_accuracy=val or 1
        )
        return results.TrialResult(f"{cutout},{seed}", {"cutout": cutout}, seed, tmp_path, result)

    some = [trial(0, 0, 0.9), trial(0, 1, 0.1), trial(8, 0, 0.6), trial(8, 1, 0.7)]
    assert results.chosen(some, "auto").names == ("8,1",)
    assert results.chosen(some, "last").names == ("0,1", "8,1")
    assert len(results.chosen(some, "all").names) == 4
    assert results.chosen(some, "none").names == ()
    without = results.chosen([*some, trial(8, 2, None)], "auto")
    assert without.names == ()
    assert "there is no validation split" in without.why


def test_many_recipes_are_ranked_with_their_intervals(tmp_path: Path) -> None:
    scipy = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    accuracies: dict[int, list[float]] = {}
    for cutout in range(8):
        for seed in range(3):
            right = rng.integers(60, 160)
            write_run(
                tmp_path / f"{cutout}-{seed}", np.arange(200) < right, seed=seed, cutout=cutout
            )
            accuracies.setdefault(cutout, []).append(right / 200)
    comparison = compare(tmp_path)
    table = leaderboard.ranks(comparison)
    order = sorted(accuracies, key=lambda c: -statistics.fmean(accuracies[c]))
    assert table.headings == ["", "cutout", "n", "test %", "95 % interval"]
    assert [row[1] for row in table.rows] == [str(c) for c in order]
    for place, (cutout, row) in enumerate(zip(order, table.rows, strict=True), start=1):
        values = np.array(accuracies[cutout])
        mean, std = values.mean(), values.std(ddof=1)
        half = scipy.t.ppf(0.975, 2) * std / np.sqrt(3)
        assert row[0] == f"{place}."
        assert row[3] == f"{100 * mean:.2f} ± {100 * std:.2f}"
        low, high = map(float, row[4].split(" to "))
        assert (low, high) == pytest.approx(
            (max(0.0, 100 * (mean - half)), min(100.0, 100 * (mean + half))), abs=0.006
        )
    assert "by test accuracy, since there is no validation split" in leaderboard.legend(comparison)


def test_where_there_is_a_validation_split_it_decides_the_places(tmp_path: Path) -> None:
    for cutout, val, right in ((0, 0.5, 150), (4, 0.9, 100), (8, 0.7, 199)):
        figures = {"val_accuracy": val}
        write_run(tmp_path / f"{cutout}", np.arange(200) < right, figures=figures, cutout=cutout)
    comparison = compare(tmp_path)
    table = leaderboard.ranks(comparison)
    assert [row[1] for row in table.rows] == ["4", "8", "0"]
    assert table.headings[3:] == ["val %", "test %", "95 % interval"]
    assert [row[3:5] for row in table.rows] == [
        ["90.00", "50.00"], ["70.00", "99.50"], ["50.00", "75.00"],
    ]  # fmt: skip
    assert leaderboard.legend(comparison).startswith("Order: by validation accuracy")


def test_in_python_progress_hears_of_each_trial(done: Path) -> None:
    class Heard(onecycle.Progress):
        def __init__(self) -> None:
            self.calls: list[object] = []

        def start(self, title: str, total: int, unit: str = "steps") -> None:
            self.calls.append((title, total))

        def advance(self, count: int = 1, **figures: float) -> None:
            self.calls.append(count)

        def finish(self) -> None:
            self.calls.append("finish")

    heard = Heard()
    found = onecycle.trials.run(
        override(TINY, val_fraction=0.25), {"epochs": [1, 2]}, seeds=2, into=done, progress=heard
    )
    assert heard.calls == [("trials", 4), 4, "finish"]
    assert found.failed == []
    assert repr(found) == f"<Trials: 4 in {done}, 0 failed>"
    assert found.comparison
    assert found._repr_markdown_() == found.comparison.to_markdown()
