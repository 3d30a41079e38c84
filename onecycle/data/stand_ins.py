"""What lies in the place of a file that was not fetched, by its first bytes."""

import re

HEAD = 512
"""Bytes that are looked at."""

_LFS = b"version https://git-lfs.github.com/spec/"
_WEB_PAGE = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype\s+html|html|head)\b", re.I | re.S
)
_PROSE = re.compile(r"\W*\w+[,:;]? +[a-z]\w*\b")


def known(head: bytes) -> str:
    """What a file is that stands in for another one, and what to do; empty: it seems no such thing.

    Args:
        head: the first `HEAD` bytes; all, if there are fewer.
    """
    if not head:
        return "is empty; fetch it again"
    if head.startswith(_LFS):
        return "is a Git LFS pointer, not the file itself; fetch that with: git lfs pull"
    if head.startswith((b"/annex/objects/", b"../.git/annex/", b".git/annex/")):
        return "is a git-annex pointer, not the file itself; fetch that with: git annex get"
    if _WEB_PAGE.match(head):
        return "is a web page, as a failed download leaves it; fetch the file again"
    return ""


def is_prose(head: bytes) -> bool:
    """Whether a file begins with words, as no archive, array or pickle does."""
    try:
        text = head[:HEAD].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    first = text.strip().partition("\n")[0]
    return _PROSE.match(first) is not None and first.replace("\t", " ").rstrip("\r").isprintable()
