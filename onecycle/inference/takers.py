"""What may be made of images as they are classified, batch by batch."""

from abc import ABC, abstractmethod
from typing import ClassVar

from onecycle.inference.stream import Batch


class Taker(ABC):
    """Makes something of every batch.

    Attributes:
        column: key of the written files in JSON rows; empty if there is no file for each image.
    """

    column: ClassVar[str] = ""

    @abstractmethod
    def take(self, batch: Batch) -> list[str]:
        """Take the next batch.

        Returns:
            The file written for each readable image, in their order; empty if there is none.

        Raises:
            TrainingError: it can't be written.
        """

    def finish(self) -> None:  # noqa: B027 - most have nothing left to do
        """Called after the last batch."""
