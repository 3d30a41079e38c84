"""Mistakes that all runs make, and those that only one run or one recipe makes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onecycle.experiments.groups import Group
from onecycle.experiments.reading import FinishedRun, same_test


@dataclass(frozen=True)
class Mistake:
    """A test image that every run gets wrong.

    Attributes:
        name: name of the image.
        actual: its class.
        predicted: the class that most runs predict.
        agreeing: the number of these runs. Where all agree, the label may be wrong.
    """

    name: str
    actual: str
    predicted: str
    agreeing: int


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of the runs that were tested on the same images as the first one.

    Attributes:
        images: number of test images.
        runs: paths of the runs that are counted.
        wrong_in: how many images are wrong in 0, 1, 2, … of the runs; the sum is `images`.
        everywhere: images wrong in all runs; those on which most runs agree come first.
        only: for each run's path, names of the images that are wrong only in this run.
        own: for each group's letter, names of images wrong in all its runs and in no other run.
    """

    images: int
    runs: tuple[str, ...]
    wrong_in: tuple[int, ...]
    everywhere: tuple[Mistake, ...]
    only: dict[str, list[str]]
    own: dict[str, list[str]]


def find_mistakes(groups: Sequence[Group]) -> Mistakes | None:
    """The mistakes that runs share or make alone; None if fewer than two can be compared."""
    first = groups[0].runs[0]
    comparable = [group for group in groups if same_test(first, group.runs[0])]
    runs = [run for group in comparable for run in group.runs]
    if len(runs) < 2:
        return None
    names_N = first.test.names_N
    wrong_RN = np.stack([run.test.wrong_N for run in runs])
    times_N = wrong_RN.sum(axis=0)
    owners = np.repeat(np.arange(len(comparable)), [group.n for group in comparable])
    only = {
        str(run.path): names_N[wrong_N & (times_N == 1)].tolist()
        for run, wrong_N in zip(runs, wrong_RN, strict=True)
    }
    own = {}
    for index, group in enumerate(comparable):
        by_all_N = wrong_RN[owners == index].all(axis=0)
        own[group.letter] = names_N[by_all_N & (times_N == group.n)].tolist()
    return Mistakes(
        images=len(names_N),
        runs=tuple(only),
        wrong_in=tuple(np.bincount(times_N, minlength=len(runs) + 1).tolist()),
        everywhere=_everywhere(runs, np.flatnonzero(times_N == len(runs))),
        only=only,
        own=own,
    )


def _everywhere(runs: Sequence[FinishedRun], indices_M: np.ndarray) -> tuple[Mistake, ...]:
    """The mistakes on the images with these indices, which all runs get wrong."""
    test = runs[0].test
    predicted_RM = np.stack([run.test.predicted_N[indices_M] for run in runs])
    found = []
    for index, predicted_R in zip(indices_M.tolist(), predicted_RM.T, strict=True):
        counts_K = np.bincount(predicted_R, minlength=len(test.classes))
        most = int(counts_K.argmax())
        actual = test.classes[int(test.labels_N[index])]
        name = str(test.names_N[index])
        found.append(Mistake(name, actual, test.classes[most], int(counts_K[most])))
    return tuple(sorted(found, key=lambda mistake: -mistake.agreeing))
