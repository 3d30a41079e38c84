"""The process that speaks with a Ray cluster for the driver.

    python -m onecycle.trials.ray_bridge

Ray prints what it likes, replaces signal handlers, and ends the process when the cluster is gone.
None of that should happen to the driver. The first line on standard input is the `Request`, and
each of the others a command; each line of the answer is about the cluster or a worker that ended.
When standard input is closed, it ends, and so do the workers, after they have saved.
"""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ray  # pyright: ignore[reportMissingImports]
from ray.exceptions import RayActorError, RayTaskError  # pyright: ignore[reportMissingImports]
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # pyright: ignore[reportMissingImports]

from onecycle.trials.held import HeldWorker, Lines, Order

STORE = 80 * 2**20
"""Bytes of the object store of a cluster that is started here. Nothing is kept in it."""

PATIENCE = 10.0
"""Seconds that a node gets to see a file that was just written: network file systems are slow."""

KNOCK = 10.0
"""Seconds for a cluster to accept a connection."""

CHECKED_WITHIN = 60.0
"""Seconds for all nodes to answer."""

LOOK = 0.2
"""Seconds between two looks at the workers."""

LOCAL = "local"
"""The address that starts a cluster on this machine, as in `ray.init`."""


@dataclass(frozen=True)
class Request:
    """What the driver asks for at first.

    Attributes:
        address: of the cluster, as `ray.init` takes it.
        paths: files and folders that each node must see.
    """

    address: str
    paths: list[str]


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, as far as trials can use it.

    Attributes:
        name: of the machine.
        cpus: that Ray gives to trials.
        gpus: the same.
    """

    name: str
    cpus: int
    gpus: int


class Refused(Exception):
    """The cluster can't be used; the message says why."""


class Holder:
    """An actor that holds a worker. Its two methods run in two threads."""

    def __init__(self) -> None:
        self._worker: HeldWorker | None = None
        self._asked_to_end = False

    def carry_out(self, order: Order) -> int | None:
        """Start the worker; its exit code, once it has ended."""
        self._worker = HeldWorker(order)
        if self._asked_to_end:
            self._worker.ask_to_end()
        return self._worker.wait()

    def save_and_end(self) -> None:
        """Ask the worker to."""
        self._asked_to_end = True
        if self._worker:
            self._worker.ask_to_end()


class Bridge:
    """The workers on a cluster, by the trial's name."""

    def __init__(self) -> None:
        self._holders: dict[str, Any] = {}
        self._codes: dict[str, Any] = {}

    def submit(self, order: Order) -> None:
        """Start a holder wherever there are a place and the threads, and a worker in it."""
        actor: Any = ray.remote(Holder)
        holder = actor.options(
            num_cpus=order.threads,
            num_gpus=1 if order.gpus else 0,
            max_restarts=0,
            max_concurrency=2,
        ).remote()
        self._holders[order.name] = holder
        self._codes[order.name] = holder.carry_out.remote(order)

    def cancel(self, name: str) -> None:
        """Ask a worker to save and end; one that still waits for its place is gone at once."""
        if holder := self._holders.get(name):
            ready, _ = ray.wait([holder.__ray_ready__.remote()], timeout=LOOK)
            if ready:
                holder.save_and_end.remote()
            else:
                ray.kill(holder)

    def ended(self) -> list[dict[str, Any]]:
        """The workers that have ended since the last call."""
        if not self._codes:
            return []
        names = {code: name for name, code in self._codes.items()}
        ready, _ = ray.wait(list(names), num_returns=len(names), timeout=0)
        return [self._ending(names[code]) for code in ready]

    def _ending(self, name: str) -> dict[str, Any]:
        code, told = None, ""
        try:
            code = ray.get(self._codes[name])
        except RayActorError:
            pass
        except RayTaskError as error:
            told = f"its worker could not be started: {error.cause}"
        ray.kill(self._holders.pop(name))
        del self._codes[name]
        return {"ended": name, "code": code, "told": told}


def connect(address: str) -> None:
    """Connect to a cluster, or start one here.

    Raises:
        Refused: there is none, or it has other versions of Ray or Python.
    """
    here = {"include_dashboard": False, "object_store_memory": STORE} if address == LOCAL else {}
    try:
        knock(address)
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **here)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines or [type(error).__name__])[0].rstrip(".")
        raise Refused(
            f"--address: no Ray cluster can be used at '{address}': {reason}; is it running, with "
            f"Ray {ray.__version__}?"
        ) from error


def knock(address: str) -> None:
    """See that something listens: Ray itself would wait for minutes.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()


def nodes() -> dict[str, Node]:
    """The machines of the cluster, by Ray's name for them."""
    return {
        each["NodeID"]: Node(
            each["NodeManagerHostname"],
            int(each["Resources"].get("CPU", 0)),
            int(each["Resources"].get("GPU", 0)),
        )
        for each in ray.nodes()
        if each["Alive"]
    }


def look_around(paths: Sequence[str], patience: float) -> tuple[list[str], str]:
    """Runs on each node: the paths that it does not see, and its version of this package."""
    deadline = time.monotonic() + patience
    while (missing := [path for path in paths if not os.path.exists(path)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.5)
    try:
        return missing, version("onecycle")
    except PackageNotFoundError:
        return missing, ""


def check(found: Mapping[str, Node], paths: Sequence[str]) -> None:
    """Have each node say what it sees.

    Raises:
        Refused: one of them does not see the paths, or does not have this package.
    """
    looking = ray.remote(look_around)
    told = {
        name: looking.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)
        ).remote(paths, PATIENCE)
        for name in found
    }
    for name, reference in told.items():
        node, here = found[name].name, version("onecycle")
        try:
            missing, there = ray.get(reference, timeout=CHECKED_WITHIN)
        except Exception as error:
            raise Refused(f"--engine ray: node {node} does not answer; see ray status") from error
        if missing:
            raise Refused(
                f"--engine ray: node {node} does not see '{missing[0]}'; use paths that all nodes "
                "share, and --into for the folder of the trials"
            )
        if there != here:
            has = f"has onecycle {there}, and here is {here}" if there else "has no onecycle"
            raise Refused(f"--engine ray: node {node} {has}; install onecycle {here} there")


def main() -> int:
    """Serve a driver until it closes standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints belongs into the log

    def tell(**what: Any) -> None:
        answers.write(f"{json.dumps(what)}\n")
        answers.flush()

    commands = Lines(sys.stdin.fileno())
    try:
        request = Request(**json.loads(commands.first()))
        connect(request.address)
        found = nodes()
        check(found, request.paths)
    except Refused as refused:
        tell(refused=str(refused))
        return 2
    tell(nodes=[asdict(node) for node in found.values()])
    serve(Bridge(), commands, tell)
    ray.shutdown()
    return 0


def serve(bridge: Bridge, commands: Lines, tell: Callable[..., None]) -> None:
    """Carry out the driver's commands until there can't be any more."""
    while not commands.closed:
        for line in commands.read(LOOK):
            command = json.loads(line)
            if "submit" in command:
                order = command["submit"]
                bridge.submit(Order(**order | {"flags": tuple(order["flags"])}))
            else:
                bridge.cancel(command["cancel"])
        for ended in bridge.ended():
            tell(**ended)


if __name__ == "__main__":
    sys.exit(main())
