"""What to say of a module that is not installed."""

import re
from importlib.metadata import PackageNotFoundError, requires

MODULES = {"pil": "pillow"}
"""Packages whose modules have another name."""


def remedy(module: str) -> str | None:
    """The line for a missing dependency, with the extra that brings it; None for other modules.

    Args:
        module: as in an import statement.
    """
    top = module.partition(".")[0].lower().replace("_", "-")
    package = MODULES.get(top, top)
    try:
        lines = requires("onecycle") or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        return None
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        if name and name[0].lower().replace("_", "-") == package != "onecycle":
            extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
            what = f"'onecycle[{extra[1]}]'" if extra else "--force-reinstall onecycle"
            return f"{package} is not installed; get it with: pip install {what}"
    return None
