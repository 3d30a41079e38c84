"""Archives of small images, made by Python's zipfile and tarfile."""

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from small_folders import drawn

MODES = {".tar": "w:", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def png(seed: int = 1, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    drawn(seed, size, mode).save(file, "png")
    return file.getvalue()


def images(classes: Iterable[str] = ("ant", "bee"), count: int = 3) -> dict[str, bytes]:
    """Members: the images of class folders."""
    return {
        f"{label}/{index}.png": png(10 * number + index)
        for number, label in enumerate(classes)
        for index in range(count)
    }


def zipped(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def taped(path: Path, members: Mapping[str, bytes], more: Iterable[tarfile.TarInfo] = ()) -> Path:
    """A tar archive; `more` are members without content, which come first."""
    mode = next(mode for ending, mode in MODES.items() if path.name.endswith(ending))
    with tarfile.open(path, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for info in more:
            archive.addfile(info)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def packed(path: Path, folder: Path, *, top: str = "") -> Path:
    """All below a folder as an archive, folders too, below the folder `top` in it."""
    files = sorted(folder.rglob("*"))
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, Path(top, file.relative_to(folder)))
        return path
    mode = next(mode for ending, mode in MODES.items() if path.name.endswith(ending))
    with tarfile.open(path, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for file in files:
            archive.add(file, Path(top, file.relative_to(folder)), recursive=False)
    return path
