"""Text from outside, such as the name of a file or a class, made safe to display."""

THIN = "\u202f"
"""The narrow no-break space, for use between a number and its unit."""


def printable(text: str) -> str:
    r"""`text` with every character that is invisible, or changes what is shown, escaped.

    These are control characters (`\x1b` moves a terminal's cursor), those that reverse the writing
    direction (`\u202e`), those of zero width (`\u200b`), all spaces but the ordinary one, line
    breaks, and bytes of a name that can't be decoded.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def on_a_page(value: object) -> object:
    """A value as a template writes it: text is made `printable`, except markup and thin spaces.

    For the `finalize` option of a Jinja environment.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return THIN.join(map(printable, value.split(THIN)))
