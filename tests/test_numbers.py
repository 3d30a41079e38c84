"""Numbers with their nouns: `1 epoch`, never `1 epochs`, in every text with a number."""

import ast
import re
from pathlib import Path

import pytest

import onecycle
from onecycle.writing.numbers import counted

SOURCES = sorted(Path(onecycle.__file__).parent.rglob("*.py"))

NOUNS = (
    "image epoch step classe second minute tensor thread channel byte run pixel file row seed "
    "entrie name folder label group line pair parameter field column batche split value point "
    "mistake trial checkpoint warning"
).split()

PLURAL_AT_ONCE = re.compile(rf"^ (?:\w+ )?(?:{'|'.join(NOUNS)})s\b")
"""A plural that follows a number with at most one word between them."""

NEVER_ONE = set(
    """width height side classes CLASSES MOST FEWEST PIXELS MOST_PIXELS most_steps runs tensors
    image_size size record counted label_set length marked count file quoted nbytes FEW_IMAGES
    counts_K channels FIRST wrong""".split()
)
"""Variables that are never 1 before a plural, or are not numbers."""


@pytest.mark.parametrize(
    ("count", "noun", "plural", "text"),
    [
        (0, "image", "", "0 images"),
        (1, "image", "", "1 image"),
        (2, "image", "", "2 images"),
        (12_345, "test image", "", "12,345 test images"),
        (1, "class", "classes", "1 class"),
        (3, "class", "classes", "3 classes"),
    ],
)
def test_a_number_and_its_noun(count: int, noun: str, plural: str, text: str) -> None:
    assert counted(count, noun, plural) == text


def plurals_after_numbers(path: Path) -> list[str]:
    """The f-strings of a file in which a plural noun directly follows a value."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                continue
            if isinstance(value.value, ast.IfExp):  # a choice of words
                continue
            names = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
            names |= {n.attr for n in ast.walk(value) if isinstance(n, ast.Attribute)}
            fraction = value.format_spec and "f" in ast.unparse(value.format_spec)[2:]
            if PLURAL_AT_ONCE.match(str(text.value)) and not names & NEVER_ONE and not fraction:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def test_no_text_puts_a_plural_after_a_number_that_may_be_one() -> None:
    assert {path.name: found for path in SOURCES if (found := plurals_after_numbers(path))} == {}
