"""Where a run's images are: the path as given, and the absolute path that it meant then."""

from pathlib import Path
from typing import TYPE_CHECKING

from onecycle.config import Recipe
from onecycle.errors import InputError

if TYPE_CHECKING:
    from onecycle.run_dir import RunDir


def images_of(run: "RunDir", recipe: Recipe, given: str | None = None) -> str:
    """The name or path of the run's images, from whatever folder they are asked for.

    That is `given`, if it is. Else the absolute path where they were when the run began or went on
    last, so that another folder of the same name is not taken for them. Else, if they are not
    there any more, or if recipe.toml names another path since, the path in recipe.toml.

    Raises:
        InputError: neither path is there.
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
