"""Command lines carried out by several processes together, each forked from one that has it all.

They find each other as under torchrun, but without its agent: process 0 holds the store.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from trained import SERVER, Done

FORKS = (
    SERVER[: SERVER.index("for line in sys.stdin:")]
    + """
def child(job, rank):
    os.setsid()
    for number, name in ((0, os.devnull), (1, job["out"]), (2, job["err"])):
        os.dup2(os.open(f"{name}{rank}" if number else name, os.O_RDWR | os.O_CREAT, 0o600), number)
    os.environ.update(job["env"] | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    os.chdir(job["cwd"])
    sys.argv = ["onecycle", *job["words"]]
    code = 70
    try:
        exec(job["code"] + "\\nsys.exit(main())", {"sys": sys, "os": os, "main": main})
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)

for line in sys.stdin:
    job = json.loads(line)
    pids = []
    for rank in range(job["count"]):
        pid = os.fork()
        if pid == 0:
            child(job, rank)
        pids.append(pid)
    print(json.dumps(pids), flush=True)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(json.dumps(codes), flush=True)
"""
)


class Several:
    """Runs command lines in several processes that know of each other."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"},
        )

    def run(
        self,
        count: int,
        line: str,
        *,
        code: str = "",
        meanwhile: Callable[[Sequence[int]], None] = lambda pids: None,
    ) -> list[Done]:
        """Run a command line in `count` processes; `meanwhile` gets their ids as they start."""
        self._count += 1
        out, err = (str(self._folder / f"{self._count}.{name}.") for name in ("out", "err"))
        env = {
            "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        }  # fmt: skip
        job = {
            "count": count, "words": shlex.split(line), "code": code, "env": env,
            "cwd": str(self._folder), "out": out, "err": err,
        }  # fmt: skip
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        try:
            meanwhile(json.loads(self._server.stdout.readline()))
        finally:
            codes = json.loads(self._server.stdout.readline())
        return [
            Done(code, Path(f"{out}{rank}").read_text(), Path(f"{err}{rank}").read_text())
            for rank, code in enumerate(codes)
        ]

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def said(done: Sequence[Done]) -> str:
    """What all processes said on standard error."""
    return "".join(each.err for each in done)
