"""Counts with their nouns, as messages, tables and reports write them."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 image`, `2,000 images`, `0 images`; `1 class`, `3 classes`.

    Args:
        count: how many.
        noun: the singular.
        plural: the plural; empty: `noun` with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
