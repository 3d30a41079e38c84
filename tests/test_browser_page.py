"""The page of examples/browser: its pixels against Pillow's, its answers against onnxruntime's."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from browsing import CONTRASTS, MUST_RUN, Visits, needs_browser, page_width, wait_until
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin
from small_folders import drawn
from small_onnx import write_onnx

import onecycle
from onecycle.config import override
from onecycle.data.folder.decoding import pixels
from onecycle.recipes import RECIPES
from onecycle.training import train

EXAMPLE = Path(__file__).parents[1] / "examples" / "browser"
BUNDLE = EXAMPLE / "bundle.py"


def bundled(*arguments: object, script: Path = BUNDLE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, script, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=250)


# -------------------------------------------------------------------------- resizing as Pillow does


FORMULA = "(x, y, c) => (7 * x + 13 * y + x * y * (c + 1) + 40 * c) % 256"
INPUT = """([width, height, size, rule, channels]) => {
  const value = FORMULA;
  const rows = (top, count) => {
    const pixels = new Uint8ClampedArray(width * count * 4);
    for (let i = 0, y = top; y < top + count; y++)
      for (let x = 0; x < width; x++, i += 4)
        for (let c = 0; c < 3; c++) pixels[i + c] = value(x, y, c);
    return pixels;
  };
  return Array.from(networkInput({ width, height, rows }, size, rule, channels));
}""".replace("FORMULA", FORMULA)


def formula(width: int, height: int) -> Image.Image:
    """The image that the page gets, too."""
    y, x, c = np.mgrid[:height, :width, :3]
    return Image.fromarray(((7 * x + 13 * y + x * y * (c + 1) + 40 * c) % 256).astype(np.uint8))


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file


@pytest.fixture(scope="module")
def resizing(browser: Any) -> Iterator[Any]:
    """A page that has the functions of pixels.js, and nothing else."""
    page = browser.new_page(offline=True)
    page.add_script_tag(content=(EXAMPLE / "pixels.js").read_text("utf-8"))
    yield page
    page.close()


def in_the_page(page: Any, image: tuple[int, int], *arguments: Any) -> np.ndarray:
    return np.array(page.evaluate(INPUT, [*image, *arguments]), dtype=np.uint8)


def across_then_down(image: Image.Image, side: int, rule: str) -> np.ndarray:
    """The box scaled to a square by Pillow, one axis at a time."""
    (width, height), short = image.size, min(image.size)
    left, top = ((width - short) / 2, (height - short) / 2) if rule == "crop" else (0, 0)
    for size, box in (
        ((side, height), (left, 0, width - left, height)),
        ((side, side), (0, top, side, height - top)),
    ):
        image = image.resize(size, Image.Resampling.BILINEAR, box)
    return np.asarray(image)


sides = st.integers(1, 90)


@needs_browser
@settings(max_examples=25)
@given(sides, sides, st.integers(1, 40), st.sampled_from(["crop", "squash"]))
@example(1600, 1000, 24, "crop")  # read in several strips
@example(32, 32, 32, "crop")
def test_the_page_resizes_to_the_bytes_of_training(
    resizing: Any, width: int, height: int, side: int, rule: Any
) -> None:
    image = formula(width, height)
    found = in_the_page(resizing, (width, height), [side, side], rule, 3)
    assert np.array_equal(found, across_then_down(image, side, rule).ravel())
    trained_HWC = pixels(saved(image, compress_level=1), side, rule)
    assert np.abs(found - trained_HWC.ravel().astype(int)).max() <= 1  # down first, if tall


@needs_browser
@pytest.mark.parametrize("size", [(40, 20), (20, 40)])
def test_a_size_that_is_not_square_is_covered_by_the_middle(
    resizing: Any, size: tuple[int, int]
) -> None:
    for photo in (64, 48), (48, 50), (90, 20):
        fitted = ImageOps.fit(formula(*photo), size, Image.Resampling.BILINEAR)
        found = in_the_page(resizing, photo, list(size[::-1]), "crop", 3)
        assert np.abs(found - np.asarray(fitted).ravel().astype(int)).max() <= 1


@needs_browser
def test_colours_become_grey_as_in_pillow(resizing: Any) -> None:
    found = in_the_page(resizing, (50, 50), [50, 50], "squash", 1)
    assert np.array_equal(found, np.asarray(formula(50, 50).convert("L")).ravel())


# -------------------------------------------------------------------------------- what is refused


def test_a_model_of_another_program_is_refused_in_one_line(tmp_path: Path) -> None:
    other = write_onnx(tmp_path / "other.onnx", onecycle="")
    damaged = write_onnx(tmp_path / "damaged.onnx", image_size="[32]")
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    wrong = {
        other: "not written by `onecycle export",
        damaged: "its metadata are damaged",
        text: "not an ONNX model",
        tmp_path / "missing.onnx": "No such file",
    }
    for path, reason in wrong.items():
        done = bundled(path, tmp_path / "page.html")
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {path}: ")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.html*"))


def test_npm_that_fails_is_one_line_and_leaves_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(EXAMPLE, tmp_path / "copy", ignore=shutil.ignore_patterns("node_*"))
    for name in "npm", "node":
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            "#!/bin/sh\necho npm error code X >&2\necho npm error no way >&2\nexit 1\n"
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    page = tmp_path / "page.html"
    done = bundled(write_onnx(tmp_path / "model.onnx"), page, script=copy / "bundle.py")
    assert done.returncode == 2
    assert done.stderr.endswith("error: npm could not fetch onnxruntime-web: no way\n")
    assert not page.exists()


def test_the_lock_file_names_versions_and_checksums_and_no_registry() -> None:
    asked = json.loads((EXAMPLE / "package.json").read_text("utf-8"))["dependencies"]
    locked = json.loads((EXAMPLE / "package-lock.json").read_text("utf-8"))["packages"]
    for name, version in asked.items():
        assert locked[f"node_modules/{name}"]["version"] == version
    packages = [package for path, package in locked.items() if path]
    assert all(package["integrity"].startswith("sha512-") for package in packages)
    assert not any("resolved" in package for package in packages)


# ----------------------------------------------------------------------- the page, with its runtime

HOSTILE = [
    "</script><script>document.title = 'script ran'</script>",
    "<img src=x onerror=\"document.title = 'image ran'\">",
    "=1+1",
    "left\u202eright",
    'a, "quoted" name',
    "W" * 400,
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page for each kind of model, and `….onnx` beside it."""
    folder = tmp_path_factory.mktemp("pages")
    many = [f"class {k} of a thousand" for k in range(1000)]
    kinds: dict[str, dict[str, Any]] = {
        "crop": {},
        "squash": {"resize": "squash", "side": 48},
        "grey": {"channels": 1},
        "hostile": {"classes": HOSTILE, "data": "</script><b>data"},
        "many": {"classes": many},
    }
    for name, options in kinds.items():
        model = write_onnx(folder / f"{name}.onnx", **options)
        done = bundled(model, folder / f"{name}.html")
        if "npm" in done.stderr and done.returncode == 2 and not MUST_RUN:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr
    return {name: folder / f"{name}.html" for name in kinds}


@pytest.fixture
def address(pages: dict[str, Path], request: pytest.FixtureRequest) -> str:
    return pages[getattr(request, "param", "crop")].as_uri()


def model(kind: str) -> Any:
    return pytest.mark.parametrize("address", [kind], indirect=True)


def wait_for(page: Any, photos: int) -> None:
    answered = "document.querySelectorAll('.photo.failed, .photo ol:not([hidden])').length"
    wait_until(page, f"{answered} === {photos}", seconds=30)


def answers(page: Any) -> list[dict[str, str]]:
    """The rows of the table that the page saves."""
    with page.expect_download() as download:
        page.click("#save")
    text = Path(download.value.path()).read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


PLACES = ["", *(f"_{k}" for k in range(2, 6))]


def shares(row: dict[str, str]) -> dict[str, float]:
    return {row[f"predicted{end}"]: float(row[f"confidence{end}"]) for end in PLACES}


def of_onnxruntime(onnx: Path, image_HWC: np.ndarray) -> dict[str, float]:
    """The probability of every class."""
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    (logits,) = session.run(["logits"], {"images": image_HWC[None]})
    odds = np.exp(logits[0].astype(np.float64) / float(about["temperature"]))
    names = json.loads(about["classes"])
    return dict(zip(names, (odds / odds.sum()).tolist(), strict=True))


def most_probable(expected: dict[str, float]) -> dict[str, float]:
    """The five most probable classes."""
    return dict(sorted(expected.items(), key=lambda each: -each[1])[:5])


def photo(width: int, height: int) -> Image.Image:
    """Soft shapes in colours, as a camera sees them."""
    return drawn(3, (9, 7)).resize((width, height), Image.Resampling.BICUBIC)


def photos(folder: Path) -> dict[Path, float]:
    """Odd photos, and how far the probabilities may be from those of training's pixels.

    JPEG: other decoders differ by a few grey levels, and training decodes large ones at a fraction.
    Semi-transparent: a canvas rounds once more than Pillow.
    """
    wide, tall = photo(640, 480), photo(480, 640)
    clear = photo(300, 200).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((300, 200)))
    turned = Image.Exif()
    turned[0x0112] = 6
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", (100_000).to_bytes(4, "big"))
    flat = photo(200, 300).quantize(64)
    flat.info["transparency"] = 0
    made: dict[str, tuple[Image.Image, dict[str, Any], float]] = {
        "wide.png": (wide, {}, 2e-6),
        "tall.png": (tall, {}, 2e-6),
        "tiny.png": (photo(5, 9), {}, 2e-6),
        "grey.png": (wide.convert("L"), {}, 2e-6),
        "bits.png": (wide.convert("1"), {}, 2e-6),
        "palette.png": (flat, {"transparency": 0}, 2e-6),
        "gamma.png": (wide, {"pnginfo": gamma}, 2e-6),
        "lossless.webp": (wide, {"lossless": True}, 2e-6),
        "turned.png": (wide, {"exif": turned}, 2e-3),  # resized before it is turned, or after
        "clear.png": (clear, {}, 2e-3),
        "small.jpg": (photo(60, 80), {"quality": 95}, 0.01),
        "turned.jpg": (photo(80, 60), {"quality": 95, "exif": turned}, 0.01),
        "wide.jpg": (wide, {"quality": 90}, 0.03),
        "print.jpg": (wide.convert("CMYK"), {"quality": 95}, 0.05),
    }
    for name, (image, options, _) in made.items():
        image.save(folder / name, **options)
    return {folder / name: far for name, (*_, far) in made.items()}


@pytest.mark.faults
@needs_browser
@pytest.mark.parametrize(
    ("address", "side", "rule"),
    [("crop", 32, "crop"), ("squash", 48, "squash"), ("grey", 32, "crop")],
    indirect=["address"],
)
def test_the_page_answers_as_onnxruntime_does_on_the_pixels_of_training(
    opened: Visits, pages: dict[str, Path], tmp_path: Path, side: int, rule: Any, request: Any
) -> None:
    kind = request.node.callspec.params["address"]
    grey = kind == "grey"
    files = photos(tmp_path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((tmp_path / "small.jpg").read_bytes()[:200])
    page = opened()
    page.set_input_files("#files", [broken, *files])
    wait_for(page, len(files) + 1)
    failed, *rows = answers(page)
    assert (failed["path"], failed["predicted"]) == ("broken.jpg", "")
    assert "can't be read as an image" in failed["error"]
    assert page.inner_text("#status") == f"{len(files)} photos classified, 1 failed."
    for row, (path, far) in zip(rows, files.items(), strict=True):
        image_HWC = pixels(path, side, rule)
        if grey and image_HWC.shape[2] == 3:
            image_HWC = np.asarray(Image.fromarray(image_HWC).convert("L"))[:, :, None]
        if not grey and image_HWC.shape[2] == 1:
            image_HWC = image_HWC.repeat(3, axis=2)
        found = shares(row)
        expected = most_probable(of_onnxruntime(pages[kind].with_suffix(".onnx"), image_HWC))
        assert row["path"] == path.name
        assert row["predicted"] == next(iter(expected))
        if far < 0.01:
            assert list(found) == list(expected)
        assert found == pytest.approx(expected, abs=far), path.name


@pytest.fixture(scope="module")
def trained(pages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 steps on drawn images of 16 x 16."""
    tiny = {
        "epochs": 3, "train_limit": 200, "test_limit": 60, "image_size": 16, "width": 0.125,
        "batch_size": 64, "cutout": 4, "crop_padding": 2, "lr_max": 0.05, "lr_min": 0.005,
    }  # fmt: skip
    recipe = override(RECIPES["demo"].recipe, precision="fp32", **tiny)
    return train(recipe, runs=tmp_path_factory.mktemp("runs"), report=False).path


@pytest.mark.faults
@needs_browser
@pytest.mark.parametrize(("int8", "far"), [(False, 2e-6), (True, 2e-3)])
def test_the_page_of_an_exported_run_answers_as_onnxruntime_does(
    browser: Any, trained: Path, tmp_path: Path, int8: bool, far: float
) -> None:
    exported = onecycle.export(trained, int8=int8, allow_drop=100).path
    done = bundled(exported, tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    photo(640, 480).save(tmp_path / "photo.png")
    visits = Visits(browser, (tmp_path / "page.html").as_uri())
    page = visits()
    page.set_input_files("#files", tmp_path / "photo.png")
    wait_for(page, 1)
    (row,) = answers(page)
    expected, found = of_onnxruntime(exported, pixels(tmp_path / "photo.png", 16)), shares(row)
    assert found == pytest.approx({name: expected[name] for name in found}, abs=far)
    # Of two classes that are nearly equal, either may be the fifth: int8 is rounded by each CPU.
    assert min(found.values()) >= min(most_probable(expected).values()) - far
    assert page.inner_text("#title") == "demo on shapes"
    visits.close()
    assert visits.heard == [(tmp_path / "page.html").as_uri()]


@pytest.mark.faults
@needs_browser
@model("hostile")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_names_from_elsewhere_are_only_text(
    opened: Visits, tmp_path: Path, width: int, scheme: str
) -> None:
    file = tmp_path / f"<b>{'long name ' * 12}.png"
    photo(300, 200).save(file)
    (tmp_path / "broken.png").write_text("no image")
    page = opened(width=width, color_scheme=scheme)
    page.set_input_files("#files", [file, tmp_path / "broken.png"])
    wait_for(page, 2)
    for details in page.query_selector_all("details:not([open]) summary"):
        details.click()
    assert page.title() == "quick on </script><b>data: image classifier"
    assert page.query_selector_all("main b, h1 b, #photos img") == []
    shown = page.eval_on_selector_all("#classes li", "all => all.map(each => each.textContent)")
    assert shown == [name.replace("\u202e", "\\u202e") for name in HOSTILE]
    assert page_width(page) == width
    assert min(ratio for ratio, _ in page.evaluate(CONTRASTS)) >= 4.5
    row = answers(page)[0]
    assert row["path"] == file.name
    names = set(shares(row))
    assert names < {"'=1+1" if name == "=1+1" else name for name in shown}


@pytest.mark.faults
@needs_browser
@model("many")
def test_a_thousand_classes_are_folded(opened: Visits, tmp_path: Path) -> None:
    photo(300, 200).save(tmp_path / "photo.png")
    page = opened(width=390)
    assert page.inner_text("#lead").startswith("Image classifier with 1,000 classes")
    assert not page.is_visible("#classes")
    page.set_input_files("#files", tmp_path / "photo.png")
    wait_for(page, 1)
    assert len(page.query_selector_all(".photo ol li")) == 5
    page.click("#classes-summary")
    assert page.is_visible("text=class 999 of a thousand")
    assert page_width(page) == 390


DROPPED = """([type, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(bytes)], "given.png", { type: "image/png" }));
  const init = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
  const event = type === "paste" ? new ClipboardEvent(type, init) : new DragEvent(type, init);
  document.body.dispatchEvent(event);
  return event.defaultPrevented;
}"""


@pytest.mark.faults
@needs_browser
def test_photos_are_dropped_pasted_and_chosen_with_the_keyboard(
    opened: Visits, tmp_path: Path
) -> None:
    photo(300, 200).save(tmp_path / "photo.png")
    given = list((tmp_path / "photo.png").read_bytes())
    page = opened()
    assert page.evaluate(DROPPED, ["dragover", given])
    assert page.evaluate("document.body.className") == "dragging"
    assert page.evaluate(DROPPED, ["drop", given])
    assert page.evaluate("document.body.className") == ""
    page.evaluate(DROPPED, ["paste", given])
    # Heard all the time: a chooser that opens just before Playwright listens goes unnoticed.
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "photo.png"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    for photos, key in enumerate(("Space", "Enter"), start=3):  # the same photo again counts, too
        page.keyboard.press(key)
        wait_for(page, photos)
    rows = answers(page)
    assert [row.pop("path") for row in rows] == ["given.png"] * 2 + ["photo.png"] * 2
    assert rows == [rows[0]] * 4
    page.click("text=Remove all")
    assert page.query_selector_all(".photo") == []
    assert page.inner_text("#status") == "Ready."
    assert not page.is_visible("#save")


@pytest.mark.faults
@needs_browser
def test_the_page_keeps_the_licence_and_forbids_all_requests(
    browser: Any, pages: dict[str, Path]
) -> None:
    assert "Copyright (c) Microsoft Corporation" in pages["crop"].read_text("utf-8")[:500]
    visits = Visits(browser, pages["crop"].as_uri())
    page = visits()
    fetch = "fetch('https://example.org').then(() => 'answered', (error) => 'refused')"
    assert page.evaluate(fetch) == "refused"
    assert any("Content Security Policy" in line for line in visits.heard)
    visits.close()
