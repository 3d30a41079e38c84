"""Evaluating a run on other images: all that have a label, by the names of their classes."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_folders import Recorder, make_table, paint
from test_training import Stopper

from onecycle import training
from onecycle.config import Recipe, override, read_recipe, to_toml
from onecycle.errors import InputError, Interrupted
from onecycle.evaluate import Evaluation

CLASSES = ("ant", "bee", "cat")

SMALL = Recipe(
    recipe="small", image_size=16, width=0.125, head_scale=0.125, epochs=2, batch_size=8,
    crop_padding=2, cutout=4, precision="fp32", lr_max=0.05, lr_min=0.005, tta=True,
)  # fmt: skip


def make_images(root: Path, seed: int, counts: dict[str, int], mode: str = "RGB") -> Path:
    """Noise with a tint of its own for each class, so that a network can learn something."""
    for label, count in counts.items():
        for index in range(count):
            pixels = np.random.default_rng((seed, ord(label[0]), index)).integers(
                0, 160, (16, 16, 3)
            )
            pixels[..., CLASSES.index(label) if label in CLASSES else 0] += 60
            path = root / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    """A run on a folder with train and test, which is gone since."""
    root = tmp_path_factory.mktemp("own")
    make_images(root / "train", 1, dict.fromkeys(CLASSES, 12))
    make_images(root / "test", 2, {"ant": 4, "bee": 5, "cat": 6})
    trained = training.train(
        override(SMALL, data=str(root)), runs=tmp_path_factory.mktemp("r"), report=False
    )
    shutil.rmtree(root)
    return trained


def labelled(root: Path, labels: Sequence[str] = CLASSES) -> Path:
    """The run's own test images alone, of some classes, in class folders."""
    return make_images(root, 2, {label: 4 + CLASSES.index(label) for label in labels})


def expected(run: training.Run, labels: Sequence[str]) -> Evaluation:
    """What the run itself found of the test images of some classes."""
    with np.load(run.path / "predictions.npz") as saved:
        kept_N = np.isin(saved["labels"], [CLASSES.index(label) for label in labels])
        return Evaluation(saved["logits"][kept_N], saved["labels"][kept_N])


@pytest.mark.parametrize("labels", [CLASSES, ("cat",), ("ant", "cat"), ("bee",)])
@pytest.mark.parametrize("form", ["flat", "test", "train", "table", "table of test"])
def test_all_labelled_images_count_whatever_form_they_have(
    form: str, labels: Sequence[str], run: training.Run, tmp_path: Path
) -> None:
    inner = {"test": "test", "train": "train"}.get(form, "")
    labelled(tmp_path / "data" / inner, labels)
    data = tmp_path / "data"
    if form.startswith("table"):
        split = [["test"]] if "test" in form else [[]]
        rows = [
            [f"data/{label}/{index}.png", label, *split[0]]
            for label in reversed(labels)
            for index in range(4 + CLASSES.index(label))
        ]
        header = "path,label,split" if split[0] else "path,label"
        data = make_table(tmp_path / "table.csv", rows, header)
    found = training.evaluate_run(run.path, data=str(data))
    wanted = expected(run, labels)
    assert (
        found["test_images"]
        == len(wanted.labels_N)
        == sum(4 + CLASSES.index(label) for label in labels)
    )
    assert found["test_accuracy"] == wanted.accuracy
    assert found["test_loss"] == pytest.approx(wanted.loss, rel=1e-6)
    assert found["classes"] == list(CLASSES)
    assert found["confusion"] == wanted.confusion_KK.tolist()
    sizes = [4 + CLASSES.index(label) for label in labels]
    assert found["test_class_sizes"] == [min(sizes), max(sizes)]
    for place, row in enumerate(found["per_class"]):
        hits = wanted.predictions_N == wanted.labels_N
        mine, said = wanted.labels_N == place, wanted.predictions_N == place
        assert row["class"] == CLASSES[place]
        assert (row["images"], row["predicted"]) == (mine.sum(), said.sum())
        assert row["accuracy"] == (hits[mine].mean() if mine.any() else None)
        assert row["precision"] == (hits[said].mean() if said.any() else None)


def test_a_hidden_fifth_is_never_what_is_scored(run: training.Run, tmp_path: Path) -> None:
    make_images(tmp_path / "data", 7, dict.fromkeys(CLASSES, 5))
    assert training.evaluate_run(run.path, data=str(tmp_path / "data"))["test_images"] == 15


def test_the_runs_own_test_split_gives_the_figures_of_its_result(
    run: training.Run, tmp_path: Path
) -> None:
    make_images(tmp_path / "train", 1, dict.fromkeys(CLASSES, 12))
    labelled(tmp_path / "test")
    found = training.evaluate_run(run.path, data=str(tmp_path))
    for key in ("test_accuracy", "test_loss", "test_accuracy_tta", "data_fingerprint"):
        assert found[key] == run.result[key]


# ---------------------------------------------------------------------------------------- classes


def test_classes_that_the_run_does_not_know_are_named(run: training.Run, tmp_path: Path) -> None:
    labelled(tmp_path, ("ant", "bee"))
    make_images(tmp_path, 3, {"dog": 1, "Cat": 2})
    with pytest.raises(InputError) as caught:
        training.evaluate_run(run.path, data=str(tmp_path))
    assert str(caught.value).startswith(
        f"data: '{tmp_path}' has 3 images of 2 classes ('Cat', 'dog') unknown to the run, which "
        "knows 'ant', 'bee', 'cat' ('cat' there, 'Cat' here); "
    )
    told = Recorder()
    found = training.evaluate_run(
        run.path, data=str(tmp_path), ignore_unknown_classes=True, progress=told
    )
    assert found["test_accuracy"] == expected(run, ("ant", "bee")).accuracy
    assert found["ignored_classes"] == {"Cat": 2, "dog": 1}
    assert "data: left out: 2 images of 'Cat', 1 image of 'dog', which the run doesn't know" in (
        told.notes
    )


def test_nothing_but_unknown_classes_can_not_be_ignored(run: training.Run, tmp_path: Path) -> None:
    make_images(tmp_path, 3, {"dog": 1, "emu": 1})
    with pytest.raises(
        InputError, match=r"2 images of 2 classes \('dog', 'emu'\) unknown"
    ) as error:
        training.evaluate_run(run.path, data=str(tmp_path), ignore_unknown_classes=True)
    told = "; rename the classes, since without such images none are left"
    assert str(error.value).endswith(told)


# --------------------------------------------------------------------------- the run's own images


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Class folders without splits."""
    return make_images(tmp_path / "flat", 1, dict.fromkeys(CLASSES, 10))


def test_of_the_runs_own_folder_only_the_test_split_counts_wherever_it_is(
    flat: Path, tmp_path: Path
) -> None:
    trained = training.train(override(SMALL, data=str(flat)), runs=tmp_path / "runs", report=False)
    moved = flat.rename(tmp_path / "moved")
    told = Recorder()
    found = training.evaluate_run(trained.path, data=str(moved), progress=told)
    assert found["test_images"] == 6
    assert found["test_loss"] == trained.result["test_loss"]
    assert any("was trained on" in note and "6 images" in note for note in told.notes)


def test_own_images_that_have_changed_are_refused_and_named_images_noted(
    flat: Path, tmp_path: Path
) -> None:
    trained = training.train(override(SMALL, data=str(flat)), runs=tmp_path / "runs", report=False)
    paint(flat / "ant" / "new.png", 5, (16, 16))
    with pytest.raises(InputError, match="does not hold the images that the run was trained"):
        training.evaluate_run(trained.path)
    told = Recorder()
    found = training.evaluate_run(trained.path, data=str(flat), progress=told)
    assert found["test_images"] == 31
    assert any("has changed since the run was trained on it" in note for note in told.notes)


# ------------------------------------------------------------------------------ as the run has them


def test_other_sizes_are_resized_as_the_runs_own_were(run: training.Run, tmp_path: Path) -> None:
    for label in CLASSES:
        for index in range(3):
            large = paint(tmp_path / "large" / label / f"{index}.png", index, (48, 48))
            small = tmp_path / "small" / label / f"{index}.png"
            small.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(large) as image:
                image.resize((16, 16), Image.Resampling.BILINEAR).save(small)
    found, same = (
        training.evaluate_run(run.path, data=str(tmp_path / name)) for name in ("large", "small")
    )
    assert found["test_images"] == 9
    assert (found["test_loss"], found["confusion"]) == (same["test_loss"], same["confusion"])


def test_a_run_at_the_images_own_size_keeps_it(tmp_path: Path) -> None:
    make_images(tmp_path / "own", 1, dict.fromkeys(CLASSES, 5))
    recipe = override(SMALL, data=str(tmp_path / "own"), image_size=0)
    trained = training.train(recipe, runs=tmp_path / "runs", report=False)
    paint(tmp_path / "new" / "ant" / "0.png", 1, (40, 30))
    paint(tmp_path / "new" / "bee" / "0.png", 2, (20, 20))
    assert training.evaluate_run(trained.path, data=str(tmp_path / "new"))["test_images"] == 2


def test_grey_images_go_through_a_network_for_colours(run: training.Run, tmp_path: Path) -> None:
    make_images(tmp_path / "grey", 2, {"ant": 4, "bee": 5}, mode="L")
    make_images(tmp_path / "same", 2, {"ant": 4, "bee": 5}, mode="L")
    for path in (tmp_path / "same").rglob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").save(path)
    grey, same = (
        training.evaluate_run(run.path, data=str(tmp_path / name)) for name in ("grey", "same")
    )
    assert (grey["test_loss"], grey["confusion"]) == (same["test_loss"], same["confusion"])


def test_colours_do_not_go_through_a_network_for_grey_images(tmp_path: Path) -> None:
    make_images(tmp_path / "own", 1, dict.fromkeys(CLASSES, 5), mode="L")
    trained = training.train(
        override(SMALL, data=str(tmp_path / "own")), runs=tmp_path / "runs", report=False
    )
    labelled(tmp_path / "new")
    with pytest.raises(InputError, match="has images in colour, but the run's network takes grey"):
        training.evaluate_run(trained.path, data=str(tmp_path / "new"))


def test_unreadable_images_follow_the_runs_rule(run: training.Run, tmp_path: Path) -> None:
    labelled(tmp_path / "data")
    (tmp_path / "data" / "ant" / "bad.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="can't read image 'ant/bad.png'"):
        training.evaluate_run(run.path, data=str(tmp_path / "data"))
    copy = Path(shutil.copytree(run.path, tmp_path / "run"))
    recipe = override(read_recipe(copy / "recipe.toml"), on_bad_image="skip")
    (copy / "recipe.toml").write_text(to_toml(recipe))
    found = training.evaluate_run(copy, data=str(tmp_path / "data"))
    assert (found["test_images"], found["test_accuracy"]) == (15, run.result["test_accuracy"])


# ------------------------------------------------------------------------------------- predictions


def test_predictions_as_a_table_and_as_arrays(run: training.Run, tmp_path: Path) -> None:
    data = labelled(tmp_path / "data", ("bee", "cat"))
    (data / "bee" / "0.png").rename(data / "bee" / 'a, "b".png')
    for name in ("said.csv", "said.npz"):
        training.evaluate_run(run.path, data=str(data), predictions=tmp_path / name)
    with np.load(tmp_path / "said.npz") as arrays:
        said = Evaluation(arrays["logits"], arrays["labels"])
        names, classes = arrays["names"].tolist(), arrays["classes"].tolist()
    with (tmp_path / "said.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "predicted", "confidence", "label_confidence"]
    assert [row["path"] for row in rows] == names
    assert all((data / row["path"]).is_file() for row in rows)
    assert [row["label"] for row in rows] == ["bee"] * 5 + ["cat"] * 6
    assert [row["predicted"] for row in rows] == [classes[k] for k in said.predictions_N]
    exponentials = np.exp(said.logits_NK.astype(np.float64))
    shares_NK = exponentials / exponentials.sum(axis=1, keepdims=True)
    for row, share_K, label in zip(rows, shares_NK, said.labels_N, strict=True):
        assert float(row["confidence"]) == pytest.approx(share_K.max(), abs=1e-6)
        assert float(row["label_confidence"]) == pytest.approx(share_K[label], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("said.txt", "predictions: .*said.txt' has an unknown ending; name a .csv or .npz file"),
        ("said", "has an unknown ending"),
        ("no/said.csv", "there is no folder"),
    ],
)
def test_a_bad_place_for_predictions_is_refused_before_the_work(
    name: str, message: str, run: training.Run, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        training.evaluate_run(run.path, data="/nowhere", predictions=tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------- what runs record


def test_network_json_holds_what_rebuilds_the_network(run: training.Run) -> None:
    known = json.loads((run.path / "network.json").read_text())
    recipe = read_recipe(run.path / "recipe.toml")
    assert known == {
        "name": "custom-resnet",
        "arguments": {"width": 0.125, "head_scale": 0.125, "dropout": 0.0},
        "classes": list(CLASSES),
        "channels": 3,
        "size": [16, 16],
        "resize": "crop",
        "mean": list(recipe.mean),
        "std": list(recipe.std),
    }


def test_a_run_of_an_older_version_is_evaluated_too(run: training.Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "run"))
    (copy / "network.json").unlink()
    found = training.evaluate_run(copy, data=str(labelled(tmp_path / "data")))
    assert found["test_accuracy"] == run.result["test_accuracy"]


@pytest.mark.parametrize("recorded", [True, False])
def test_an_unfinished_run_is_evaluated_by_its_record_or_its_data(
    recorded: bool, flat: Path, tmp_path: Path
) -> None:
    recipe = override(SMALL, data=str(flat))
    with pytest.raises(Interrupted) as stopped:
        training.train(recipe, runs=tmp_path / "runs", progress=Stopper(4), report=False)
    folder = Path(stopped.value.run or "")
    if not recorded:
        (folder / "network.json").unlink()
    data = labelled(tmp_path / "data", ("cat",))
    assert training.evaluate_run(folder, data=str(data))["per_class"][2]["images"] == 6
    assert training.evaluate_run(folder)["test_images"] == 6


def without(name: str) -> Any:
    return lambda known: {key: value for key, value in known.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        *map(without, ("name", "arguments", "classes", "channels", "size", "mean", "std")),
        lambda known: known | {"classes": "ant"},
        lambda known: known | {"classes": ["ant", "ant", "bee"]},
        lambda known: known | {"classes": ["ant", 3]},
        lambda known: known | {"channels": True},
        lambda known: known | {"channels": 10**400},
        lambda known: known | {"channels": 1},
        lambda known: known | {"size": [16]},
        lambda known: known | {"size": [16, -1]},
        lambda known: known | {"size": 16},
        lambda known: known | {"mean": ["a"] * 3},
        lambda known: known | {"mean": "auto"},
        lambda known: known | {"std": [0.0] * 3},
        lambda known: known | {"name": ["custom-resnet"]},
        lambda known: known | {"arguments": [1]},
        lambda known: known | {"arguments": {"width": "wide", "head_scale": 1.0, "dropout": 0.0}},
        lambda known: [known],
    ],
)
def test_a_damaged_record_is_one_line(change: Any, run: training.Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "run"))
    known = json.loads((copy / "network.json").read_text())
    (copy / "network.json").write_text(json.dumps(change(known)))
    with pytest.raises(InputError, match=r"network\.json: is damaged"):
        training.evaluate_run(copy, data="/nowhere")


def test_weights_of_another_network_are_one_line(run: training.Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "run"))
    known = json.loads((copy / "network.json").read_text())
    known["arguments"]["width"] = 0.25
    (copy / "network.json").write_text(json.dumps(known))
    with pytest.raises(InputError, match="the checkpoint of step 10 is not of the network that"):
        training.evaluate_run(copy, data=str(labelled(tmp_path / "data")))
