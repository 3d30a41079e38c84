"""The formats of figures in a report."""

from datetime import datetime

from onecycle import statistics
from onecycle.writing.names import THIN
from onecycle.writing.numbers import duration, percent

__all__ = ["duration", "loss", "percent", "rate", "sure", "time", "value", "wilson"]


def wilson(hits: int, count: int) -> str:
    """The 95 % interval of the share `hits / count` by Wilson's score (1927), as percent."""
    low, high = statistics.wilson(hits, count)
    return f"{percent(low, 1, unit='')} to {percent(high, 1)}"


def value(given: object) -> str:
    """A recipe's value as in a recipe file, floats to six digits, no text as `none`."""
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, float):
        return f"{given:.6g}"
    if isinstance(given, list | tuple):
        return ", ".join(map(value, given))
    return str(given) or "none"


def rate(given: float | str) -> str:
    """A learning rate to three digits, or the word that replaces it."""
    return given if isinstance(given, str) else f"{given:.3g}"


def loss(nats: float) -> str:
    """A loss to four decimals."""
    return f"{nats:.4f}"


def sure(share: float) -> str:
    """A probability to one decimal, never rounded to 0 % or 100 %."""
    if share >= 0.9995:
        return f">{THIN}99.9{THIN}%"
    if share < 0.0005:
        return f"<{THIN}0.1{THIN}%"
    return percent(share, 1, unit=f"{THIN}%")


def time(iso: str | None) -> dict[str, str] | None:
    """An ISO time as given and in readable form; None where there is none."""
    try:
        when = datetime.fromisoformat(iso or "")
    except ValueError:
        return None
    return {"iso": when.isoformat(), "text": when.strftime("%Y-%m-%d, %H:%M")}
