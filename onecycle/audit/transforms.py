"""Was every image cropped, flipped and cut out as the recipe asks?"""

from scipy.stats import binomtest

from onecycle.applied import Applied
from onecycle.audit.evidence import Evidence
from onecycle.audit.line import Line, percent, unknown
from onecycle.config import Recipe
from onecycle.nouns import counted

NEAR_ENOUGH = 0.05
"""A share this close to the one asked for passes whatever the number of images."""

CHANCE = 1e-3
"""A share further off passes if draws as asked for would be so far off this often."""

HIDDEN = "not measured: too little is left of any image to tell how it was changed"


def lines(evidence: Evidence) -> list[Line]:
    """One line for each transform, and what they come to together."""
    recipe, counts = evidence.recipe, evidence.measured.get("applied")
    if not counts:
        return [unknown("Crop, flip and cutout", "as in the recipe")]
    found = Applied.from_json(counts)
    if not found.decided and not found.unexplained:  # a cutout as large as the images, say
        return [unknown("Crop, flip and cutout", "as in the recipe", HIDDEN), _nothing_else(found)]
    return [
        _crop(recipe, found),
        _flip(recipe, found),
        _cutout(recipe, found),
        _together(recipe, found),
        _idle(recipe, found),
        _nothing_else(found),
    ]


def _crop(recipe: Recipe, found: Applied) -> Line:
    share = _shifted(recipe)
    name, measured = "Random crop", f"{_of(found.shifted, found.decided)} shifted"
    if not recipe.crop_padding:
        return Line(name, "none", measured, found.shifted == 0)
    reached = found.farthest <= recipe.crop_padding
    if found.decided >= 100:  # the farthest shift has been drawn by then
        reached = found.farthest == recipe.crop_padding
    return Line(
        name,
        f"{percent(share)} shifted, by up to {counted(recipe.crop_padding, 'pixel')}",
        f"{measured}, by up to {counted(found.farthest, 'pixel')}",
        _fits(found.shifted, found.decided, share) and reached,
    )


def _flip(recipe: Recipe, found: Applied) -> Line:
    passed = _fits(found.flipped, found.decided, recipe.flip)
    asked = f"{percent(recipe.flip)} mirrored" if recipe.flip else "none"
    return Line("Horizontal flip", asked, f"{_of(found.flipped, found.decided)} mirrored", passed)


def _cutout(recipe: Recipe, found: Applied) -> Line:
    """A part of the square may lie on pixels that were blank already, so its size is a bound."""
    name, measured = "Cutout", f"{_of(found.cut, found.images)} cut"
    if not recipe.cutout:
        return Line(name, "none", measured, found.cut == 0)
    area = recipe.cutout**2
    mean = found.cut_pixels / max(found.cut, 1)
    return Line(
        name,
        f"every image cut, {counted(area, 'pixel')} each",
        f"{measured}, {mean:.1f} pixels each that were not blank before",
        _fits(found.cut, found.images, 1.0) and 0.5 * area <= mean <= area,
    )


def _together(recipe: Recipe, found: Applied) -> Line:
    share = (1 - _shifted(recipe)) * (1 - recipe.flip) * (0 if recipe.cutout else 1)
    return Line(
        "Images left untouched",
        f"{percent(share)}",
        _of(found.untouched, found.decided),
        _fits(found.untouched, found.decided, share),
    )


def _idle(recipe: Recipe, found: Applied) -> Line:
    """A transform that is asked for and did nothing to any image."""
    asked = {
        "crop": (recipe.crop_padding > 0, found.shifted),
        "flip": (recipe.flip > 0, found.flipped),
        "cutout": (recipe.cutout > 0, found.cut),
    }
    wanted = [name for name, (on, _) in asked.items() if on]
    idle = [name for name in wanted if not asked[name][1]]
    words = f"{' and '.join(idle)} did nothing" if idle else f"{len(wanted)} of {len(wanted)} do"
    return Line("Transforms that change images", f"all {len(wanted)}", words, not idle)


def _nothing_else(found: Applied) -> Line:
    measured = f"{_of(found.unexplained, found.images)} differ in other pixels"
    if found.wrong_size:
        measured += f"; {_of(found.wrong_size, found.images)} have another size"
    passed = found.unexplained == found.wrong_size == 0
    return Line("Anything else done to images", "nothing", measured, passed)


def _shifted(recipe: Recipe) -> float:
    """The share of images that a random crop moves: all positions but the middle one."""
    return 1 - 1 / (2 * recipe.crop_padding + 1) ** 2


def _fits(count: int, total: int, share: float) -> bool:
    if not 0 <= count <= total or not total:
        return False
    if abs(count / total - share) <= NEAR_ENOUGH:
        return True
    return bool(binomtest(count, total, share).pvalue >= CHANCE)


def _of(count: int, total: int) -> str:
    return f"{percent(count / max(total, 1))} of {total:,}"
