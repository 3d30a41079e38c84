"""Noticing that a process is gone, even if its machine is, and no connection is closed.

Each process shows in the store of the group every few seconds that it lives, from a thread of its
own, so that a long computation is no silence.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

BEAT = 2.0
"""Seconds between two signs of life."""

SILENCE = 12.0
"""Seconds without a sign after which a process counts as gone."""

ANSWER = 3.0
"""Seconds in which the store must answer a question of a process that ends."""

GONE = "gone"
"""The sign of a process that has ended its part of the work."""

Answer = TypeVar("Answer")


class Watch:
    """Shows that this process lives, and calls `lost` once when another does not any more.

    Args:
        store: of the group; nothing else uses this connection.
        rank: the number of this process.
        count: of all processes.
        lost: called in another thread with the numbers of those that are gone; none if the store
            is, with which the machine of process 0 may be.
    """

    def __init__(
        self, store: Any, rank: int, count: int, lost: Callable[[Sequence[int]], None]
    ) -> None:
        self._store, self._rank, self._lost = store, rank, lost
        self._others = [other for other in range(count) if other != rank]
        self._ended = threading.Event()
        self._signs: dict[int, tuple[bytes, float]] = {}
        self._answered = time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether this process has ended its part of the work."""
        return self._ended.is_set()

    def show(self, sign: str) -> None:
        """Show a sign of life."""
        self._store.set(_key(self._rank), sign)

    def start(self) -> None:
        """Begin to show signs, and to look for those of the others."""
        self._answered = time.monotonic()
        for work in (self._exchange, self._judge):
            threading.Thread(target=work, name="onecycle watch", daemon=True).start()

    def end(self) -> None:
        """Stop watching, and show that this process has ended its part."""
        self._ended.set()
        answer(lambda: self.show(GONE), None)

    def others_stay(self) -> bool:
        """Whether another process has not ended its part yet, once this one has."""
        signs = answer(lambda: self._store.multi_get(list(map(_key, self._others))), [])
        return any(sign != GONE.encode() for sign in signs)

    def _exchange(self) -> None:
        """Show signs and fetch those of the others. The store may not answer for a long time."""
        number = 0
        with suppress(RuntimeError):
            while not self._ended.wait(BEAT):
                number += 1
                self.show(str(number))
                signs = self._store.multi_get(list(map(_key, self._others)))
                now = self._answered = time.monotonic()
                for other, sign in zip(self._others, signs, strict=True):
                    if other not in self._signs or self._signs[other][0] != sign:
                        self._signs[other] = sign, now

    def _judge(self) -> None:
        """Decide by the time since the last signs that somebody is gone."""
        before = time.monotonic()
        while not self._ended.wait(BEAT):
            now = time.monotonic()
            if now - before > 2 * BEAT:  # this process itself was stopped: the others may be well
                self._answered = now
                self._signs.clear()
            before = now
            silent = [other for other, (sign, since) in [*self._signs.items()]
                      if sign != GONE.encode() and now - since > SILENCE]  # fmt: skip
            if silent or now - self._answered > SILENCE:
                self._lost(silent)
                return


def answer(question: Callable[[], Answer], otherwise: Answer) -> Answer:
    """What the store answers; `otherwise` if it fails, or does not answer in time."""
    found: list[Answer] = []

    def ask() -> None:
        with suppress(RuntimeError):
            found.append(question())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER)
    return found[0] if found else otherwise


def _key(rank: int) -> str:
    return f"sign/{rank}"
