"""Folders of images against plain Pillow: classes, splits, what is left out, workers."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_folders import CLASSES, Recorder, by_name, left_out, load, make_flat, make_split, paint

from onecycle.cli import main
from onecycle.config import Recipe
from onecycle.data import LeftOut, folder, load_splits
from onecycle.data.folder import kept, workers
from onecycle.data.image_set import MOST_NAMED, BadImage
from onecycle.errors import InputError
from onecycle.training import train


@pytest.fixture
def split_folder(tmp_path: Path) -> Path:
    """train/ and test/ with three classes in several formats."""
    return make_split(tmp_path / "Bilder mit Ümlaut")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_every_image_equals_what_pillow_reads(split_folder, tmp_path, cache):
    train, test = load(split_folder, cache)
    assert train.classes == test.classes == CLASSES
    assert (len(train), len(test)) == (12, 12)
    for images in (train, test):
        for pixels, label, name in zip(
            images.images_NHWC, images.labels_N, images.names, strict=True
        ):
            with Image.open(split_folder / name) as image:
                assert np.array_equal(pixels, np.asarray(image.convert("RGB")))
            assert name.split("/")[1] == CLASSES[label]


def test_the_second_time_no_image_is_opened(split_folder, tmp_path, cache, monkeypatch):
    first = load(split_folder, cache)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    second = load(split_folder, cache)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.images_NHWC, other.images_NHWC)
        assert one.names == other.names
    assert isinstance(second[0].images_NHWC, np.memmap)


def test_a_changed_file_is_decoded_again(split_folder, tmp_path, cache):
    load(split_folder, cache)
    paint(split_folder / "train" / "ant" / "0.png", 999)
    train, _ = load(split_folder, cache)
    with Image.open(split_folder / "train/ant/0.png") as image:
        assert np.array_equal(train.images_NHWC[0], np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("damage", ["truncate", "flip", "seal", "remove"])
def test_a_damaged_cache_is_rebuilt(split_folder, tmp_path, cache, damage):
    before = np.array(load(split_folder, cache)[0].images_NHWC)
    (cache,) = (cache).iterdir()
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
    assert np.array_equal(load(split_folder, cache)[0].images_NHWC, before)


def test_without_a_test_folder_a_seeded_fifth_of_each_class_is_held_out(tmp_path, cache):
    for label in CLASSES:
        for index in range(10):
            paint(tmp_path / "flat" / label / f"{index}.png", index)
    train, test = load(tmp_path / "flat", cache)
    assert list(train.class_counts()) == [8, 8, 8]
    assert list(test.class_counts()) == [2, 2, 2]
    assert not set(train.names) & set(test.names)
    assert load(tmp_path / "flat", cache)[1].names == test.names
    assert load(tmp_path / "flat", cache, split_seed=1)[1].names != test.names


def test_grey_images_have_one_channel_and_a_single_coloured_one_makes_it_three(tmp_path, cache):
    for label in CLASSES[:2]:
        for split in ("train", "test"):
            paint(tmp_path / "g" / split / label / "1.png", 1, mode="L")
    assert load(tmp_path / "g", cache)[0].image_shape == (10, 12, 1)
    paint(tmp_path / "g" / "test" / "ant" / "2.png", 1)
    assert load(tmp_path / "g", cache)[0].image_shape == (10, 12, 3)


def test_limits_are_stratified_exact_and_in_order(split_folder, tmp_path, cache):
    splits = load_splits(str(split_folder), train_limit=7, test_limit=3, cache_dir=cache)
    assert len(splits.train) == 7
    assert set(splits.train.class_counts()) <= {2, 3}
    assert list(splits.test.class_counts()) == [1, 1, 1]
    assert list(splits.train.names) == sorted(splits.train.names)
    for limit, message in ((100, "more than the 12 images"), (2, "can't hold 3 classes")):
        with pytest.raises(InputError, match=message):
            load_splits(str(split_folder), train_limit=limit, cache_dir=cache)


# -------------------------------------------------------------------------------------- the listing


def test_folders_in_classes_links_and_extensions_in_capitals_are_read(tmp_path, cache):
    root = make_flat(tmp_path / "photos", 2)
    paint(root / "ant" / "2021" / "May" / "a.PNG", 50)
    paint(root / "ant" / "2021" / "b.Jpg", 51)
    paint(tmp_path / "elsewhere" / "c.png", 52)
    (root / "bee" / "link").symlink_to(tmp_path / "elsewhere")
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    paint(tmp_path / "elsewhere" / "d.png", 53)
    (root / "cat" / "e.png").symlink_to(tmp_path / "elsewhere" / "d.png")
    sets = load(root, cache)
    names = sorted(name for images in sets for name in images.names if name[-5] not in "01")
    assert names == [
        "ant/2021/May/a.PNG",
        "ant/2021/b.Jpg",
        "bee/link/c.png",
        "bee/link/d.png",
        "cat/e.png",
        "dog/c.png",
        "dog/d.png",
    ]
    for name, image in by_name(*sets).items():
        with Image.open(root / name) as opened:
            assert np.array_equal(image, np.asarray(opened.convert("RGB")))


def test_links_in_a_circle_end(tmp_path, cache):
    root = make_flat(tmp_path / "photos", 2)
    (root / "ant" / "self").symlink_to(root / "ant")
    (root / "ant" / "up").symlink_to(root)
    (root / "ant" / "itself").symlink_to("itself")
    (root / "bee" / "gone.png").symlink_to("nowhere.png")
    (root / "cat" / "inner").mkdir()
    (root / "cat" / "one").symlink_to("inner")
    paint(root / "cat" / "inner" / "x.png", 9)
    sets = load(root, cache)
    found = left_out(root, cache)
    assert sum(map(len, sets)) == 7 + 2 + 3  # by its link up, ant has the others' images too
    assert (found.dead_links, found.repeated_folders) == (3, 4)


def test_skipped_entries_are_counted_reported_and_returned(tmp_path, cache):
    root = make_split(tmp_path / "photos", ["png"])
    for name in ("train/ant/.hidden.png", "train/.git/x.png", "__MACOSX/x.png", ".DS_Store"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no image")
    for name in ("train/ant/notes.txt", "train/a.txt", "test/cat/LICENSE", "readme.md", "x.TXT"):
        (root / name).write_bytes(b"no image")
    os.mkfifo(root / "train" / "ant" / "pipe.png")
    (root / "train" / "cat" / "gone.png").symlink_to("nowhere")
    for name in ("loose.png", "train/loose.jpg"):
        paint(root / name)
    paint(root / "extra" / "ant" / "1.png")
    expected = LeftOut(
        hidden_files=3,
        hidden_folders=1,
        hidden_folder_names=(".git",),
        system_entries=1,
        system_names=("__MACOSX",),
        other_files=6,
        other_endings=(".txt", ".md", ".png"),
        dead_links=1,
        stray_images=2,
        other_folders=1,
        other_folder_names=("extra",),
    )
    for _ in range(2):  # decoded, then from the cache
        recorder = Recorder()
        assert left_out(root, cache, progress=recorder) == expected
        assert recorder.notes[-1] == (
            "data: left out: 2 hidden files, 1 hidden folder (.git), 1 folder or file of the "
            "system (__MACOSX), 6 other files (.txt, .md, .png), 1 dead link, 2 images outside the "
            "class folders, 1 folder next to the splits (extra)"
        )
    splits = load_splits(str(root), cache_dir=cache)
    assert splits.left_out == expected
    assert splits.left_out.to_json()["hidden_files"] == 3


@pytest.mark.parametrize("split", [False, True])
def test_folders_of_runs_among_the_images_are_left_out_and_named(split, tmp_path, cache):
    """Wherever they were made: beside the classes, beside the splits, or in a class."""
    root = tmp_path / "photos"
    for name in ("train", "test") if split else (".",):
        make_flat(root / name, 6)
    before = load(root, cache)
    first = root / ("train/ant" if split else "ant")
    for marks in ("runs/a recipe.toml environment.json", "trials/b trials.json",
                  "sweeps/c sweep.json", "one recipe.toml environment.json"):  # fmt: skip
        folder, *names = marks.split()
        for above in (root, first):
            paint(above / folder / "plots" / "curves.png", 1)
            for mark in names:
                (above / folder / mark).write_text("{}")
    assert [part.names for part in load(root, cache)] == [part.names for part in before]
    found = left_out(root, cache)
    assert found.run_folders == 8
    assert set(found.run_folder_names) == {"runs", "trials", "sweeps", "one"}
    told = Recorder()
    load(root, cache, progress=told)
    assert any("8 folders of runs (" in note for note in told.notes)


def test_a_class_may_look_a_little_like_a_run(tmp_path, cache):
    root = tmp_path / "photos"
    make_flat(root, 6, ("runs", "trials"))
    (root / "runs" / "recipe.toml").write_text("")
    paint(root / "trials" / "more" / "x.png", 1)
    paint(root / "trials" / "again" / "y.png", 1)
    (root / "trials" / "again" / "trials.json").write_text("{}")
    found = left_out(root, cache)
    assert found.run_folder_names == ("again",)
    assert sum(len(part) for part in load(root, cache)) == 13


SYSTEMS = [
    "@eaDir", "@EADIR", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@tmp",
    "$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER", "System Volume Information", "lost+found",
    "__MACOSX", "__pycache__", "SYNOPHOTO_THUMB_XL.png", "SYNOPHOTO:THUMB_M.png", "FOUND.000",
    "a.png@SynoEAStream", "Thumbs.db", "thumbs.db", "ehthumbs.db", "desktop.ini",
]  # fmt: skip
DOTTED = [
    ".@__thumb", ".ipynb_checkpoints", ".git", ".AppleDouble", ".Trashes", ".thumbnails",
    ".Spotlight-V100", ".fseventsd", ".picasaoriginals", ".stversions", "._a.png",
]  # fmt: skip


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize("place", ["", "ant", "ant/2021"])
def test_system_entries_are_skipped_at_any_depth_and_named(place, as_file, tmp_path, cache):
    root = make_flat(tmp_path / "photos", 2)
    before = by_name(*load(root, cache)).keys()
    for name in SYSTEMS + DOTTED:
        path = root / place / name
        if as_file:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
        else:
            paint(path / "x" / "0.png")
            paint(path / "1.png")
    recorder = Recorder()
    found = left_out(root, cache, progress=recorder)
    assert by_name(*load(root, cache)).keys() == before
    assert found.system_entries == len(SYSTEMS)
    assert found.system_names == tuple(sorted(SYSTEMS)[:5])
    assert found.hidden_files == len(DOTTED)
    assert found.hidden_folders == (0 if as_file else len(DOTTED))
    assert not found.stray_images
    assert f"{len(SYSTEMS)} folders or files of the system (#recycle, " in recorder.notes[-1]


@pytest.mark.parametrize(
    "label", ["@home", "#1 dad", "$100", "lost", "found", "recycled", "thumbs", "SYNO", "eaDir",
              "lost+found 2", "_", "__", "~", "RECYCLE.BIN", "desktop"]
)  # fmt: skip
def test_a_class_with_a_similar_beginning_stays_a_class(label, tmp_path, cache):
    root = make_flat(tmp_path / "photos", 2, ("ant", label))
    assert set(load(root, cache)[0].classes) == {"ant", label}


def test_a_class_whose_name_begins_with_a_dot_is_named_if_it_is_missing(tmp_path, cache):
    root = make_flat(tmp_path / "photos", 2, ("ant", "bee", ".net"))
    recorder = Recorder()
    load(root, cache, progress=recorder)
    assert "1 hidden folder (.net)" in recorder.notes[-1]
    alone = make_flat(tmp_path / "alone", 2, ("java", ".net"))
    with pytest.raises(InputError, match=r"only the class 'java' \(skipped: .net\)"):
        load(alone, cache)


def test_without_anything_left_out_there_is_no_note(split_folder, cache):
    recorder = Recorder()
    assert not left_out(split_folder, cache, progress=recorder)
    assert len(recorder.notes) == 1
    assert recorder.notes[0].startswith("decoded 24 images in ")
    assert recorder.notes[0].endswith(" images/s")
    assert recorder.stages["decoding images"] == [24, 24]


def test_classes_that_differ_in_case_or_accents_only_stay_apart(tmp_path, cache):
    labels = ("ant", "Ant", "f\u00e9e", "fe\u0301e")
    root = make_flat(tmp_path / "photos", 2, labels)
    assert load(root, cache)[0].classes == tuple(sorted(labels))


ODD = [
    "a\nb",
    " a ",
    "'",
    '"',
    "\\",
    "%s {x} $",
    "\u202e",
    "猫",
    os.fsdecode(b"caf\xe9"),
    "-rf",
    "a" * 200,
]


def test_odd_names_work_up_to_a_finished_run(tmp_path, capsys):
    """In training, its files and its report; names come back unchanged."""
    root = tmp_path / "photos"
    for number, label in enumerate(ODD[:-1]):
        for split in ("train", "test"):
            for index, name in enumerate((label, ODD[-1])):
                paint(root / split / label / f"{name}.png", 9 * number + index, (8, 8))
        (root / "train" / label / f"{label}.gif").write_bytes(b"no image")
    settings = {"epochs": 1, "batch_size": 10, "width": 0.05, "lr_max": 0.01, "lr_min": 0.001}
    recipe = Recipe(data=str(root), on_bad_image="skip", cutout=2, device="cpu", **settings)
    run = train(recipe, runs=tmp_path / "runs")
    with np.load(run.path / "predictions.npz") as arrays:
        assert arrays["classes"].tolist() == sorted(ODD[:-1])
        assert f"test/{ODD[8]}/{ODD[8]}.png" in arrays["names"].tolist()
    values = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))[
        "data_left_out"
    ]
    assert values["bad_image_count"] == len(ODD) - 1
    assert {image["name"] for image in values["bad_images"]} == {
        f"train/{label}/{label}.gif" for label in ODD[:-1]
    }
    assert main(["data", str(root), "--on-bad-image", "skip", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["classes"]) == len(ODD) - 1
    assert main(["data", str(root)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("onecycle: error: data: can't read 10 images (")


# --------------------------------------------------------------------------------------- bad images


def spoil(root: Path, *names: str) -> None:
    for name in names:
        (root / name).write_bytes(b"no image")


@pytest.mark.parametrize("in_processes", [False, True])
def test_bad_images_are_skipped_and_reported_also_from_the_cache(
    split_folder, cache, monkeypatch, in_processes
):
    if in_processes:
        monkeypatch.setattr(workers, "WORTH_FILES", 2)
        monkeypatch.setattr(workers, "CHUNK", 5)
        monkeypatch.setattr(workers, "cores", lambda: 2)
    whole = by_name(*load(split_folder, cache))
    bad = ["train/ant/0.png", "train/cat/3.webp", "test/ant/0.png"]
    spoil(split_folder, *bad)
    with pytest.raises(InputError, match=r"3 images \('train/ant/0.png', .*--on-bad-image skip"):
        load(split_folder, cache)
    for _ in range(2):
        recorder = Recorder()
        train_, test, _, found, _ = folder.load(
            split_folder, on_bad_image="skip", cache_dir=cache, progress=recorder
        )
        assert found.bad_images == tuple(
            BadImage(name, "not an image in a known format") for name in bad
        )
        assert (len(train_), len(test)) == (10, 11)
        rest = by_name(train_, test)
        assert set(rest) == set(whole) - set(bad)
        assert all(np.array_equal(image, whole[name]) for name, image in rest.items())
        assert recorder.notes[-1] == (
            "data: left out: 3 unreadable images ('train/ant/0.png', 'train/cat/3.webp', "
            "'test/ant/0.png'): not an image in a known format"
        )
        monkeypatch.setattr(kept, "decode", lambda *_: pytest.fail("it was decoded again"))


def test_the_first_hundred_of_many_bad_images_are_in_the_json():
    many = tuple(BadImage(f"{index}.png", "no") for index in range(250))
    values = LeftOut(bad_images=many).to_json()
    assert values["bad_image_count"] == 250
    assert values["bad_images"] == [
        {"name": f"{index}.png", "reason": "no"} for index in range(MOST_NAMED)
    ]
    json.dumps(values)
    assert not LeftOut()
    assert LeftOut(bad_images=many)


def test_a_bad_first_image_does_not_set_the_size(tmp_path, cache):
    root = make_flat(tmp_path / "photos", 4)
    spoil(root, "ant/0.png")
    assert load(root, cache, on_bad_image="skip")[0].image_shape == (10, 12, 3)


# ------------------------------------------------------------------------------- sizes and channels


def test_resize_and_image_size_reach_every_image(split_folder, cache):
    for resize, box in (("crop", (1, 0, 11, 10)), ("squash", None)):
        splits = load_splits(str(split_folder), image_size=8, resize=resize, cache_dir=cache)
        for name, found in by_name(splits.train, splits.test).items():
            with Image.open(split_folder / name) as image:
                scaled = image.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR, box=box)
            assert np.array_equal(found, np.asarray(scaled))
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    ("size", "mode", "shape"), [((28, 28), "L", (28, 28, 1)), ((64, 64), "RGB", (64, 64, 3))]
)
def test_digits_and_larger_images_are_loaded_as_they_are(size, mode, shape, tmp_path, cache):
    for split in ("train", "test"):
        for label in "0123456789":
            for index in range(3):
                paint(tmp_path / "set" / split / label / f"{index}.png", index, size, mode)
    train_, test = load(tmp_path / "set", cache)
    assert train_.image_shape == test.image_shape == shape
    for name, image in by_name(train_, test).items():
        with Image.open(tmp_path / "set" / name) as opened:
            assert np.array_equal(image.squeeze(), np.asarray(opened))


def test_a_colour_after_many_greys_makes_all_have_three_channels(tmp_path, cache, monkeypatch):
    root = make_flat(tmp_path / "photos", 0, ())
    for label in ("ant", "bee"):
        for index in range(30):
            paint(root / label / f"{index:02d}.png", index, mode="L")
    paint(root / "bee" / "28.png", 7)
    monkeypatch.setattr(kept, "SAMPLED", 2)
    sets = load(root, cache)
    assert sets[0].image_shape == (10, 12, 3)
    for name, image in by_name(*sets).items():
        with Image.open(root / name) as opened:
            assert np.array_equal(image, np.asarray(opened.convert("RGB")))


# ---------------------------------------------------------------------------------------- the cache


@pytest.mark.parametrize("change", ["size", "resize", "bad", "file", "time", "more", "moved"])
def test_a_new_set_is_made_when_anything_changes(change, split_folder, cache):
    load(split_folder, cache)
    (first,) = cache.iterdir()
    file = split_folder / "train" / "ant" / "0.png"
    options: dict[str, object] = {}
    if change == "file":  # of the same size and time of content
        before = file.stat()
        file.write_bytes(bytes(before.st_size))
        paint(file, 0)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "time":
        os.utime(file, (1, 1))
    elif change == "more":
        paint(split_folder / "test" / "bee" / "9.png")
    elif change == "moved":
        split_folder = split_folder.rename(split_folder.with_name("elsewhere"))
    else:
        options = {"size": {"image_size": 8}, "resize": {"resize": "squash"}}.get(
            change, {"on_bad_image": "skip"}
        )
    load(split_folder, cache, **options)
    assert len(list(cache.iterdir())) == 2
    assert first.exists()


# ------------------------------------------------------------------------------------------ workers


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use two processes even for few images."""
    monkeypatch.setattr(workers, "WORTH_FILES", 2)
    monkeypatch.setattr(workers, "CHUNK", 7)
    monkeypatch.setattr(workers, "cores", lambda: 2)


def test_worker_processes_decode_the_same(split_folder, cache, tmp_path, eager, monkeypatch):
    several = load(split_folder, cache)
    monkeypatch.setattr(workers, "WORTH_FILES", 10**9)
    one = load(split_folder, tmp_path / "another")
    for first, second in zip(one, several, strict=True):
        assert np.array_equal(first.images_NHWC, second.images_NHWC)


def test_without_a_python_to_start_it_decodes_in_this_process(
    split_folder, cache, eager, monkeypatch
):
    for executable in ("/nowhere/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", executable)
        assert len(load(split_folder, cache / executable[1:4])[0]) == 12


@pytest.mark.faults
@pytest.mark.parametrize("how", ["signal 9", "exit code 3"])
def test_an_image_that_ends_its_process_is_identified_and_reported(
    how, split_folder, cache, eager, monkeypatch
):
    """A bug in an image library, or the system's memory killer, costs one image only."""
    end = "os.kill(os.getpid(), 9)" if "signal" in how else "os._exit(3)"
    monkeypatch.setattr(
        workers,
        "_BOOT",
        "import json, os, sys; sys.path[:] = json.loads(sys.stdin.readline()); "
        "from onecycle.data.folder import workers; before = workers.pixels\n"
        "def spoiled(path, *more):\n"
        f"    if path.endswith('bee/2.jpg'): {end}\n"
        "    return before(path, *more)\n"
        "workers.pixels = spoiled; workers.serve()",
    )
    found = left_out(split_folder, cache, on_bad_image="skip")
    assert [(image.name, image.reason) for image in found.bad_images] == [
        (f"{split}/bee/2.jpg", f"decoding it ended the process ({how})")
        for split in ("train", "test")
    ]
    with pytest.raises(InputError, match="can't read 2 images .*ended the process"):
        load(split_folder, cache)


def test_pixels_that_cannot_be_written_are_reported(split_folder, cache, monkeypatch):
    answer = workers.Answer(failure="No space left on device")
    monkeypatch.setattr(workers, "do", lambda *_: answer)
    with pytest.raises(InputError, match="can't write the cache in .*: No space left on device"):
        load(split_folder, cache)
    assert list(cache.iterdir()) == []


SCRIPT = """
import os
from onecycle.data import folder
from onecycle.data.folder import workers
workers.WORTH_FILES = 2
workers.CHUNK = 3
workers.cores = lambda: 2
{more}
train, test, *_ = folder.load({root!r}, cache_dir={cache!r})
print([len(train), len(test)])
"""


def test_a_script_needs_no_main_guard(split_folder, cache):
    """Unlike multiprocessing's, workers don't import the program that starts them."""
    script = split_folder.parent / "script.py"
    text = SCRIPT.format(root=str(split_folder), cache=str(cache), more="from pathlib import Path")
    script.write_text(
        text.replace("cache_dir=", "cache_dir=Path(").replace(")\nprint", "))\nprint")
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == [12, 12]
    assert done.stderr == ""


def test_workers_end_with_the_process_that_started_them(split_folder, cache):
    """Also if it is killed and can't notify them."""
    more = """
from pathlib import Path
before = workers._exchange
def stuck(process, question):
    import os, time
    os.write(1, " ".join(str(worker.pid) for worker in pool).encode() + bytes([10]))  # one piece
    time.sleep(600)
pool = []
start = workers.Workers._start
def noted(self):
    pool.append(start(self)); return pool[-1]
workers.Workers._start = noted
workers._exchange = stuck
"""
    text = SCRIPT.format(root=str(split_folder), cache=str(cache), more=more)
    text = text.replace("cache_dir=", "cache_dir=Path(").replace(")\nprint", "))\nprint")
    with subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        process.kill()
    pids = [int(word) for word in line.split()]
    assert len(pids) == 2
    for pid in pids:
        wait_until_gone(pid)


def wait_until_gone(pid: int) -> None:
    import time

    for _ in range(600):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("a worker lives on")


def test_cores_are_those_available_to_the_process(monkeypatch):
    assert workers.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert workers.cores() == os.cpu_count()
