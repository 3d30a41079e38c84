"""Text from elsewhere, such as the name of a file or a class, as a person may safely see it."""


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
