"""Names of what systems, servers and programs put beside one's own files: never one's images."""

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
"""In lower case. Names that begin with a dot are not among them: all of those are passed over."""

_FAMILIES = re.compile(
    r"SYNO(PHOTO|FILE|VIDEO|INDEX)[_:](THUMB|FILM|MEDIA).*|.+@Syno(EAStream|Resource)|FOUND\.\d{3}",
    re.IGNORECASE | re.DOTALL,
)
"""Names that go on differently each time."""


def is_systems(name: str) -> bool:
    """Whether a file or folder of this name is the system's, in whatever case it is written."""
    return name.casefold() in NAMES or _FAMILIES.fullmatch(name) is not None
