"""A process that times a few steps of a trial, together with others that do the same.

    python -m onecycle.trials.measuring FOLDER NAME THREADS

It says `ready`, waits for a line, trains for a few seconds, and says how many images that were. It
goes on until it is killed, so that all processes are busy while any of them is timed.
"""

import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from onecycle import models
from onecycle.engine import loop
from onecycle.engine.plan import AtStep
from onecycle.progress import SILENT
from onecycle.training import prepare
from onecycle.trials.worker import trial_in

SECONDS = 3.0
"""How long steps are timed, at least."""

LEAST_STEPS, WARM_STEPS = 3, 2

LONGEST = 300.0
"""Seconds after which the process ends, should nobody kill it."""

GENTLE = AtStep(lr=1e-6, momentum=0.9)
"""Rates that change nothing about the time a step takes, and can't diverge."""


def main(folder: str, name: str, threads: str) -> None:
    """Time the steps of one trial."""
    found, trial = trial_in(Path(folder), name)
    recipe, architecture = models.asked(trial.recipe, found.network)
    training, _ = prepare(recipe, architecture, threads=int(threads), progress=SILENT)
    training = replace(training, audited=False)
    for index in range(WARM_STEPS):
        loop.step(training, index, GENTLE)
    print("ready", flush=True)  # noqa: T201 - the driver reads it
    if not sys.stdin.readline():
        return
    threading.Thread(target=sys.stdin.read, daemon=True).start()
    index, images, told = WARM_STEPS, 0, False
    began = time.perf_counter()
    while (seconds := time.perf_counter() - began) < LONGEST:
        if not told and seconds >= SECONDS and index >= WARM_STEPS + LEAST_STEPS:
            print(json.dumps({"images": images, "seconds": seconds}), flush=True)  # noqa: T201
            told = True
        images += loop.step(training, index, GENTLE).images
        index += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
