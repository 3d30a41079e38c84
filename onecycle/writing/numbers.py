"""Numbers with their nouns and units, as messages, tables and reports write them."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 image`, `2,000 images`, `0 images`; `1 class`, `3 classes`.

    Args:
        count: how many.
        noun: the singular.
        plural: the plural; empty: `noun` with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def in_full(value: float) -> str:
    """A number as typed: `0.05`, `1e-05`, `0.5000001`; equal texts are equal numbers."""
    if isinstance(value, int):
        return str(value)
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def percent(share: float, decimals: int = 2, unit: str = " %") -> str:
    """`95.25 %` for 0.9525."""
    return f"{100 * share:.{decimals}f}{unit}"


def amount(count: float) -> str:
    """A number of bytes in a readable unit: `512 B`, `55.3 kB`, `170.5 MB`."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if abs(count) >= 0.99995 * size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """A time in readable units: `0.4 s`, `41 s`, `12 min 05 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
