"""The user's own images, whatever they lie in: told apart by content, decoded once, arranged.

A folder of class folders, a table of images, an archive of class folders, arrays, or a Hugging Face
data set that was saved to disk.
"""

from pathlib import Path

from onecycle.data import archives, folder, inside, refusals
from onecycle.data.archives.source import ArchiveSource
from onecycle.data.arrays import ArraySource, is_npz
from onecycle.data.folder import Loaded, LoadedAsOne, kept
from onecycle.data.folder.decoding import Resize
from onecycle.data.folder.messages import quoted
from onecycle.data.hugging_face import HuggingFaceSource, is_data_set
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress


def load(
    path: str | Path,
    *,
    image_size: int = 0,
    resize: Resize = "crop",
    on_bad_image: str = "error",
    val_fraction: float = 0.0,
    without_test: bool = False,
    split_seed: int = 0,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Loaded:
    """The train, validation and test images at `path`. The arguments are those of `folder.load`.

    Raises:
        InputError: as for a folder; or the source is damaged, hostile, or of an unknown kind.
    """
    source = _recognised(Path(path))
    if source is None:
        return folder.load(
            path,
            image_size=image_size,
            resize=resize,
            on_bad_image=on_bad_image,
            val_fraction=val_fraction,
            without_test=without_test,
            split_seed=split_seed,
            cache_dir=cache_dir,
            progress=progress,
        )
    settings = kept.Settings(image_size, resize, on_bad_image)
    listed, found = inside.opened(source, settings, cache_dir, progress, whole=False)
    folder.check_val_fraction(path, listed, val_fraction)
    return folder.arranged(listed, found, source.form, split_seed, progress, without_test)


def load_labelled(
    path: str | Path,
    *,
    image_size: int = 0,
    resize: Resize = "crop",
    on_bad_image: str = "error",
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> LoadedAsOne:
    """The images to evaluate a network on, as one set; as `folder.load_labelled`.

    Raises:
        InputError: as in `load`, but a single class is enough.
    """
    source = _recognised(Path(path))
    if source is None:
        return folder.load_labelled(
            path,
            image_size=image_size,
            resize=resize,
            on_bad_image=on_bad_image,
            cache_dir=cache_dir,
            progress=progress,
        )
    settings = kept.Settings(image_size, resize, on_bad_image)
    listed, found = inside.opened(source, settings, cache_dir, progress, whole=True)
    return folder.as_one(listed, found, source.form, progress)


def _recognised(path: Path) -> inside.Source | None:
    """The source whose images lie inside of files; None for folders, tables and unknown things.

    Raises:
        InputError: the path can't be read, or is an archive without images.
    """
    try:
        if is_data_set(path):
            return HuggingFaceSource(path)
        if path.is_file():
            return _file(path)
    except OSError as error:
        raise InputError(
            f"data: can't read {quoted(path)}: {error.strerror}; allow reading it"
        ) from None
    return None


def _file(path: Path) -> inside.Source | None:
    if is_npz(path):
        return ArraySource(path)
    form = archives.form_of(path)
    if form is None:
        return None
    if archives.holds_images(path):
        return ArchiveSource(path, form)
    raise refusals.no_images_inside(path)
