"""Text from elsewhere, such as the name of a file or a class, as a person may safely see it."""

THIN = "\u202f"
"""The narrow blank that does not break, between a number and its unit."""


def printable(text: str) -> str:
    r"""`text` with every character that shows nothing, or changes what is shown, as its code.

    Such are control characters (`\x1b` moves a terminal's cursor), those that turn the direction of
    writing round (`\u202e`), those without a width (`\u200b`), blanks that are not the common one,
    line breaks, and bytes of a name that are no text.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def on_a_page(value: object) -> object:
    """What a template writes: text `printable`, but for the program's own markup and thin blanks.

    For `finalize` of a Jinja environment.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return THIN.join(map(printable, value.split(THIN)))
