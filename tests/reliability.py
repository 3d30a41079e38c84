"""The table of faults in docs/reliability.md, and which test stands for each row."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text(encoding="utf-8")
DOCUMENTED = dict(
    re.findall(r"^\| (.+?) \| (.+) \|$", TEXT[TEXT.index("## Faults") :], flags=re.MULTILINE)
)
"""What happens, by fault."""

TESTED: dict[str, str] = {}
"""The test of each fault, by name."""


def fault(name: str) -> Callable[[Any], Any]:
    """Mark a test as that of a row of the table; `make test-faults` runs it."""

    def mark(test: Any) -> Any:
        TESTED[name] = f"{test.__module__}.{test.__name__}"
        return pytest.mark.faults(test)

    return mark


def assert_told(name: str, text: str, message: int = 0) -> None:
    """`text` has the message that the row promises, the only one or one of several."""
    told = [words for words in re.findall(r"`([^`]+)`", DOCUMENTED[name]) if " " in words][message]
    pattern = ".*".join(map(re.escape, told.split("…")))
    assert re.search(pattern, text), f"{told!r} is not in {text!r}"
