"""Classifying images: as in training to the bit, in every form, from every kind of list."""

import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from small_folders import CLASSES, Recorder, drawn, make_table, paint

import onecycle
from onecycle import training
from onecycle.cli import main
from onecycle.config import Recipe, override
from onecycle.errors import InputError
from onecycle.inference import Classifier, sources, stream
from onecycle.inference.network import load_network
from onecycle.run_dir import RunDir

SMALL = Recipe(
    recipe="small", image_size=12, width=0.125, head_scale=0.125, epochs=1, batch_size=32,
    crop_padding=2, cutout=4, precision="bf16", lr_max=0.05, lr_min=0.005, val_fraction=0.2,
)  # fmt: skip

TEST_IMAGES = 520
"""More than one batch of an evaluation."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of odd sizes and kinds in three classes, some of them grey."""
    root = tmp_path_factory.mktemp("photos")
    for place in range(60 + TEST_IMAGES):
        split, mode = ("train", "RGB") if place < 60 else ("test", ("RGB", "L")[place % 2])
        label, size = CLASSES[place % 3], ((14, 9), (9, 14), (12, 12), (20, 13))[place % 4]
        ending = ("png", "jpg", "png")[place // 4 % 3]
        paint(root / split / label / f"{place:03d}.{ending}", place, size, mode)
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    return training.train(override(SMALL, data=str(data)), runs=runs, report=False).path


@pytest.fixture(scope="module")
def classifier(run: Path) -> Classifier:
    return onecycle.load(run)


@pytest.fixture(scope="module")
def grey_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on grey images of 14x10 pixels, at their own size, without a validation split."""
    root = tmp_path_factory.mktemp("grey")
    for place in range(36):
        split = "train" if place < 24 else "test"
        paint(root / split / CLASSES[place % 3] / f"{place}.png", place, (14, 10), "L")
    recipe = override(SMALL, data=str(root), image_size=0, val_fraction=0.0, precision="fp32")
    return training.train(recipe, runs=tmp_path_factory.mktemp("runs"), report=False).path


def saved(run: Path, name: str) -> np.ndarray:
    with np.load(run / "predictions.npz") as arrays:
        return arrays[name]


@pytest.fixture
def predict(run: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `onecycle predict` on the run; its exit code, output and messages."""

    def command(*words: object, model: Path = run) -> tuple[int, str, str]:
        code = main(["predict", str(model), *map(str, words)])
        return code, *capfd.readouterr()

    return command


# ---------------------------------------------------------------------------------- as in training


@pytest.mark.parametrize("few", [True, False])
def test_logits_of_the_test_folder_are_those_of_the_run_to_the_bit(few, run, data, classifier):
    listed = sources.listed([str(data / "test")], Recorder())
    batches = list(stream.classified(classifier, listed, few=few))
    assert [len(batch.sources) for batch in batches] == [500, 20]
    names = [os.path.relpath(each.path, data) for batch in batches for each in batch.sources]
    assert names == saved(run, "names").tolist()
    logits_NK = np.concatenate([batch.predictions.logits_NK for batch in batches])
    assert np.array_equal(logits_NK, saved(run, "logits"))


def test_unreadable_files_do_not_shift_the_batches(run, data, classifier, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    listed = sources.listed([str(data / "test")], Recorder())
    bad = sources.Source("broken", str(tmp_path / "broken.png"))
    batches = list(stream.classified(classifier, [bad, *listed[:9], bad, *listed[9:]], few=True))
    assert sorted(batches[0].bad) == [0, 10]
    assert [each.name for each in batches[0].good[8:10]] == [listed[8].name, listed[9].name]
    logits_NK = np.concatenate([batch.predictions.logits_NK for batch in batches])
    assert np.array_equal(logits_NK, saved(run, "logits"))


def test_the_rows_of_a_csv_file_have_the_logits_to_the_bit(predict, run, data, tmp_path):
    output = tmp_path / "rows.csv"
    code, out, _ = predict(data / "test", "--output", output, "--logits", "--topk", 2)
    assert (code, out) == (0, f"{output}\n")
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    logits_NK = [[np.float32(row[f"logit:{name}"]) for name in CLASSES] for row in rows]
    assert np.array_equal(np.array(logits_NK), saved(run, "logits"))
    temperature = load_network(RunDir.open(run)).temperature
    assert temperature is not None
    expected_NK = (torch.tensor(saved(run, "logits")).double() / temperature).softmax(1)
    shares_N2, labels_N2 = expected_NK.topk(2)
    for row, share_2, label_2 in zip(rows, shares_N2.tolist(), labels_N2.tolist(), strict=True):
        assert [row["predicted"], row["predicted_2"]] == [CLASSES[label] for label in label_2]
        assert float(row["confidence"]) == pytest.approx(share_2[0], abs=1e-6)
        assert float(row["confidence_2"]) == pytest.approx(share_2[1], abs=1e-6)


def test_grey_networks_take_images_in_colour_of_any_size(grey_run, tmp_path):
    classifier = onecycle.load(grey_run)
    assert classifier.preprocess.form.shape == (10, 14, 1)
    path = paint(tmp_path / "a.png", 1, (70, 50))
    with Image.open(path) as image:
        small = image.resize((14, 10), Image.Resampling.BILINEAR).convert("L")
    expected = classifier.predict(np.asarray(small)[None, ..., None]).logits_NK
    assert np.array_equal(classifier.predict(path).logits_NK, expected)


def test_the_best_checkpoint_predicts_like_its_own_evaluation(run, data):
    found = onecycle.load(run, checkpoint="best").predict(sorted((data / "test" / "ant").iterdir()))
    evaluated = training.evaluate_run(run, checkpoint="best")
    ants = next(row for row in evaluated["per_class"] if row["class"] == "ant")
    assert found.predicted.count("ant") == round(ants["accuracy"] * ants["images"])


# --------------------------------------------------------------------------------------- in Python


def test_paths_pictures_and_arrays_give_the_same(classifier, tmp_path):
    paths = [paint(tmp_path / f"{index}.png", index, (30, 20)) for index in range(3)]
    expected = classifier.predict(paths).logits_NK
    pictures = [Image.open(path) for path in paths]
    pixels_NHWC = np.stack([np.asarray(picture) for picture in pictures])
    mixed = [str(paths[0]), pictures[1], pixels_NHWC[2]]
    for images in (pictures, pixels_NHWC, mixed, list(pixels_NHWC)):
        assert np.array_equal(classifier.predict(images).logits_NK, expected)
    for image in (paths[0], str(paths[0]), pictures[0], pixels_NHWC[0]):
        assert np.allclose(classifier.predict(image).logits_NK, expected[:1], atol=0.05)
    assert len(classifier.predict([])) == 0


def test_network_and_preprocess_are_what_predict_uses(grey_run, tmp_path):
    classifier = onecycle.load(grey_run)
    paths = [paint(tmp_path / f"{index}.png", index, (30, 20)) for index in range(3)]
    with torch.no_grad():
        logits = classifier.network(classifier.preprocess(paths))
    assert np.allclose(logits.numpy(), classifier.predict(paths).logits_NK, atol=1e-5)
    pixels = classifier.preprocess.pixels(paths)[..., 0] / 255
    about = classifier.about
    expected = (pixels - about.mean[0]) / about.std[0]
    assert np.allclose(classifier.preprocess(paths)[:, 0].numpy(), expected, atol=1e-5)


def test_top_names_the_most_probable_classes_in_falling_order(classifier, data):
    found = classifier.predict(sorted((data / "test" / "bee").iterdir())[:20])
    for top, share_K, label in zip(
        found.top(3), found.probabilities_NK, found.labels_N, strict=True
    ):
        assert dict(top) == dict(zip(CLASSES, share_K.tolist(), strict=True))
        assert [share for _, share in top] == sorted(share_K, reverse=True)
        assert top[0] == (CLASSES[label], share_K.max())
    assert found.predicted == [top[0][0] for top in found.top(1)]


def test_it_pickles_works_in_threads_and_needs_no_data(run, data, classifier, tmp_path):
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    paths = sorted((data / "test" / "cat").iterdir())[:40]
    expected = classifier.predict(paths).logits_NK
    child = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, *map(str, [moved, tmp_path / "logits.npy", *paths])],
        input=pickle.dumps(classifier), env=os.environ | {"HOME": str(tmp_path)}, check=True,
    )  # fmt: skip
    assert child.returncode == 0
    assert np.array_equal(np.load(tmp_path / "logits.npy"), [expected, expected])
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: classifier.predict(paths).logits_NK, range(8)))
    assert all(np.array_equal(each, expected) for each in found)


IN_A_PROCESS = """
import pickle, sys
import numpy as np, torch
import onecycle
torch.set_num_threads(2)
run, place, *paths = sys.argv[1:]
sent = pickle.loads(sys.stdin.buffer.read())
np.save(place, [each.predict(paths).logits_NK for each in (sent, onecycle.load(run))])
"""


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (["gone.png"], "can't read 'gone.png': No such file"),
        (np.zeros((2, 5, 5, 3)), "image 0: an array of float64 and shape 5x5x3 is not an image"),
        (np.zeros((5, 5, 4), np.uint8), "image 0: an array of uint8 and shape 5x5x4 is not"),
        ([np.zeros((0, 5, 3), np.uint8)], "image 0: it has no pixels"),
    ],
)
def test_images_that_can_not_be_used_are_named(images, said, classifier):
    with pytest.raises(InputError, match=said):
        classifier.predict(images)


# ------------------------------------------------------------------------------------------- forms


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images, one broken and one that is none, with names that need care."""
    root = tmp_path / "my photos"
    paint(root / "a,b.png", 1)
    paint(root / "inner" / 'q"uote\nline.png', 2)
    (root / "broken.png").write_bytes(b"no image")
    (root / "notes.txt").write_text("not an image")
    return root


def test_an_unreadable_image_is_a_row_and_the_exit_code_is_1(predict, photos):
    code, out, err = predict(photos, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    names = ["a,b.png", "broken.png", 'inner/q"uote\nline.png']
    assert [row["path"] for row in rows] == [f"{photos}/{name}" for name in names]
    assert rows[1] == {"path": f"{photos}/broken.png", "error": "not an image in a known format"}
    assert sum(top["probability"] for top in rows[0]["top"]) == pytest.approx(1)
    assert code == 1
    assert err.splitlines()[-1] == ("onecycle: error: 1 image of 3 can't be read; the rows say why")
    assert f"'{photos}': left out 1 other file (.txt)" in err


def test_every_form_says_the_same(predict, photos, classifier):
    rows: dict[str, list[dict[str, Any]]] = {}
    _, out, _ = predict(photos, "--json", "--logits")
    whole = json.loads(out)
    about = {name: value for name, value in whole.items() if name != "images"}
    assert about == {
        "model": about["model"], "checkpoint": "last", "probabilities": "calibrated",
        "temperature": classifier.temperature, "classes": list(CLASSES), "image_count": 3,
        "unreadable_count": 1,
    }  # fmt: skip
    rows["json"] = whole["images"]
    _, out, _ = predict(photos, "--format", "jsonl", "--logits")
    rows["jsonl"] = [json.loads(line) for line in out.splitlines() if line]
    assert rows["json"] == rows["jsonl"]
    _, out, _ = predict(photos, "--format", "csv", "--logits")
    for row, other in zip(csv.DictReader(out.splitlines(True)), rows["json"], strict=True):
        assert row["path"] == other["path"]
        assert row["error"] == other.get("error", "")
        assert row["predicted"] == other.get("predicted", "")
        logits = [row[f"logit:{name}"] for name in CLASSES]
        assert [float(text) for text in logits if text] == other.get("logits", [])
    _, out, _ = predict(photos)
    first, broken, _ = out.splitlines()
    assert first.startswith(f"{photos}/a,b.png  {rows['json'][0]['predicted']} ")
    assert broken == f"{photos}/broken.png  unreadable: not an image in a known format"


def test_raw_probabilities_are_the_plain_softmax(predict, photos):
    _, out, _ = predict(photos / "a,b.png", "--json", "--logits", "--probabilities", "raw")
    found = json.loads(out)
    assert (found["probabilities"], found["temperature"]) == ("raw", 1.0)
    (row,) = found["images"]
    expected = torch.tensor(row["logits"]).double().softmax(0)
    for top in row["top"]:
        assert top["probability"] == pytest.approx(expected[CLASSES.index(top["class"])].item())


def test_a_name_that_is_not_text_comes_back_as_its_bytes(predict, tmp_path):
    name = os.fsencode(tmp_path / "x") + b"\xff.png"
    shutil.copy(paint(tmp_path / "a.png"), name)
    for form in ("table", "csv", "jsonl"):
        output = tmp_path / f"rows.{form}"
        assert predict(os.fsdecode(name), "--format", form, "--output", output)[0] == 0
        wanted = b"x\\udcff.png" if form in ("table", "jsonl") else name
        assert wanted in output.read_bytes()


def test_a_failed_write_leaves_the_file_as_it_was(predict, photos, tmp_path, monkeypatch):
    output = tmp_path / "rows.csv"
    output.write_text("before")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "predict", fail)
    assert predict(photos, "--output", output)[0] == 128 + signal.SIGINT
    assert output.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my photos", "rows.csv"]


# ------------------------------------------------------------------------------------ what is named


def names_in(out: str) -> list[str]:
    return [json.loads(line)["path"] for line in out.splitlines()]


def test_files_folders_and_tables_come_in_the_order_given(predict, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(("b/2.png", "b/1.jpg", "b/c/0.png", "a.png", "t/x.png")):
        paint(Path(name), place)
    make_table(Path("t/list.csv"), [["x.png", "1"], [str(tmp_path / "a.png"), "2"]], "path,more")
    _, out, _ = predict("t/list.csv", "b", "a.png", "a.png", "--format", "jsonl")
    folder = ["b/1.jpg", "b/2.png", "b/c/0.png"]
    assert names_in(out) == ["x.png", str(tmp_path / "a.png"), *folder, "a.png", "a.png"]


def test_missing_images_of_a_table_are_rows(predict, tmp_path):
    paint(tmp_path / "a.png")
    make_table(tmp_path / "list.csv", [["a.png"], ["gone.png"]], "path")
    code, out, _ = predict(tmp_path / "list.csv", "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert "predicted" in rows[0]
    assert rows[1] == {"path": "gone.png", "error": "No such file or directory"}


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
@pytest.mark.parametrize("last", [b"", b"last \xff.png"])
def test_a_list_may_have_lines_or_zero_bytes(separator, last):
    names = [b"%d x.png" % index for index in range(3000)]
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(separator.join([*names, last]))
    expected = [os.fsdecode(name) for name in [*names, last] if name]
    found = sources.on_standard_input(reading)
    assert [each.name for each in found if each] == expected
    os.close(reading)


def test_a_line_without_end_is_refused():
    reading, writing = os.pipe()
    feeding = ThreadPoolExecutor(1).submit(os.write, writing, b"x" * 200_000)
    with pytest.raises(InputError, match="a line is too long to be a path"):
        list(sources.on_standard_input(reading))
    assert feeding.result() == 200_000
    os.close(writing)


@pytest.mark.faults
def test_rows_come_while_the_list_is_open_and_ctrl_c_leaves_no_worker(run, tmp_path):
    words = [sys.executable, "-m", "onecycle", "predict", str(run), "-", "--format", "jsonl"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        for index in range(2):
            path = str(paint(tmp_path / f"{index}.png", index))
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["path"] == path
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
        assert process.stderr.read() == "classifying\nonecycle: stopped\n"
    until = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.faults
def test_a_reader_that_goes_away_ends_it_quietly(run, data):
    words = [sys.executable, "-m", "onecycle", "predict", str(run), str(data / "test")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
        assert b"Traceback" not in process.stderr.read()


def mistakes() -> dict[str, tuple[list[str], str]]:
    return {
        "no path": ([], "predict: needs PATH... after the run"),
        "gone": (["gone.png"], "there is no file or folder 'gone.png'"),
        "empty folder": (["empty"], "'empty' has no images; name another folder"),
        "other files": (["other"], "'other' has no images; it holds 1 other file (.txt)"),
        "no column": (["label.csv"], "'label.csv', line 1: has no column path"),
        "no rows": (["none.csv"], "'none.csv' has no rows below the header"),
        "no text": (["latin.csv"], "'latin.csv': is not UTF-8 text; save the table as UTF-8"),
        "no field": (["gap.csv"], "'gap.csv', line 2: has no path"),
        "- and more": (["-", "empty"], "-: the list on standard input stands alone"),
        "ending": (["a.png", "--output", "x.xlsx"], "--output: 'x.xlsx' has an unknown ending"),
        "form": (["a.png", "--json", "--format", "csv"], "--json: can't be combined with"),
        "topk": (
            ["a.png", "--topk", "0"],
            "--topk: 0 is out of range; give a finite number",
        ),
        "checkpoint": (["a.png", "--checkpoint", "bets"], "did you mean 'best'"),
        "output": (["a.png", "--output", "no/x.csv"], "there is no folder 'no'"),
    }


@pytest.mark.parametrize("mistake", mistakes())
def test_a_mistake_is_one_line(mistake, predict, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint(Path("a.png"))
    Path("empty").mkdir()
    Path("other").mkdir()
    Path("other/notes.txt").touch()
    make_table(Path("label.csv"), [["1"]], "label")
    make_table(Path("none.csv"), [], "path")
    make_table(Path("gap.csv"), [["", "1"]], "path,more")
    Path("latin.csv").write_bytes("path\nphoto-é.png\n".encode("latin-1"))
    before = sorted(Path().rglob("*"))
    words, said = mistakes()[mistake]
    code, out, err = predict(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


def test_runs_that_can_not_predict_are_refused_in_one_line(
    predict, run, grey_run, tmp_path, monkeypatch
):
    image = paint(tmp_path / "a.png")
    unfinished = Path(shutil.copytree(run, tmp_path / "unfinished"))
    (unfinished / "result.json").unlink()
    later = Path(shutil.copytree(run, tmp_path / "later"))
    text = (later / "network.json").read_text()
    (later / "network.json").write_text(text.replace('"custom-resnet"', '"resnet-of-2031"'))
    for model, said in {
        unfinished: "is unfinished; go on with: onecycle resume",
        later: "unknown model 'resnet-of-2031'",
        tmp_path / "gone": "gone",
        tmp_path: "is not a run folder",
        tmp_path / "gone.onnx": "there is no file",
    }.items():
        code, out, err = predict(image, model=model)
        assert (code, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1
    code, out, err = predict(image, "--probabilities", "calibrated", model=grey_run)
    assert (code, out) == (2, "")
    assert "has no validation split to calibrate them by; choose raw" in err


# -------------------------------------------------------------------------------------------- ONNX

METADATA = {
    "onecycle": "1", "classes": json.dumps(CLASSES), "image_size": "[12, 10]", "channels": "3",
    "mean": "[0.5, 0.5, 0.5]", "std": "[0.25, 0.25, 0.25]", "resize": "squash",
    "temperature": "2.5",
}  # fmt: skip


def mean_colours(path: Path, metadata: dict[str, str]) -> Path:
    """A network whose logits are the mean colours of an image, in [0, 1]."""
    shape = ["N", 12, 10, 3]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        helper.make_node("Div", ["means", "most"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "means",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("most", TensorProto.FLOAT, [], [255.0]),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_an_onnx_file_predicts_what_its_network_computes(predict, tmp_path):
    model = mean_colours(tmp_path / "m.onnx", METADATA)
    path = paint(tmp_path / "a.png", 4, (40, 30))
    _, out, _ = predict(path, "--json", "--logits", model=model)
    with Image.open(path) as image:
        small_HWC = np.asarray(image.resize((10, 12), Image.Resampling.BILINEAR)) / 255
    (row,) = json.loads(out)["images"]
    assert row["logits"] == pytest.approx(small_HWC.mean(axis=(0, 1)).tolist(), rel=1e-5)
    expected = (torch.tensor(row["logits"]).double() / 2.5).softmax(0)
    assert row["confidence"] == pytest.approx(expected.max().item())
    classifier = onecycle.load(model)
    again = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(again.predict(path).logits_NK, classifier.predict(path).logits_NK)
    with pytest.raises(InputError, match="an ONNX file holds no nn.Module; load the run"):
        _ = classifier.network


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": '["a"]'}, "was not written by onecycle export"),
        ({"classes": '["a", "b", "c", "d"]'}, "its network is not of the form that its metadata"),
        ({"classes": "none"}, "was not written by onecycle export"),
        ({"image_size": "[1, 10000000]"}, "was not written by onecycle export"),
        ({"image_size": "[24, 10]"}, "its network is not of the form that its metadata give"),
        ({"std": "[0.5, 0.5]"}, "was not written by onecycle export"),
        ({"temperature": "0"}, "was not written by onecycle export"),
        ({"temperature": '"x"'}, "was not written by onecycle export"),
        ({"resize": "stretch"}, "was not written by onecycle export"),
    ],
)
def test_an_onnx_file_from_elsewhere_is_refused_in_one_line(changes, said, predict, tmp_path):
    model = mean_colours(tmp_path / "m.onnx", METADATA | changes)
    code, out, err = predict(paint(tmp_path / "a.png"), model=model)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_what_is_no_onnx_file_is_refused_in_one_line(predict, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    code, out, err = predict(paint(tmp_path / "a.png"), model=tmp_path / "m.onnx")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "m.onnx: can't be run by onnxruntime" in err


def test_a_missing_onnxruntime_is_named_with_its_extra(predict, tmp_path, monkeypatch):
    model = mean_colours(tmp_path / "m.onnx", METADATA)
    monkeypatch.delitem(sys.modules, "onecycle.inference.onnx_file", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, out, err = predict(paint(tmp_path / "a.png"), model=model)
    assert (code, out) == (2, "")
    assert "onnxruntime is not installed; get it with: pip install 'onecycle[export]'" in err


# -------------------------------------------------------------------------------------- rectangles


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("size", [(10, 14), (14, 10), (7, 30), (12, 12)])
@pytest.mark.parametrize("own", [(40, 33), (33, 40), (14, 10), (9, 80)])
def test_any_rectangle_is_resized_as_pillow_does_it(own, size, resize, tmp_path):
    from PIL import ImageOps

    from onecycle.data.folder.decoding import pixels

    height, width = size
    with Image.open(paint(tmp_path / "a.png", 1, own)) as image:
        method = Image.Resampling.BILINEAR
        if resize == "squash":
            expected = image.resize((width, height), method)
        else:
            expected = ImageOps.fit(image, (width, height), method)
    found = pixels(tmp_path / "a.png", size, resize)
    assert found.shape == (height, width, 3)
    assert np.abs(found.astype(int) - np.asarray(expected).astype(int)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_photos_are_upright_in_a_rectangle(orientation, tmp_path):
    from PIL import ImageOps

    from onecycle.data.folder.decoding import pixels, pixels_of

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    drawn(3, (40, 30)).save(path, exif=exif)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        expected = np.asarray(ImageOps.fit(upright, (14, 10), Image.Resampling.BILINEAR))
    found = pixels(path, (10, 14))
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
    with Image.open(path) as image:
        assert np.array_equal(pixels_of(image, (10, 14)), found)
