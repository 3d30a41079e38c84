"""The memory of a search: pruning against a count by hand, kills, two drivers, refusals."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import optuna
import pytest

from onecycle.config import Recipe, override
from onecycle.errors import InputError
from onecycle.sweep.space import Space, space_of
from onecycle.sweep.study import PATIENCE, Pruning, Study

RECIPE = Recipe(val_fraction=0.2, lr_max=0.3, epochs=9)
TABLES = {
    "lr_max": {"low": 1e-3, "high": 1.0, "log": True},
    "optimizer": {"values": ["sgd", "adamw"]},
    "momentum": {"low": 0.5, "high": 0.95, "when": {"optimizer": "sgd"}},
}
SPACE = space_of(TABLES, RECIPE)


def opened(
    folder: Path,
    pruning: Pruning = "none",
    owner: str = "a",
    space: Space = SPACE,
    recipe: Recipe = RECIPE,
) -> Study:
    return Study.opened(f"sqlite:///{folder}/study.db", "s", space, recipe, pruning, owner)


def quality(point) -> float:
    """Best at a rate of 0.1 with SGD."""
    return 0.9 - 0.1 * abs(math.log10(point["lr_max"]) + 1) - 0.1 * (point["optimizer"] != "sgd")


def test_the_first_trial_has_the_recipe_s_values_and_the_best_is_found_again(tmp_path):
    study = opened(tmp_path)
    own = {"lr_max": 0.3, "optimizer": "sgd", "momentum": 0.9}
    assert study.baseline is None
    study.start_from(own, quality(own), epochs=9, seconds=7.5)
    study.start_from(own, 0.0, epochs=9, seconds=7.5)  # of another driver: known already
    assert opened(tmp_path).baseline == study.baseline == quality(own)
    (first,) = study.tried
    assert (first.point, first.state, first.is_recipe) == (own, "complete", True)
    assert (first.accuracy, first.epochs, first.seconds) == (quality(own), 9, 7.5)
    assert study.count == 0  # besides the recipe
    for _ in range(14):
        proposal = study.ask()
        assert ("momentum" in proposal.point) == (proposal.point["optimizer"] == "sgd")
        override(RECIPE, **proposal.point)
        study.complete(proposal.number, quality(proposal.point))
    again = opened(tmp_path)
    assert again.tried == study.tried
    best = max(study.tried, key=lambda tried: quality(tried.point))
    assert again.best == best
    assert best.accuracy == pytest.approx(quality(best.point))
    shares = again.importances()
    assert set(shares) == {"lr_max", "optimizer", "momentum"}
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(("epochs", "earliest"), [(1, 1), (8, 2), (24, 6)])
def test_nothing_is_given_up_before_a_quarter_of_the_epochs(tmp_path, epochs, earliest):
    study = opened(tmp_path, "asha")
    before = study.ask().number  # begun before the recipe has ended
    assert not study.is_hopeless(before, 1, 0.9)
    study.start_from({}, 0.5, epochs=epochs, seconds=1)
    for again in (study, opened(tmp_path, "asha")):  # and so after a restart
        numbers = [again.ask().number for _ in range(4)]
        for epoch in range(1, earliest + 1):
            hopeless = [again.is_hopeless(n, epoch, 0.9 - n / 100) for n in numbers]
            assert any(hopeless) == (epoch == earliest)


def test_a_recipe_with_values_outside_of_the_space_is_continued_from_the_others(tmp_path):
    study = opened(tmp_path)
    study.start_from({"optimizer": "sgd", "momentum": 0.9}, 0.5, epochs=9, seconds=1)
    assert study.baseline == 0.5
    assert study.tried == []
    found = study.ask()
    assert {"optimizer": "sgd", "momentum": 0.9}.items() <= found.point.items()
    assert 1e-3 <= found.point["lr_max"] <= 1
    assert study.count == 1


def test_epochs_that_were_noted_before_a_kill_are_not_noted_twice(tmp_path):
    killed = opened(tmp_path)
    number = killed.ask().number
    killed.is_hopeless(number, 1, 0.25)
    study = opened(tmp_path)
    (again,) = study.begun()
    assert again.epochs == 1
    study.is_hopeless(number, 1, 0.75)  # a warning of Optuna would be an error here
    study.complete(number, 0.5, seconds=2.5, epochs=9)
    (tried,) = study.tried
    assert (tried.accuracy, tried.epochs, tried.seconds) == (0.5, 9, 2.5)


def test_a_trial_whose_driver_was_killed_while_it_asked_is_nobody_s(tmp_path):
    study = opened(tmp_path)
    optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/study.db").ask()
    assert study.count == 0
    assert list(opened(tmp_path).begun()) == []
    study.ask()
    assert study.count == 1


def test_trials_of_others_count_as_long_as_these_give_signs_of_life(tmp_path, monkeypatch):
    ours, theirs = opened(tmp_path, owner="a"), opened(tmp_path, owner="b")
    ours.ask()
    theirs.ask()
    assert ours.with_others == 0
    theirs.sign()
    assert ours.with_others == 1
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + PATIENCE + 1)
    assert ours.with_others == 0


def test_asha_gives_up_what_is_not_in_the_upper_third_of_its_rung(tmp_path):
    study = opened(tmp_path, "asha")
    study.start_from({}, 0.5, epochs=9, seconds=1)
    seen = defaultdict(list)  # accuracies at the rungs: a third of 9 epochs, and the end
    states = []
    for trial in range(12):
        number = study.ask().number
        for epoch in range(1, 10):
            accuracy = math.sin(trial * 7.3) / 4 + 0.5 + epoch / 100
            expected = False
            if epoch in (3, 9):
                seen[epoch].append(accuracy)
                better = sorted(seen[epoch], reverse=True)
                expected = accuracy < better[max(len(better) // 3, 1) - 1]
            if study.is_hopeless(number, epoch, accuracy):
                assert expected, (trial, epoch)
                study.give_up(number)
                states.append("pruned")
                break
            assert not expected, (trial, epoch)
        else:
            study.complete(number, 0.5)
            states.append("complete")
    assert [tried.state for tried in study.tried] == states
    assert {"pruned", "complete"} == set(states)
    assert all(tried.epochs in (3, 9) for tried in study.tried)


def test_hyperband_gives_up_some_and_none_gives_up_nothing(tmp_path):
    for pruning in ("hyperband", "none"):
        folder = tmp_path / pruning
        folder.mkdir()
        study = opened(folder, pruning)
        study.start_from({}, 0.5, epochs=9, seconds=1)
        for _ in range(12):
            proposal = study.ask()
            for epoch in range(1, 10):
                if study.is_hopeless(proposal.number, epoch, quality(proposal.point) - 1 / epoch):
                    study.give_up(proposal.number)
                    break
            else:
                study.complete(proposal.number, quality(proposal.point))
        given_up = sum(tried.state == "pruned" for tried in study.tried)
        assert given_up > 2 if pruning == "hyperband" else given_up == 0


def test_of_equal_trials_the_recipe_is_the_best(tmp_path):
    study = opened(tmp_path)
    study.complete(study.ask().number, 0.5)
    own = {"lr_max": 0.3, "optimizer": "sgd", "momentum": 0.9}
    study.start_from(own, 0.5, epochs=9, seconds=1)
    assert study.best
    assert study.best.is_recipe
    study.complete(study.ask().number, 0.75)
    assert not study.best.is_recipe


def test_a_failed_trial_keeps_its_reason_and_is_never_the_best(tmp_path):
    study = opened(tmp_path)
    number = study.ask().number
    study.fail(number, "the loss became non-finite at step 3")
    (tried,) = study.tried
    assert (tried.state, tried.why) == ("failed", "the loss became non-finite at step 3")
    assert study.best is None
    assert study.importances() == {}


DRIVER = """
import json, os, sys, time
from test_sweep_study import opened
from pathlib import Path
study = opened(Path(sys.argv[1]), owner=sys.argv[2])
for index in range(int(sys.argv[3])):
    proposal = study.ask()
    study.is_hopeless(proposal.number, 1, 0.25)
    if index + 1 < int(sys.argv[3]) or sys.argv[4] == "ends":
        study.complete(proposal.number, 0.5)
print(json.dumps([proposal.number, dict(proposal.point)]), flush=True)
if sys.argv[4] != "ends":
    time.sleep(600)
"""


def driver(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), *args],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.faults
def test_a_killed_driver_takes_up_its_own_trial_again(tmp_path):
    killed = driver(tmp_path, "a", "3", "waits")
    assert killed.stdout
    number, point = json.loads(killed.stdout.readline())
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert list(opened(tmp_path, owner="b").begun()) == []
    study = opened(tmp_path, owner="a")
    (proposal,) = study.begun()
    assert (proposal.number, proposal.point) == (number, point)
    study.is_hopeless(number, 2, 0.75)
    study.complete(number, 0.75)
    assert study.tried[-1].epochs == 2
    assert study.best == study.tried[-1]
    assert list(opened(tmp_path, owner="a").begun()) == []


@pytest.mark.faults
def test_two_drivers_share_a_study(tmp_path):
    opened(tmp_path)  # the tables of the database
    drivers = [driver(tmp_path, owner, "4", "ends") for owner in ("a", "b")]
    for each in drivers:
        each.communicate(timeout=120)
        assert each.returncode == 0
    tried = opened(tmp_path).tried
    assert [each.number for each in tried] == list(range(8))
    points = {json.dumps(dict(each.point), sort_keys=True) for each in tried}
    assert len(points) == 8


def test_a_study_of_something_else_is_refused(tmp_path):
    opened(tmp_path)
    others = {
        "space": {"space": space_of(TABLES | {"lr_max": {"low": 0.1, "high": 0.2}}, RECIPE)},
        "recipe": {"recipe": override(RECIPE, width=0.5)},
        "pruning": {"pruning": "asha"},
    }
    for what, change in others.items():
        with pytest.raises(InputError, match=f"was begun with another {what}"):
            opened(tmp_path, **change)


@pytest.mark.parametrize(
    "storage",
    ["nonsense", "sqlite:////nowhere/at/all/study.db", "unknown://host/db"],
    ids=["no address", "no folder", "no database"],
)
def test_a_storage_that_can_not_be_used_is_one_line(storage):
    with pytest.raises(
        InputError, match="^--storage: '.*' (can't be used: |is no addr)"
    ) as refusal:
        Study.opened(storage, "s", SPACE, RECIPE, "none", "a")
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "study.db").write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match="can't be used: .*not a database"):
        opened(tmp_path)
