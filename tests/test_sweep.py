"""`onecycle sweep`: what is proposed, pruned, kept, shown and refused, without real trainings."""

import html
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated_runs import EPOCH, recipe, write_run
from test_trials import TINY, Scripted, ask

from onecycle.config import from_toml, override, to_toml
from onecycle.errors import InputError
from onecycle.experiments import compare
from onecycle.progress import SILENT
from onecycle.recipes import RECIPES
from onecycle.run_dir import RunDir
from onecycle.sweep import page, record
from onecycle.sweep.proposing import Proposals
from onecycle.sweep.record import Asked
from onecycle.sweep.result import Sweep
from onecycle.sweep.search import _without_test_images
from onecycle.sweep.space import read_space, space_of
from onecycle.sweep.storage import address, without_password
from onecycle.sweep.study import Study, Tried
from onecycle.trials import driver, manifest
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.listening import Listener, Standing

TABLES = {
    "lr_max": {"low": 0.01, "high": 1.0, "log": True},
    "optimizer": {"values": ["sgd", "adamw"]},
    "momentum": {"low": 0.8, "high": 0.95, "when": {"optimizer": "sgd"}},
}
BASE = override(TINY, val_fraction=0.25, epochs=2)
SPACE = space_of(TABLES, BASE)
SMALL = (
    "--val-fraction 0.25 --epochs 2 --train-limit 64 --test-limit 40 --image-size 16 "
    "--width 0.0625 --batch-size 32"
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    Path("space.toml").write_text("[lr_max]\nlow = 0.01\nhigh = 1.0\nlog = true\n")


class Sweeping:
    """A study, a folder of trials, and runs that are written by hand."""

    def __init__(self, tmp_path: Path, trials: int | None = 5, seconds: float | None = None):
        self.now = 0.0
        self.place = TrialsFolder.at(tmp_path / "t", BASE)
        if manifest.read(self.place.path) is None:
            manifest.write(self.place.path, manifest.new(BASE, {}, (), None, ()))
        storage = f"sqlite:///{tmp_path}/study.db"
        self.study = Study.opened(storage, "s", SPACE, BASE, "asha", "a")
        self.source = Proposals(
            self.study, SPACE, self.place, trials=trials, seconds=seconds, clock=lambda: self.now
        )

    def rows(self, name: str, accuracies: list[float], epochs: int = 9) -> Standing:
        """A run that has trained so many epochs."""
        path = self.place.run(name)
        path.mkdir(exist_ok=True)
        lines = [
            EPOCH | {"epoch": e, "val_accuracy": a, "val_loss": 1.0, "seconds": 2.5 * e}
            for e, a in enumerate(accuracies, 1)
        ]
        (path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in lines))
        return Standing("running", name, len(accuracies), epochs, accuracies[-1], "val")

    def finish(self, name: str, accuracy: float) -> None:
        """A run that is finished."""
        if self.place.run(name).exists():
            shutil.rmtree(self.place.run(name))
        write_run(self.place.run(name), np.arange(40) < 30, figures={"val_accuracy": accuracy})
        standing = self.rows(name, [accuracy / 2, accuracy], epochs=2)
        self.source.ended(replace(standing, state="finished"), "")


def test_the_recipe_comes_first_then_so_many_settings(tmp_path: Path) -> None:
    sweeping = Sweeping(tmp_path, trials=3)
    first = sweeping.source.more()
    assert first
    assert (first.name, first.settings, first.recipe) == ("recipe", {}, BASE)
    assert sweeping.source.to_come == 3
    write_run(sweeping.place.run("recipe"), np.arange(40) < 30, figures={"val_accuracy": 0.5})
    sweeping.source.ended(
        replace(sweeping.rows("recipe", [0.25, 0.5], epochs=2), state="finished"), ""
    )
    assert sweeping.study.baseline == 0.5
    (told,) = sweeping.study.tried
    assert told.point == {"lr_max": 0.1, "optimizer": "sgd", "momentum": 0.9}  # of its recipe.toml
    names = []
    while trial := sweeping.source.more():
        names.append(trial.name)
        assert trial.recipe == override(BASE, **trial.settings)
    assert names == ["trial-0001", "trial-0002", "trial-0003"]
    assert sweeping.source.to_come == 0
    found = manifest.read(sweeping.place.path)
    assert found
    assert [trial.name for trial in found.trials()] == ["recipe", *names]


def test_no_trial_is_begun_after_the_time(tmp_path: Path) -> None:
    sweeping = Sweeping(tmp_path, trials=None, seconds=60)
    assert [bool(sweeping.source.more()) for _ in range(3)] == [True] * 3
    assert sweeping.source.seconds_left == 60
    sweeping.now = 61
    assert sweeping.source.seconds_left == 0
    assert sweeping.source.more() is None


def test_a_trial_is_given_up_where_asha_says_so_and_loses_its_checkpoints(tmp_path: Path) -> None:
    sweeping = Sweeping(tmp_path, trials=9)
    sweeping.study.start_from({}, 0.5, epochs=4, seconds=1.0)
    sweeping.source.more()
    trials = [sweeping.source.more() for _ in range(4)]
    names = [trial.name for trial in trials if trial]
    good, poor = names[:3], names[3]
    for place, name in enumerate(good):
        assert not sweeping.source.is_hopeless(sweeping.rows(name, [0.5 + place / 10]))
    standing = sweeping.rows(poor, [0.1])
    assert sweeping.source.is_hopeless(standing)
    run = sweeping.place.run(poor)
    checkpoint = run / "checkpoints/step-0000004"
    checkpoint.mkdir(parents=True)
    for file in ("state.json", "tensors.safetensors"):
        (checkpoint / file).write_text("{}")
    (run / "checkpoints/mine.txt").write_text("of the user")
    sweeping.source.ended(replace(standing, state="pruned"), "")
    assert not checkpoint.exists()
    assert (run / "checkpoints/mine.txt").exists()
    (tried,) = sweeping.study.tried
    assert (tried.state, tried.accuracy, tried.epochs, tried.seconds) == ("pruned", 0.1, 1, 2.5)


def test_a_trial_is_never_given_up_after_its_last_epoch(tmp_path: Path) -> None:
    sweeping = Sweeping(tmp_path, trials=9)
    sweeping.study.start_from({}, 0.5, epochs=3, seconds=1.0)
    sweeping.source.more()
    names = [trial.name for _ in range(4) if (trial := sweeping.source.more())]
    for name in names[:3]:
        sweeping.source.is_hopeless(sweeping.rows(name, [0.6, 0.6, 0.9], epochs=3))
    poor = sweeping.rows(names[3], [0.6, 0.6, 0.1], epochs=3)
    assert not sweeping.source.is_hopeless(poor)


def test_checkpoints_behind_a_link_stay(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere/step-0000004"
    elsewhere.mkdir(parents=True)
    (elsewhere / "state.json").write_text("{}")
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoints").symlink_to(elsewhere.parent)
    with pytest.raises(InputError, match="link"):
        RunDir(run).remove_checkpoints()
    assert (elsewhere / "state.json").exists()
    RunDir(tmp_path / "without").remove_checkpoints()


def test_a_driver_that_was_killed_goes_on_with_its_trials(tmp_path: Path) -> None:
    killed = Sweeping(tmp_path, trials=4)
    killed.source.more()
    trial = killed.source.more()
    assert trial
    killed.source.is_hopeless(killed.rows(trial.name, [0.5]))
    killed.finish("recipe", 0.4)
    again = Sweeping(tmp_path, trials=4)
    first = again.source.more()
    assert first
    assert (first.name, first.recipe) == (trial.name, trial.recipe)
    again.finish(trial.name, 0.6)
    assert again.study.best
    assert again.study.best.accuracy == 0.6
    assert again.source.to_come == 3
    left = [trial.name for _ in range(9) if (trial := again.source.more())]
    assert len(left) == 3


def test_what_was_finished_after_a_kill_is_told_to_the_study(tmp_path: Path) -> None:
    killed = Sweeping(tmp_path, trials=3)
    names = [trial.name for _ in range(3) if (trial := killed.source.more())]
    assert names == ["recipe", "trial-0000", "trial-0001"]
    for name, accuracy in zip(names[:2], (0.5, 0.75), strict=True):
        write_run(killed.place.run(name), np.arange(40) < 30, figures={"val_accuracy": accuracy})
    again = Sweeping(tmp_path, trials=3)
    left = [trial.name for _ in range(9) if (trial := again.source.more())]
    assert left == ["trial-0001", "trial-0003"]
    assert again.study.baseline == 0.5
    assert again.study.best
    assert (again.study.best.number, again.study.best.accuracy) == (0, 0.75)


def test_settings_that_the_recipe_refuses_are_failed_trials(tmp_path: Path) -> None:
    tables = {
        "lr_max": {"low": 0.01, "high": 1.0},
        "lr_min": {"low": 0.005, "high": 0.6},  # above lr_max, sometimes
    }
    sweeping = Sweeping(tmp_path, trials=12)
    space = space_of(tables, BASE)
    study = Study.opened(f"sqlite:///{tmp_path}/other.db", "s", space, BASE, "none", "a")
    source = Proposals(study, space, sweeping.place, trials=12, seconds=None)
    begun = []
    while trial := source.more():
        begun.append(trial)
    failed = [each for each in study.tried if each.state == "failed"]
    assert len(begun) == 1 + 12 - len(failed)
    assert failed
    for each in failed:
        assert each.point["lr_min"] > each.point["lr_max"]
        assert each.why
    for each in begun[1:]:
        assert each.recipe.lr_min <= each.recipe.lr_max


def test_a_driver_carries_out_what_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "INTERVAL", 0.0)
    sweeping = Sweeping(tmp_path, trials=2)
    sweeping.study.start_from(SPACE.nearest_to(recipe()), 0.5, 2, 1.0)
    source = Proposals(sweeping.study, SPACE, sweeping.place, trials=2, seconds=None)
    engine = Scripted(sweeping.place, {"trial-0001": ["diverged"], "trial-0002": ["diverged"]})
    driver.Driver(sweeping.place, [], engine, Listener(), source).drive(driver.Signals())
    assert engine.submitted == ["trial-0001", "trial-0002"]
    assert [each.why for each in sweeping.study.tried[1:]] == ["diverged"] * 2


def test_trials_have_one_test_image_of_each_class() -> None:
    recipe = override(BASE, train_limit=80)
    assert _without_test_images(recipe, SILENT) == override(recipe, test_limit=10)


# ------------------------------------------------------------------------------------ the record


def test_a_password_is_never_written_down() -> None:
    given = "postgresql://ann:secret@host/db"
    kept = without_password(given)
    assert "secret" not in kept
    with pytest.raises(InputError, match="password of .* is not kept"):
        address(kept, Path("study.db"))
    assert address(given, Path("study.db")) == given
    assert without_password("") == ""
    with pytest.raises(InputError, match="is no address of a database"):
        without_password("nonsense")


def asked() -> Asked:
    return Asked.new(
        BASE, TABLES, network=None, study="demo", storage="", pruning="asha", trials=5,
        minutes=None, final_seeds=3, command=["onecycle", "sweep"],
    )  # fmt: skip


def test_a_sweep_is_read_back_and_damage_is_told(tmp_path: Path) -> None:
    record.write(tmp_path, asked())
    found = record.read(tmp_path)
    assert found
    assert found.base() == BASE
    assert found.searched() == SPACE
    for text in ("{", "[]", '{"recipe": {}}', json.dumps({"space": 3})):
        (tmp_path / "sweep.json").write_text(text)
        with pytest.raises(InputError, match="damaged"):
            record.read(tmp_path)


def test_another_sweep_in_the_folder_is_refused(tmp_path: Path) -> None:
    before = asked()
    assert replace(before, trials=9, owner="x").agreed(before, tmp_path).owner == before.owner
    for change in (
        {"pruning": "none"},
        {"space": {}},
        {"final_seeds": 1},
        {"storage": "sqlite://"},
    ):
        with pytest.raises(InputError, match=f"begun with another {next(iter(change))}"):
            replace(before, **change).agreed(before, tmp_path)


def test_a_second_driver_changes_nothing_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    record.write(folder, asked())
    place = TrialsFolder.at(folder / "trials", BASE)
    found = manifest.new(BASE, {}, (), None, ()).with_trial("recipe", {})
    manifest.write(place.path, found)
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    with place.driving():
        answer = ask(f"sweep --into {folder} --trials 9 --quiet")
    assert answer.code == 2
    assert "is working on these trials" in answer.err
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before


@pytest.mark.parametrize(
    "storage", ["sqlite:////nodir/x.db", "nothing://x/y", "postgresql://user:***@host/name"]
)
def test_a_storage_that_cannot_be_used_leaves_nothing(storage: str) -> None:
    line = f"sweep demo --space space.toml --trials 1 {SMALL} --into new --quiet"
    answer = ask(f"{line} --storage {storage}")
    assert answer.code == 2
    assert answer.err.startswith("onecycle: error: --storage: ")
    assert answer.err.count("\n") == 1
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('[model]\nvalues = ["nix", "resnet18"]', "unknown model 'nix'"),
        ('[model]\nvalues = ["resnet18", "a.py:f"]', "'a.py:f' is code, which runs only when"),
        ('[device]\nvalues = ["cpu", "cuda:9"]', "device"),
    ],
)
def test_a_value_that_no_trial_can_have_is_refused_before_the_first(table: str, told: str) -> None:
    Path("space.toml").write_text(table)
    before = sorted(Path().rglob("*"))
    answer = ask(f"sweep demo --space space.toml --trials 2 {SMALL} --head-scale 1 --quiet")
    assert answer.code == 2
    assert told in answer.err
    assert answer.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_going_on_with_other_wishes_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    record.write(folder, asked())
    for flag in ("--pruning none", "--final-seeds 5", "--study other"):
        answer = ask(f"sweep --into {folder} {flag} --quiet")
        assert answer.code == 2
        assert "was begun with another" in answer.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sweep", "--space: is missing"),
        ("sweep demo", "--space: is missing"),
        ("sweep --space space.toml", "which recipe?"),
        (f"sweep demo --space space.toml {SMALL}", "--trials N or --minutes M"),
        ("sweep demo --space nowhere.toml --trials 3", "nowhere.toml: can't be read"),
        ("sweep demo --space space.toml --trials 3", "judges by validation images"),
        ("sweep demo --space space.toml --trials 3 --folds 3 --fold 1", "not by folds"),
        ("sweep demo --space space.toml --trials -1", "--trials"),
        (f"sweep demo --space space.toml --trials 3 {SMALL} --into space.toml", "can't make"),
        (f"sweep demo --space space.toml --trials 3 {SMALL} --into .", "not the folder of a sweep"),
        (f"sweep demo --space space.toml --trials 3 {SMALL} --storage x", "no address"),
        (f"sweep demo --space space.toml --trials 3 {SMALL} --jobs 0", "--jobs"),
        ("sweep --into nowhere", "'nowhere' is not the folder of a sweep"),
        ("sweep demo lr_max=0.1,0.2 --space space.toml --trials 3", "unexpected"),
        ("sweep demo --space space.toml --trials 3 --device cuda:9", "device"),
    ],
    ids=lambda value: value.replace(" ", "-")[-40:],
)
def test_a_mistake_is_one_line(line: str, told: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    answer = ask(line)
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err
    assert answer.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_without_optuna_the_extra_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    before = sorted(tmp_path.iterdir())
    answer = ask(f"sweep demo --space space.toml --trials 3 {SMALL}")
    assert answer.code == 2
    assert answer.err.endswith("get it with: pip install 'onecycle[sweep]'\n")
    assert sorted(tmp_path.iterdir()) == before


def test_print_config_shows_the_recipe(tmp_path: Path) -> None:
    answer = ask(f"sweep demo --space space.toml {SMALL} --print-config")
    assert answer.code == 0
    assert from_toml(answer.out).val_fraction == 0.25


# -------------------------------------------------------------------------------- what is shown


def swept(tmp_path: Path, better: bool = True) -> Sweep:
    """A sweep whose runs are drawn: the winner is right about 34 of 40 images, the recipe 30."""
    name = '<script>alert("x")</script>' if better else "demo"
    for kind, right in (("trial-0002", 34), ("recipe", 30)):
        for seed in range(3):
            changes = {"lr_max": 0.3} if kind == "trial-0002" else {}
            right_N = np.arange(40) < right + seed % 2
            write_run(tmp_path / f"final/{kind},seed={seed}", right_N, seed=seed, **changes)
    runs = sorted((tmp_path / "final").iterdir())
    own = {"lr_max": 0.1, "optimizer": "sgd", "momentum": 0.9}
    best = Tried(2, own | {"lr_max": 0.3}, "complete", 0.9, 2, 60.0)
    tried = (
        Tried(0, own, "complete", 0.7, 2, 60.0, is_recipe=True),
        Tried(1, {"lr_max": 0.01, "optimizer": "adamw"}, "pruned", 0.2, 1, 30.0),
        best,
        Tried(3, own | {"lr_max": 1.0}, "failed", None, 0, 5.0, "the loss became non-finite"),
    )
    return Sweep(
        folder=tmp_path, recipe=override(BASE, data=name), space=SPACE, tried=tried, baseline=0.7,
        importances={"lr_max": 0.75, "optimizer": 0.25}, best=best,
        winner=override(BASE, **best.point, val_fraction=0.0), comparison=compare(runs),
    )  # fmt: skip


def test_the_verdict_is_that_of_the_test_split(tmp_path: Path) -> None:
    found = swept(tmp_path)
    assert found.verdict == (
        "The winner is better than the recipe: 85.83 % against 75.83 % test accuracy over 3 seeds."
    )
    assert replace(found, best=found.tried[0]).verdict.startswith("No settings were better")
    assert replace(found, best=None).verdict == "No trial was completed."
    waiting = replace(found, comparison=None, waiting_for=2)
    assert waiting.verdict.startswith("Other drivers are still at 2 trials")
    assert from_toml(to_toml(found.winner)) == found.winner if found.winner else False


def test_the_figures_of_a_sweep_add_up(tmp_path: Path) -> None:
    found = swept(tmp_path)
    value = json.loads(json.dumps(found.to_json()))
    assert (value["complete"], value["pruned"], value["failed"]) == (2, 1, 1)
    assert value["seconds"] == sum(each["seconds"] for each in value["trials"]) == 155
    assert page.cost(found).rows == [
        ["complete", "2", "4", "2 min 00 s"], ["pruned", "1", "1", "30 s"],
        ["failed", "1", "0", "5.0 s"],
    ]  # fmt: skip
    assert [row[0] for row in page.trials(found, 9).rows] == [
        "trial 2", "recipe", "trial 1", "trial 3",
    ]  # fmt: skip
    assert page.settings(found).rows == [
        ["lr_max", "0.05", "0.3", "0.01 to 1, logarithmic"],
        ["optimizer", "sgd", "sgd", "sgd, adamw"],
        ["momentum", "0.9", "0.9", "0.8 to 0.95; when optimizer is sgd"],
    ]


def test_the_page_is_whole_and_safe(tmp_path: Path) -> None:
    text = page.to_html(swept(tmp_path))
    assert "<script" not in text
    assert html.escape('<script>alert("x")</script>', quote=False)[:14] in text
    assert text.count("<svg") == 6  # seeds, course, importances, three slices
    ids = [part.split('"')[0] for part in text.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
    bare = replace(
        swept(tmp_path / "bare", better=False), comparison=None, importances={}, waiting_for=1
    )
    assert "Too few trials were completed" in page.to_html(bare)


def test_the_example_of_a_space_fits_the_demo() -> None:
    path = Path(__file__).parents[1] / "examples/space.toml"
    assert set(read_space(path, RECIPES["demo"].recipe).names) == {
        "lr_max",
        "weight_decay",
        "cutout",
    }
