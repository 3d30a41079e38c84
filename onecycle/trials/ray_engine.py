"""The engine `ray`: workers on the machines of a Ray cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from onecycle.errors import InputError, TrainingError
from onecycle.trials.bounded import ClusterEngine
from onecycle.trials.engine import Ended
from onecycle.trials.folder import RAY_LOG, WORKERS, Outcome, TrialsFolder
from onecycle.trials.held import Lines, Order
from onecycle.trials.jobs import MOST, Wanted
from onecycle.trials.manifest import Jobs
from onecycle.trials.starting import interpreter_flags

TIME_TO_BEGIN, TIME_TO_END = 180.0, 20.0
"""Seconds for a cluster to start and be checked, and to be left."""

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Ray reports nothing about its use, and leaves the environment of the workers alone."""


class Node(NamedTuple):
    """A machine of the cluster: its name, and what Ray gives to trials there."""

    name: str
    cpus: int
    gpus: int


class RayEngine(ClusterEngine[Order]):
    """Workers on a Ray cluster, each held by an actor. Use it as a context.

    A process of its own speaks with the cluster (`ray_bridge`). When that ends, the actors do, and
    the workers save and end too.

    Args:
        folder: of the trials, on a path that all nodes share.
        address: of the cluster; empty: RAY_ADDRESS, or else one that is started here.
        paths: other files and folders that all nodes must see.
    """

    def __init__(self, folder: TrialsFolder, address: str, paths: Sequence[Path] = ()) -> None:
        super().__init__(folder, Jobs(jobs=1, threads=1))
        self._paths = [str(path.absolute()) for path in paths]
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._log = folder.path / WORKERS / RAY_LOG
        self.nodes: list[Node] = []

    def __enter__(self) -> Self:
        with self._folder.open_log(RAY_LOG) as log:
            self._bridge = subprocess.Popen(
                [sys.executable, *interpreter_flags(), "-m", "onecycle.trials.ray_bridge"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | QUIET,
                start_new_session=True,
            )
        assert self._bridge.stdout
        self._answers = Lines(self._bridge.stdout.fileno())
        try:
            with self._folder.visible() as sign:
                self._tell(address=self._address, paths=[str(sign), *self._paths])
                answer = json.loads(self._answers.first(TIME_TO_BEGIN) or "{}")
            if "nodes" not in answer:
                unknown = f"--engine ray: the cluster could not be used; see {self._log}"
                raise InputError(answer.get("refused", unknown))
        except BaseException:
            self.close()
            raise
        self.nodes = [Node(**node) for node in answer["nodes"]]
        return self

    def submit(self, name: str) -> None:
        """Start a worker wherever there is a place for it."""
        order = self._workers[name] = self._order(name, gpus=self.jobs.devices > 0)
        self._tell(submit=order._asdict())

    def poll(self) -> list[Ended]:
        """The workers that have ended since the last call.

        Raises:
            TrainingError: the connection to the cluster is lost.
        """
        found: list[Ended] = []
        for line in self._answers.read(0):
            answer = json.loads(line)
            found.append(Ended(answer["ended"], answer["code"]))
            self._workers.pop(answer["ended"], None)
            if answer["told"]:
                told = " ".join(answer["told"].split())
                self._folder.note_outcome(found[-1].name, Outcome(state="failed", message=told))
        if self._answers.closed and self._workers:
            raise TrainingError(
                f"the connection to the Ray cluster is lost, see {self._log}; go on with: onecycle "
                f"trials --into {self._folder.path}"
            )
        return found

    def cancel(self, name: str) -> None:
        """Ask a worker to save and end."""
        if name in self._workers:
            self._tell(cancel=name)

    def stop(self) -> None:
        """Ask all workers to save and end, and wait a minute for that."""
        for name in self._workers:
            self.cancel(name)
        with suppress(TrainingError):
            self._wait_for_all()
        self.close()

    def close(self) -> None:
        """Leave the cluster. Workers that still run save and end by themselves."""
        assert self._bridge.stdin
        with suppress(OSError):
            self._bridge.stdin.close()
        try:
            self._bridge.wait(TIME_TO_END if self.nodes else 1.0)
        except subprocess.TimeoutExpired:
            self._bridge.kill()
            self._bridge.wait()
        if self._bridge.stdout:
            self._bridge.stdout.close()
        self._workers.clear()

    def _tell(self, **what: Any) -> None:
        assert self._bridge.stdin
        with suppress(BrokenPipeError):  # it has ended; `poll` says so
            self._bridge.stdin.write(f"{json.dumps(what)}\n".encode())
            self._bridge.stdin.flush()


def shared(nodes: Sequence[Node], asked: Wanted, threads: int, device: str, left: int) -> Jobs:
    """How the trials share the cluster.

    Args:
        nodes: of the cluster.
        asked: trainings at once; auto: as many as there are places for.
        threads: CPU threads of each; 0: what there is for each.
        device: of the recipe: `auto` means GPUs if there are any.
        left: how many trials are not finished.

    Raises:
        InputError: the cluster has no GPU, or no node with so many threads.
    """
    gpus = sum(node.gpus for node in nodes) if device == "auto" or "cuda" in device else 0
    if "cuda" in device and not gpus:
        raise InputError(
            f"device: is {device}, and no node of the Ray cluster has a GPU; leave it out, or "
            "start a node with ray start --num-gpus"
        )
    largest = max(node.cpus for node in nodes)
    if largest < max(1, threads):
        raise InputError(
            f"--threads: no node of the Ray cluster has {max(1, threads)} CPUs for a training, the "
            f"largest has {largest}; give fewer"
        )

    def places(each: int) -> int:
        return sum(
            min(node.cpus // each, node.gpus) if gpus else node.cpus // each for node in nodes
        )

    wanted = left if asked == "auto" else asked
    if not threads:
        wanted_places = min(wanted, places(1))
        ways = range(largest, 0, -1)
        threads = next(each for each in ways if places(each) >= max(1, wanted_places) or each == 1)
    count = max(1, min(places(threads), left)) if asked == "auto" else asked
    return Jobs(jobs=min(count, MOST), threads=threads, devices=gpus)
