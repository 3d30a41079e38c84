"""Was every image cropped, flipped and cut out as the recipe asks?

Each transform says what to expect; `engine.transform_check` has measured what was done.
"""

import math
from dataclasses import replace
from typing import NamedTuple

from scipy.stats import binomtest

from onecycle.audit import drawn
from onecycle.audit.evidence import Evidence
from onecycle.audit.line import Line, percent, unknown
from onecycle.data import transforms
from onecycle.data.transforms import Expected, Transform
from onecycle.engine.transform_check import Applied
from onecycle.run_dir.records import Replayed
from onecycle.writing.numbers import counted

NEAR_ENOUGH = 0.05
"""A share this close to the one asked for passes for any number of images."""

CHANCE = 1e-3
"""A share further off passes if correct draws would be that far off at least this often."""

CHANCE_DRAWN = 1e-6
"""The same, where the numbers drawn are counted: nothing else can make them differ."""

HIDDEN = "not measured: too little is left of any image to tell how it was changed"


def lines(evidence: Evidence) -> list[Line]:
    """One line for each possible change to images, and lines for all of them together."""
    counts, asked = evidence.measured.applied, transforms.of(evidence.recipe)
    if not counts:
        return [unknown("Crop, flip and cutout", "as in the recipe")]
    found, wanted = Applied.from_json(counts), _together([each.expected for each in asked])
    rest = _nothing_else(wanted, asked, found)
    if wanted.hides:
        return [
            *_drawn(wanted, evidence.measured.replayed),
            *drawn.lines(evidence.recipe, asked, evidence.measured.replayed),
            rest,
        ]
    if not found.decided and (wanted.altered or not found.unexplained):  # all of it cut out, say
        return [unknown("Crop, flip and cutout", "as in the recipe", HIDDEN), rest]
    return [
        _crop(wanted, found),
        _flip(wanted, found),
        _cutout(wanted, found, _visible(evidence, wanted)),
        _untouched(wanted, found),
        _idle(asked, found),
        rest,
    ]


def _together(each: list[Expected]) -> Expected:
    """The combined effect of several transforms that are drawn independently."""
    hides = any(one.hides for one in each)
    shares = {
        name: 1 - math.prod(1 - getattr(one, name) for one in each)
        for name in ("shifted", "mirrored", "blanked", "altered")
    }
    sizes = {
        name: sum(getattr(one, name) for one in each) for name in ("farthest", "blanked_pixels")
    }
    return Expected(**shares, **sizes, hides=hides)


def _drawn(wanted: Expected, found: Replayed | None) -> list[Line]:
    """Crop, flip and cutout, where other changes hide them, from the numbers drawn for them."""
    if not found or not found.images:
        return []
    farthest = int(found.highest.get("shift", 0))
    as_drawn = Applied(
        images=found.images,
        decided=found.images,
        shifted=found.shifted,
        farthest=farthest,
        flipped=found.mirrored,
    )
    both = (_crop(wanted, as_drawn, CHANCE_DRAWN), _flip(wanted, as_drawn, CHANCE_DRAWN))
    return [replace(line, found=f"{line.found}, as drawn") for line in both]


def _crop(wanted: Expected, found: Applied, chance: float = CHANCE) -> Line:
    name, measured = "Random crop", f"{_of(found.shifted, found.decided)} shifted"
    if not wanted.shifted:
        return Line(name, "none", measured, found.shifted == 0)
    reached = found.farthest <= wanted.farthest
    if found.decided >= 100:  # the farthest shift has been drawn by then
        reached = found.farthest == wanted.farthest
    return Line(
        name,
        f"{percent(wanted.shifted)} shifted, by up to {counted(wanted.farthest, 'pixel')}",
        f"{measured}, by up to {counted(found.farthest, 'pixel')}",
        _fits(found.shifted, found.decided, wanted.shifted, chance) and reached,
    )


def _flip(wanted: Expected, found: Applied, chance: float = CHANCE) -> Line:
    passed = _fits(found.flipped, found.decided, wanted.mirrored, chance)
    asked = f"{percent(wanted.mirrored)} mirrored" if wanted.mirrored else "none"
    return Line("Horizontal flip", asked, f"{_of(found.flipped, found.decided)} mirrored", passed)


class Visible(NamedTuple):
    """Cut squares that do not lie wholly in the blank border that the crop leaves.

    Attributes:
        share: their share.
        pixels: mean number of pixels of such a square outside that border.
    """

    share: float
    pixels: float

    @classmethod
    def of(cls, size: tuple[int, int], side: int, padding: int) -> "Visible":
        """Of squares of `side` in images of this height and width, cropped from padded ones."""
        (seen_rows, rows), (seen_columns, columns) = (
            _seen_along(total, side, padding) for total in size
        )
        share = seen_rows * seen_columns  # a square is hidden by the border's rows or its columns
        return cls(share, rows * columns / share if share else 0.0)


def _visible(evidence: Evidence, wanted: Expected) -> Visible:
    """What can be seen of the cut squares; all of it, if the images' size is not known."""
    layers, side = evidence.measured.network, math.isqrt(wanted.blanked_pixels)
    if layers is None or not side:
        return Visible(1.0, wanted.blanked_pixels)
    return Visible.of(layers.image_shape[:2], side, wanted.farthest)


def _seen_along(total: int, side: int, farthest: int) -> tuple[float, float]:
    """Of a square in an image shifted by up to `farthest` pixels, along one axis of `total`.

    The probability that any of its rows is outside the blank border, and their mean number.
    """
    places = total - side + 1
    hidden = lost = 0
    for border in range(1, farthest + 1):
        overlaps = [min(side, border - start) for start in range(min(border, places))]
        lost += 2 * sum(overlaps)  # the shift is one way or the other
        hidden += 2 * overlaps.count(side)
    cases = (2 * farthest + 1) * places
    return 1 - hidden / cases, side - lost / cases


def _cutout(wanted: Expected, found: Applied, visible: Visible) -> Line:
    """Part of the square may cover pixels that were already blank, so its area is a bound."""
    read = found.images - found.unexplained if wanted.altered else found.images
    name, measured = "Cutout", f"{_of(found.cut, read)} cut"
    if not wanted.blanked:
        return Line(name, "none", measured, found.cut == 0)
    area, share = wanted.blanked_pixels, wanted.blanked
    asked = f"{'every image' if share == 1 else percent(share)} cut, {counted(area, 'pixel')} each"
    if visible.share < 1:
        asked += f"; {percent(visible.share)} of the squares outside the crop's blank border"
    mean = found.cut_pixels / max(found.cut, 1)
    return Line(
        name,
        asked,
        f"{measured}, {mean:.1f} pixels each that were not blank before",
        _fits(found.cut, read, share * visible.share) and 0.5 * visible.pixels <= mean <= area,
    )


def _untouched(wanted: Expected, found: Applied) -> Line:
    share = (1 - wanted.shifted) * (1 - wanted.mirrored) * (1 - wanted.blanked)
    return Line(
        "Images left untouched",
        f"{percent(share)}",
        _of(found.untouched, found.decided),
        _fits(found.untouched, found.decided, share),
    )


def _idle(asked: tuple[Transform, ...], found: Applied) -> Line:
    """Whether every transform that is asked for changed at least one image."""
    idle = [each.name for each in asked if not _has_acted(each.expected, found)]
    words = f"{' and '.join(idle)} did nothing" if idle else f"{len(asked)} of {len(asked)} do"
    return Line("Transforms that change images", f"all {len(asked)}", words, not idle)


def _has_acted(wanted: Expected, found: Applied) -> bool:
    return bool(
        (wanted.shifted and found.shifted)
        or (wanted.mirrored and found.flipped)
        or (wanted.blanked and found.cut)
        or (wanted.altered and found.unexplained)
    )


def _nothing_else(wanted: Expected, asked_for: tuple[Transform, ...], found: Applied) -> Line:
    asked, measured = "nothing", f"{_of(found.unexplained, found.images)} differ in other pixels"
    passed = found.unexplained == 0
    if wanted.altered:
        *first, last = (each.name for each in asked_for if each.expected.altered)
        names = f"{', '.join(first)} and {last}" if first else last
        asked = f"{percent(wanted.altered)} in other pixels, by {names}"
        passed = _fits(found.unexplained, found.images, wanted.altered)
        if wanted.hides:  # how many of the changes can be seen depends on the images
            asked = f"up to {asked}"
            passed = passed or found.unexplained <= wanted.altered * found.images
    if found.wrong_size:
        measured += f"; {_of(found.wrong_size, found.images)} have another size"
    return Line("Anything else done to images", asked, measured, passed and found.wrong_size == 0)


def _fits(count: int, total: int, share: float, chance: float = CHANCE) -> bool:
    if not 0 <= count <= total or not total:
        return False
    if abs(count / total - share) <= NEAR_ENOUGH:
        return True
    return bool(binomtest(count, total, share).pvalue >= chance)


def _of(count: int, total: int) -> str:
    return f"{percent(count / max(total, 1))} of {total:,}"
