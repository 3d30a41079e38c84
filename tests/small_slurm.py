#!/usr/bin/env python3
"""The commands of SLURM that onecycle uses, for one machine.

`installed` puts them into a folder for PATH. A job is a file `queue/NUMBER` while it is in the
queue. Signals go to all processes of a job, as SLURM's do. Checked against SLURM 22.05.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "srun")


def installed(folder: Path) -> dict[str, str]:
    """The environment in which the commands are found."""
    (folder / "queue").mkdir(parents=True)
    for name in COMMANDS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        path.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "SMALL_SLURM": str(folder)}


def sbatch(queue: Path, script: str) -> int:
    text = Path(script).read_text(encoding="utf-8")
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, flags=re.MULTILINE))
    if options.get("partition") == "nowhere":
        sys.stderr.write("sbatch: error: invalid partition specified: nowhere\n")
        return 1
    number = str(1 + len(list(queue.glob("*.sh"))))
    (queue / f"{number}.sh").write_text(text, encoding="utf-8")
    (queue / number).touch()
    subprocess.Popen(
        [sys.executable, __file__, "run", number], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    print(f"Submitted batch job {number}")
    return 0


def run(queue: Path, number: str) -> int:
    again = True
    while again:
        script = ["bash", str(queue / f"{number}.sh")]
        subprocess.run(script, env=os.environ | {"SLURM_JOB_ID": number}, check=False)
        while processes(number):
            time.sleep(0.1)
        again = (queue / f"{number}.again").exists()
        (queue / f"{number}.again").unlink(missing_ok=True)
    (queue / number).unlink()
    return 0


def squeue(queue: Path, *_: str) -> int:
    print(*(path.name for path in queue.iterdir() if not path.suffix), sep="\n")
    return 0


def scancel(_: Path, *words: str) -> int:
    numbers = [word for word in words if word.isdecimal()]
    names = [word.partition("=")[2] for word in words if word.startswith("--signal=")]
    for number in numbers:
        send(number, *(names or ["CONT", "TERM"]))
    return 0


def scontrol(queue: Path, verb: str, number: str) -> int:
    assert verb == "requeue"
    (queue / f"{number}.again").touch()
    send(number, "TERM")
    return 0


def srun(_: Path, *words: str) -> int:
    rest = list(words)
    while rest[0].startswith("--"):
        flag = rest.pop(0)
        if flag in ("--output", "--error"):
            place = rest.pop(0).replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
            log = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1 if flag == "--output" else 2)
    os.execvp(rest[0], rest)


def processes(number: str) -> list[int]:
    """The processes of a job."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"SLURM_JOB_ID={number}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def send(number: str, *names: str) -> None:
    for name in names:
        for process in processes(number):
            if process != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.Signals[f"SIG{name}"])


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](Path(os.environ["SMALL_SLURM"]) / "queue", *sys.argv[2:]))
