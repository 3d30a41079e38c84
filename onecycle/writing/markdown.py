"""Text from outside, such as the name of a class, made safe to put into Markdown."""

import re

from onecycle.writing.names import printable

MARKS = re.compile(r"([\\`*_\[\]<>&!|~$@:]|(?<=www)\.)", re.IGNORECASE)
"""What begins a link, a tag, an entity, emphasis, code, a formula or a cell.

GitHub also makes links of bare addresses, which have a colon, an @, or begin with `www.`.
"""


def escaped(text: str) -> str:
    """`text` on one line, as it would be shown without Markdown. It must not begin a line."""
    return MARKS.sub(r"\\\1", printable(text))
