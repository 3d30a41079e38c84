"""What the tests of faults share: one tiny recipe, and real processes that train it."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TINY = (
    "train demo --epochs 3 --train-limit 200 --test-limit 60 --image-size 16 --width 0.125 "
    "--batch-size 64 --cutout 4 --crop-padding 2 --precision fp32 --lr-max 0.05 --lr-min 0.005 "
    "--threads 1 --quiet"
)
"""12 steps in 3 epochs, without a range test."""

WITHOUT_PICTURES = """
if sys.argv[1] in ("train", "resume"):
    sys.argv.append("--no-report")
"""
"""Pictures take most of a tiny run's time."""

SERVER = """
import contextlib, io, json, os, sys, traceback
from onecycle import pictures, report, training
from onecycle.training import drawing
from onecycle.cli import commands, main, screens, terminal
# A child that is another user may not find what is imported late: the codec of zip files, and what
# a checkpoint is read with.
import encodings.cp437
import safetensors.torch
import torch

with contextlib.redirect_stdout(io.StringIO()):
    main(["train", "demo", "--seed", "1", "--print-config"])
torch.optim.SGD([torch.zeros(1)])  # has torch import its compiler, which takes seconds

def child(job, own):
    os.setsid()
    for number, name in ((0, os.devnull), (1, own["out"]), (2, own["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
    os.environ.update(own["env"])
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
    for own in job["processes"]:
        pid = os.fork()
        if pid == 0:
            child(job, own)
        pids.append(pid)
    print(json.dumps(pids), flush=True)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(json.dumps(codes), flush=True)
"""
"""Forks the processes of each job. It has imported everything, so that one costs no start-up."""


@dataclass(frozen=True)
class Done:
    """A process that has ended; a negative code is that of the signal it died of."""

    code: int
    out: str
    err: str


class Server:
    """Runs command lines in processes that it forks from one that has imported it all."""

    def __init__(self, folder: Path, **env: str) -> None:
        self._folder, self._count = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | env,
        )

    def _carry_out(
        self,
        line: str,
        code: str,
        cwd: Path,
        envs: Sequence[Mapping[str, str]],
        meanwhile: Callable[[Sequence[int]], None],
    ) -> list[Done]:
        """A command line in a process for each of `envs`, at the same time."""
        self._count += 1
        files = [
            [self._folder / f"{self._count}.{name}{rank}" for name in ("out", "err")]
            for rank in range(len(envs))
        ]
        processes = [
            {"env": dict(env), "out": str(out), "err": str(err)}
            for env, (out, err) in zip(envs, files, strict=True)
        ]
        job = {"words": shlex.split(line), "code": code, "cwd": str(cwd), "processes": processes}
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        try:
            meanwhile(json.loads(self._server.stdout.readline()))
        finally:  # or the next run would take this one's end for its own
            codes = json.loads(self._server.stdout.readline())
        return [
            Done(code, out.read_text("utf-8"), err.read_text("utf-8"))
            for code, (out, err) in zip(codes, files, strict=True)
        ]

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()


class Forks(Server):
    """Real processes that run command lines, one after the other.

    Use `onecycle` instead where it matters how Python itself is started.
    """

    def run(
        self,
        line: str,
        *,
        code: str = WITHOUT_PICTURES,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        meanwhile: Callable[[int], None] = lambda pid: None,
    ) -> Done:
        """Run a command line after `code`; `meanwhile` gets the process's id as it starts."""
        (done,) = self._carry_out(
            line, code, cwd or self._folder, [env or {}], lambda pids: meanwhile(pids[0])
        )
        return done


def onecycle(line: str, **more: Any) -> Done:
    """Run a command line in a process of its own, as a user does."""
    options: dict[str, Any] = {"capture_output": True, "timeout": 240} | more
    command = options.pop("command", [sys.executable, "-m", "onecycle"])
    options["env"] = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    done = subprocess.run([*command, *shlex.split(line)], check=False, **options)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_in(runs: Path) -> Path:
    """The one run folder in `runs`."""
    (run,) = (path for path in runs.iterdir() if path.is_dir())
    return run


def result_of(run: Path) -> dict[str, Any]:
    """What result.json holds."""
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a log, times aside."""
    lines = (run / name).read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def assert_same_bits(one: Path, other: Path) -> None:
    """Everything that two runs leave is the same, to the bit, times aside."""
    assert result_of(one)["weights_sha256"] == result_of(other)["weights_sha256"]
    assert (one / "steps.jsonl").read_bytes() == (other / "steps.jsonl").read_bytes()
    assert rows(one, "metrics.jsonl") == rows(other, "metrics.jsonl")
    with np.load(one / "predictions.npz") as a, np.load(other / "predictions.npz") as b:
        assert set(a.files) == set(b.files)
        assert all(np.array_equal(a[name], b[name]) for name in a.files)
