"""The types of values in records, and what makes a class a record."""

from typing import Annotated, ClassVar, Literal

from onecycle.run_dir.checking import Within

Count = Annotated[int, Within(0, 2**63 - 1)]
Number = Annotated[float, Within(0, 1e100)]
Share = Annotated[float, Within(0, 1)]
Seconds = Annotated[float, Within(0, 1e12)]
Resize = Literal["crop", "squash"]
Side = Annotated[int, Within(1, 65_536)]
Setting = bool | float | str | None | list[float]
"""A setting of an optimizer."""


class Recorded:
    """A record that is a file of the run folder, or a row of one."""

    FILE: ClassVar[str]
