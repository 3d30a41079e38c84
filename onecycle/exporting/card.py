"""The model card: README.md of an exported folder.

Names from the data are escaped, so that they can't add a link, an image or a tag to it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from onecycle.exporting.deployed import Deployable
from onecycle.writing.markdown import escaped
from onecycle.writing.numbers import counted, percent

MOST_CLASSES, PAIRS = 100, 10
"""Classes in the table, the least accurate ones of more; the most frequent confusions."""

CARD = Environment(
    loader=PackageLoader("onecycle"),
    autoescape=False,
    undefined=StrictUndefined,
    finalize=lambda value: escaped(value) if isinstance(value, str) else value,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
).get_template("card.md")


def written(deployable: Deployable) -> str:
    """The card in Markdown.

    A name can't begin a line of it, which `escaped` relies on.
    """
    facts, result = deployable.facts, deployable.result
    low, high = facts.test_accuracy_interval
    return CARD.render(
        facts=facts,
        result=result,
        height=facts.image_size[0],
        width=facts.image_size[1],
        colour="in colour" if facts.channels == 3 else "in grey",
        accuracy=percent(facts.test_accuracy),
        interval=f"{percent(low)} to {percent(high)}",
        train_images=counted(result.train_images, "image"),
        test_images=counted(facts.test_images, "image"),
        classes=counted(len(facts.classes), "class", "classes"),
        parameters=f"{result.parameters:,}",
        epochs=counted(result.epochs, "epoch"),
        rows=_rows(deployable),
        pairs=_pairs(deployable),
        started=(deployable.environment.started or "")[:10],
    )


def _rows(deployable: Deployable) -> list[Mapping[str, Any]]:
    """A row for each class with test images, in their order; of many, the least accurate."""
    counts_K, right_K = deployable.evaluation.class_counts_2K
    tested = np.flatnonzero(counts_K)
    if len(tested) > MOST_CLASSES:
        shares = right_K[tested] / counts_K[tested]
        tested = tested[np.argsort(shares, kind="stable")[:MOST_CLASSES]]
    return [
        {
            "name": deployable.facts.classes[place],
            "images": f"{counts_K[place]:,}",
            "accuracy": percent(right_K[place] / counts_K[place]),
        }
        for place in tested
    ]


def _pairs(deployable: Deployable) -> list[Mapping[str, Any]]:
    """The most frequent confusions: actual class, predicted class, number of images."""
    cells_P3 = deployable.evaluation.confusion_P3
    wrong_P3 = cells_P3[cells_P3[:, 0] != cells_P3[:, 1]]
    order = np.argsort(-wrong_P3[:, 2], kind="stable")[:PAIRS]
    names = deployable.facts.classes
    return [
        {"actual": names[actual], "predicted": names[predicted], "images": f"{count:,}"}
        for actual, predicted, count in wrong_P3[order].tolist()
    ]
