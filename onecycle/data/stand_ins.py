"""Recognise files that stand in for one that was not fetched, by their first bytes."""

import re

HEAD = 512
"""Number of bytes examined."""

_LFS = b"version https://git-lfs.github.com/spec/"
_WEB_PAGE = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype\s+html|html|head)\b", re.I | re.S
)
_PROSE = re.compile(r"\W*\w+[,:;]? +[a-z]\w*\b")


def known(head: bytes) -> str:
    """What kind of stand-in a file is, and the remedy; empty if it doesn't seem to be one.

    Args:
        head: the first `HEAD` bytes, or all if there are fewer.
    """
    if not head:
        return "is empty; fetch it again"
    if head.startswith(_LFS):
        return "is a Git LFS pointer, not the file itself; fetch it with: git lfs pull"
    if head.startswith((b"/annex/objects/", b"../.git/annex/", b".git/annex/")):
        return "is a git-annex pointer, not the file itself; fetch it with: git annex get"
    if _WEB_PAGE.match(head):
        return "is a web page, probably from a failed download; fetch the file again"
    return ""


def is_prose(head: bytes) -> bool:
    """Whether a file begins with words; no archive, array or pickle does."""
    try:
        text = head[:HEAD].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    first = text.strip().partition("\n")[0]
    return _PROSE.match(first) is not None and first.replace("\t", " ").rstrip("\r").isprintable()
