"""Hostile and damaged files in CIFAR's formats run nothing, write nothing and don't hang."""

import gzip
import io
import os
import pickle
import re
import stat
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fuzzing import EDITS, FUZZ, edited, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cifar import (
    Made,
    add,
    check,
    load,
    make,
    md5,
    measured,
    python2_pickle,
    refusal,
)
from test_cifar import BAD

from onecycle.data import cifar
from onecycle.data.cifar import (
    CIFAR10,
    batches,
    containers,
    pickles,
)

# -------------------------------------------------------------------------------- hostile pickles


def command(path: Path, how: str) -> bytes:
    """A pickle that makes a shell create a file, in several dialects."""
    line = f"touch {path}".encode()
    return {
        "a command, by GLOBAL": b"cos\nsystem\n(S'" + line + b"'\ntR.",
        "a command, by STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93\x8c"
        + bytes([len(line)])
        + line
        + b"\x85R.",
        "a command, by INST": b"(S'" + line + b"'\nios\nsystem\n.",
        "a command, by OBJ": b"(cos\nsystem\nS'" + line + b"'\no.",
        "a command, by NEWOBJ": b"csubprocess\nPopen\n(S'" + line + b"'\nNNNNNNNI01\nt\x81.",
        "a command, by eval": b'cbuiltins\neval\n(S\'__import__("os").system("'
        + line
        + b"\")'\ntR.",
        "a command, by Python 2": b'c__builtin__\neval\n(S\'__import__("os").system("'
        + line
        + b"\")'\ntR.",
        "a command, by memo": b"Vos\np0\nVsystem\np1\ng0\ng1\n\x93(S'" + line + b"'\ntR.",
    }[how]


DIALECTS = [
    f"a command, by {how}"
    for how in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "eval", "Python 2", "memo")
]


@pytest.mark.parametrize("how", DIALECTS)
def test_a_pickle_with_a_command_runs_nothing_and_is_named(how, tmp_path):
    marker = tmp_path / "marker"
    content = command(marker, how)
    made = make(CIFAR10).with_contents(data_batch_3=content)
    line = refusal(made.tar(tmp_path / "a"), made)
    assert "data_batch_3 in " in line
    assert ("it could run code" in line) or ("has the instruction" in line)
    assert not marker.exists()


@pytest.mark.parametrize("how", [how for how in DIALECTS if "NEWOBJ" not in how])
def test_the_hostile_pickles_above_are_hostile(how, tmp_path):
    """Python's own unpickler obeys them, so the test above is meaningful."""
    pickle.loads(command(tmp_path / "marker", how))
    assert (tmp_path / "marker").exists()


ADMITTED = [("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")] + [
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(("numpy", name) for name in ("load", "ndarray.tofile", "memmap", "DataSource")),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "scalar"),
        ("_codecs", "decode"),
        ("codecs", "encode"),
        ("builtins", "getattr"),
        ("builtins", "bytearray"),
        ("copyreg", "_reconstructor"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("numpy.testing._private.utils", "runstring"),
    ],
)
def test_no_other_name_is_permitted(module, name):
    content = f"c{module}\n{name}\n.".encode()
    with pytest.raises(pickles.UnreadablePickle, match="it could run code"):
        pickles.load(content, 100)


@pytest.mark.parametrize(("module", "name"), ADMITTED)
@pytest.mark.parametrize("arguments", [b")", b"(I1\nt", b"(Vx\nVzip\nt", b"(Vx\nVhex\nt", b"N"])
def test_permitted_names_are_not_called_either(module, name, arguments, monkeypatch):
    """At worst, their arguments are refused."""
    monkeypatch.setattr(np, "ndarray", None)
    content = f"c{module}\n{name}\n".encode() + arguments + b"R."
    try:
        value = pickles.load(content, 100)
    except pickles.UnreadablePickle:
        return
    assert type(value).__module__ == pickles.__name__


def nested_key(depth: int) -> bytes:
    """A dictionary whose key is a tuple of twice a tuple of twice …: 2^depth steps to hash."""
    inside = b")" + b"".join(b"q%c0h%ch%c\x86" % (i, i, i) for i in range(depth))
    return b"\x80\x02}" + inside.replace(b"0h", b"h") + b"K\x01s."


BOMBS = {
    "an index of the memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "an index of the memo in words": b"Np99999999999\n.",
    "bytes that claim a length": b"\x80\x04\x8e\x00\x00\x00\x00\x00\x01\x00\x00abc.",
    "a text that claims a length": b"\x80\x02T\xff\xff\xff\x7fabc.",
    "a byte array that claims a length": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "a frame that claims a length": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    "a key that takes forever": b"\x80\x02}" + b")" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",
    "instructions without end": b"\x80\x02" + b"N" * 60_000 + b".",
    "a deep list": b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b".",
    "a number of 80,000 digits": b"I" + b"9" * 80_000 + b"\n.",
    "texts made again and again": (
        b"c_codecs\nencode\np0\nV"
        + b"x" * 40_000
        + b"\np1\nVlatin1\np2\n("
        + b"g0\n(g1\ng2\ntR" * 1_000
        + b"l."
    ),
    "a shape": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I9999999999\ntS'b'\ntR.",
    "a list within itself": b"\x80\x02]q\x00h\x00a.",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_pickle_that_would_fill_the_memory_or_never_end_is_refused_at_once(bomb, tmp_path):
    made = make(CIFAR10).with_contents(test_batch=BOMBS[bomb])
    path = made.tar(tmp_path / "a")
    with measured() as spent:
        assert "test_batch in " in refusal(path, made)
    assert spent.bytes < 20 * 2**20
    assert spent.seconds < 20


@pytest.mark.parametrize("state", ["shape", "dtype", "content", "object"])
def test_an_array_with_false_claims_is_refused(state, tmp_path):
    huge = b")" + b"q\x00h\x00\x86" * 60  # a tuple that would take forever to print
    parts = {"shape": b"K\x06M\x00\x0c\x86", "dtype": b"U\x02u1", "content": b"U\x03abc"}
    parts |= {state: huge} if state != "object" else {"dtype": b"U\x02O8", "content": b"]"}
    content = (
        b"\x80\x02}(U\x06labels](K\x01K\x02K\x03K\x04K\x05K\x06eU\x04data"
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
        + parts["shape"] + b"cnumpy\ndtype\n" + parts["dtype"] + b"K\x00K\x01\x87R\x89"
        + parts["content"] + b"tbu."
    )  # fmt: skip
    made = make(CIFAR10).with_contents(data_batch_1=content)
    assert "data_batch_1 in " in refusal(made.tar(tmp_path / "a"), made)


# ------------------------------------------------------------------------------- hostile archives


def spoiled(path: Path, made: Made, spoil: Callable[[tarfile.TarFile], None]) -> Path:
    """The archive with additional bytes after its second file."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for number, (name, content) in enumerate(made.contents.items()):
            if number == 2:
                spoil(tar)
            add(tar, f"{made.archive.folder}/{name}", content)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable:
    def spoil(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tar.addfile(info)

    return spoil


def raw(header: bytes) -> Callable:
    """Bytes as they are."""

    def spoil(tar: tarfile.TarFile) -> None:
        assert tar.fileobj is not None
        tar.fileobj.write(header)
        tar.offset += len(header)

    return spoil


def header(
    size: bytes, kind: bytes = b"0", name: bytes = b"cifar-10-batches-py/data_batch_4"
) -> bytes:
    """A tar header whose length field is `size`."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(size)] = size
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


HOSTILE = {
    "a symbolic link": (member("cifar/x", tarfile.SYMTYPE, "/etc/passwd"), "which is a link"),
    "a link in a batch's place": (
        member("cifar-10-batches-py/data_batch_4", tarfile.SYMTYPE, "/etc/passwd"),
        "which is a link",
    ),
    "a hard link": (member("cifar/x", tarfile.LNKTYPE, "../../x"), "which is a link"),
    "a device": (member("cifar/x", tarfile.CHRTYPE), "which is not a file"),
    "a disk": (member("cifar/x", tarfile.BLKTYPE), "which is not a file"),
    "a pipe": (member("cifar/x", tarfile.FIFOTYPE), "which is not a file"),
    "a sparse file": (member("cifar/x", tarfile.GNUTYPE_SPARSE), "which is not a file"),
    "an absolute name": (member("/tmp/evil"), "points out of the archive"),
    "a name that climbs": (member("cifar/../../evil"), "points out of the archive"),
    "a name that climbs on Windows": (member("cifar\\..\\..\\evil"), "points out of the archive"),
    "a drive": (member("C:evil"), "points out of the archive"),
    "a batch twice": (member("cifar-10-batches-py/data_batch_1"), "has data_batch_1 twice"),
    "a length beyond all": (raw(header(b"77777777777\0")), "data_batch_4 in "),
    "a length that is none": (raw(header(b"99999999999\0")), "damaged or cut off"),
    "a negative length": (raw(header(b"\xff" + b"\xff" * 10 + b"\x00")), "damaged or cut off"),
    "a length of 64 bits": (raw(header(b"\x80" + b"\x7f" * 11)), "data_batch_4 in "),
    "another file without end": (raw(header(b"77777777777\0", name=b"x")), "ends too early"),
    "a header beyond all": (raw(header(b"77777777777\0", kind=b"x")), "has headers that no"),
    "a name in another header": (member("cifar/" + "n" * 300), "has headers that no"),
    "a hidden length": (
        raw(header(b"%011o\0" % 20, b"x") + b"20 size=99999999999\n".ljust(512, b"\0")),
        "has headers that no",
    ),
    "a long name of GNU's": (raw(header(b"00000000005\0", kind=b"L")), "which is not a file"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing(what, tmp_path):
    spoil, message = HOSTILE[what]
    made = make(CIFAR10)
    path = spoiled(tmp_path / "a.tar.gz", made, spoil)
    before = sorted(tmp_path.rglob("*"))
    with measured() as spent:
        assert message in refusal(path, made)
    assert sorted(tmp_path.rglob("*")) == before
    assert spent.bytes < 8 * 2**20


def test_headers_with_only_times_and_owners_are_skipped(tmp_path):
    made = make(CIFAR10)
    path = tmp_path / "packed again.tar.gz"
    folder = made.folder(tmp_path / "cifar-10-batches-py")
    os.utime(folder / "test_batch", (1.5, 1.5))  # a fraction, which needs such a header
    (folder / "readme.html").write_text("more")
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.add(folder, "cifar-10-batches-py")
    assert b"mtime=" in gzip.decompress(path.read_bytes())
    check(load(path, made), made)


@pytest.mark.parametrize("packed", [True, False])
def test_an_archive_that_unpacks_to_far_more_is_not_read_to_its_end(packed, tmp_path):
    made = make(CIFAR10)
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", 1) if packed else path.open("wb") as out:
        out.write(header(b"%011o\0" % len(made.contents["data_batch_1"]),
                         name=b"cifar-10-batches-py/data_batch_1"))  # fmt: skip
        content = made.contents["data_batch_1"]
        out.write(content + bytes(-len(content) % 512))
        out.write(header(b"%011o\0" % 2**28, name=b"zeros"))
        for _ in range(2**8):
            out.write(bytes(2**20))
    with measured() as spent:
        assert "is larger than CIFAR's archives" in refusal(path, made)
    assert spent.bytes < 8 * 2**20


# --------------------------------------------------------------------------- the documented answers

DOCUMENTED = dict(
    re.findall(
        r"^\| (.+?) \| (.+) \|$",
        (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
)


def hostile_archive(what: str, tmp_path: Path) -> tuple[Path, Made]:
    made = make(CIFAR10)
    return spoiled(tmp_path / "cifar.tar.gz", made, HOSTILE[what][0]), made


def hostile_pickle(content: bytes, tmp_path: Path) -> tuple[Path, Made]:
    made = make(CIFAR10).with_contents(test_batch=content)
    return made.tar(tmp_path / "cifar.tar.gz"), made


EVERY_BAD_INPUT: dict[str, Callable[[Path], tuple[Path, Made]]] = {
    **{what: write for what, (write, _) in BAD.items()},
    **{what: partial(hostile_archive, what) for what in HOSTILE},
    **{what: partial(hostile_pickle, BOMBS[what]) for what in BOMBS},
    **{how: partial(hostile_pickle, command(Path("x"), how)) for how in DIALECTS},
}


@pytest.mark.parametrize("what", EVERY_BAD_INPUT)
def test_the_message_for_every_bad_input_is_documented(what, tmp_path):
    line = refusal(*EVERY_BAD_INPUT[what](tmp_path))
    line = line.replace(f"{tmp_path}/", "").replace(str(tmp_path), "data")
    words = map(re.escape, DOCUMENTED[what].split("…"))
    assert re.match("data: " + ".+".join(words), line)


# -------------------------------------------------------------------------------------------- fuzz


WHOLE = make(CIFAR10, images=2)
PICKLE = WHOLE.contents["data_batch_1"]
UNSUMMED = replace(
    WHOLE.archive,
    train=tuple(cifar.File(file.name, file.images) for file in WHOLE.archive.train),
    test=tuple(cifar.File(file.name, file.images) for file in WHOLE.archive.test),
    names=tuple(cifar.File(file.name, 0) for file in WHOLE.archive.names),
)
"""No checksums, so that changed contents get past them."""

SMALL_PICKLE = python2_pickle(
    {b"labels": [1, 2], b"data": np.zeros((2, 4), np.uint8), b"filenames": [b"a", b"b"]}
)


@given(
    edits=EDITS, which=st.sampled_from([PICKLE, SMALL_PICKLE, pickle.dumps([{"a": (1, None)}], 4)])
)
@settings(max_examples=FUZZ)
def test_fuzz_mutated_pickles(edits, which):
    content = edited(which, edits)
    with measured() as spent:
        outcome(lambda: batches.images(UNSUMMED, UNSUMMED.train[0], content), batches.Unfit)
    assert spent.bytes < 2**20 + 8 * len(content)
    assert spent.seconds < 20


OPCODES = st.sampled_from(sorted(pickles._ACTIONS))
PIECES = st.one_of(
    OPCODES,
    OPCODES,
    st.binary(max_size=6),
    st.sampled_from(
        [
            b"cnumpy\ndtype\n",
            b"cnumpy.core.multiarray\n_reconstruct\n",
            b"cnumpy\nndarray\n",
            b"c_codecs\nencode\n",
            b"U\x06labels",
            b"U\x04data",
            b"K\x02",
            b"Vlatin1\n",
            b"I3\n",
            b"h\x01",
            b"q\x01",
            b"U\x02u1",
            b"K\x02M\x00\x0c\x86",
        ]
    ),
)


@given(pieces=st.lists(PIECES, max_size=60))
@settings(max_examples=FUZZ)
def test_fuzz_programs_of_the_pickle_machine(pieces):
    content = b"".join(pieces) + b"."
    with measured() as spent:
        outcome(lambda: batches.images(UNSUMMED, UNSUMMED.train[0], content), batches.Unfit)
    assert spent.bytes < 2**20
    assert spent.seconds < 20


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The archive compressed and uncompressed, and one of random bytes."""
    folder = tmp_path_factory.mktemp("tars")
    made = [WHOLE.tar(folder / f"a{mode[2:]}", mode).read_bytes() for mode in ("w:", "w:gz")]
    return [*made, bytes(512)]


@given(edits=EDITS, which=st.integers(0, 2), data=st.data())
@settings(max_examples=FUZZ)
def test_fuzz_archives(edits, which, data, tars, tmp_path_factory):
    """Archives are mutated and truncated; headers are hit on purpose."""
    content = tars[which]
    if which == 0 and data.draw(st.booleans()):
        starts = [
            start for start in range(0, len(content), 512) if content[start + 257 :][:5] == b"ustar"
        ]
        start = data.draw(st.sampled_from(starts))
        block = edited(content[start : start + 512], edits)[:512].ljust(512, b"\0")
        total = sum(block[:148]) + 8 * 32 + sum(block[156:])
        block = block[:148] + b"%06o\0 " % total + block[156:]
        content = content[:start] + block + content[start + 512 :]
    else:
        content = edited(content, edits)
    check_fuzzed_file(content, tmp_path_factory.getbasetemp() / "fuzz")


@given(
    content=st.binary(max_size=3000), magic=st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\0"])
)
@settings(max_examples=FUZZ)
def test_fuzz_random_bytes(content, magic, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    check_fuzzed_file(magic + content, folder)
    check_fuzzed_file(gzip.compress(content, 1), folder)


def check_fuzzed_file(content: bytes, folder: Path) -> None:
    """The file is read or refused, within limits, and nothing else exists afterwards."""
    folder.mkdir(exist_ok=True)
    path = folder / "cifar-10-python.tar.gz"
    path.write_bytes(content)

    official = replace(UNSUMMED, remote=replace(CIFAR10.remote, md5=md5(content)))

    def read() -> None:
        if archive := cifar.recognise(path, [official]):
            cifar.load(path, archive)

    with measured() as spent:
        outcome(read)
    assert spent.bytes < 12 * 2**20
    assert spent.seconds < 20
    assert list(folder.iterdir()) == [path]
    assert stat.S_ISREG(path.stat().st_mode)


@given(edits=EDITS, which=st.sampled_from(sorted(WHOLE.contents)))
@settings(max_examples=FUZZ)
def test_fuzz_extracted_folders(edits, which, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "cifar-10-batches-py"
    if not folder.exists():
        WHOLE.folder(folder)
    (folder / which).write_bytes(edited(WHOLE.contents[which], edits))
    try:
        outcome(lambda: cifar.load(folder, UNSUMMED))
        assert sorted(file.name for file in folder.iterdir()) == sorted(WHOLE.contents)
    finally:
        (folder / which).write_bytes(WHOLE.contents[which])


def test_intact_containers_of_the_fuzz_tests_are_read(tars, tmp_path):
    for content in tars[:2]:
        path = tmp_path / "a"
        path.write_bytes(content)
        assert len(list(containers.read(path, dict.fromkeys(WHOLE.contents, 10**6)))) == 7
        remote = replace(CIFAR10.remote, md5=md5(content))
        check(cifar.load(path, replace(UNSUMMED, remote=remote)), WHOLE)


def test_numbers_are_unpacked_as_python_does():
    """The reader's own unpacking equals Python's on numbers of every size."""
    for layout, code in (("<B", b"K"), ("<H", b"M"), ("<i", b"J")):
        largest = struct.pack(layout, 2 ** (8 * struct.calcsize(layout) - 1) - 1)
        assert pickles.load(code + largest + b".", 9) == pickle.load(
            io.BytesIO(code + largest + b".")
        )
