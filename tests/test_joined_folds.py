"""The held-out parts of all folds as one set of predictions, against a count by hand."""

import numpy as np
import pytest
from simulated_runs import CLASSES, labels, write_run

from onecycle.errors import InputError
from onecycle.experiments import join_folds
from onecycle.statistics import wilson

RIGHT = ([True, False, True, True], [True, True, False], [False, False, True])
"""Which images of each fold are right."""


def make(folder, **changes):
    """A run for each fold; the names of its images begin with another letter."""
    for fold, right in enumerate(RIGHT):
        names = np.array([f"{'cab'[fold]}/{index}" for index in range(len(right))])
        settings = {"folds": 3, "fold": fold, "lr_max": 0.1 + fold / 100} | changes
        write_run(folder / f"fold-{fold}", np.array(right), names=names, **settings)
    return folder


def test_each_image_counts_once(tmp_path):
    found = join_folds([make(tmp_path / "runs")])
    assert found.accuracy == pytest.approx(6 / 10)
    assert found.interval == wilson(6, 10)
    assert found.accuracies == pytest.approx((3 / 4, 2 / 3, 1 / 3))
    assert found.names_N.tolist() == [
        *(f"a/{index}" for index in range(3)),
        *(f"b/{index}" for index in range(3)),
        *(f"c/{index}" for index in range(4)),
    ]
    assert found.fold_N.tolist() == [1] * 3 + [2] * 3 + [0] * 4
    assert found.labels_N.tolist() == [*labels(3), *labels(3), *labels(4)]
    assert found.right_N.tolist() == [*RIGHT[1], *RIGHT[2], *RIGHT[0]]
    assert found.classes == CLASSES
    assert [run.recipe.fold for run in found.runs] == [0, 1, 2]


def test_the_file_can_be_read_back(tmp_path):
    found = join_folds([make(tmp_path / "runs")])
    found.write(tmp_path / "predictions.npz")
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"logits", "labels", "names", "classes", "folds"}
        assert np.array_equal(arrays["logits"], found.logits_NK)
        assert np.array_equal(arrays["folds"], found.fold_N)
        assert arrays["names"].tolist() == found.names_N.tolist()


def refused(folder):
    with pytest.raises(InputError) as refusal:
        join_folds([folder])
    return str(refusal.value)


def test_what_is_no_whole_cross_validation_is_refused(tmp_path):
    missing = make(tmp_path / "missing")
    for name in ("recipe.toml", "result.json"):
        (missing / "fold-1" / name).unlink()
    assert refused(missing) == "folds: fold 1 of 3 missing; train the rest"
    twice = make(tmp_path / "twice")
    write_run(twice / "again", np.array([True]), folds=3, fold=1)
    assert refused(twice) == "folds: fold 1 is there twice; name one run of it"
    other = make(tmp_path / "other")
    write_run(other / "wide", np.array([True]), folds=3, fold=2, width=0.5)
    assert "differ in width; join runs of one recipe" in refused(other)
    seed = make(tmp_path / "seed")
    write_run(seed / "seed", np.array([True]), folds=3, fold=2, seed=1)
    assert "differ in seed; join runs of one recipe" in refused(seed)
    plain = tmp_path / "plain"
    write_run(plain / "run", np.array([True]))
    assert refused(plain).endswith("is not of a cross-validation; train with --folds")


def test_images_that_are_held_out_twice_are_named(tmp_path):
    for fold in range(3):  # all have the images test/0000 and test/0001
        write_run(tmp_path / "runs" / str(fold), np.array([True, False]), folds=3, fold=fold)
    told = refused(tmp_path / "runs")
    assert told.startswith("folds: 4 images held out twice, such as 'test/0000'; ")
