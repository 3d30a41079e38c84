"""The stack machine for which a pickle is a program: its position in it, its stack, its memory."""

import struct
from typing import Any

from onecycle.writing.numbers import counted

LONGEST_NUMBER = 100
"""Most digits of a number in text form; reading very many would take long."""

MARK = object()
"""What an instruction puts on the stack below the parts of a list, tuple or dictionary."""


class UnreadablePickle(ValueError):
    """What is wrong with a pickle, as the end of a sentence that begins with its name."""


class Machine:
    """The stack machine: its position in the pickle, its stack, its memory."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self.position + count
        if end > len(self.content):
            raise UnreadablePickle(f"ends too early, after {counted(len(self.content), 'byte')}")
        taken = self.content[self.position : end]
        self.position = end
        return taken

    def line(self) -> bytes:
        """The bytes up to the end of the line."""
        end = self.content.find(b"\n", self.position)
        if end < 0:
            raise UnreadablePickle(f"ends too early, after {counted(len(self.content), 'byte')}")
        taken = self.content[self.position : end]
        self.position = end + 1
        return taken

    def digits(self) -> bytes:
        """The digits up to the end of the line."""
        line = self.line().removesuffix(b"L")
        if len(line) > LONGEST_NUMBER:
            raise ValueError
        return line

    def number(self, layout: str) -> int:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise IndexError
        return value

    def pop_to_mark(self) -> list[Any]:
        """Remove everything down to the topmost mark; return the values above it."""
        values = []
        while (value := self.stack.pop()) is not MARK:
            values.append(value)
        values.reverse()
        return values
