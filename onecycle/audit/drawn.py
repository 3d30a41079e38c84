"""Were images turned, enlarged and recoloured as the recipe asks?

`engine.replay` has made a few images again from the numbers drawn for them. If they are those that
the network got, the numbers say what was done, and here they are compared with the recipe.
"""

from collections.abc import Iterator

from onecycle.audit.line import Line, percent, unknown
from onecycle.config import Recipe
from onecycle.data.transforms import Transform
from onecycle.engine.plain_transforms import PLAIN
from onecycle.run_dir.records import Replayed
from onecycle.writing.numbers import counted

MOST_EQUAL = 0.95
"""Share of images that must be equal when made again: all but those where rounding decides."""

MANY = 100
"""From so many images on, the numbers drawn must nearly reach both ends of their range."""

REACH = 0.15
"""Share of a range that may be left out at either end: once in ten million times by chance."""

OPERATIONS, STRONGEST = 14, 30
"""TrivialAugment's operations and its highest strength, as published."""

NAME = "Images made again as drawn"


def lines(recipe: Recipe, asked: tuple[Transform, ...], found: Replayed | None) -> list[Line]:
    """The line of the images made again, and one for each range of the numbers drawn.

    Args:
        recipe: says which ranges were asked for.
        asked: its transforms.
        found: what was measured; None if nothing was.
    """
    strange = [each.name for each in asked if type(each) not in PLAIN]
    if strange:
        reason = f"not measured: how to do {' and '.join(strange)} once more is not known"
        return [unknown(NAME, "all", reason)]
    if not found or not found.images:
        return [Line(NAME, "all", "none was made: nothing was turned or recoloured", False)]
    agree = f"{percent(found.agree / found.images)} of {found.images:,} are what the network got"
    return [
        Line(NAME, "all", agree, found.agree >= MOST_EQUAL * found.images),
        *_ranges(recipe, found),
    ]


def _ranges(recipe: Recipe, found: Replayed) -> Iterator[Line]:
    if recipe.rotation:
        yield _range(
            "Rotation", "rotation", found, (-recipe.rotation, recipe.rotation), "{} degrees"
        )
    if recipe.resized_crop:
        yield _area(recipe.resized_crop, found)
    for name in ("brightness", "contrast", "saturation"):
        if reach := getattr(recipe, name):
            yield _range(f"Jitter of {name}", name, found, (1 - reach, 1 + reach), "a factor of {}")
    if recipe.hue:
        yield _range("Jitter of hue", "hue", found, (-recipe.hue, recipe.hue), "{} of the circle")
    if recipe.trivial_augment:
        yield _strengths(found)
    if recipe.cutout:
        yield _cutout(int(recipe.cutout), found)


def _range(title: str, name: str, found: Replayed, wanted: tuple[float, float], words: str) -> Line:
    asked = words.format(_ends(wanted))
    if name not in found.lowest:
        return Line(title, asked, "nothing was drawn", False)
    drawn, width = (found.lowest[name], found.highest[name]), wanted[1] - wanted[0]
    inside = wanted[0] - 1e-4 * width <= drawn[0] and drawn[1] <= wanted[1] + 1e-4 * width
    return Line(title, asked, f"{_ends(drawn)} drawn", inside and _reaches(found, drawn, wanted))


def _area(least: float, found: Replayed) -> Line:
    """Boxes have whole pixels, so small images miss the ends. A large box often doesn't fit."""
    title, asked = "Resized crop", f"{percent(least)} to 100.0 % of the area"
    if "resized_crop" not in found.lowest:
        return Line(title, asked, "nothing was drawn", False)
    low, high = found.lowest["resized_crop"], found.highest["resized_crop"]
    reached = found.images < MANY or low <= least + max(REACH * (1 - least), 0.06)
    passed = 0.85 * least - 0.02 <= low and high <= 1 and reached
    return Line(title, asked, f"{percent(low)} to {percent(high)} drawn", passed)


def _strengths(found: Replayed) -> Line:
    title, asked = "TrivialAugment", f"{OPERATIONS} operations, strengths 0 to {STRONGEST}"
    if "operation" not in found.lowest:
        return Line(title, asked, "nothing was drawn", False)
    first, last = found.lowest["operation"], found.highest["operation"]
    drawn = found.lowest["strength"], found.highest["strength"]
    within = first >= 0 and last < OPERATIONS and drawn[0] >= 0 and drawn[1] <= STRONGEST
    told = f"operations {first + 1:g} to {last + 1:g}, strengths {drawn[0]:g} to {drawn[1]:g}"
    reaches = _reaches(found, (first, last), (0, OPERATIONS - 1))
    return Line(title, asked, told, within and reaches and _reaches(found, drawn, (0, STRONGEST)))


def _cutout(side: int, found: Replayed) -> Line:
    asked = f"every image cut, {counted(side**2, 'pixel')} each"
    same = found.lowest.get("cutout") == found.highest.get("cutout") == side
    told = f"{percent(found.cut / found.images)} of {found.images:,} cut where it was drawn"
    if not same:
        told += ", with another side"
    return Line("Cutout", asked, told, same and found.cut >= MOST_EQUAL * found.images)


def _reaches(found: Replayed, drawn: tuple[float, float], wanted: tuple[float, float]) -> bool:
    slack = REACH * (wanted[1] - wanted[0])
    near = drawn[0] <= wanted[0] + slack and drawn[1] >= wanted[1] - slack
    return near or found.images < MANY


def _ends(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"
