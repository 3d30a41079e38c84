"""Bringing the processes of a training together, and parting them, whatever happens."""

import atexit
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from onecycle.errors import InputError, ProcessLost, TrainingError
from onecycle.processes import Place, let_speak, place
from onecycle.processes.group import SINGLE, Processes
from onecycle.processes.watching import Watch, answer

ARRIVAL = 300.0
"""Seconds in which all processes must have started."""

LONGEST_WAIT = timedelta(hours=2)
"""Longest wait for a process that lives but does not take part in an exchange."""

ROOM = 8.0
"""Seconds that the work has to end by itself after another process was found to be gone."""

REASON = 1.5
"""Seconds in which a process that fails tells why, before the others only say that it is gone."""

FAILED = 1

ENDED_EARLY = "processes: another one has ended before all were connected; see what it says"


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun has started, for the time of the work; or the single one.

    If the work fails, one process tells the user why, and the others are silent
    (`processes.speaks`).

    Raises:
        InputError: not all processes have come.
        TrainingError: another process is gone; the message says which, and how to go on.
    """
    here = place()
    if here.count == 1:
        yield SINGLE
        return
    let_speak(None)
    store = _store(here)
    group = Processes(here)
    meeting = _Meeting(group, store)
    meeting.begin()
    let_speak(group.owns_run)
    try:
        yield group
    except BaseException as error:
        with _unheeded():
            let_speak(False)
            ended = meeting.told(error)
            meeting.end()
        raise ended from None
    meeting.end()


class _Meeting:
    """The group at work: its exchanges, its watch, and who speaks for it."""

    def __init__(self, group: Processes, store: Any) -> None:
        self._group, self._store = group, store
        self._watch = Watch(store.clone(), group.rank, group.count, self._lose)

    def begin(self) -> None:
        """Connect all processes with each other.

        None goes on before all are connected: one that fails at once would end in the middle of
        another's handshake.

        Raises:
            InputError: not all of them have come, or one has ended meanwhile.
        """
        self._watch.show("0")
        _await_all(self._store, "arrived", self._group.count)
        _choose_interface()
        backend = "gloo"
        if torch.cuda.is_available() and dist.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"
        try:
            dist.init_process_group(
                backend,
                store=PrefixStore("group", self._store),
                rank=self._group.rank,
                world_size=self._group.count,
                timeout=LONGEST_WAIT,
            )
        except RuntimeError:
            raise InputError(ENDED_EARLY) from None
        _await_all(self._store, "connected", self._group.count)
        self._watch.start()

    def end(self) -> None:
        """Take this process out of the group.

        Process 0, with which the store may end, gives the others some time to do so too.
        """
        self._watch.end()
        if self._group.lost.is_set():  # the exchange that waits would wait on at the exit
            atexit.register(_leave)
            return
        with suppress(RuntimeError):
            dist.destroy_process_group()
        until = time.monotonic() + 2 * REASON
        while self._group.owns_run and self._watch.others_stay() and time.monotonic() < until:
            time.sleep(0.05)

    def told(self, error: BaseException) -> BaseException:
        """The error to end with; one process is chosen to tell it to the user."""
        lost = isinstance(error, ProcessLost)
        answer(lambda: self._store.set(f"here/{self._group.rank}", ""), None)
        if lost:
            time.sleep(REASON)
            error = TrainingError(self._told_of_loss(self._absent()))
        elif not self._group.owns_run:
            time.sleep(REASON / 3)  # if all fail in the same way, process 0 tells it
        if self._may_speak():
            let_speak(True)
        return error

    def _may_speak(self) -> bool:
        """Whether no process has spoken yet.

        If the store is gone, so is process 0, or its machine: the first of the others here may.
        """
        alone = self._group.rank == 1 or self._group.place.local_rank == 0
        return answer(lambda: self._store.add("spoken", 1) == 1, alone)

    def _absent(self) -> list[int]:
        """The processes that have not said that they are still there."""
        ranks = range(self._group.count)
        return answer(lambda: [r for r in ranks if not self._store.check([f"here/{r}"])], [])

    def _told_of_loss(self, gone: Sequence[int]) -> str:
        who = "a process"
        if len(gone) == 1:
            who = f"process {gone[0]} of {self._group.count}"
        again = f"; go on with: onecycle resume {self._group.run}" if self._group.run else ""
        return f"{who} has ended (killed, out of memory, or its machine can't be reached){again}"

    def _lose(self, gone: Sequence[int]) -> None:
        """A process is gone without a word: end this one, by force if it does not do so itself."""
        self._group.lost.set()
        time.sleep(ROOM)
        if self._watch.ended:
            return
        if self._may_speak():
            with suppress(OSError):
                sys.stderr.write(f"onecycle: error: {self._told_of_loss(gone)}\n")
                sys.stderr.flush()
        os._exit(FAILED)


def _leave() -> None:
    """End without waiting for PyTorch's threads."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(FAILED)


@contextmanager
def _unheeded() -> Iterator[None]:
    """A context in which signals are ignored: torchrun sends some as soon as a process has ended.

    Outside the main thread, Python has no say in signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in before:
            signal.signal(number, lambda *_: None)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _store(here: Place) -> Any:
    """The store in which the processes find each other: torchrun's, or one of process 0.

    Raises:
        InputError: it can't be reached.
    """
    host, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        store = TCPStore(
            host,
            int(port),
            is_master=here.rank == 0 and not hosted,
            timeout=timedelta(seconds=ARRIVAL),
            wait_for_workers=False,
        )
    except (RuntimeError, ValueError):
        raise InputError(
            f"MASTER_ADDR: {host}:{port} can't be reached; give torchrun an address of the first "
            "machine that all machines reach"
        ) from None
    attempt = [os.environ.get(f"TORCHELASTIC_{name}", "0") for name in ("RUN_ID", "RESTART_COUNT")]
    return PrefixStore("/".join(("onecycle", *attempt)), store)


def _await_all(store: Any, what: str, count: int) -> None:
    """Wait until all processes have come, or are connected: as far as `what` says.

    Raises:
        InputError: they are not.
    """
    try:
        store.add(what, 1)
        until = time.monotonic() + ARRIVAL
        while (found := store.add(what, 0)) < count:
            if time.monotonic() > until:
                raise InputError(
                    f"processes: only {found} of {count} have {what} within "
                    f"{ARRIVAL / 60:.0f} minutes; look at what torchrun says on the other machines"
                )
            time.sleep(0.05)
    except RuntimeError:
        raise InputError(ENDED_EARLY) from None


def _choose_interface() -> None:
    """Name the network interface that leads to process 0, unless the user has named one.

    Left alone, the processes would find the address of their machine by its name, which on many
    systems is one of the loopback.
    """
    if os.environ.get("GLOO_SOCKET_IFNAME") or sys.platform != "linux":
        return
    import fcntl
    import struct

    towards = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with towards, suppress(OSError, ValueError):
        towards.connect((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
        own = towards.getsockname()[0]
        for _, name in socket.if_nameindex():
            asked = struct.pack("256s", name.encode()[:15])
            with suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(towards.fileno(), 0x8915, asked)  # SIOCGIFADDR
                if socket.inet_ntoa(answer[20:24]) == own:
                    os.environ["GLOO_SOCKET_IFNAME"] = name
                    return
