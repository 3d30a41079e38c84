"""Names of files that systems, servers and programs create next to the user's own."""

import re

_STORAGE = (  # of network storage: Synology, QNAP, NetApp
    "@eaDir @tmp @sharebin @SynoResource @SynoEAStream @SynoFinder-log @Recycle @Recently-Snapshot "
    "@Snapshot @Transcode #recycle #snapshot ~snapshot"
).split()
_WINDOWS = (
    "$RECYCLE.BIN $Extend $SysReset $WinREAgent RECYCLER Thumbs.db ehthumbs.db ehthumbs_vista.db "
    "desktop.ini IconCache.db"
).split()
_OTHERS = "__MACOSX lost+found __pycache__ Picasa.ini ZbThumbnail.info pspbrwse.jbf".split()
_WITH_SPACES = (
    "System Volume Information", "Network Trash Folder", "Temporary Items", "Icon\r",
)  # fmt: skip

NAMES = frozenset(map(str.casefold, (*_STORAGE, *_WINDOWS, *_OTHERS, *_WITH_SPACES)))
"""In lower case. Names that begin with a dot are not listed, because all of these are skipped."""

_FAMILIES = re.compile(
    r"SYNO(PHOTO|FILE|VIDEO|INDEX)[_:](THUMB|FILM|MEDIA).*|.+@Syno(EAStream|Resource)|FOUND\.\d{3}",
    re.IGNORECASE | re.DOTALL,
)
"""Names with a variable ending."""


def is_systems(name: str) -> bool:
    """Whether a file or folder of this name belongs to the system; case doesn't matter."""
    return name.casefold() in NAMES or _FAMILIES.fullmatch(name) is not None
