"""Exports answer as the run's network does, in the programs that they are for."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from PIL import Image
from test_evaluating import CLASSES, SMALL, make_images
from torch import nn

import onecycle
from onecycle import exporting, training
from onecycle.cli import main
from onecycle.config import override
from onecycle.data.folder.decoding import pixels
from onecycle.errors import InputError, TrainingError
from onecycle.exporting import FORMATS, Agreement, card, int8
from onecycle.exporting.answers import Answers, of_program
from onecycle.exporting.deployed import Deployable, DeployedNetwork
from onecycle.exporting.format import Format
from onecycle.exporting.int8 import Measurement
from onecycle.inference.network import load_network
from onecycle.run_dir import RunDir

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

KEYS = """onecycle onecycle_version classes image_size channels mean std resize temperature weights
recipe data data_fingerprint checkpoint weights_sha256 test_accuracy test_accuracy_interval
test_images""".split()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noise with a tint, split for training, validation and testing."""
    root = tmp_path_factory.mktemp("own") / "photos"
    make_images(root / "train", 1, dict.fromkeys(CLASSES, 12))
    make_images(root / "val", 3, dict.fromkeys(CLASSES, 6))
    return make_images(root / "test", 2, {"ant": 4, "bee": 5, "cat": 6}).parent


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    recipe = override(SMALL, data=str(photos), tta=False)
    return training.train(recipe, runs=tmp_path_factory.mktemp("runs"), report=False)


@pytest.fixture
def run(trained: training.Run, tmp_path: Path) -> Path:
    """A copy of the run, to be spoiled."""
    return Path(shutil.copytree(trained.path, tmp_path / "run"))


@pytest.fixture(scope="module")
def file(trained: training.Run) -> exporting.Exported:
    """The run as ONNX."""
    return onecycle.export(trained.path)


class Quick:
    """A format that is written and run in no time; `off` is added to its probabilities."""

    def __init__(self, is_folder: bool = False) -> None:
        name = "quick" if is_folder else "model.quick"
        self.format = Format(name, self.write, self.answers, is_folder=is_folder)
        self.off, self.text = 0.0, b"weights"

    def write(self, deployable: Deployable, path: Path) -> None:
        self.deployable = deployable
        (path / "model.quick" if path.is_dir() else path).write_bytes(self.text)

    def answers(self, path: Path, images_NHWC: np.ndarray) -> Answers:
        found = of_program(self.deployable.network, images_NHWC)
        return Answers(found.logits_NK, found.probabilities_NK + np.float32(self.off))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Quick:
    made = Quick()
    monkeypatch.setitem(FORMATS, "quick", made.format)
    return made


@pytest.fixture
def quick_folder(monkeypatch: pytest.MonkeyPatch) -> Quick:
    made = Quick(is_folder=True)
    monkeypatch.setitem(FORMATS, "quick", made.format)
    return made


def images_of(photos: Path) -> np.ndarray:
    """The test images as Pillow reads them, uint8 N H W C."""
    paths = sorted((photos / "test").glob("*/*.png"))
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def softmax(logits_NK: np.ndarray) -> np.ndarray:
    powers_NK = np.exp(logits_NK.astype(np.float64))
    return powers_NK / powers_NK.sum(axis=1, keepdims=True)


def texts(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


# -------------------------------------------------------------------------------------------- ONNX


def test_onnx_answers_as_the_run_did_for_any_number_of_images(
    file: exporting.Exported, trained: training.Run, photos: Path
) -> None:
    assert file.path == trained.path / "export" / "model.onnx"
    session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["N", 16, 16, 3])
    assert [each.name for each in session.get_outputs()] == ["logits", "probabilities"]
    images, temperature = images_of(photos), json.loads(texts(file.path)["temperature"])
    for count in (1, 7, 15):
        logits, probabilities = session.run(None, {"images": images[:count]})
        assert logits.dtype == probabilities.dtype == np.float32
        np.testing.assert_allclose(
            logits, trained.evaluation.logits_NK[:count], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(probabilities, softmax(logits / temperature), atol=1e-6)


def test_onnx_is_one_file_of_standard_operations_that_says_what_it_is(
    file: exporting.Exported, trained: training.Run, photos: Path
) -> None:
    model, found = onnx.load(file.path), texts(file.path)
    assert {(each.domain, each.version) for each in model.opset_import} == {("", 18)}
    assert {node.domain for node in model.graph.node} == {""}
    assert str(photos.parent).encode() not in file.path.read_bytes()
    assert str(Path(exporting.__file__).parent).encode() not in file.path.read_bytes()
    assert list(found) == KEYS
    result, about = trained.result, RunDir.open(trained.path).network()
    assert about
    assert found["onecycle"] == "1"
    assert found["onecycle_version"] == onecycle.__version__
    assert json.loads(found["classes"]) == list(CLASSES)
    assert json.loads(found["image_size"]) == [16, 16]
    assert (found["channels"], found["resize"], found["weights"]) == ("3", "crop", "float32")
    assert json.loads(found["mean"]) == about.mean
    assert json.loads(found["std"]) == about.std
    assert (found["recipe"], found["data"], found["checkpoint"]) == ("small", "photos", "last")
    assert found["data_fingerprint"] == result["data_fingerprint"]
    assert found["weights_sha256"] == result["weights_sha256"]
    assert json.loads(found["test_accuracy"]) == result["test_accuracy"]
    low, high = json.loads(found["test_accuracy_interval"])
    assert low < result["test_accuracy"] < high
    assert found["test_images"] == "15"
    with np.load(trained.path / "predictions.npz") as saved:  # the best of many temperatures
        tried = np.geomspace(0.05, 20, 4000)
        own = [softmax(saved["val_logits"] / each) for each in tried]
        losses = [-np.log(each[np.arange(18), saved["val_labels"]]).mean() for each in own]
    wanted = tried[int(np.argmin(losses))]
    assert json.loads(found["temperature"]) == pytest.approx(wanted, rel=0.01)


def test_the_check_is_written_beside_the_file(
    file: exporting.Exported, trained: training.Run
) -> None:
    found = json.loads((trained.path / "export" / "model.check.json").read_text("utf-8"))
    assert found["network"]["images"] == found["network"]["equal_classes"] == 15
    assert 0 <= found["network"]["largest_difference"] < 1e-5
    assert found["run"]["largest_difference"] < 1e-5  # it computed in float32 too
    assert found["run_precision"] == "fp32"
    assert found["versions"]["onnxruntime"] == onnxruntime.__version__


# ----------------------------------------------------------------------------------------- the card


def test_the_lines_of_the_card_run_where_onecycle_is_not_installed(
    trained: training.Run, quick: Quick, tmp_path: Path
) -> None:
    """They need nothing but the folder's own files, and give the probabilities of the run."""
    onecycle.export(trained.path, format="quick", output=tmp_path / "a.quick")
    model = tmp_path / "model"
    model.mkdir()
    FORMATS["safetensors"].write(quick.deployable, model)
    odd = np.random.default_rng(5).integers(0, 255, (33, 50, 3), dtype=np.uint8)
    Image.fromarray(odd).save(model / "photo.jpg")
    text = (model / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) == 11, "ten that load and run it, and one that prints"
    more = "import json\nprint(json.dumps([logits[0].tolist(), probabilities[0].tolist()]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.modules['onecycle'] = None\n{code}{more}"],
        cwd=model, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    printed, numbers = done.stdout.splitlines()
    image = torch.tensor(pixels(model / "photo.jpg", 16))[None]
    network = load_network(RunDir.open(trained.path))
    mean, std = torch.tensor(network.about.mean), torch.tensor(network.about.std)
    with torch.no_grad():
        logits = network.model.eval()(((image / 255 - mean) / std).permute(0, 3, 1, 2))[0]
    np.testing.assert_allclose(json.loads(numbers)[0], logits, rtol=1e-4, atol=1e-5)
    probabilities = torch.softmax(logits / network.temperature, 0)
    np.testing.assert_allclose(json.loads(numbers)[1], probabilities, atol=1e-5)
    best = int(probabilities.argmax())
    assert printed == f"{CLASSES[best]} {probabilities[best]:.1%}"


def test_names_from_the_data_stay_text_in_the_card(run: Path, quick: Quick) -> None:
    names = ["[a](http://b.c) <b>|`x`", "**&lt;** $x$ \n# www.e.com", "![](http://f.g/h.png)"]
    about = json.loads((run / "network.json").read_text("utf-8")) | {"classes": names}
    (run / "network.json").write_text(json.dumps(about), "utf-8")
    onecycle.export(run, format="quick")
    text = card.written(quick.deployable)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    kinds = {child.type for child in inline}
    assert kinds == {"text", "softbreak", "strong_open", "strong_close", "code_inline"}
    assert {child.content for child in inline if child.type == "code_inline"} == {
        "photo.jpg", "check.json"
    }  # fmt: skip
    shown = {"".join(child.content for child in token.children or ()) for token in tokens}
    assert {names[0], names[1].replace("\n", "\\n"), names[2]} <= shown
    assert not re.search(r"www\.|http:", text), "GitHub would make links of them"


# ------------------------------------------------------------------------------------ other formats


def test_pt2_answers_as_the_run_did(trained: training.Run, photos: Path, tmp_path: Path) -> None:
    made = onecycle.export(trained.path, format="pt2", output=tmp_path / "a.pt2")
    more = {"onecycle.json": ""}
    program = torch.export.load(tmp_path / "a.pt2", extra_files=more).module()
    for count in (1, 15):
        logits, _ = program(torch.from_numpy(images_of(photos)[:count]))
        wanted = trained.evaluation.logits_NK[:count]
        np.testing.assert_allclose(logits.detach(), wanted, rtol=1e-4, atol=1e-5)
    assert list(json.loads(more["onecycle.json"])) == KEYS
    assert str(Path(exporting.__file__).parent).encode() not in made.path.read_bytes()


@pytest.mark.faults
def test_int8_is_measured_against_float32_on_all_test_images(
    trained: training.Run, photos: Path, tmp_path: Path
) -> None:
    made = onecycle.export(trained.path, int8=True, allow_drop=100, output=tmp_path / "small.onnx")
    found = made.check.quantized
    assert found
    assert (found.calibration_images, found.test_images) == (36, 15)
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    logits, _ = session.run(None, {"images": images_of(photos)})
    hits = logits.argmax(1) == trained.evaluation.labels_N
    assert found.int8.test_accuracy == hits.mean() == made.facts.test_accuracy
    assert found.float32.test_accuracy == trained.result["test_accuracy"]
    assert min(found.int8.images_per_second, found.float32.images_per_second) > 0
    assert texts(made.path)["weights"] == "int8"
    types = {each.data_type for each in onnx.load(made.path).graph.initializer}
    assert onnx.TensorProto.INT8 in types
    assert json.loads((tmp_path / "small.check.json").read_text("utf-8"))["quantized"]


def test_a_drop_in_accuracy_is_refused_unless_it_is_allowed(
    trained: training.Run,
    file: exporting.Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def copied(source: object, target: Path, *_: object) -> None:
        shutil.copy(file.path, target)

    found = iter([Measurement(0.9, 1.0), Measurement(0.88, 1.0)] * 2)
    monkeypatch.setattr(int8, "_measured", lambda path, test: next(found))
    monkeypatch.setattr(int8, "_quantize", copied)
    monkeypatch.setitem(
        FORMATS, "onnx", replace(FORMATS["onnx"], write=lambda _, path: copied(_, path))
    )
    wanted = "from 90.00 % to 88.00 %, by 2.00 points, and --allow-drop permits 1; raise it"
    with pytest.raises(TrainingError, match=wanted):
        onecycle.export(trained.path, int8=True, output=tmp_path / "a.onnx")
    assert not any(tmp_path.iterdir())
    onecycle.export(trained.path, int8=True, allow_drop=2, output=tmp_path / "a.onnx")


def test_the_examples_of_the_documentation_run(
    trained: training.Run,
    file: exporting.Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As they stand: both print the same class and probability of a photo."""
    text = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text("utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    shutil.copy(file.path, tmp_path / "model.onnx")
    onecycle.export(trained.path, format="pt2", output=tmp_path / "model.pt2")
    odd = np.random.default_rng(5).integers(0, 255, (50, 33, 3), dtype=np.uint8)
    Image.fromarray(odd).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    for example in examples:
        exec(example, {})
    one, other = capsys.readouterr().out.splitlines()
    assert one == other
    assert re.fullmatch(r"(ant|bee|cat) \d+\.\d%", one)


@pytest.mark.faults
@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_grey_images_are_exported_in_every_format(
    resize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, seed in (("train", 1), ("test", 2)):
        make_images(tmp_path / "grey" / split, seed, dict.fromkeys(CLASSES, 9), mode="L")
    recipe = override(SMALL, data=str(tmp_path / "grey"), resize=resize, tta=False)
    run = training.train(recipe, runs=tmp_path / "runs", report=False)
    images = np.stack(
        [np.asarray(Image.open(p)) for p in sorted((tmp_path / "grey/test").glob("*/*.png"))]
    )[..., None]
    for name, form in FORMATS.items():
        made = onecycle.export(run.path, format=name)
        logits = form.answers(made.path, images).logits_NK
        np.testing.assert_allclose(logits, run.evaluation.logits_NK, rtol=1e-4, atol=1e-5)
        assert (made.facts.channels, made.facts.resize) == (1, resize)
    photo = np.random.default_rng(5).integers(0, 255, (33, 50), dtype=np.uint8)
    Image.fromarray(photo).save(made.path / "photo.jpg")
    (code,) = re.findall(r"```python\n(.*?)```", (made.path / "README.md").read_text(), re.DOTALL)
    wanted = FORMATS["onnx"].answers(
        run.path / "export" / "model.onnx",
        pixels(made.path / "photo.jpg", 16, resize)[None, ..., :1],
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print(logits[0].tolist())"],
        cwd=made.path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[1])
    np.testing.assert_allclose(found, wanted.logits_NK[0], rtol=1e-4, atol=1e-5)


class Other(nn.Module):
    """Layers with other arguments, one that is used twice, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(3, 8, (3, 1), stride=(2, 1), padding=(1, 0), groups=1, dilation=1),
            nn.GroupNorm(2, 8, eps=1e-3),
            nn.LeakyReLU(0.2),
        )
        self.twice = nn.Conv2d(8, 8, 1, bias=False)
        self.norm = nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.full((8,), 1.5))
        self.register_buffer("order", torch.tensor([1, 0, 2]))
        self.end = nn.Linear(8, 3)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        maps = self.twice(torch.relu(self.twice(self.inner(batch))))
        features = self.norm(nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1)) * self.scale
        return self.end(features)[:, self.order]


def oddly_named() -> nn.Module:
    """Layers whose names are numbers or keywords, or would be one name without their dots."""
    layers = {
        "0": nn.Conv2d(3, 8, 3),
        "a": nn.Sequential(OrderedDict(b=nn.ReLU())),
        "a_b": nn.Conv2d(8, 4, 3),
        "pass": nn.Flatten(),
        "1": nn.Linear(4 * 12 * 12, 3),
    }
    return nn.Sequential(OrderedDict(layers))


@pytest.mark.faults
@pytest.mark.parametrize("make", [Other, oddly_named])
def test_other_networks_are_written_as_plain_pytorch(
    run: Path, photos: Path, quick: Quick, tmp_path: Path, make: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    onecycle.export(run, format="quick")
    network = DeployedNetwork(make(), [0.4, 0.5, 0.6], [0.2, 0.3, 0.4], 1.7).eval()
    form = FORMATS["safetensors"]
    form.write(replace(quick.deployable, network=network), tmp_path)
    found, wanted = (
        form.answers(tmp_path, images_of(photos)),
        of_program(network, images_of(photos)),
    )
    np.testing.assert_allclose(found.logits_NK, wanted.logits_NK, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.probabilities_NK, wanted.probabilities_NK, atol=1e-6)


def test_a_layer_that_is_not_of_pytorch_is_one_line(
    run: Path, quick: Quick, tmp_path: Path
) -> None:
    class Own(nn.Linear):
        __module__ = "torch.nn.own"  # a trace stops there

    onecycle.export(run, format="quick")
    network = DeployedNetwork(nn.Sequential(nn.Flatten(), Own(768, 3)), [0] * 3, [1] * 3, 1.0)
    with pytest.raises(TrainingError, match="layer 'layer_1' can't be written; use --format onnx"):
        FORMATS["safetensors"].write(replace(quick.deployable, network=network), tmp_path)


# --------------------------------------------------------------------------------------- the check


@pytest.mark.parametrize("off", [0.002, -0.002, float("nan")])
def test_other_answers_are_refused_and_nothing_is_left(run: Path, quick: Quick, off: float) -> None:
    before = sorted(run.rglob("*"))
    quick.off = off
    with pytest.raises(TrainingError, match="does not answer like the run's own on 15 test images"):
        onecycle.export(run, format="quick")
    assert sorted(run.rglob("*")) == before
    quick.off = 0.0005
    assert onecycle.export(run, format="quick").check.network.largest_difference < 1e-3


@pytest.mark.parametrize("images", [15, 1000])
def test_one_other_class_among_few_images_is_refused(images: int) -> None:
    labels = np.arange(images) % 3
    one = np.eye(3, dtype=np.float32)[labels] * 0.0004 + 1 / 3
    other = one.copy()
    other[0] = other[0][[1, 0, 2]]
    found = Agreement.of(Answers(one, one), Answers(other, other))
    assert (found.images, found.equal_classes) == (images, images - 1)
    assert found.largest_difference == pytest.approx(0.0004, rel=1e-3)
    assert found.close == (images == 1000)


def test_best_is_exported_with_its_own_accuracy(trained: training.Run, quick: Quick) -> None:
    made = onecycle.export(trained.path, format="quick", checkpoint="best")
    wanted = training.evaluate_run(trained.path, checkpoint="best")
    assert made.facts.checkpoint == "best"
    assert made.facts.test_accuracy == wanted["test_accuracy"]
    assert made.check.run is None


# --------------------------------------------------------------------------------------- the place


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_only_an_unchanged_export_is_replaced(
    kind: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Quick(is_folder=kind == "folder")
    monkeypatch.setitem(FORMATS, "quick", quick.format)
    place = tmp_path / ("model" if kind == "folder" else "model.quick")
    onecycle.export(run, format="quick", output=place)
    weights = place / "model.quick" if kind == "folder" else place
    if kind == "folder":
        (place / "__pycache__").mkdir()  # after an import of its network
    quick.text = b"others"
    onecycle.export(run, format="quick", output=place)
    assert weights.read_bytes() == b"others"
    left = {path.name for path in tmp_path.iterdir()} - {"run"}
    assert left == ({"model"} if kind == "folder" else {"model.quick", "model.check.json"})
    weights.write_bytes(b"mine")
    with pytest.raises(InputError, match=f"output: '{place}' exists, and is not an earlier export"):
        onecycle.export(run, format="quick", output=place)
    assert weights.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["model.quick", "model.check.json", "a folder"])
def test_what_is_not_an_export_is_never_touched(
    name: str, run: Path, tmp_path: Path, quick: Quick
) -> None:
    if name == "a folder":
        (tmp_path / "model.quick").mkdir()
    else:
        (tmp_path / name).write_text('{"files": {}}', "utf-8")
    with pytest.raises(InputError, match="exists, and is not an earlier export"):
        onecycle.export(run, format="quick", output=tmp_path / "model.quick")


@pytest.mark.parametrize("name", ["export", "export/quick", "export/quick/check.json"])
def test_nothing_is_written_or_removed_through_a_link(
    name: str, run: Path, tmp_path: Path, quick_folder: Quick
) -> None:
    if name != "export":
        onecycle.export(run, format="quick")
    outside = tmp_path / "outside"
    if (run / name).exists():
        (run / name).rename(outside)
    else:
        outside.mkdir()
    (run / name).symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="link|exists"):
        onecycle.export(run, format="quick")
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("nowhere/model.quick", "output: there is no folder '.*nowhere'; make it first"),
        ("model.txt", r"output: '.*model.txt' does not end in \.quick; give it that ending"),
    ],
)
def test_a_wrong_place_is_one_line(
    output: str, message: str, run: Path, tmp_path: Path, quick: Quick
) -> None:
    with pytest.raises(InputError, match=message):
        onecycle.export(run, format="quick", output=tmp_path / output)


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_full_disk_leaves_what_was_there_before(
    is_folder: bool, earlier: bool, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    quick = Quick(is_folder=is_folder)
    monkeypatch.setitem(FORMATS, "quick", quick.format)
    place = tmp_path / "out" / quick.format.name
    place.parent.mkdir()
    if earlier:
        onecycle.export(run, format="quick", output=place)
    before = {path: path.is_file() and path.read_bytes() for path in place.parent.rglob("*")}
    quick.text = b"others"
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match="can't be written: No space left on device"):
        onecycle.export(run, format="quick", output=place)
    assert before == {
        path: path.is_file() and path.read_bytes() for path in place.parent.rglob("*")
    }


# ------------------------------------------------------------------------------------ the mistakes


def test_a_mistake_is_one_line_that_names_the_remedy(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*words: str) -> str:
        assert main(["export", *words, "--quiet"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err

    assert "unknown format 'onx'; did you mean 'onnx'?" in told(str(run), "--format", "onx")
    assert "int8: is for format onnx, not pt2" in told(str(run), "--int8", "--format", "pt2")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxscript", None)
        assert "pip install 'onecycle[export]'" in told(str(run))
    text = (run / "network.json").read_text("utf-8")
    (run / "network.json").write_text(text.replace('"custom-resnet"', '"later-net"'), "utf-8")
    assert "later-net" in told(str(run))
    (run / "network.json").write_text(text.replace('"width": 0.125', '"width": "exec()"'), "utf-8")
    assert "is damaged ('arguments': width: 'exec()' is not a number" in told(str(run))
    (run / "network.json").write_text(text, "utf-8")
    (run / "result.json").unlink()
    assert f"{run}: is unfinished; go on with: onecycle resume {run}" in told(str(run))


def test_moved_images_are_named_with_data(
    run: Path, tmp_path: Path, photos: Path, quick: Quick
) -> None:
    moved = shutil.copytree(photos, tmp_path / "moved")
    text = (run / "environment.json").read_text("utf-8")
    (run / "environment.json").write_text(text.replace(str(photos), "/gone"), "utf-8")
    recipe = (run / "recipe.toml").read_text("utf-8")
    (run / "recipe.toml").write_text(recipe.replace(str(photos), "/gone"), "utf-8")
    with pytest.raises(InputError, match="say where they are with --data"):
        onecycle.export(run, format="quick")
    onecycle.export(run, format="quick", data=str(moved))
    (moved / "test" / "ant" / "0.png").unlink()
    with pytest.raises(InputError, match="does not hold the images that the run was trained"):
        onecycle.export(run, format="quick", data=str(moved))


def test_the_command_says_what_it_did(
    trained: training.Run, quick: Quick, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(trained.path), "--format", "quick", "--quiet"]
    assert main([*words, "--output", str(tmp_path / "a.quick"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"run", "output", "facts", "check"}
    assert found["output"] == str(tmp_path / "a.quick")
    assert list(found["facts"]) == KEYS
    assert found["check"]["network"]["equal_classes"] == 15
    assert main([*words, "--output", str(tmp_path / "b.quick")]) == 0
    shown = capsys.readouterr().out
    assert "15 of 15 test images with the same class" in shown
    assert "against the run" in shown


def test_help_fits_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
