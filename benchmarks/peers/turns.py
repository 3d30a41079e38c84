"""A contender's side of taking turns: after each step it may have to wait for the next turn.

A contender is an ordinary endless training that calls `after_step`. Once a turn's steps are done,
it answers with one line of JSON and blocks on standard input until a line with the next turn's
number of steps comes. So a turn is a piece out of the middle of a training: it holds everything
that the trainer does for those steps, and nothing that it does once.
"""

import json
import time
from collections.abc import Callable
from typing import IO, Any


class Turns:
    """Counts steps, and waits where a turn ends. The first turn is one step: it warms up.

    Args:
        orders: where the number of steps of each turn is read, one a line; its end ends it all.
        answers: where what was done is written.
    """

    def __init__(self, orders: IO[str], answers: IO[str]) -> None:
        self.synchronize: Callable[[], None] = lambda: None
        """Waits for the device; a contender on a GPU sets it."""
        self.about: dict[str, Any] = {}
        """What the contender says of itself, with the first answer: versions, threads."""
        self._orders, self._answers = orders, answers
        self._left, self._started = 1, time.perf_counter()
        self._losses: list[Any] = []
        self._images = 0

    def after_step(self, loss: Any, images: int) -> None:
        """A step on `images` images is done, with this loss: a number, or what `float` turns into
        one. It is read at the end of the turn, since that may wait for a device.

        Raises:
            SystemExit: there are no more turns.
        """
        self._losses.append(loss)
        self._images += images
        self._left -= 1
        if self._left == 0:
            self._answer()
            self._wait()

    def _answer(self) -> None:
        self.synchronize()
        seconds = time.perf_counter() - self._started
        done = {"seconds": seconds, "images": self._images, "about": self.about}
        done["losses"] = [float(loss) for loss in self._losses]
        self._answers.write(json.dumps(done) + "\n")
        self._answers.flush()

    def _wait(self) -> None:
        order = self._orders.readline()
        if not order.strip():
            raise SystemExit(0)
        self._left, self._losses, self._images = int(order), [], 0
        self._started = time.perf_counter()
