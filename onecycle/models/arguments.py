"""What the arguments of several networks mean."""

from onecycle.errors import InputError

STEMS = ("small", "large")
"""First layers: for images of up to `LARGEST_SMALL` pixels, or for larger ones."""

LARGEST_SMALL = 64
"""Longer side in pixels up to which `stem auto` is the small one."""


MULTIPLE = 8
"""Numbers of channels are rounded to multiples of it, as in MobileNet (Howard et al., 2017): vector
instructions then waste nothing."""


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, rounded to a multiple of 8 and at least 8."""
    return MULTIPLE * max(1, round(width * channels / MULTIPLE))


def stem_checked(stem: str) -> str:
    """The stem, if there is one of that name.

    Raises:
        InputError: there is none.
    """
    if stem not in STEMS:
        raise InputError(f"stem: '{stem}' is not one that a network has; give {' or '.join(STEMS)}")
    return stem


def stem_for(height: int, width: int) -> str:
    """The stem that `auto` means for images of this size in pixels."""
    return "small" if max(height, width) <= LARGEST_SMALL else "large"
