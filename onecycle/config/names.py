"""Names that a user gets wrong, and the remedy."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist: with the nearest one, else with all of them."""
    return f"unknown {kind} '{name}'; {nearest_or_all(name, known)}"


def nearest_or_all(name: str, known: Iterable[str]) -> str:
    """The remedy for a wrong name: the nearest known one, else the list of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{nearest[0]}'?" if nearest else f"choose one of {', '.join(names)}"
