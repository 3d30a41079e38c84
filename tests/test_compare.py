"""`onecycle compare`: run folders to verdicts, tables, a page, and documents kept up to date."""

import csv
import html
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from scipy import stats
from simulated_runs import CLASSES, EPOCH, write_run

import onecycle
from onecycle.errors import InputError
from onecycle.experiments import compare, rewrite, to_html
from onecycle.experiments.cells import value_texts
from onecycle.experiments.marked import END

COUNT = 200
"""Test images of the runs here."""
index_N = np.arange(COUNT)
GO_ON = "onecycle resume continues it"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    """Two recipes of three seeds each: one right about 180 or so of 200 images, one about 150."""
    for seed in range(3):
        write_run(tmp_path / f"runs/a-{seed}", index_N >= 20 + seed, seed=seed)
        write_run(tmp_path / f"runs/b-{seed}", index_N < 150 + seed, seed=seed, cutout=16)
    return tmp_path / "runs"


# -------------------------------------------------------------------------------------- grouping


def test_runs_that_differ_in_the_seed_alone_are_a_group(trials: Path) -> None:
    found = compare(trials)
    assert [(g.letter, g.n, g.differences) for g in found.groups] == [
        ("A", 3, {"cutout": "8"}),
        ("B", 3, {"cutout": "16"}),
    ]
    accuracies = np.array([180, 179, 178]) / COUNT
    test = found.groups[0].accuracy("test_accuracy")
    assert (test.mean, test.std) == pytest.approx((accuracies.mean(), accuracies.std(ddof=1)))
    expected = stats.ttest_1samp(accuracies, 0).confidence_interval()
    assert test.interval is not None
    assert tuple(test.interval) == pytest.approx(tuple(expected))


def test_of_many_settings_that_differ_a_group_is_called_by_what_is_unusual(tmp_path: Path) -> None:
    ways: list[dict[str, Any]] = [
        {}, {"weight_decay": 5e-3}, {"l1": 1e-6}, {"l1": 1e-5}, {"dropout": 0.25}, {"cutout": 16},
        {"cutout": 16, "dropout": 0.25},
    ]  # fmt: skip
    for place, changes in enumerate(ways):
        write_run(tmp_path / f"runs/{place}", index_N > 9, **changes)
    names = [group.name for group in compare(tmp_path / "runs").groups]
    assert names == [
        "demo", "weight_decay 0.005", "l1 1e-06", "l1 1e-05", "dropout 0.25", "cutout 16",
        "dropout 0.25, cutout 16",
    ]  # fmt: skip


def test_a_runs_confusion_matrix_counts_its_predictions(tmp_path: Path) -> None:
    write_run(tmp_path / "one", index_N % 7 > 1)
    (run,) = compare(tmp_path / "one").runs
    with np.load(tmp_path / "one/predictions.npz") as kept:
        pairs = list(zip(kept["labels"].tolist(), kept["logits"].argmax(1).tolist(), strict=True))
    classes = range(len(CLASSES))
    expected = [[pairs.count((actual, said)) for said in classes] for actual in classes]
    assert run.test.confusion_KK.tolist() == expected
    assert run.test.confusion_KK.sum() == COUNT


@given(
    st.lists(
        st.floats(1e-12, 1e6) | st.sampled_from([0.000512341, 0.000512342, 0.1, 0.1 + 1e-16]),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_different_values_have_different_texts_as_short_as_can_be(values: list[float]) -> None:
    texts = value_texts(values)
    assert len(set(texts)) == len(values)
    digits = next(
        n for n in range(4, 18) if len({float(f"{value:.{n}g}") for value in values}) == len(values)
    )
    assert [float(text) for text in texts] == [float(f"{value:.{digits}g}") for value in values]


def test_groups_that_differ_in_the_sixth_digit_are_told_apart(tmp_path: Path) -> None:
    for place, decay in enumerate((0.000512341, 0.000512342)):
        write_run(tmp_path / f"runs/{place}", index_N > 9, weight_decay=decay)
    found = compare(tmp_path / "runs")
    assert [group.name for group in found.groups] == [
        "weight_decay 0.000512341", "weight_decay 0.000512342",
    ]  # fmt: skip
    for place, share in enumerate((0.1234567, 0.1234568)):
        images = {"data_fingerprint": f"{place:016x}"}
        write_run(tmp_path / f"apart/{place}", index_N > 9, figures=images, val_fraction=share)
    told = [group.differences for group in compare(tmp_path / "apart").groups]
    assert [each["val_fraction"] for each in told] == ["0.1234567", "0.1234568"]


def test_names_of_groups_are_text_wherever_a_document_has_them(tmp_path: Path) -> None:
    for place, name in enumerate(("<!--x", "*y*")):
        for seed in range(2):
            run = tmp_path / f"runs/{place}{seed}"
            write_run(run, index_N > 9 + place, recipe=name, cutout=8 + place, seed=seed)
    text = compare(tmp_path / "runs").to_markdown()
    assert r"in no other: \*y\*: 1." in text
    assert not re.search(r"(?<!\\)<!--|(?<!\\)\*y", text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"recipe": "mine"}, {}),  # a name
        ({"tta": True}, {}),  # measured besides
        ({"lr_steps": 50}, {}),  # of a range test that was not run
        ({"data": "here/photos"}, {"data": "there/photos"}),  # the fingerprint is the same
        ({"peak_epoch": 2 * 5 / 24}, {}),  # what auto comes to
        ({"lr_final": 0.01}, {}),
    ],
)
def test_what_does_not_change_a_result_does_not_part_runs(
    one: dict[str, Any], other: dict[str, Any], tmp_path: Path
) -> None:
    write_run(tmp_path / "one", index_N > 9, seed=1, **one)
    write_run(tmp_path / "other", index_N > 8, seed=2, **other)
    (group,) = compare([tmp_path / "one", tmp_path / "other"]).groups
    assert group.n == 2


@pytest.mark.parametrize(
    ("changes", "field", "values"),
    [
        ({"cutout": 16}, "cutout", ["8", "16"]),
        ({"lr_max": 0.15}, "lr_max", ["0.1", "0.15"]),
        ({"epochs": 3}, "epochs", ["2", "3"]),
        ({"nesterov": False}, "nesterov", ["on", "off"]),
        ({"lr_final": 0.001}, "lr_final", ["lr_min", "0.001"]),
        ({"precision": "fp32"}, "precision", ["auto", "fp32"]),
    ],
)
def test_what_changes_a_result_is_shown_and_nothing_else(
    changes: dict[str, Any], field: str, values: list[str], tmp_path: Path
) -> None:
    write_run(tmp_path / "one", index_N > 9)
    write_run(tmp_path / "other", index_N > 8, **changes)
    groups = compare([tmp_path / "one", tmp_path / "other"]).groups
    assert [group.differences for group in groups] == [{field: value} for value in values]


def test_found_rates_do_not_part_the_seeds_of_a_recipe_but_given_ones_do(tmp_path: Path) -> None:
    both = {"lr_min": "auto", "lr_max": "auto"}
    for seed, lr_max in enumerate((0.1, 0.2)):
        write_run(tmp_path / f"found-{seed}", index_N > 9, seed=seed, lr_max=lr_max, found=both)
    write_run(tmp_path / "given", index_N > 8, seed=2, found={"lr_min": "auto", "lr_max": 0.2})
    write_run(tmp_path / "proven", index_N > 7, found={"lr_min": "auto", "lr_max": "proven"})
    groups = compare(sorted(tmp_path.iterdir())).groups
    assert [(group.n, group.differences["lr_max"]) for group in groups] == [
        (2, "found"),
        (1, "0.1"),
        (1, "proven"),
    ]


def test_of_runs_that_repeat_a_seed_the_newest_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "old", index_N > 9, figures={"finished": "2026-11-25T00:00:00+00:00"})
    write_run(tmp_path / "new", index_N > 8, figures={"finished": "2026-11-25T00:00:00+02:00"})
    found = compare(tmp_path)  # in UTC, `new` is two hours older
    assert [run.name for run in found.runs] == ["old"]
    assert found.notes == (
        "demo: several runs have the same seed (0); only the newest of them counts",
    )


def test_recipes_stand_in_the_order_in_which_their_runs_began(tmp_path: Path) -> None:
    """Not in that in which they ended, since of trials at once any may be the first to end."""

    def times(started: int, ended: int) -> dict[str, Any]:
        day = "2026-11-25T0{}:00:00+00:00"
        return {"started": day.format(started), "figures": {"finished": day.format(ended)}}

    write_run(tmp_path / "a", index_N > 9, cutout=16, **times(2, 3))
    write_run(tmp_path / "b", index_N > 9, cutout=0, **times(1, 4))
    write_run(tmp_path / "c", index_N > 9, cutout=8, **times(1, 5))
    found = compare(tmp_path)
    assert [run.recipe.cutout for run in found.runs] == [0, 8, 16]
    assert [group.differences["cutout"] for group in found.groups] == ["0", "8", "16"]


def test_a_baseline_stands_first(tmp_path: Path) -> None:
    for place, cutout in enumerate((16, 8, 0)):
        for seed in (0, 1):
            folder = tmp_path / f"{place}-{seed}"
            write_run(folder, index_N > 5 + place, cutout=cutout, seed=seed)
    for baseline in ("cutout 8", tmp_path / "1-1"):
        found = compare(tmp_path, baseline=baseline)
        assert [group.differences["cutout"] for group in found.groups] == ["8", "16", "0"]
        assert [group.letter for group in found.groups] == ["A", "B", "C"]
        assert found.baseline == "cutout 8"
        assert [(pair.first, pair.second) for pair in found.pairs] == [("A", "B"), ("A", "C")]


@pytest.mark.parametrize("when", ["", "yesterday", "0001-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_a_run_with_an_odd_time_is_compared_all_the_same(tmp_path: Path, when: str) -> None:
    write_run(tmp_path / "odd", index_N > 9, started=when, figures={"finished": when})
    write_run(tmp_path / "usual", index_N > 9, cutout=0)
    assert {run.name for run in compare(tmp_path).runs} == {"odd", "usual"}


# ------------------------------------------------------------------------------ pairs and verdicts


def pair_of(*folders: Path) -> onecycle.experiments.Pair:  # pyright: ignore[reportAttributeAccessIssue]
    (pair,) = compare(folders).pairs
    return pair


def test_recipes_over_seeds_are_told_apart_by_welchs_test(trials: Path) -> None:
    pair = pair_of(trials)
    theirs = stats.ttest_ind([0.75, 0.755, 0.76], [0.9, 0.895, 0.89], equal_var=False)
    assert (pair.test, pair.verdict) == ("Welch", "cutout 8 is better")
    assert pair.p == pytest.approx(theirs.pvalue)
    assert pair.difference == pytest.approx(-0.14)
    assert tuple(pair.interval) == pytest.approx(tuple(theirs.confidence_interval()))


def test_single_runs_are_told_apart_by_mcnemars_test_of_their_networks(tmp_path: Path) -> None:
    write_run(tmp_path / "a", index_N >= 20)
    write_run(tmp_path / "b", index_N >= 5, cutout=16)
    pair = pair_of(tmp_path / "a", tmp_path / "b")
    assert (pair.test, pair.first_only, pair.second_only) == ("McNemar", 0, 15)
    assert pair.p == pytest.approx(0.5**15)  # the exact 2 × 0.5¹⁵, less half of it
    assert pair.verdict == "cutout 16's run is better"
    (note,) = compare(tmp_path).notes
    assert note.startswith("McNemar's test compares two trained networks, one run each, not their")


def test_a_single_run_against_several_goes_both_ways(tmp_path: Path) -> None:
    for seed in range(4):
        write_run(tmp_path / f"many/{seed}", index_N >= 20 + seed, seed=seed)
    write_run(tmp_path / "one", index_N >= 60, cutout=16)
    there, back = (
        pair_of(tmp_path / "many", tmp_path / "one"),
        pair_of(tmp_path / "one", tmp_path / "many"),
    )
    assert there.test == back.test == "Student"
    assert there.p == back.p
    assert there.difference == pytest.approx(-back.difference)
    assert tuple(there.interval) == pytest.approx([-back.interval.high, -back.interval.low])
    assert there.verdict == back.verdict == "cutout 8 is better"


def test_close_recipes_are_not_distinguishable(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"a-{seed}", index_N >= 20 + 3 * seed, seed=seed)
        write_run(tmp_path / f"b-{seed}", index_N >= 21 + 3 * seed, seed=seed, cutout=16)
    assert pair_of(tmp_path).verdict == "not distinguishable"
    assert "not distinguishable" in ask(f"compare {tmp_path} --markdown").out


def test_different_data_are_compared_only_with_a_word(tmp_path: Path) -> None:
    write_run(tmp_path / "a", index_N >= 20)
    write_run(tmp_path / "b", index_N >= 90, figures={"data_fingerprint": "f" * 16})
    other = np.array([f"other/{index}" for index in range(COUNT)])
    write_run(tmp_path / "c", index_N >= 30, names=other, figures={"data_fingerprint": "e" * 16})
    found = compare([tmp_path / name for name in "abc"])
    assert [pair.verdict for pair in found.pairs] == [
        # other data, but test images with the same names and labels
        f"{found.groups[0].name}'s run is better",
        "not tested: different test images",
        "not tested: different test images",
    ]
    assert found.mistakes is not None
    assert len(found.mistakes.runs) == 2
    told = "the runs used different data (fingerprints demo A: 0123456789abcdef; demo B: fffff"
    assert found.notes[0].startswith(told)
    for form in ("", "--markdown", "--json"):
        out = ask(f"compare a b c {form}").out
        assert "the runs used different data" in " ".join(out.split())
    answer = ask("compare a b c --csv")
    assert "the runs used different data" in answer.out
    assert "the runs used different data" in answer.err
    assert "the runs used different data" in to_html(found).replace("The runs", "the runs")


def test_a_single_run_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    write_run(tmp_path / "a", index_N >= 20)
    told = "there is only one run, so nothing is compared; name two or more"
    assert compare([tmp_path / "a"]).notes == (told,)
    assert compare([tmp_path / "a", tmp_path / "a" / ""]).notes == (told,)  # the same one twice
    assert ask("compare a").out.endswith(f"note: {told}\n")


def test_machines_and_versions_that_differ_are_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a", index_N >= 20)
    run = onecycle.run_dir.RunDir(write_run(tmp_path / "b", index_N >= 20, cutout=0))  # pyright: ignore[reportAttributeAccessIssue]
    facts = run.read_json("environment.json")
    changed = {"device_name": "another", "versions": {"onecycle": "0.2.0"}}
    run.write_json("environment.json", facts | changed)
    notes = " ".join(compare([tmp_path / "a", tmp_path / "b"]).notes)
    assert (
        "different machines (a CPU, 2 threads: cutout 8; another, 2 threads: cutout 0); times"
        in notes
    )
    assert (
        "(onecycle 0.1.0, torch 2.13.0: cutout 8; onecycle 0.2.0, torch 2.13.0: cutout 0)" in notes
    )
    for cutout in (2, 4, 6, 8, 0):  # the last two have runs of both
        write_run(tmp_path / f"c{cutout}", index_N >= 20, cutout=cutout, seed=9)
    notes = " ".join(compare(tmp_path).notes)
    assert "(onecycle 0.1.0, torch 2.13.0: all recipes; onecycle 0.2.0, torch 2.13.0: cu" in notes


# -------------------------------------------------------------------------------------- mistakes


def test_mistakes_of_all_runs_and_of_one_alone(tmp_path: Path) -> None:
    wrong = {"a-0": {1, 2, 3}, "a-1": {1, 2, 4}, "b-0": {1, 5}}
    for name, images in wrong.items():
        seed, cutout = int(name[-1]), 8 if name[0] == "a" else 16
        write_run(tmp_path / name, ~np.isin(index_N, [*images]), seed=seed, cutout=cutout)
    found = compare(tmp_path).mistakes
    assert found is not None
    assert found.wrong_in == (COUNT - 5, 3, 1, 1)
    (everywhere,) = found.everywhere
    assert (everywhere.name, everywhere.actual) == ("test/0001", CLASSES[1])
    assert (everywhere.predicted, everywhere.agreeing) == (CLASSES[2], 3)
    only = {Path(run).name: names for run, names in found.only.items()}
    assert only == {"a-0": ["test/0003"], "a-1": ["test/0004"], "b-0": ["test/0005"]}
    assert found.own == {"A": ["test/0002"], "B": ["test/0005"]}


def test_pictures_are_of_the_images_whose_mistakes_are_shown(tmp_path: Path) -> None:
    """A run on other data may have images of the same names."""
    for seed in range(2):
        write_run(tmp_path / f"{seed}", index_N > 2, seed=seed)
    others = np.where(index_N < 9, index_N + 1, index_N)
    names = np.array([f"test/{index:04d}" for index in others])
    other = write_run(
        tmp_path / "other", index_N > 2, names=names, figures={"data_fingerprint": "f" * 16}
    )
    pictures = np.full((2, 4, 4, 3), 200, np.uint8)
    run = onecycle.run_dir.RunDir(other)  # pyright: ignore[reportAttributeAccessIssue]
    run.save_arrays("examples.npz", indices=np.array([0, 1]), images=pictures)
    found = compare([tmp_path / "0", tmp_path / "1", other])
    assert found.mistakes is not None
    assert {mistake.name for mistake in found.mistakes.everywhere} & set(names[:2].tolist())
    assert Words(to_html(found)).tags.count("img") == 0


# ------------------------------------------------------------------------ unfinished and damaged


def damage(run: Path, name: str) -> None:
    (run / name).write_bytes(b"{")


def forget_a_figure(run: Path, name: str) -> None:
    found = json.loads((run / name).read_text())
    del found["train_accuracy"]
    (run / name).write_text(json.dumps(found))


def contradict(run: Path, name: str) -> None:
    found = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps(found | {"test_accuracy": 0.5}))


def miscount(run: Path, name: str) -> None:
    found = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps(found | {"test_images": COUNT + 1}))


def forget_the_loss(run: Path, name: str) -> None:
    row = {key: value for key, value in EPOCH.items() if key != "test_loss"}
    (run / name).write_text(f"{json.dumps(row)}\n")


def remove(run: Path, name: str) -> None:
    (run / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "name", "told"),
    [
        (
            remove,
            "result.json",
            f"it has not finished (2 of 2 epochs); {GO_ON}",
        ),
        (damage, "result.json", "result.json: is damaged"),
        (damage, "recipe.toml", "recipe.toml: not valid TOML"),
        (damage, "predictions.npz", "predictions.npz: is damaged"),
        (remove, "predictions.npz", "predictions.npz: is missing"),
        (damage, "lr_range_test.json", "lr_range_test.json: is damaged"),
        (forget_a_figure, "result.json", "result.json: is damaged ('train_accuracy' is missing)"),
        (forget_the_loss, "metrics.jsonl", "metrics.jsonl: line 1 is damaged ('test_loss' is "),
        (contradict, "result.json", "predictions.npz: contradicts the accuracy in result.json"),
        (
            miscount,
            "result.json",
            "predictions.npz: contradicts the number of test images in result.json; train again",
        ),
    ],
)
def test_a_run_that_cannot_be_compared_is_one_line(
    spoil: Any, name: str, told: str, trials: Path
) -> None:
    spoil(trials / "b-1", name)
    answer = ask("compare runs")
    (line,) = [line for line in answer.out.splitlines() if "left out" in line]
    assert line.startswith(f"runs/b-1: left out: {told}")
    assert (answer.code, answer.err) == (0, "")
    assert [group.n for group in compare(trials).groups] == [3, 2]
    alone = ask("compare runs/b-1")
    assert (alone.code, alone.out) == (2, "")
    assert alone.err.startswith("onecycle: error: compare: no run can be compared: runs/b-1: ")
    assert alone.err.count("\n") == 1


def rewrite_predictions(run: Path, **changes: np.ndarray) -> None:
    """Other test images, with a result.json that fits them."""
    folder = onecycle.run_dir.RunDir(run)  # pyright: ignore[reportAttributeAccessIssue]
    with np.load(run / "predictions.npz") as file:
        arrays = dict(file) | changes
    folder.save_arrays("predictions.npz", **arrays)
    right = float(np.mean(arrays["logits"].argmax(axis=1) == arrays["labels"]))
    figures = {"test_accuracy": right, "test_images": len(arrays["labels"])}
    folder.write_json("result.json", folder.read_json("result.json") | figures)


def fewer(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: arrays[name][:90] for name in ("logits", "labels", "names")}


def reversed_rows(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: arrays[name][::-1] for name in ("logits", "labels", "names")}


def swapped_rows(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of images of the same class, so that the labels agree row by row."""
    order = np.arange(len(arrays["labels"]))
    order[[0, 3]] = 3, 0
    return {name: arrays[name][order] for name in ("logits", "labels", "names")}


def other_labels(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"labels": (arrays["labels"] + 1) % len(CLASSES)}


def other_classes(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"classes": arrays["classes"][::-1]}


SPOILS = [fewer, reversed_rows, swapped_rows, other_labels, other_classes]


@pytest.mark.parametrize("change", SPOILS)
@pytest.mark.parametrize("which", ["b-1", "a-0", "single"])
def test_a_run_with_other_test_images_than_its_data_has_is_left_out(
    change: Any, which: str, trials: Path
) -> None:
    write_run(trials / "single", index_N > 8, cutout=4)
    with np.load(trials / which / "predictions.npz") as file:
        rewrite_predictions(trials / which, **change(dict(file)))
    runs = sorted(trials.iterdir())
    found = compare(runs)
    (line,) = found.left_out
    other = "a-1" if which == "a-0" else "a-0"
    assert str(line) == (
        f"{trials / which}: left out: predictions.npz: its test images are not those of {other}, "
        "though both runs name the same data; train again"
    )
    rest = compare([run for run in runs if run.name != which])
    assert found.mistakes == rest.mistakes
    assert found.pairs == rest.pairs
    told = " ".join(ask("compare runs").out.split())
    assert "its test images are not those of" in told


def test_of_two_runs_that_disagree_on_the_test_images_the_first_counts(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / f"{seed}", index_N > 9, seed=seed)
    with np.load(tmp_path / "1/predictions.npz") as file:
        rewrite_predictions(tmp_path / "1", **fewer(dict(file)))
    for first, second in (("0", "1"), ("1", "0")):
        found = compare([first, second])
        assert [run.name for run in found.runs] == [first]
        (line,) = found.left_out
        reason = f"predictions.npz: its test images are not those of {first}, though both runs"
        assert str(line).startswith(f"{second}: left out: {reason}")


def test_images_that_were_moved_are_the_same(tmp_path: Path) -> None:
    moved = np.array([f"elsewhere/{index}" for index in index_N])
    write_run(tmp_path / "a", index_N > 9)
    write_run(tmp_path / "b", index_N > 8, names=moved, seed=1)
    found = compare(tmp_path)
    assert (len(found.runs), found.left_out) == (2, ())


MISTAKES = {
    "compare": "compare: needs RUN...; see onecycle compare --help",
    "compare ''": "RUN...: is empty; see onecycle compare --help",
    "compare nowhere": "run: there is no folder 'nowhere'; name a run or a folder of runs",
    "compare .": "run: there are no runs in '.'; name a run or a folder of runs",
    "compare here.txt": "run: 'here.txt' is a file; name a run or a folder of runs",
    "compare runs --html .": "--html: '.' is a folder; name a file",
    "compare runs --html README.md": "--html: 'README.md' is not an HTML file; end its name in "
    ".html",
    "compare runs --json --csv": "--csv: can't be combined with --json; give one",
    "compare runs --check": "--check: needs --update FILE; give both",
    "compare runs --html": "--html: has no value; give FILE",
    "compare runs --html no/page.html": "--html: there is no folder 'no'; make it first",
    "compare --update no.md": "no.md: can't be read: No such file or directory; name a Markdown",
    "compare --update a.md --json": "--update: writes Markdown into its file; leave out --json",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line(line: str) -> None:
    for name in ("here.txt", "README.md"):
        Path(name).write_text("as it was")
    answer = ask(line)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"onecycle: error: {MISTAKES[line]}")
    assert answer.err.count("\n") == 1
    assert {path.name: path.read_text() for path in Path().iterdir()} == {
        "here.txt": "as it was",
        "README.md": "as it was",
    }


# ----------------------------------------------------------------------------------------- forms


def test_the_screen_fits_80_columns_and_shows_the_figures(trials: Path) -> None:
    out = ask("compare runs").out
    tables = [line for line in out.splitlines() if line.startswith("cutout") or "─" in line]
    assert max(map(cell_len, tables)) <= 80
    flat = " ".join(out.split())
    assert "2 recipes, 6 runs, on shapes (fingerprint 0123456789abcdef), 200 test images" in flat
    assert "95 % interval 88.26 to 90.74 74.26 to 76.74" in flat  # too wide a table is turned
    assert "cutout 16 − −14.00 −15.13 to −12.87 Welch < 0.001 cutout 8 is" in flat
    assert "Of 200 test images, 0 are wrong in all 6 runs and 2 in one run only" in flat


@pytest.mark.parametrize("columns", [30, 40, 50, 64, 80, 120])
def test_on_every_screen_words_and_figures_stay_whole(
    columns: int, trials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    changes = {"label_smoothing": 0.1, "weight_decay": 1e-3, "crop_padding": 2, "batch_size": 64}
    other = np.array([f"other/{index}" for index in range(COUNT)])
    far = {"data_fingerprint": "f" * 16}
    write_run(trials / "c", index_N >= 30, figures=far, names=other, **changes)
    out = ask("compare runs").out
    assert max(map(cell_len, out.splitlines()[1:])) <= columns
    words = set(out.replace(":", " ").split())
    assert words >= {"label_smoothing", "crop_padding", "batch_size", "0.1", "images/s"}
    assert words >= {"89.50", "better", "−14.00", "Welch"}
    assert words >= {"tested", "different", "images"}
    if columns >= 40:  # a figure and its spread on one line
        assert "89.50 ± 0.50" in out
        assert "−15.13 to −12.87" in out


def test_a_verdict_is_never_broken_within_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for letter, cutout in (("a", 8), ("b", 0)):
        for seed in range(2):
            path = tmp_path / f"{letter}{seed}"
            write_run(path, index_N > 9 + seed, seed=seed, recipe=f"recipe-{letter}", cutout=cutout)
    for columns in range(64, 110):
        monkeypatch.setenv("COLUMNS", str(columns))
        out = ask("compare .").out
        assert "distinguishable" in out.split(), columns
        assert max(map(cell_len, out.splitlines()[1:])) <= columns


def test_groups_start_from_weights_and_not_from_a_path(tmp_path: Path) -> None:
    def write(name: str, sha256: str, init_from: str, seed: int = 0) -> None:
        weights = {
            "given": init_from, "path": init_from, "kind": "run", "sha256": sha256,
            "loaded": ["a"], "loaded_parameters": 1, "left_out": [], "new": [], "new_head": "",
            "statistics": True,
        }  # fmt: skip
        write_run(tmp_path / name, index_N > 9, weights=weights, init_from=init_from, seed=seed)

    def shown() -> list[tuple[int, str | None]]:
        groups = compare(tmp_path).groups
        return sorted((group.n, group.differences.get("init_from")) for group in groups)

    write("1", "a" * 64, "there/base")
    write("2", "a" * 64, "moved/renamed", seed=1)
    assert shown() == [(2, None)]
    write_run(tmp_path / "3", index_N > 9)
    write("4", "b" * 64, "elsewhere/base")
    assert shown() == [(1, "base bbbbbbbb"), (1, "none"), (2, "base aaaaaaaa")]


def test_odd_names_reach_no_terminal_and_no_document(tmp_path: Path) -> None:
    write_run(tmp_path / "a", index_N > 9, recipe="\x1b[31mred")
    write_run(tmp_path / "b", index_N > 9, recipe="line\nbreak", cutout=0, data="caf\xe9\x07")
    answer = ask("compare a b")
    assert answer.code == 0
    assert all(line.isprintable() for line in answer.out.splitlines())
    table = [line for line in compare(["a", "b"]).to_markdown().splitlines() if line[:1] == "|"]
    assert len(table) == 2 + 2 + 2 + 1
    assert all(line.isprintable() for line in table)


def test_a_comparison_is_shown_by_its_subject(trials: Path) -> None:
    told = "2 recipes, 6 runs, on shapes (fingerprint 0123456789abcdef), 200 test images"
    assert repr(compare(trials)) == f"<Comparison: {told}>"


def test_csv_and_json_hold_the_same_figures_in_full(trials: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(ask("compare runs --csv").out)))
    found = json.loads(ask("compare runs --json").out)
    assert [row["group"] for row in rows] == ["A", "B"]
    assert [row["recipe.cutout"] for row in rows] == ["8", "16"]
    for row, group in zip(rows, found["groups"], strict=True):
        for key in ("mean", "std", "low", "high"):
            assert float(row[f"test_accuracy_{key}"]) == group["test_accuracy"][key]
        assert float(row["total_seconds"]) == group["total_seconds"] == 60
        assert [run["seed"] for run in group["runs"]] == [0, 1, 2]
    (pair,) = found["pairs"]
    assert (pair["test"], pair["distinguishable"]) == ("Welch", True)
    assert (pair["first"], pair["second"]) == ("A", "B")
    assert (pair["first_name"], pair["verdict"]) == ("cutout 8", "cutout 8 is better")
    assert (pair["low_holm"], pair["high_holm"]) == (pair["low"], pair["high"])  # one pair
    assert sum(found["mistakes"]["wrong_in"]) == COUNT


def test_markdown_is_a_table_that_no_name_can_break(tmp_path: Path) -> None:
    for index, name in enumerate(("a|b", "*c*")):
        write_run(tmp_path / f"{index}", index_N > index, recipe=name, cutout=index)
    lines = compare([tmp_path / "0", tmp_path / "1"]).to_markdown().splitlines()
    table = [line for line in lines if line.startswith("|")][:4]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert table[2].startswith(r"| a\|b | 0 | 1 |")
    assert table[3].startswith(r"| \*c\* | 1 | 1 |")


@pytest.mark.parametrize("renderer", ["markdown_it", "markdown"])
def test_markdown_shows_every_name_as_it_is(tmp_path: Path, renderer: str) -> None:
    """On GitHub (CommonMark, with tables) as on a site made by MkDocs (Python-Markdown)."""
    found = pytest.importorskip(renderer)
    names = ("<b>bold", "a&lt;b &copy;", "a|b*c*[d](e)`f`", r"back\slash", "x < 0.001 & _y_")
    for index, name in enumerate(names):
        write_run(tmp_path / f"{index}", index_N > 5 * index, recipe=name, cutout=index)
    text = compare(sorted(tmp_path.iterdir())).to_markdown()
    page = (
        found.MarkdownIt("commonmark").enable("table").render(text)
        if renderer == "markdown_it"
        else found.markdown(text, extensions=["tables"])
    )
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    shown = {html.unescape(cell) for cell in cells}
    assert shown >= {*names, "< 0.001"}
    assert not [cell for cell in cells if "<" in cell]


def test_optional_figures_are_shown_where_all_runs_have_them(tmp_path: Path) -> None:
    more = {"val_accuracy": 0.81, "test_accuracy_tta": 0.92, "test_balanced_accuracy": 0.5}
    write_run(tmp_path / "a", index_N > 9, figures=more | {"test_class_sizes": [60, 70]})
    write_run(tmp_path / "b", index_N > 8, figures=more, cutout=0)
    heads = "val % | balanced % | test %, TTA"
    assert heads in compare([tmp_path / "a", tmp_path / "b"]).to_markdown()
    write_run(tmp_path / "c", index_N > 8, cutout=1)
    assert "val %" not in compare([tmp_path / "a", tmp_path / "c"]).to_markdown()


class Words(HTMLParser):
    """The words of a page, its tags, and whether it would fetch anything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.tags, self.sources = "", [], []
        self.feed(text)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


def test_the_page_is_whole_and_safe(trials: Path) -> None:
    hostile = "<script>alert(1)</script>"
    write_run(trials / "c", index_N >= 3, recipe=hostile.replace("/", "-"), cutout=4)
    answer = ask("compare runs --html page.html")
    assert answer.out.endswith("page: page.html\n")
    text = Path("page.html").read_text(encoding="utf-8")
    page = Words(text)
    assert page.tags.count("svg") == 3
    assert "script" not in page.tags
    assert all(source.startswith(("#", "data:image/png")) for source in page.sources)
    assert "alert(1)" in page.words
    figures = "cutout 8 3 90.00 ± 0.00 89.50 ± 0.50 88.26 to 90.74"
    pair = "cutout 16 − cutout 8 cutout 8 is better −14.00"
    assert all(row in page.words for row in (figures, pair, "a-0 0 90.00"))
    assert text == to_html(compare("runs"))  # the same bytes again


def test_the_page_shows_pictures_of_common_mistakes_where_a_run_has_them(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / f"{seed}", index_N > 2, seed=seed)
    assert Words(to_html(compare(tmp_path))).tags.count("img") == 0
    images = np.full((2, 4, 4, 3), 200, np.uint8)
    run = onecycle.run_dir.RunDir(tmp_path / "1")  # pyright: ignore[reportAttributeAccessIssue]
    run.save_arrays("examples.npz", indices=np.array([1, 50]), images=images)
    assert Words(to_html(compare(tmp_path))).tags.count("img") == 1
    (tmp_path / "1" / "examples.npz").write_bytes(b"{")
    assert Words(to_html(compare(tmp_path))).tags.count("img") == 0


def test_it_works_without_torch(trials: Path) -> None:
    code = (
        "import sys; from onecycle.cli import main; "
        "main(['compare', 'runs', '--html', 'page.html']); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_parent_folder_a_glob_and_their_mixture_name_the_same_runs(trials: Path) -> None:
    every = sorted(trials.iterdir())
    expected = {run.name for run in compare(every).runs}
    assert len(expected) == 6
    for places in ([trials], [trials, *every], [trials.parent]):
        assert {run.name for run in compare(places).runs} == expected


# ---------------------------------------------------------------------------------- marked tables

DOCUMENT = f"# Title\r\n\n<!-- onecycle compare: runs -->\nold\n{END}\n\nafter the table\n"


def test_a_marked_table_is_rewritten_and_checked(trials: Path) -> None:
    file = Path("README.md")
    file.write_bytes(DOCUMENT.encode())
    stale = ask("compare --update README.md --check")
    assert (stale.code, stale.out) == (1, "")
    told = "onecycle: error: README.md: is out of date; update it with: onecycle compare"
    assert stale.err == f"{told} --update README.md\n"
    assert ask("compare runs/a-0 --update README.md --check").err == (
        f"{told} runs/a-0 --update README.md\n"
    )
    four = "runs/a-0 runs/a-1 runs/a-2 runs/b-0"
    assert ask(f"compare {four} --update README.md --check").err == (
        f"{told} --update README.md, with these runs\n"
    )
    assert file.read_bytes() == DOCUMENT.encode()
    assert ask("compare --update README.md").code == 0
    text = file.read_bytes().decode()
    content = compare("runs").to_markdown()
    assert text == DOCUMENT.replace("old", f"\n{content}", 1)
    assert ask("compare --update README.md --check") == (0, "README.md is up to date\n", "")
    contradict(trials / "b-1", "result.json")
    assert ask("compare --update README.md --check").code == 1


def test_a_marked_table_names_its_runs_relative_to_its_file(trials: Path) -> None:
    docs = Path("docs")
    docs.mkdir()
    file = docs / "results.md"
    file.write_text(f"<!-- onecycle compare: nothing -->\n{END}\n")
    assert ask("compare runs/a-0 runs/b-0 --update docs/results.md").code == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith(
        "<!-- onecycle compare: ../runs/a-0 ../runs/b-0 -->\n\n2 recipes, 2 runs"
    )
    before, after = rewrite(file)
    assert before == after
    assert str(trials) not in text


def test_a_file_behind_a_link_is_written_and_the_link_stays(trials: Path) -> None:
    Path("docs").mkdir()
    file, link = Path("docs/results.md"), Path("link.md")
    file.write_text(f"<!-- onecycle compare: ../runs -->\n{END}\n")
    file.chmod(0o640)
    link.symlink_to(file)
    assert ask("compare --update link.md").code == 0
    assert link.is_symlink()
    assert "2 recipes, 6 runs" in file.read_text(encoding="utf-8")
    assert file.stat().st_mode & 0o777 == 0o640
    assert ask("compare runs/a-0 runs/b-0 --update link.md").code == 0
    assert file.read_text(encoding="utf-8").startswith(
        "<!-- onecycle compare: ../runs/a-0 ../runs/b-0 -->"
    )


def test_several_tables_in_one_file(trials: Path) -> None:
    file = Path("two.md")
    one = f"<!-- onecycle compare: 'runs/a-0' runs/a-1 -->\n{END}\n"
    file.write_text(f"{one}between\n{one.replace('a-', 'b-')}")
    assert ask("compare --update two.md").code == 0
    text = file.read_text(encoding="utf-8")
    assert text.count("1 recipe, 2 runs") == 2
    assert text.index("89.75 ±") < text.index("between") < text.index("75.25 ±")
    refused = ask("compare runs --update two.md")
    assert refused.code == 2
    assert "has 2 marked tables" in refused.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nothing\n", "has no marked table; add the lines <!-- onecycle compare: RUN... -->"),
        ("\n<!-- onecycle compare: runs -->\n", "line 2: the table has no end; add the line"),
        (f"<!-- onecycle compare: -->\n{END}\n", "line 1: names no runs"),
        (f"<!-- onecycle compare: 'a -->\n{END}\n", "line 1: can't read the names of runs"),
        (
            f"<!-- onecycle compare: gone -->\n{END}\n",
            "a.md: line 1: run: there is no folder 'gone'",
        ),
        (
            f"\n<!-- onecycle compare: runs columns=test -->\n{END}\n",
            "a.md: line 2: 'columns=test' stands after a run; put it first, or write ./columns=",
        ),
        (
            f"<!-- onecycle compare: runs -->\nsee `{END}` here\n",
            "line 1: the table has no end; add the line",
        ),
        (f"```\n<!-- onecycle compare: runs -->\n{END}\n```\n", "has no marked table"),
        (f"~~~~ md\n~~~\n<!-- onecycle compare: runs -->\n{END}\n", "has no marked table"),
        (f"    <!-- onecycle compare: runs -->\n    {END}\n", "has no marked table"),
        ("- list\n\n  ```\n<!-- onecycle compare: runs -->\n", "line 4: the table has no end"),
    ],
)
def test_a_file_that_cannot_be_updated_is_left_as_it_is(text: str, told: str) -> None:
    Path("a.md").write_text(text)
    answer = ask("compare --update a.md")
    assert answer.code == 2
    assert told in answer.err
    assert answer.err.count("\n") == 1
    assert Path("a.md").read_text() == text


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_stay(trials: Path, line_end: str, mark: str) -> None:
    file = Path("a.md")
    lines = ["<!-- onecycle compare: gone -->", "old", f"  {END} ", "after"]
    text = mark + "\n".join(lines).replace("\n", line_end)
    file.write_bytes(text.encode())
    assert ask("compare runs --update a.md").code == 0
    content = f"\n{compare('runs').to_markdown()}".replace("\n", line_end)
    expected = text.replace("gone", "runs").replace("old", content)
    assert file.read_bytes().decode() == expected
    assert ask("compare --update a.md --check").code == 0


def test_code_that_shows_a_marked_table_stays(trials: Path) -> None:
    file = Path("a.md")
    table = f"<!-- onecycle compare: runs -->\n{END}\n"
    around = f"Write:\n\n```html\n{table}```\n\n%s\n1. Or\n\n    ~~~\n    {END}\n    ~~~\n"
    file.write_text(around % table)
    assert ask("compare --update a.md").code == 0
    content = f"<!-- onecycle compare: runs -->\n\n{compare('runs').to_markdown().strip()}\n\n"
    assert file.read_text(encoding="utf-8") == around % f"{content}{END}\n"


def test_an_end_inside_a_line_ends_nothing(trials: Path) -> None:
    file = Path("a.md")
    file.write_text(f"<!-- onecycle compare: runs -->\nsee `{END}` here\n{END}\nafter\n")
    assert ask("compare --update a.md").code == 0
    text = file.read_text(encoding="utf-8")
    assert text.count(END) == 1
    assert text.endswith(f"\n\n{END}\nafter\n")


def test_a_file_in_a_linked_folder_names_runs_that_are_found_again(trials: Path) -> None:
    Path("real/deep").mkdir(parents=True)
    Path("linked").symlink_to("real/deep")
    Path("linked/a.md").write_text(f"<!-- onecycle compare: x -->\n{END}\n")
    assert ask("compare runs --update linked/a.md").code == 0
    assert ask("compare --update linked/a.md --check").code == 0
    assert ask("compare --update real/deep/a.md --check").code == 0


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    name = os.fsdecode(b"r\xff")
    write_run(tmp_path / name, index_N > 9)
    before = f"<!-- onecycle compare: x -->\n{END}\n"
    Path("a.md").write_text(before)
    answer = ask(["compare", name, "--update", "a.md"])
    assert answer.code == 2
    assert "can't stand in a comment; rename what has --, a line break or bytes that" in answer.err
    assert Path("a.md").read_text() == before


def test_a_name_that_would_end_the_comment_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a-->b", index_N > 9)
    Path("a.md").write_text(f"<!-- onecycle compare: x -->\n{END}\n")
    with pytest.raises(InputError, match="can't stand in a comment"):
        rewrite("a.md", ["a-->b"])


# -------------------------------------------------------------------------------------- real runs


def test_trained_runs_are_grouped_by_what_was_asked_for(tmp_path: Path) -> None:
    """Each seed finds its own rates; a given peak parts the third run; the killed one is told."""
    small = {"epochs": 1, "train_limit": 60, "test_limit": 30, "width": 0.1, "batch_size": 20}
    demo = onecycle.override(onecycle.named("demo").recipe, lr_steps=12, **small)
    runs = [
        onecycle.train(onecycle.override(demo, **changes), runs=tmp_path, threads=1)
        for changes in ({"seed": 0}, {"seed": 1}, {"seed": 2, "lr_max": 0.05, "lr_min": 0.001})
    ]
    found = compare([run.path for run in runs])
    assert [(group.n, group.differences["lr_max"]) for group in found.groups] == [
        (2, "found"),
        (1, "0.05"),
    ]
    assert found.groups[0].values("test_accuracy") == [r.result["test_accuracy"] for r in runs[:2]]
    for run, read in zip(runs, found.runs, strict=True):
        assert np.array_equal(read.test.predicted_N, run.evaluation.predictions_N)
    (runs[2].path / "result.json").unlink()
    (line,) = compare(tmp_path).left_out
    assert str(line) == f"{runs[2].path}: left out: it has not finished (1 of 1 epoch); {GO_ON}"
