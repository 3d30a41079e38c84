"""Drives the trials of a folder with submitit's local executor: python submitit_trials.py FOLDER.

It prints what the user would be told.
"""

import sys
from dataclasses import replace
from pathlib import Path

from onecycle.training.signals import Signals
from onecycle.trials import manifest
from onecycle.trials.driver import Driver
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.listening import Listener
from onecycle.trials.manifest import Jobs
from onecycle.trials.slurm_engine import SlurmEngine


class Printing(Listener):
    def note(self, line: str) -> None:
        print(line, flush=True)


def main(folder: str) -> None:
    place = TrialsFolder(Path(folder))
    found = manifest.read(place.path)
    assert found
    jobs = Jobs(jobs=2, threads=1)
    manifest.write(place.path, replace(found, engine="slurm", jobs=jobs))
    with SlurmEngine(place, {}, cluster="local") as engine:
        engine.jobs = jobs
        driver = Driver(place, found.trials(), engine, Printing())
        driver.drive(Signals())
        assert driver.failures == {}


if __name__ == "__main__":
    main(sys.argv[1])
