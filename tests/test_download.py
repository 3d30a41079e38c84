"""Downloads from a local server that misbehaves in every way, and what they leave behind."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from small_cifar import check, make, md5

from onecycle import data
from onecycle.cli import main
from onecycle.data import cifar, download
from onecycle.data.cifar import CIFAR10, CIFAR100
from onecycle.data.download import MIRRORS, Remote, addresses, fetch
from onecycle.errors import InputError
from onecycle.progress import Progress

CONTENT = random.Random(0).randbytes(300_000)
NAME = "set.tar.gz"


@dataclass
class Server:
    """Answers by the behaviour of each path, and records the requests.

    Attributes:
        url: where it is.
        behaviours: by path, what answers a request.
        requests: path and Range of each request.
        sent: bytes of content sent for each.
    """

    url: str = ""
    behaviours: dict[str, Callable[["Handler"], None]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def at(self, path: str, behaviour: Callable[["Handler"], None]) -> str:
        """The address at which the server behaves so."""
        self.behaviours[path] = behaviour
        return f"{self.url}{path}"

    @property
    def ranges(self) -> list[str]:
        return [asked for _, asked in self.requests]


class Handler(BaseHTTPRequestHandler):
    record: Server

    def do_GET(self) -> None:
        self.record.requests.append((self.path, self.headers.get("Range", "")))
        self.record.sent.append(0)
        self.number = len(self.record.requests) - 1
        self.record.behaviours[self.path](self)

    def start(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def give(self, content: bytes) -> None:
        self.record.sent[self.number] += len(content)  # before the client can be done
        self.wfile.write(content)

    @property
    def offset(self) -> int:
        """Where the request wants the file from."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(found[1]) if found else 0

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    record = Server()
    listening = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Recorded", (Handler,), {"record": record})
    )
    record.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=partial(listening.serve_forever, poll_interval=0.01))
    thread.start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.delenv(MIRRORS)
    try:
        yield record
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


# ---------------------------------------------------------------------------------- how a server is


def whole(handler: Handler, content: bytes = CONTENT) -> None:
    """A good server, which also sends parts."""
    rest = content[handler.offset :]
    if handler.offset:
        place = f"bytes {handler.offset}-{len(content) - 1}/{len(content)}"
        handler.start(206, Content_Length=len(rest), Content_Range=place)
    else:
        handler.start(200, Content_Length=len(rest))
    handler.give(rest)


def without_parts(handler: Handler) -> None:
    handler.start(200, Content_Length=len(CONTENT))
    handler.give(CONTENT)


def status(code: int) -> Callable[[Handler], None]:
    return lambda handler: handler.start(code, Content_Length=0)


def cut_off(after: int, then: Callable[[Handler], None] = whole) -> Callable[[Handler], None]:
    """Breaks off the first connection after some bytes."""

    def behave(handler: Handler) -> None:
        if handler.number == 0:
            handler.start(200, Content_Length=len(CONTENT))
            handler.give(CONTENT[:after])
        else:
            then(handler)

    return behave


def in_pieces(size: int) -> Callable[[Handler], None]:
    """Breaks off every connection after `size` bytes."""

    def behave(handler: Handler) -> None:
        start = handler.offset
        place = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        handler.start(
            206 if start else 200, Content_Length=len(CONTENT) - start, Content_Range=place
        )
        handler.give(CONTENT[start : start + size])

    return behave


def wrong_part(handler: Handler) -> None:
    """Always sends from the beginning."""
    handler.start(206, Content_Length=len(CONTENT), Content_Range=f"bytes 0-9/{len(CONTENT)}")
    handler.give(CONTENT)


def another(handler: Handler) -> None:
    whole(handler, bytes(len(CONTENT)))


def claims(length: int | None) -> Callable[[Handler], None]:
    """Sends the whole file, or the rest, with a wrong length or none."""

    def behave(handler: Handler) -> None:
        rest = CONTENT[handler.offset :]
        headers = {} if length is None else {"Content_Length": length}
        if handler.offset:
            headers["Content_Range"] = f"bytes {handler.offset}-{len(CONTENT) - 1}/{len(CONTENT)}"
        handler.start(206 if handler.offset else 200, **headers)
        handler.give(rest if length is None else rest[: max(0, length)])

    return behave


def endless(handler: Handler) -> None:
    handler.start(200)
    try:
        while True:
            handler.give(bytes(2**16))
    except OSError:
        pass


def chunked(end: bool) -> Callable[[Handler], None]:
    def behave(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.close_connection = True
        handler.start(200, Transfer_Encoding="chunked")
        for start in range(0, len(CONTENT), 2**16):
            piece = CONTENT[start : start + 2**16]
            handler.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            if not end and start:
                return
        handler.wfile.write(b"0\r\n\r\n")

    return behave


def redirect(target: str) -> Callable[[Handler], None]:
    return lambda handler: handler.start(302, Location=target, Content_Length=0)


def silent(handler: Handler) -> None:
    """Accepts the request and stays silent for long."""
    time.sleep(1.5)


def stalls(handler: Handler) -> None:
    handler.start(200, Content_Length=len(CONTENT))
    handler.give(CONTENT[:1000])
    time.sleep(1.5)


def throttled(seconds: float) -> Callable[[Handler], None]:
    def behave(handler: Handler) -> None:
        rest = CONTENT[handler.offset :]
        place = f"bytes {handler.offset}-{len(CONTENT) - 1}/{len(CONTENT)}"
        handler.start(206 if handler.offset else 200, Content_Length=len(rest), Content_Range=place)
        try:
            for start in range(0, len(rest), 10_000):
                handler.give(rest[start : start + 10_000])
                time.sleep(seconds / 30)
        except OSError:  # the client is gone
            pass

    return behave


def remote(*mirrors: str) -> Remote:
    return Remote(NAME, md5(CONTENT), len(CONTENT), mirrors)


class Recorder(Progress):
    """Records the progress reports."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[tuple[str, int, str]] = []
        self.done = self.finished = 0

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        self.stages.append((title, total, unit))

    def advance(self, count: int = 1, **figures: float) -> None:
        self.done += count

    def finish(self) -> None:
        self.finished += 1

    def note(self, line: str) -> None:
        self.notes.append(line)


def get(folder: Path, *mirrors: str) -> Recorder:
    """Fetch from these mirrors; check that the file is right and nothing else is left."""
    recorder = Recorder()
    assert fetch(remote(*mirrors), folder, recorder) == folder / NAME
    assert (folder / NAME).read_bytes() == CONTENT
    assert {path.name for path in folder.iterdir()} <= {NAME, f"{NAME}.lock"}
    assert recorder.done == len(CONTENT)
    assert recorder.stages == [(f"downloading {NAME}", len(CONTENT), "bytes")]
    assert recorder.finished == 1
    return recorder


def refused(folder: Path, *mirrors: str) -> str:
    """The one-line error when all of these mirrors fail."""
    with pytest.raises(InputError) as error:
        fetch(remote(*mirrors), folder)
    line = str(error.value)
    assert line.isprintable()
    assert not (folder / NAME).exists()
    return line


# ------------------------------------------------------------------------------------- good servers


def test_a_file_is_fetched_once(server, tmp_path):
    url = server.at(f"/{NAME}", whole)
    assert get(tmp_path / "new" / "cache", url).notes == []
    assert fetch(remote(url), tmp_path / "new" / "cache") == tmp_path / "new" / "cache" / NAME
    assert server.requests == [(f"/{NAME}", "")]


def test_mirrors_are_tried_in_order(server, tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but not listening
        closed = f"127.0.0.1:{nobody.getsockname()[1]}"
        mirrors = [
            server.at("/1", status(404)),
            server.at("/2", status(500)),
            f"http://{closed}/3",
            server.at("/4", another),
            server.at("/5", whole),
            server.at("/6", whole),
        ]
        notes = get(tmp_path, *mirrors).notes
    host = server.url.removeprefix("http://")
    assert [path for path, _ in server.requests] == ["/1", "/2", "/4", "/5"]
    assert notes == [
        f"{host}: HTTP 404",
        f"{host}: HTTP 500",
        f"{closed}: Connection refused",
        f"{host}: it has a different file: the MD5 is wrong",
    ]


@pytest.mark.parametrize("after", [1, 1000, len(CONTENT) - 1])
def test_a_broken_download_is_resumed(after, server, tmp_path):
    get(tmp_path, server.at("/a", cut_off(after)))
    assert server.ranges == ["", f"bytes={after}-"]
    assert sum(server.sent) == len(CONTENT)  # nothing is fetched twice


def test_a_download_that_keeps_breaking_is_resumed_as_long_as_bytes_arrive(server, tmp_path):
    get(tmp_path, server.at("/a", in_pieces(40_000)))
    assert len(server.requests) == 8
    assert sum(server.sent) == len(CONTENT)


def test_it_is_resumed_at_the_next_mirror(server, tmp_path):
    get(tmp_path, server.at("/a", cut_off(5000, status(503))), server.at("/b", whole))
    assert server.requests == [("/a", ""), ("/a", "bytes=5000-"), ("/b", "bytes=5000-")]
    assert sum(server.sent) == len(CONTENT)


def test_it_is_resumed_by_a_later_run(server, tmp_path):
    refused(tmp_path, server.at("/a", cut_off(5000, status(503))))
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:5000]
    get(tmp_path, server.at("/b", whole))
    assert server.requests[-1] == ("/b", "bytes=5000-")


def test_bytes_already_present_are_skipped_if_a_server_only_sends_the_whole_file(server, tmp_path):
    get(tmp_path, server.at("/a", cut_off(5000, without_parts)))
    assert server.ranges == ["", "bytes=5000-"]


def test_bytes_already_present_survive_a_server_that_sends_the_whole_file_and_breaks_off(
    server, tmp_path
):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:200_000])

    def breaks_off(handler: Handler) -> None:
        handler.start(200, Content_Length=len(CONTENT))
        handler.give(CONTENT[:1000])

    get(tmp_path, server.at("/a", breaks_off), server.at("/b", whole))
    assert server.requests[-1] == ("/b", "bytes=200000-")
    assert server.sent[-1] == 100_000


def test_a_wrong_beginning_is_thrown_away(server, tmp_path):
    """From an earlier run or another mirror: nothing appended to it can be right."""
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * 5000)
    get(tmp_path, server.at("/a", whole))
    assert server.ranges == ["bytes=5000-", ""]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 1])
def test_a_part_as_long_as_the_file_is_verified(size, server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes((CONTENT + b"x")[:size])
    get(tmp_path, server.at("/a", whole))
    assert len(server.requests) == (0 if size == len(CONTENT) else 1)


@pytest.mark.parametrize("content", [b"", b"x", CONTENT[:-1], CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_a_damaged_file_in_the_cache_is_fetched_again(content, server, tmp_path):
    (tmp_path / NAME).write_bytes(content)
    (note,) = get(tmp_path, server.at("/a", whole)).notes
    assert note.startswith(f"{tmp_path / NAME} is not the published file (MD5 ")


@pytest.mark.parametrize(
    "behaviour", [claims(None), claims(10_000), claims(200_000), claims(10**12), chunked(True)],
    ids=["none", "short", "longer than half", "beyond all", "chunked"],
)  # fmt: skip
def test_a_wrong_or_missing_length_does_not_matter(behaviour, server, tmp_path):
    get(tmp_path, server.at("/a", behaviour))


def test_redirects_are_followed(server, tmp_path):
    server.at("/there", whole)
    get(tmp_path, server.at("/a", redirect("/b")), server.at("/b", redirect("/there")))
    assert [path for path, _ in server.requests] == ["/a", "/b", "/there"]


# -------------------------------------------------------------------------------------- bad servers


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (status(403), "HTTP 403"),
        (status(404), "HTTP 404"),
        (status(500), "HTTP 500"),
        (status(204), "it broke off after 0 of 300,000 bytes"),
        (another, "it has a different file: the MD5 is wrong"),
        (endless, "it has a different file: the MD5 is wrong"),
        (
            lambda handler: whole(handler, b"x" + CONTENT),
            "it has a different file: the MD5 is wrong",
        ),
        (
            lambda handler: whole(handler, CONTENT[:-1]),
            "HTTP 200|it sends other parts|it broke off",
        ),
        (lambda handler: whole(handler, b""), "it broke off after 0 of 300,000 bytes"),
        (claims(-5), "it broke off|has another"),
        (chunked(False), "it broke off"),
        (cut_off(5000, wrong_part), "it sent a different part than requested"),
        (redirect("/a"), "HTTP 302"),
        (redirect("file:///etc/passwd"), "HTTP 302"),
        (redirect("http://host.invalid/x"), "no such host, or no network"),
        (lambda handler: handler.wfile.write(b"hello, world"), "hello, world"),
        (lambda handler: handler.wfile.write(b"x" * 100_000), "line"),
        (lambda handler: None, "without response"),
    ],
)
def test_a_server_without_the_file_is_named_with_the_reason(behaviour, reason, server, tmp_path):
    line = refused(tmp_path, server.at("/a", behaviour))
    assert re.search(re.escape(server.url.removeprefix("http://")) + rf" \([^)]*({reason})", line)


@pytest.mark.parametrize("behaviour", [silent, stalls])
def test_a_server_that_falls_silent_is_abandoned(behaviour, server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    began = time.monotonic()
    get(tmp_path, server.at("/a", behaviour), server.at("/b", whole))
    assert time.monotonic() - began < 5


def test_an_endless_answer_is_not_kept(server, tmp_path):
    refused(tmp_path, server.at("/a", endless))
    assert not (tmp_path / f"{NAME}.part").exists()
    assert server.sent[0] < 50 * len(CONTENT)


# ------------------------------------------------------------------------------------ which mirrors


def test_the_variable_replaces_the_list(monkeypatch):
    given = remote("https://a.example/x")
    assert addresses(given, {}) == ("https://a.example/x",)
    assert addresses(given, {MIRRORS: " "}) == ("https://a.example/x",)
    several = f"https://b.example/, http://c.example/d\nhttps://e.example/f/{NAME}?download=1"
    assert addresses(given, {MIRRORS: several}) == (
        f"https://b.example/{NAME}",
        f"http://c.example/d/{NAME}",
        f"https://e.example/f/{NAME}?download=1",
    )


@pytest.mark.parametrize(
    "url", ["/tmp/x", "ftp://a.example/x", "file:///etc/passwd", "https://", "http://[x"]
)
def test_an_invalid_address_is_refused(url, tmp_path):
    with pytest.raises(InputError, match="mirror: '.*' is not a server's address"):
        addresses(remote(), {MIRRORS: url})


def test_the_official_lists():
    for archive in (CIFAR10, CIFAR100):
        hosts = [url.split("/")[2] for url in archive.remote.mirrors]
        assert hosts == ["zenodo.org", "www.cs.toronto.edu"]
        for url in archive.remote.mirrors:
            assert url.partition("?")[0].endswith(f"/{archive.remote.name}")


# -------------------------------------------------------------------------------- without a network


@pytest.mark.parametrize("given", ["variable", "flag"])
def test_without_a_network_one_line_says_what_to_put_where(given, tmp_path, monkeypatch, capsys):
    """The flag overrides the variable."""
    cache = tmp_path / ("x" * 30)
    monkeypatch.setenv("ONECYCLE_CACHE", str(cache))
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv(MIRRORS, "http://host.invalid" if given == "variable" else "nonsense")
    flag = ["--mirror", "http://host.invalid"] if given == "flag" else []
    assert main(["data", "cifar10", "--quiet", *flag]) == 2
    answer = capsys.readouterr()
    (line,) = answer.err.splitlines()
    assert line == (
        "onecycle: error: data: can't fetch cifar-10-python.tar.gz, MD5 "
        "c58f30108f718f92721af3b95e74349a, from host.invalid (no such host, or no network); get it "
        f"another way and put it into '{cache}', or use --data shapes instead"
    )
    assert answer.out == ""
    assert os.environ[MIRRORS] == ("http://host.invalid" if given == "variable" else "nonsense")
    assert [path.name for path in cache.iterdir()] == ["cifar-10-python.tar.gz.lock"]


def test_a_file_put_into_the_cache_by_hand_is_used(tmp_path):
    made = make(CIFAR10)
    made = made.served(made.tar(tmp_path / "set.tar.gz"), ["http://host.invalid/x"])
    check(cifar.load("cifar10", made.archive, cache_dir=tmp_path), made)


# ---------------------------------------------------------------------------------- from end to end


def test_cifar_is_fetched_verified_decoded_and_kept(server, tmp_path, monkeypatch, capsys):
    made = make(CIFAR100, images=100)
    path = made.tar(tmp_path / "cifar-100-python.tar.gz")
    made = made.served(path, ["http://host.invalid/x"])
    content = path.read_bytes()
    server.at("/cifar-100-python.tar.gz", partial(whole, content=content))
    cache = tmp_path / "cache"
    monkeypatch.setenv("ONECYCLE_CACHE", str(cache))
    monkeypatch.setattr(data.cifar, "recognise", partial(cifar.recognise, archives=[made.archive]))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["data", "cifar100", "--mirror", server.url]) == 0
        answer = capsys.readouterr()
        out = " ".join(answer.out.split())
        assert "train 100 images, " in out
        assert " test 100 images, " in out
    assert len(server.requests) == 1
    assert (cache / path.name).read_bytes() == content

    (cache / path.name).unlink()  # the decoded images are enough
    check(cifar.load("cifar100", made.archive, cache_dir=cache), made)
    check(cifar.load("cifar100", made.archive, cache_dir=cache, label_set="coarse"), made, "coarse")


@pytest.mark.parametrize(
    "damage", "images.npy labels.npy names.json seal.json cut-off gone".split()
)
def test_damaged_cached_images_are_decoded_again(damage, tmp_path):
    made = make(CIFAR10)
    made = made.served(made.tar(tmp_path / "set.tar.gz"), [])
    load = partial(cifar.load, "cifar10", made.archive, cache_dir=tmp_path)
    load()
    (kept,) = tmp_path.glob("cifar10-*")
    if damage == "gone":
        (kept / "labels.npy").unlink()
    else:
        file = kept / damage if damage != "cut-off" else kept / "images.npy"
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content[:-3] if damage == "cut-off" else content)
    check(load(), made)
    check(load(), made)
    assert sorted(path.name for path in tmp_path.iterdir()) == [kept.name, "set.tar.gz"]


def test_cached_images_belong_to_one_archive_only(tmp_path):
    first, second = make(CIFAR10, seed=1), make(CIFAR10, seed=2)
    first = first.served(first.tar(tmp_path / "1.tar.gz"), [])
    second = second.served(second.tar(tmp_path / "2.tar.gz"), [])
    for made in (first, second, first):
        check(cifar.load("cifar10", made.archive, cache_dir=tmp_path), made)


def test_a_path_of_that_name_is_pointed_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10").mkdir()
    made = make(CIFAR10)
    made = made.served(made.tar(tmp_path / "set.tar.gz"), [])
    recorder = Recorder()
    cifar.load("cifar10", made.archive, cache_dir=tmp_path, progress=recorder)
    assert recorder.notes == [
        "data: cifar10 is the official set; for the local path give ./cifar10"
    ]


# -------------------------------------------------------------------- kills, crowds, and full disks

FETCH = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from onecycle.data import download
from onecycle.data.download import Remote, fetch
from onecycle.errors import InputError
from pathlib import Path
name, md5, size, url, folder = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
try:
    fetch(Remote(name, md5, int(size), (url,)), Path(folder))
except InputError as error:
    print(error)
    sys.exit(2)
"""


def fetching(url: str, folder: Path, prelude: str = "") -> subprocess.Popen[str]:
    """A process that fetches on demand."""
    wanted = remote(url)
    arguments = [wanted.name, wanted.md5, str(wanted.size), url, str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + FETCH, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_download_is_resumed(number, server, tmp_path):
    url = server.at("/a", throttled(6))
    part = tmp_path / f"{NAME}.part"
    process = fetching(url, tmp_path)
    go(process)
    while not part.exists() or part.stat().st_size < 30_000:
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    left = part.stat().st_size
    assert part.read_bytes() == CONTENT[:left]
    server.at("/a", whole)
    get(tmp_path, url)
    assert server.ranges == ["", f"bytes={left}-"]


def test_simultaneous_processes_fetch_it_once(server, tmp_path):
    url = server.at("/a", throttled(1))
    processes = [fetching(url, tmp_path) for _ in range(3)]
    for process in processes:
        go(process)
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert server.requests == [("/a", "")]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_waiting_for_another_process_is_reported(server, tmp_path):
    url = server.at("/a", throttled(1.5))
    process = fetching(url, tmp_path)
    go(process)
    while not (tmp_path / f"{NAME}.part").exists():
        time.sleep(0.01)
    recorder = Recorder()
    fetch(remote(url), tmp_path, recorder)
    assert recorder.notes == [f"another process is fetching {NAME}; waiting for it"]
    process.communicate(timeout=20)
    assert server.requests == [("/a", "")]


def test_a_killed_process_does_not_keep_the_others_waiting(server, tmp_path):
    url = server.at("/a", throttled(6))
    process = fetching(url, tmp_path)
    go(process)
    while not (tmp_path / f"{NAME}.part").exists():
        time.sleep(0.01)
    threading.Timer(0.3, process.kill).start()
    server.at("/b", whole)
    get_after = remote(f"{server.url}/b")
    fetch(get_after, tmp_path)
    process.communicate(timeout=20)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_full_disk_is_reported_in_one_line(server, tmp_path):
    """A limit on the file size stands in for a full disk."""
    limit = (
        "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    )
    process = fetching(server.at("/a", whole), tmp_path, limit)
    output, _ = process.communicate("\n", timeout=20)
    assert output == (
        f"data: can't write the cache in '{tmp_path}': File too large; set ONECYCLE_CACHE to a "
        "folder with room\n"
    )
    assert process.returncode == 2


def test_a_cache_that_is_not_a_folder_is_reported_in_one_line(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't write the cache in '.*/file/x': Not a directory"):
        fetch(remote(server.at("/a", whole)), tmp_path / "file" / "x")


def test_images_that_cannot_be_cached_are_used_all_the_same(tmp_path, monkeypatch):
    made = make(CIFAR10)
    made = made.served(made.tar(tmp_path / "set.tar.gz"), [])
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13)))
    check(cifar.load("cifar10", made.archive, cache_dir=tmp_path), made)
    assert [path.name for path in tmp_path.iterdir()] == ["set.tar.gz"]


def test_the_first_archive_of_a_name_is_the_one_fetched():
    binary_first = [replace(CIFAR10, form="binary"), CIFAR10]
    assert cifar.recognise("cifar10", binary_first) is binary_first[0]
    assert cifar.recognise("cifar100") is CIFAR100
