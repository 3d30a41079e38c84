"""Read pickles of plain data without Python's unpickler, so that a hostile one can do no harm.

A pickle is a program for a stack machine. Python's unpickler with a list of permitted names runs
no foreign code, but a short file can still make it fill the memory (a memo's index, a claimed
length) or never end (a dictionary key of nested tuples). This machine knows only the instructions
for dictionaries, lists, tuples, numbers, texts and NumPy arrays (protocols 0 to 5, so pickles of
Python 2 and of any NumPy). It calls nothing, and takes a limited number of steps. Arrays are not
built, only described: by shape, type and bytes.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onecycle.data.cifar.pickle_machine import MARK, Machine, UnreadablePickle


@dataclass
class Array:
    """A pickle's description of a NumPy array; nothing has been checked.

    Attributes:
        shape: its shape.
        dtype: its type, in NumPy's abbreviation.
        fortran: whether the first index moves fastest.
        content: its bytes: bytes or `Encoded`.
    """

    shape: Any = None
    dtype: Any = None
    fortran: Any = False
    content: Any = b""


@dataclass(frozen=True)
class Encoded:
    """Many bytes that Python 3 pickled as text for Python 2; encoded only on demand."""

    text: str

    def to_bytes(self) -> bytes:
        return self.text.encode("latin-1")


@dataclass
class _Name:
    """One of the permitted names, by its meaning."""

    meaning: str


@dataclass
class _Type:
    """A NumPy type."""

    code: Any


_ADMITTED = {
    ("numpy", "ndarray"): "array class",
    ("numpy", "dtype"): "type",
    ("_codecs", "encode"): "encode",
    **{
        (f"numpy.{core}.{module}", name): meaning
        for core in ("core", "_core")  # before NumPy 2, and since
        for module, name, meaning in (
            ("multiarray", "_reconstruct", "empty array"),
            ("numeric", "_frombuffer", "array of bytes"),
        )
    },
}
"""All names that a pickle may use, as (module, name); none of them is ever looked up."""

SHORT = 256
"""Most characters of a text that is encoded at once; a long one could be requested endlessly."""


def load(content: bytes, most_steps: int) -> Any:
    """The value of a pickle, with arrays as `Array` and Python 2's texts as bytes.

    Raises:
        UnreadablePickle: it is damaged, asks for anything but plain data, or takes more than
            `most_steps` instructions.
    """
    machine = Machine(content)
    try:
        for _ in range(most_steps):
            code = machine.take(1)
            if code == b".":
                return machine.pop()
            action = _ACTIONS.get(code)
            if action is None:
                raise UnreadablePickle(f"has the instruction {code!r}, which plain data don't need")
            action(machine)
    except UnreadablePickle:
        raise
    except (IndexError, KeyError, TypeError, ValueError, struct.error):
        raise UnreadablePickle(f"is damaged near byte {machine.position:,}") from None
    raise UnreadablePickle(f"takes more than {most_steps:,} instructions")


def _protocol(machine: Machine) -> None:
    version = machine.number("<B")
    if version > 5:
        raise UnreadablePickle(f"has protocol {version}; those up to 5 can be read")


def _nothing(_: Any) -> None:
    pass


def _push(read: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    """An instruction that pushes what it reads."""
    return lambda machine: machine.push(read(machine))


def _text(layout: str) -> Callable[[Machine], None]:
    """An instruction that pushes a UTF-8 text, which follows its length."""
    return _push(lambda m: str(m.take(m.number(layout)), "utf-8", "surrogatepass"))


def _bytes(layout: str) -> Callable[[Machine], None]:
    """An instruction that pushes bytes, which follow their length."""
    return _push(lambda m: m.take(m.number(layout)))


def _quoted(machine: Machine) -> None:
    """A text as a Python 2 literal."""
    line = machine.line().strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError
    machine.push(line[1:-1].decode("unicode_escape").encode("latin-1"))


def _whole_number(machine: Machine) -> None:
    digits = machine.digits()
    machine.push({b"00": False, b"01": True}.get(digits, int(digits)))


def _tuple(count: int) -> Callable[[Machine], None]:
    """An instruction that turns the topmost values into a tuple."""
    return _push(lambda m: tuple(reversed([m.pop() for _ in range(count)])))


def _append(machine: Machine) -> None:
    value = machine.pop()
    _extend(machine, [value])


def _extend(machine: Machine, values: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, list):
        raise TypeError
    target += values


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _set_items(machine: Machine, pairs: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, dict):
        raise TypeError
    target.update(_dictionary(pairs))


def _dictionary(pairs: list[Any]) -> dict[str, Any]:
    """A dictionary with text keys (Python 2: bytes); comparing other keys could take forever."""
    keys, values = pairs[::2], pairs[1::2]
    if not all(isinstance(key, str | bytes) for key in keys):
        raise TypeError
    names = (str(key, "latin-1") if isinstance(key, bytes) else key for key in keys)
    return dict(zip(names, values, strict=True))


def _remember(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _recall(machine: Machine, index: int) -> None:
    machine.push(machine.memo[index])


def _name(machine: Machine, module: str, name: str) -> None:
    """Push a name, if it is permitted."""
    if (module, name) not in _ADMITTED:
        asked = f"{module[:40]}.{name[:40]}"
        shown = "".join(letter if letter.isprintable() else "?" for letter in asked)
        raise UnreadablePickle(f"asks for '{shown}': it could run code")
    machine.push(_Name(_ADMITTED[module, name]))


def _line_of_text(machine: Machine) -> str:
    return machine.line().decode("utf-8")


def _name_on_stack(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not (isinstance(module, str) and isinstance(name, str)):
        raise TypeError
    _name(machine, module, name)


def _call(machine: Machine) -> None:
    """Handle a call of a permitted name by its meaning; nothing is called."""
    arguments, function = machine.pop(), machine.pop()
    if not (isinstance(function, _Name) and isinstance(arguments, tuple)):
        raise TypeError
    if function.meaning == "empty array":
        machine.push(Array())
    elif function.meaning == "array of bytes":
        content, kind, shape, order = arguments
        machine.push(Array(shape, _code(kind), order == "F", content))
    elif function.meaning == "type":
        machine.push(_Type(arguments[0]))
    elif function.meaning == "encode" and arguments[1:] == ("latin1",):
        encoded = Encoded(_checked(arguments[0], str))
        machine.push(encoded.to_bytes() if len(encoded.text) <= SHORT else encoded)
    else:
        raise TypeError


def _build(machine: Machine) -> None:
    """Set an array's contents; a type needs only its code."""
    state, target = machine.pop(), machine.stack[-1]
    if isinstance(target, Array):
        target.shape, kind, target.fortran, target.content = _checked(state, tuple)[-4:]
        target.dtype = _code(kind)
    elif not isinstance(target, _Type):
        raise TypeError


def _code(kind: Any) -> Any:
    return _checked(kind, _Type).code


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


_ACTIONS: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": _protocol,
    b"\x95": lambda m: _nothing(m.number("<Q")),  # the length of a frame
    # constants and numbers
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _whole_number,
    b"L": _whole_number,
    b"K": _push(lambda m: m.number("<B")),
    b"M": _push(lambda m: m.number("<H")),
    b"J": _push(lambda m: m.number("<i")),
    b"\x8a": _push(lambda m: int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
    # texts and bytes
    b"S": _quoted,
    b"T": _bytes("<I"),
    b"U": _bytes("<B"),
    b"V": _push(lambda m: m.line().decode("raw_unicode_escape")),
    b"X": _text("<I"),
    b"\x8c": _text("<B"),
    b"\x8d": _text("<Q"),
    b"B": _bytes("<I"),
    b"C": _bytes("<B"),
    b"\x8e": _bytes("<Q"),
    b"\x96": _bytes("<Q"),
    # lists, tuples, dictionaries
    b"(": lambda m: m.push(MARK),
    b"]": lambda m: m.push([]),
    b"l": _push(Machine.pop_to_mark),
    b"a": _append,
    b"e": lambda m: _extend(m, m.pop_to_mark()),
    b")": lambda m: m.push(()),
    b"t": _push(lambda m: tuple(m.pop_to_mark())),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"}": lambda m: m.push({}),
    b"d": _push(lambda m: _dictionary(m.pop_to_mark())),
    b"s": _set_item,
    b"u": lambda m: _set_items(m, m.pop_to_mark()),
    # memory
    b"p": lambda m: _remember(m, int(m.digits())),
    b"q": lambda m: _remember(m, m.number("<B")),
    b"r": lambda m: _remember(m, m.number("<I")),
    b"\x94": lambda m: _remember(m, len(m.memo)),
    b"g": lambda m: _recall(m, int(m.digits())),
    b"h": lambda m: _recall(m, m.number("<B")),
    b"j": lambda m: _recall(m, m.number("<I")),
    # arrays
    b"c": lambda m: _name(m, _line_of_text(m), _line_of_text(m)),
    b"\x93": _name_on_stack,
    b"R": _call,
    b"b": _build,
}
