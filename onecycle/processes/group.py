"""What the processes of a training exchange. A single process exchanges nothing.

All processes must call the same methods in the same order. Each method raises `ProcessLost` if
another process is gone.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch import distributed as dist

from onecycle.errors import ProcessLost
from onecycle.processes import Place

SIGNALS = (1, 2, 15)
"""SIGHUP, SIGINT, SIGTERM: what a process may hear and the others must learn of."""

LOOK_UP = 0.5
"""Seconds after which a wait for an answer looks whether one can still come."""

READ_EVERY = 20
"""Exchanges between two readings of the signals from a GPU, which makes the host wait."""


class Processes:
    """All processes of a training, as one of them sees them.

    Attributes:
        place: which of them this is.
        run: the folder of the run, for messages; empty before there is one.
        heard: the signal that this process has got, and not yet told the others; 0: none.
        lost: set once another process is known to be gone without having closed its connections.
        agreed: called in all processes, at the same point of the work, with a signal that any of
            them has heard.
    """

    def __init__(self, place: Place = Place()) -> None:  # noqa: B008 - it is frozen
        self.place = place
        self.run = ""
        self.heard = 0
        self.agreed: Callable[[int], None] = lambda number: None
        self.lost = threading.Event()
        self._alone = place.count == 1
        self._exchanges = 0

    def __deepcopy__(self, _: object) -> Self:
        """A network that is copied stays among the same processes."""
        return self

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return self.place.rank

    @property
    def count(self) -> int:
        """The number of processes."""
        return self.place.count

    @property
    def owns_run(self) -> bool:
        """Whether this process writes the run folder."""
        return self.place.rank == 0

    # ----------------------------------------------------------------------------- signals

    def hear(self, number: int, _: object = None) -> None:
        """A handler of signals: the signal takes effect once all processes know of it."""
        self.heard = self.heard or number
        if self._alone:
            self.agreed(number)

    def part(self) -> None:
        """From here on nothing is exchanged any more: a signal takes effect at once."""
        self._alone = True
        if self.heard:
            self.agreed(self.heard)

    def agree(self) -> None:
        """Tell all processes of a signal that one has heard."""
        if not self._alone:
            votes = self.votes(torch.device("cpu"))
            self._sum(votes)
            self._heed(votes)

    def votes(self, device: torch.device) -> Tensor:
        """The signal that this process has heard: float32, a 1 in its place among `SIGNALS`."""
        return torch.tensor([float(self.heard == number) for number in SIGNALS], device=device)

    def heed(self, votes: Tensor) -> None:
        """Let a signal take effect that is in the sum of all votes.

        From a GPU they are read at every `READ_EVERY`-th call only, the same one in all processes.
        """
        self._exchanges += 1
        if votes.device.type == "cpu" or self._exchanges % READ_EVERY == 0:
            self._heed(votes)

    def _heed(self, votes: Tensor) -> None:
        for number, count in zip(SIGNALS, votes.tolist(), strict=True):
            if count > 0:
                self.heard = number
                self.agreed(number)
                return

    # ------------------------------------------------------------------------------ tensors

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a contiguous floating tensor by its sum over all processes, and return it.

        Equal numbers of processes give equal bits, and all processes get the same ones.
        """
        if self.count > 1:
            self._sum(tensor)
        return tensor

    def tensors_from_first(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite tensors, which have the same names and shapes everywhere, by process 0's."""
        if self.count > 1:
            with torch.no_grad():
                for _, tensor in sorted(tensors.items()):
                    dense = tensor.detach().contiguous()
                    self._broadcast(dense)
                    tensor.copy_(dense)

    def _sum(self, tensor: Tensor) -> None:
        self._carry_out(lambda: dist.all_reduce(tensor, async_op=True), tensor)

    def _broadcast(self, tensor: Tensor) -> None:
        self._carry_out(lambda: dist.broadcast(tensor, 0, async_op=True), tensor)

    def _carry_out(self, begin: Callable[[], Any], tensor: Tensor) -> None:
        """Wait for an exchange, but not for a process that is gone.

        Raises:
            ProcessLost: it has failed, or will never end.
        """
        try:
            work = begin()
            if tensor.device.type == "cpu":
                ended = threading.Event()
                work.get_future().add_done_callback(lambda _: ended.set())
                while not ended.wait(LOOK_UP):
                    if self.lost.is_set():
                        raise ProcessLost("it does not answer")
            work.wait()
        except ProcessLost:
            raise
        except RuntimeError as error:
            raise ProcessLost(next(iter(str(error).splitlines()), "")) from None

    # --------------------------------------------------------------------------------- JSON

    def from_first(self, value: Any = None) -> Any:
        """The value of process 0, which JSON can hold."""
        if self.count == 1:
            return value
        return json.loads(self.bytes_from_first(json.dumps(value).encode()))

    def bytes_from_first(self, content: bytes = b"") -> bytes:
        """The bytes of process 0."""
        if self.count == 1:
            return content
        size = torch.tensor([len(content)])
        self._broadcast(size)
        held = torch.zeros(int(size), dtype=torch.uint8)
        if self.rank == 0 and content:
            held = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        self._broadcast(held)
        return held.numpy().tobytes()

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in their order. JSON can hold them."""
        if self.count == 1:
            return [value]
        content = json.dumps(value).encode()
        lengths = [int(size) for size in self._all(torch.tensor([len(content)]))]
        held = torch.zeros(max(lengths), dtype=torch.uint8)
        held[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        found = self._all(held)
        texts = [each.numpy().tobytes()[:n] for each, n in zip(found, lengths, strict=True)]
        return [json.loads(text) for text in texts]

    def _all(self, tensor: Tensor) -> list[Tensor]:
        found = [torch.empty_like(tensor) for _ in range(self.count)]
        self._carry_out(lambda: dist.all_gather(found, tensor, async_op=True), tensor)
        return found

    def own(self, things: Sequence[Any]) -> list[Any]:
        """Every so many of the things, so that each is one process's."""
        return list(things[self.rank :: self.count])


SINGLE = Processes()
"""The one process of an ordinary training."""
