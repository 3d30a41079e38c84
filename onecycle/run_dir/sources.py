"""The place of a run's images: the path as given, and its absolute path at that time."""

from pathlib import Path
from typing import TYPE_CHECKING

from onecycle.config import Recipe
from onecycle.errors import InputError

if TYPE_CHECKING:
    from onecycle.run_dir import RunDir


def images_of(run: "RunDir", recipe: Recipe, given: str | None = None) -> str:
    """The name or path of the run's images, whatever the current folder is.

    That is `given`, if there is one. Otherwise it is the absolute path at which they were when the
    run last worked, so that another folder with the same name is not mistaken for it. If they are
    no longer there, or recipe.toml names another path by now, it is the path in recipe.toml.

    Raises:
        InputError: neither path exists.
    """
    if given is not None:
        return given
    known = run.environment()
    source, place = recipe.data, known.data_path
    if place is None or source != known.data_given:
        return source
    if Path(place).exists():
        return place
    if not Path(source).exists():
        here = f", nor '{source}' here" if source != place else ""
        raise InputError(
            f"data: there is no path '{place}', where the run found its images{here}; say where "
            "they are with --data"
        )
    return source
