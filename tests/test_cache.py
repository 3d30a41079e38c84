"""The cache: our entries, use, size limit, and killed or simultaneous processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from small_folders import Recorder, load, make_flat, paint

from onecycle.data import cache
from onecycle.errors import InputError
from onecycle.kernels import compiling

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or not any(map(shutil.which, compiling.COMPILERS)),
    reason="there is no C compiler",
)

DECODED = [f"folder-{index:032x}" for index in range(4)]


def make_set(place: Path, size: int = 1000, used: float = 0.0) -> Path:
    """A decoded set of about `size` bytes, used `age` seconds ago."""
    with cache.only_one(place, "making"), cache.making(place) as folder:
        np.save(folder / "images.npy", np.zeros(size, np.uint8))
        (folder / "about.json").write_text("{}")
    age(place / "seal.json", used)
    return place


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


# ------------------------------------------------------------------------------------ where it lies


def test_the_cache_is_in_the_documented_place(monkeypatch, tmp_path):
    assert cache.cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path / "own"))
    assert cache.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("ONECYCLE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "onecycle"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "onecycle"


# --------------------------------------------------------------------------------------------- sets


def test_without_a_home_directory_the_user_is_asked_for_a_folder(monkeypatch):
    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    for name in ("ONECYCLE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(InputError, match="no home directory .*; set ONECYCLE_CACHE to a folder"):
        cache.cache_folder()


def test_a_set_is_complete_or_absent(tmp_path):
    place = tmp_path / DECODED[0]
    names = ("images.npy", "about.json")
    assert not cache.is_whole(place, names)
    with pytest.raises(FileNotFoundError), cache.making(place) as folder:
        (folder / "in no folder" / "images.npy").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []
    make_set(place)
    assert cache.is_whole(place, names)
    assert not cache.is_whole(place, ("images.npy",))
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


@pytest.mark.parametrize("name", ["images.npy", "about.json", "seal.json"])
@pytest.mark.parametrize("how", ["a bit", "an end", "all", "content"])
def test_damage_is_detected(name, how, tmp_path):
    place = make_set(tmp_path / DECODED[0])
    path = place / name
    content = bytearray(path.read_bytes())
    if how == "all":
        path.unlink()
    elif how == "an end":
        path.write_bytes(content[:-1])
    elif how == "content":
        path.write_bytes(b"[1]")
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert not cache.is_whole(place, ("images.npy", "about.json"))


def test_opening_counts_as_using(tmp_path):
    place = make_set(tmp_path / DECODED[0], used=10_000)
    before = (place / "seal.json").stat().st_mtime
    assert cache.is_whole(place, ("images.npy", "about.json"))
    assert (place / "seal.json").stat().st_mtime > before + 5000


def test_remains_of_killed_attempts_are_removed_by_the_next(tmp_path):
    place = tmp_path / DECODED[0]
    remains = tmp_path / f"{place.name}.0123abcd.tmp"
    remains.mkdir()
    (remains / "images.npy").write_bytes(b"half")
    make_set(place)
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


# -------------------------------------------------------------------------------------------- clean

OTHERS = [
    "photo.png",
    "folder-1",
    "folder-" + "g" * 32,
    "folder-" + "0" * 33,
    "cifar10-0123",
    "cifar-10-python.tar.gz.bak",
    "cifar-10-binary.tar",
    "x.tmp",
    "kernels-0123.so",
    "kernels-" + "g" * 16 + ".so",
    "kernels-" + "0" * 16 + ".so.bak",
    "seal.json",
    ".hidden",
]


def test_clean_removes_all_of_our_entries_and_nothing_else(tmp_path):
    for name in OTHERS:
        (tmp_path / name).write_text("mine")
    lookalike = tmp_path / DECODED[3]
    lookalike.mkdir()
    (lookalike / "diary.txt").write_text("mine")
    elsewhere = paint(tmp_path / "elsewhere" / "a.png")
    (tmp_path / DECODED[2]).symlink_to(elsewhere.parent)
    theirs = sorted(path for path in tmp_path.rglob("*"))
    ours = [make_set(tmp_path / DECODED[0]), make_set(tmp_path / f"cifar10-{'0' * 16}")]
    size = sum(map(size_of, ours))
    for name in ("cifar-10-python.tar.gz", "cifar-100-binary.tar.gz.part"):
        (tmp_path / name).write_bytes(bytes(100))
    remains = tmp_path / f"{DECODED[1]}.0123abcd.tmp"
    remains.mkdir()
    (remains / "images.npy").write_bytes(bytes(50))
    (tmp_path / f"{DECODED[1]}.lock").touch()
    assert cache.clean(tmp_path) == cache.Cleaned(5, size + 250, 0)
    assert sorted(tmp_path.rglob("*")) == theirs
    assert cache.clean(tmp_path) == cache.Cleaned(0, 0, 0)


@needs_compiler
def test_clean_removes_compiled_kernels(tmp_path, monkeypatch):
    """Really compiled ones: open kernels go on working, and new ones are compiled again."""
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path))
    in_use = compiling.library(compiling.NORMS, "this cpu", "ELEMENT_FLOAT")
    (compiled,) = tmp_path.iterdir()
    shutil.copy(compiled, tmp_path / f"kernels-{'0' * 16}.so")  # of an older source, say
    size = size_of(tmp_path)
    assert cache.clean(keep_bytes=size) == cache.Cleaned(0, 0, size)
    assert cache.clean() == cache.Cleaned(2, size, 0)
    assert list(tmp_path.iterdir()) == []
    assert in_use.block_rows() == 512
    assert compiling.library(compiling.NORMS, "this cpu", "ELEMENT_FLOAT").block_rows() == 512


@pytest.mark.parametrize("end", ["tmp", "o"])
def test_kernels_that_are_being_compiled_stay(end, tmp_path):
    """Remains of a killed compilation are removed once older than any compiler's time limit."""
    path = tmp_path / f"kernels-{'0' * 16}.so.0123abcd.{end}"
    path.write_bytes(bytes(10))
    assert cache.clean(tmp_path) == cache.Cleaned(0, 0, 10)
    age(path, 3 * compiling.SECONDS)
    assert cache.clean(tmp_path) == cache.Cleaned(1, 10, 0)
    assert list(tmp_path.iterdir()) == []


def test_cleaning_needs_no_torch(tmp_path):
    code = (
        "import sys; from onecycle.cli import main; main(['data', '--clean']); "
        "print('torch' in sys.modules)"
    )
    (tmp_path / f"kernels-{'0' * 16}.so").write_bytes(bytes(10))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60,
        env=os.environ | {"ONECYCLE_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == "1 entry removed, 10 B freed, 0 B kept\nFalse\n"


def test_cleaning_a_missing_cache_does_nothing(tmp_path, monkeypatch):
    assert cache.clean(tmp_path / "nowhere") == cache.Cleaned(0, 0, 0)
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path))
    make_set(tmp_path / DECODED[0])
    assert cache.clean().removed == 1


@given(
    sizes=st.lists(st.integers(0, 3000), max_size=4),
    order=st.permutations(range(4)),
    keep=st.integers(0, 9000),
)
def test_the_least_recently_used_entries_are_removed_until_the_rest_fits(
    sizes, order, keep, tmp_path_factory
):
    """Against the definition: the most recently used entries that fit stay."""
    folder = tmp_path_factory.mktemp("cache")
    places = {}
    for rank, name, size in zip(order, DECODED, sizes, strict=False):
        places[rank] = make_set(folder / name, size, used=1000 * rank)
    sizes_of = {rank: size_of(place) for rank, place in places.items()}
    cleaned = cache.clean(folder, keep_bytes=keep)
    stay: list[int] = []
    for rank in sorted(places):
        if sum(sizes_of[each] for each in [*stay, rank]) > keep:
            break
        stay.append(rank)
    assert {rank for rank, place in places.items() if place.exists()} == set(stay)
    assert cleaned.removed == len(places) - len(stay)
    assert cleaned.kept_bytes == sum(sizes_of[rank] for rank in stay) == size_of(folder)
    assert cleaned.freed_bytes == sum(sizes_of.values()) - cleaned.kept_bytes


@pytest.mark.parametrize(
    ("entry", "lock"),
    [
        (DECODED[0], f"{DECODED[0]}.lock"),
        (f"{DECODED[0]}.0123abcd.tmp", f"{DECODED[0]}.lock"),
        ("cifar-10-python.tar.gz.part", "cifar-10-python.tar.gz.lock"),
    ],
)
def test_what_another_process_works_on_stays(entry, lock, tmp_path):
    path = tmp_path / entry
    if "tar" in entry:
        path.write_bytes(bytes(10))
    else:
        path.mkdir()
        (path / "images.npy").write_bytes(bytes(10))
    with FileLock(tmp_path / lock):
        assert cache.clean(tmp_path) == cache.Cleaned(0, 0, 10)
        assert path.exists()
    assert cache.clean(tmp_path) == cache.Cleaned(1, 10, 0)
    assert not path.exists()


def test_images_in_use_survive_their_removal(tmp_path):
    root = make_flat(tmp_path / "photos")
    for split in ("train", "test"):
        make_flat(tmp_path / "split" / split)
    train, _ = load(tmp_path / "split", tmp_path / "cache")
    before = np.array(train.images_NHWC)
    assert cache.clean(tmp_path / "cache").removed == 1
    assert np.array_equal(train.images_NHWC, before)
    load(root, tmp_path / "cache")


# -------------------------------------------------------------------------------------------- limit


@pytest.mark.parametrize(
    ("given_", "limit"),
    [("", 10 * 10**9), ("10", 10 * 10**9), (" 0.5 ", 5 * 10**8), ("0", 0), ("2.", 2 * 10**9)],
)
def test_the_limit_is_in_gigabytes(given_, limit, monkeypatch):
    monkeypatch.setenv(cache.LIMIT, given_)
    assert cache.limit_bytes() == limit


@pytest.mark.parametrize("given_", ["-1", "nan", "inf", "1e3", "10 GB", "٣", "1,5", "9" * 20])
def test_a_limit_that_is_not_a_number_is_refused(given_, monkeypatch):
    monkeypatch.setenv(cache.LIMIT, given_)
    with pytest.raises(InputError, match="ONECYCLE_CACHE_LIMIT: '.*' is not a number of gigabytes"):
        cache.limit_bytes()


def test_decoded_folders_stay_below_the_limit_and_the_newest_always_stays(tmp_path, monkeypatch):
    kept = tmp_path / "cache"
    other = make_set(kept / f"cifar10-{'0' * 16}", 5000, used=10**6)
    (kept / "cifar-10-python.tar.gz").write_bytes(bytes(5000))
    roots = [make_flat(tmp_path / f"photos {index}") for index in range(4)]
    load(roots[0], kept)
    (first,) = kept.glob("folder-*")
    monkeypatch.setenv(cache.LIMIT, f"{2.5 * size_of(first) / 10**9:.9f}")
    age(first / "seal.json", 100)
    load(roots[1], kept)
    (second,) = set(kept.glob("folder-*")) - {first}
    age(second / "seal.json", 200)
    load(roots[1], kept)  # used again
    load(roots[2], kept)
    assert second.exists()
    assert not first.exists()
    monkeypatch.setenv(cache.LIMIT, "0")
    load(roots[3], kept)
    assert len(list(kept.glob("folder-*"))) == 1
    assert other.exists()
    assert (kept / "cifar-10-python.tar.gz").exists()


# -------------------------------------------------------------------------------- several processes

SCRIPT = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from onecycle.data import folder
from onecycle.data.folder import kept, workers
if "slow" in sys.argv:
    before = workers.do
    def slow(*words):
        Path(sys.argv[2], "begun").touch()
        while not Path(sys.argv[2], "go on").exists():
            time.sleep(0.05)
        return before(*words)
    workers.do = slow
class Say(folder.Progress):
    def note(self, line): print(line, flush=True)
train, test, *_ = folder.load(sys.argv[1], cache_dir=Path(sys.argv[2]), progress=Say())
print(len(train), len(test), int(train.images_NHWC.sum()))
"""


def started(root: Path, kept: Path, *words: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", SCRIPT, str(root), str(kept), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(line, text=True, **pipes)


def wait_for(path: Path) -> None:
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


def test_of_two_processes_one_decodes_and_the_other_waits(tmp_path):
    root, kept = make_flat(tmp_path / "photos"), tmp_path / "cache"
    first = started(root, kept, "slow")
    wait_for(kept / "begun")
    second = started(root, kept)
    assert second.stdout
    assert second.stdout.readline().startswith("another process is decoding folder-")
    (kept / "go on").touch()
    answers = [process.communicate(timeout=120)[0].splitlines() for process in (first, second)]
    assert answers[0][0].startswith("decoded 15 images in ")
    assert answers[1] == answers[0][-1:]
    assert len(list(kept.iterdir())) == 1 + len(["begun", "go on"])


def test_remains_of_a_killed_process_are_removed(tmp_path):
    root, kept = make_flat(tmp_path / "photos"), tmp_path / "cache"
    process = started(root, kept, "slow")
    wait_for(kept / "begun")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert list(kept.glob("*.tmp"))
    make_flat(tmp_path / "others", 3)
    recorder = Recorder()
    load(tmp_path / "others", kept, progress=recorder)  # another set's remains go too
    assert not list(kept.glob("*.tmp"))
    assert not list(kept.glob("*.lock"))
    load(root, kept)
    assert len(list(kept.glob("folder-*"))) == 2


def test_ctrl_c_leaves_nothing(tmp_path):
    root, kept = make_flat(tmp_path / "photos"), tmp_path / "cache"
    process = started(root, kept, "slow")
    wait_for(kept / "begun")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGKILL)
    assert [path.name for path in kept.iterdir()] == ["begun"]
