"""All benchmarks of speed, one after the other, into one dated file: `make bench`.

    .venv-bench/bin/python -m benchmarks.speed             benchmarks/speed_<device>_<yyyymm>.md
    .venv-bench/bin/python -m benchmarks.speed --quick     a small network, to try the programs

A benchmark is a program that prints its result; add a new one to `SECTIONS`. Let nothing else run
on the machine meanwhile.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

import torch

from benchmarks.wrapping import wrapped
from onecycle import runtime
from onecycle.run_dir.provenance import git_state

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "numpy", "Pillow", "lightning", "accelerate", "transformers", "keras", "jax")


@dataclass(frozen=True)
class Section:
    """A benchmark: its heading, module and arguments, and those for a quick try.

    `markdown` says that it prints Markdown; what others print is shown as it stands.
    """

    title: str
    module: str
    arguments: Sequence[str] = ()
    quick: Sequence[str] = ()
    markdown: bool = False


SECTIONS = (
    Section(
        "Against other trainers",
        "benchmarks.peers",
        quick=("--width", "0.125", "--batch-size", "32", "--turns", "2"),
        markdown=True,
    ),
    Section(
        "Where the time of a step goes",
        "benchmarks.training_step",
        arguments=("--turns", "6"),
        quick=("--turns", "2", "--width", "0.125", "--batch-size", "32"),
    ),
    Section(
        "The same with micro-batches of 128",
        "benchmarks.training_step",
        arguments=("--micro-batch", "128", "--turns", "4"),
        quick=("--turns", "2", "--width", "0.125", "--batch-size", "32", "--micro-batch", "16"),
    ),
    Section("Convolutions, layer by layer", "benchmarks.convolutions", quick=("--turns", "2")),
    Section(
        "What each way of saving time gives",
        "benchmarks.what_each_gave",
        arguments=("--turns", "3"),
        quick=("--turns", "2", "--width", "0.125", "--batch-size", "32"),
    ),
    Section(
        "Whether the speed holds",
        "benchmarks.scaling",
        arguments=("--turns", "3"),
        quick=("--turns", "2", "--width", "0.05"),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, help="default: a dated file beside this program")
    parser.add_argument("--quick", action="store_true", help="small, into a file if one is named")
    options = parser.parse_args()
    started = time.monotonic()
    parts, failed = [heading()], []
    for section in SECTIONS:
        text, code = carry_out(section, quick=options.quick)
        parts.append(f"## {section.title}\n\n{text}")
        failed += [section.title] * (code != 0)
    parts.append(f"All of it took {(time.monotonic() - started) / 60:.0f} minutes.")
    write("\n\n".join(parts) + "\n", options.output, quick=options.quick)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def carry_out(section: Section, *, quick: bool) -> tuple[str, int]:
    """What a benchmark printed, with its command, and its exit code."""
    arguments = section.quick if quick else section.arguments
    command = ["-m", section.module, *arguments]
    shown = f"    python {' '.join(command)}"
    print(f"== {section.title}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    printed = done.stdout.strip()
    return f"{shown}\n\n{printed if section.markdown else fenced(printed)}", done.returncode


def fenced(text: str) -> str:
    return f"```\n{text}\n```"


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def heading() -> str:
    """Where, when and with what: the file's first lines."""
    names = {"cpu": "CPU", "cuda": "CUDA"}
    lines = [
        f"- date: {date.today()}",
        f"- machine: {machine()}",
        f"- versions: Python {platform.python_version()}, {versions()}",
        f"- commit: {commit()}",
    ]
    title = f"# Speed, {names[device()]}, {date.today():%Y-%m}"
    return f"{title}\n\n    make bench\n\n" + "\n".join(lines)


def machine() -> str:
    """The device and the host, with the load before the first benchmark."""
    load = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    host = f"{runtime.cpu_model()}, {os.cpu_count()} cores, {platform.system()}{load}"
    return f"{torch.cuda.get_device_name()}, {host}" if device() == "cuda" else host


def versions() -> str:
    """Of the packages that are installed here."""
    known = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
    return ", ".join(f"{name} {known[name.lower()]}" for name in PACKAGES if name.lower() in known)


def commit() -> str:
    """Of this checkout, and whether files were changed since."""
    state = git_state(ROOT)
    if not state:
        return "unknown"
    return state.commit[:12] + (", with changes" if state.changed else "")


def write(text: str, output: Path | None, *, quick: bool) -> None:
    """To the file named; a quick try goes to the screen unless one is named."""
    if quick and not output:
        print(text)
        return
    path = output or ROOT / "benchmarks" / f"speed_{device()}_{date.today():%Y%m}.md"
    path.write_text(wrapped(text))
    print(f"{path}", file=sys.stderr)


if __name__ == "__main__":
    main()
