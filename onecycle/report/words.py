"""How figures are written in a report."""

from datetime import datetime

from scipy.stats import binomtest

from onecycle.printable import THIN


def wilson_bounds(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of the share `hits / count` by Wilson's score (1927), in [0, 1]."""
    interval = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def wilson(hits: int, count: int) -> str:
    """The 95 % interval of the share `hits / count` by Wilson's score (1927), as percent."""
    low, high = wilson_bounds(hits, count)
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def value(given: object) -> str:
    """A recipe's value as it is written in a recipe file, floats to six digits."""
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, float):
        return f"{given:.6g}"
    if isinstance(given, list | tuple):
        return ", ".join(map(value, given))
    return str(given)


def rate(given: float | str) -> str:
    """A learning rate to three digits, or a word in its place."""
    return given if isinstance(given, str) else f"{given:.3g}"


def loss(nats: float) -> str:
    """A loss to four decimals."""
    return f"{nats:.4f}"


def percent(share: float) -> str:
    """A share to two decimals."""
    return f"{100 * share:.2f} %"


def sure(share: float) -> str:
    """A probability to one decimal, none of them rounded up to certainty."""
    if share >= 0.9995:
        return f">{THIN}99.9{THIN}%"
    if share < 0.0005:
        return f"<{THIN}0.1{THIN}%"
    return f"{100 * share:.1f}{THIN}%"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def time(iso: str | None) -> dict[str, str] | None:
    """An ISO time as it is and as people write it; None where there is none."""
    try:
        when = datetime.fromisoformat(iso or "")
    except ValueError:
        return None
    return {"iso": when.isoformat(), "text": when.strftime("%Y-%m-%d, %H:%M")}
