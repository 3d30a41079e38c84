"""`onecycle trials --folds`: a training for each fold, one figure for all images."""

import io
import json
import shlex
from contextlib import redirect_stdout

import numpy as np
import pytest
from small_folders import paint

from onecycle.cli import main
from onecycle.config import override
from onecycle.errors import InputError
from onecycle.experiments import join_folds
from onecycle.recipes import RECIPES
from onecycle.statistics import wilson
from onecycle.trials import results
from onecycle.trials.folds import across_folds

TINY = (
    "--epochs 1 --image-size 16 --width 0.0625 --batch-size 8 --crop-padding 2 --cutout 0 "
    "--precision fp32 --lr-max 0.05 --lr-min 0.005 --threads 1 --jobs 1 --quiet --json"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """20 images in two classes, without a test split."""
    path = tmp_path_factory.mktemp("trials-of-folds") / "photos"
    for number, label in enumerate(("ant", "bee")):
        for index in range(10):
            paint(path / label / f"{index}.png", 100 * number + index)
    return path


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory):
    """The answer of a cross-validation of two settings in two folds, and its folder."""
    into = tmp_path_factory.mktemp("folds-into") / "trials"
    line = f"trials demo dropout=0,0.25 --data {photos} --folds 2 {TINY} --into {into}"
    return ask(line), into


def ask(line):
    with redirect_stdout(io.StringIO()) as out:
        assert main(shlex.split(line)) == 0
    return json.loads(out.getvalue())


def test_every_fold_is_a_trial_of_one_seed(done):
    found, into = done
    names = [f"dropout={d},fold={f},seed=0" for d in ("0", "0.25") for f in (0, 1)]
    assert [trial["name"] for trial in found["trials"]] == names
    assert all((into / name / "result.json").is_file() for name in names)
    assert found["comparison"] is None
    assert found["reports"]["trials"] == []


def test_the_figure_counts_each_image_once(done):
    found, into = done
    assert len(found["cross_validations"]) == 2
    for row in found["cross_validations"]:
        value = f"{row['settings']['dropout']:g}"
        runs = [into / f"dropout={value},fold={fold},seed=0" for fold in (0, 1)]
        rights = [json.loads((run / "result.json").read_text())["test_accuracy"] for run in runs]
        assert row["accuracy"] == pytest.approx(np.mean(rights))  # both folds have ten images
        assert row["by_fold"] == pytest.approx(rights)
        low, high = wilson(round(20 * row["accuracy"]), 20)
        assert (row["low"], row["high"], row["images"]) == (low, high, 20)
        with np.load(into / f"predictions-dropout={value},seed=0.npz") as arrays:
            assert arrays["names"].tolist() == join_folds(runs).names_N.tolist()
            right_N = arrays["logits"].argmax(axis=1) == arrays["labels"]
        assert right_N.mean() == pytest.approx(row["accuracy"])
    accuracies = [row["accuracy"] for row in found["cross_validations"]]
    assert accuracies == sorted(accuracies, reverse=True)


def test_the_screen_has_a_row_for_each_and_going_on_changes_nothing(done, capsys):
    found, into = done
    assert main(["trials", "--into", str(into), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "cross-validation" in out
    assert "dropout=0.25 " in out
    assert str(into) in out.replace("\n", "")
    again = ask(f"trials --into {into} --quiet --json")
    assert again["cross_validations"] == found["cross_validations"]


def test_folds_are_added_unless_some_are_chosen():
    plain = RECIPES["demo"].recipe
    folded = override(plain, folds=3)
    assert across_folds(plain, {"cutout": (0,)}) == {"cutout": (0,)}
    assert across_folds(folded, {"cutout": (0,)}) == {"cutout": (0,), "fold": (0, 1, 2)}
    assert across_folds(folded, {"fold": (1,)}) == {"fold": (1,)}
    assert across_folds(override(folded, fold=2), {}) == {}
    with pytest.raises(InputError, match="folds: can't vary"):
        across_folds(folded, {"folds": (2, 3)})


def test_no_fold_is_ever_the_best():
    assert results.chosen([], "auto", crossed=True).names == ()
