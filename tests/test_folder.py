"""Folders of images against plain Pillow, the cache, and every bad folder's one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onecycle.data import folder, load_splits
from onecycle.data.folder import workers
from onecycle.errors import InputError
from onecycle.progress import Progress

CLASSES = ("ant", "bee", "cat")


def paint(path: Path, seed: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels, mode=None).convert(mode).save(path)


@pytest.fixture
def split_folder(tmp_path: Path) -> Path:
    """train/ and test/ with three classes in several formats."""
    root = tmp_path / "Bilder mit Ümlaut"
    for number, (split, label) in enumerate(
        (split, label) for split in ("train", "test") for label in CLASSES
    ):
        for index, ending in enumerate(("png", "BMP", "jpg", "webp")):
            paint(root / split / label / f"{index}.{ending}", 10 * number + index)
    return root


def load(root: Path, tmp_path: Path, **options):
    return folder.load(root, cache_dir=tmp_path / "cache", **options)[:2]


def test_every_image_is_what_pillow_reads(split_folder, tmp_path):
    train, test = load(split_folder, tmp_path)
    assert train.classes == test.classes == CLASSES
    assert (len(train), len(test)) == (12, 12)
    for images in (train, test):
        for pixels, label, name in zip(
            images.images_NHWC, images.labels_N, images.names, strict=True
        ):
            with Image.open(split_folder / name) as image:
                assert np.array_equal(pixels, np.asarray(image.convert("RGB")))
            assert name.split("/")[1] == CLASSES[label]


def test_the_second_time_no_image_is_opened(split_folder, tmp_path, monkeypatch):
    first = load(split_folder, tmp_path)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    second = load(split_folder, tmp_path)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.images_NHWC, other.images_NHWC)
        assert one.names == other.names
    assert isinstance(second[0].images_NHWC, np.memmap)


def test_a_changed_file_is_decoded_anew(split_folder, tmp_path):
    load(split_folder, tmp_path)
    paint(split_folder / "train" / "ant" / "0.png", 999)
    train, _ = load(split_folder, tmp_path)
    with Image.open(split_folder / "train/ant/0.png") as image:
        assert np.array_equal(train.images_NHWC[0], np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("damage", ["truncate", "flip", "seal", "remove"])
def test_a_damaged_cache_is_rebuilt(split_folder, tmp_path, damage):
    before = np.array(load(split_folder, tmp_path)[0].images_NHWC)
    (cache,) = (tmp_path / "cache").iterdir()
    images = cache / "images.npy"
    content = bytearray(images.read_bytes())
    if damage == "truncate":
        images.write_bytes(content[:-5])
    elif damage == "flip":
        content[-1] ^= 1
        images.write_bytes(content)
    elif damage == "seal":
        (cache / "seal.json").write_text("{")
    else:
        images.unlink()
    assert np.array_equal(load(split_folder, tmp_path)[0].images_NHWC, before)


def test_worker_processes_decode_the_same(split_folder, tmp_path, monkeypatch):
    one = np.array(load(split_folder, tmp_path)[0].images_NHWC)
    monkeypatch.setattr(workers, "WORTH_FILES", 2)
    monkeypatch.setattr(workers, "CHUNK", 7)
    shutil.rmtree(tmp_path / "cache")
    several = load(split_folder, tmp_path)[0].images_NHWC
    assert np.array_equal(one, several)


def test_progress_counts_every_image(split_folder, tmp_path):
    class Counter(Progress):
        stages: dict[str, list[int]] = {}  # noqa: RUF012

        def start(self, title, total, unit="steps"):
            self.stages[title] = [total, 0]
            self.title = title

        def advance(self, count=1, **figures):
            self.stages[self.title][1] += count

    load(split_folder, tmp_path, progress=Counter())
    assert Counter.stages["decoding images"] == [24, 24]


def test_without_a_test_folder_a_seeded_fifth_of_each_class_is_set_aside(tmp_path):
    for label in CLASSES:
        for index in range(10):
            paint(tmp_path / "flat" / label / f"{index}.png", index)
    train, test = load(tmp_path / "flat", tmp_path)
    assert list(train.class_counts()) == [8, 8, 8]
    assert list(test.class_counts()) == [2, 2, 2]
    assert not set(train.names) & set(test.names)
    assert load(tmp_path / "flat", tmp_path)[1].names == test.names
    assert load(tmp_path / "flat", tmp_path, split_seed=1)[1].names != test.names


def test_grey_images_make_one_channel_and_a_single_coloured_one_makes_three(tmp_path):
    for label in CLASSES[:2]:
        for split in ("train", "test"):
            paint(tmp_path / "g" / split / label / "1.png", 1, mode="L")
    assert load(tmp_path / "g", tmp_path)[0].image_shape == (10, 12, 1)
    paint(tmp_path / "g" / "test" / "ant" / "2.png", 1)
    assert load(tmp_path / "g", tmp_path)[0].image_shape == (10, 12, 3)


def test_transparency_is_laid_on_white_rotation_applied_and_16_bit_scaled(tmp_path):
    root = tmp_path / "odd"
    for split in ("train", "test"):
        for label in ("a", "b"):
            paint(root / split / label / "plain.png", 3, (8, 8))
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    clear.save(root / "train" / "a" / "clear.png")
    turned = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("RGB")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "train" / "a" / "turned.png", exif=exif)
    deep = np.full((8, 8), 257 * 100, dtype=np.uint16)
    Image.fromarray(deep).save(root / "train" / "b" / "deep.png")
    train, _ = load(root, tmp_path)
    by_name = dict(zip(train.names, train.images_NHWC, strict=True))
    assert (by_name["train/a/clear.png"] == 255).all()
    expected = np.rot90(np.asarray(turned), -1)
    assert np.array_equal(by_name["train/a/turned.png"], expected)
    assert (by_name["train/b/deep.png"] == 100).all()


def test_image_size_cuts_the_middle_square_out_of_the_resized_image(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 200  # the middle square
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "w" / split / label).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / "w" / split / label / "1.png")
    train, _ = load(tmp_path / "w", tmp_path, image_size=8)
    assert train.image_shape == (8, 8, 3)
    assert (train.images_NHWC == 200).all()


def test_hidden_files_and_files_that_are_no_images_are_passed_over(split_folder, tmp_path):
    (split_folder / "train" / "ant" / "notes.txt").write_text("not an image")
    (split_folder / "train" / "ant" / ".hidden.png").write_bytes(b"junk")
    (split_folder / "train" / ".git").mkdir()
    assert len(load(split_folder, tmp_path)[0]) == 12


def bad_missing(root):
    shutil.rmtree(root)


def bad_empty(root):
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test")


def bad_class(root):
    for path in (root / "train" / "bee").iterdir():
        path.unlink()


def bad_all_classes(root):
    for path in (root / "train").glob("*/*"):
        path.unlink()


def bad_one_class(root):
    for split in ("train", "test"):
        shutil.rmtree(root / split / "bee")
        shutil.rmtree(root / split / "cat")


def bad_pair(root):
    (root / "test" / "cat").rename(root / "test" / "cow")


def bad_image(root):
    (root / "train" / "bee" / "0.png").write_bytes(b"this is no image")


def bad_half_image(root):
    path = root / "train" / "bee" / "2.jpg"
    path.write_bytes(path.read_bytes()[:150])


def bad_size(root):
    paint(root / "test" / "bee" / "0.png", 1, (9, 9))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bad_missing, "is not a folder; give a folder of class folders"),
        (bad_empty, "has no class folders; put images in"),
        (bad_class, "class 'bee' in .* without images; add some or remove the folder"),
        (bad_all_classes, "has class folders but no images in them"),
        (bad_one_class, "has the one class 'ant'; at least 2 are needed"),
        (bad_pair, "class 'cat' in train but not in test; both need the same"),
        (bad_image, r"can't read image 'train/bee/0.png': .*; repair or remove"),
        (bad_half_image, r"can't read image 'train/bee/2.jpg': .*; repair or remove"),
        (bad_size, r"'train/ant/0.png' is 12x10, 'test/bee/0.png' is 9x9; give --image-size"),
    ],
)
def test_a_bad_folder_is_refused_in_one_line_and_leaves_no_cache(
    split_folder, tmp_path, spoil, message
):
    spoil(split_folder)
    with pytest.raises(InputError, match=message) as error:
        load(split_folder, tmp_path)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").glob("*"))


def test_many_offenders_are_counted_and_the_first_three_named(split_folder, tmp_path):
    for index in range(5):
        (split_folder / "train" / "bee" / f"bad{index}.png").write_bytes(b"no")
    with pytest.raises(
        InputError, match=r"5 images \('train/bee/bad0.png', .*'train/bee/bad2.png', …\)"
    ):
        load(split_folder, tmp_path)


def test_a_single_file_per_class_cannot_be_split(tmp_path):
    for label in CLASSES:
        paint(tmp_path / "flat" / label / "1.png", 1)
    with pytest.raises(InputError, match="3 classes .* with a single image"):
        load(tmp_path / "flat", tmp_path)


def test_limits_are_stratified_exact_and_in_order(split_folder, tmp_path):
    splits = load_splits(
        str(split_folder), train_limit=7, test_limit=3, cache_dir=tmp_path / "cache"
    )
    assert len(splits.train) == 7
    assert set(splits.train.class_counts()) <= {2, 3}
    assert list(splits.test.class_counts()) == [1, 1, 1]
    assert list(splits.train.names) == sorted(splits.train.names)
    for limit, message in ((100, "more than the 12 images"), (2, "can't hold 3 classes")):
        with pytest.raises(InputError, match=message):
            load_splits(str(split_folder), train_limit=limit, cache_dir=tmp_path / "cache")
