"""What all figures share: palette, fonts, sizes in inches, headings, and saving.

The colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart. Parts are
placed in inches, and texts are measured first, so that nothing is clipped or overlaps.
"""

import io
import math
import os
import re
import warnings
from bisect import bisect
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import Formatter, NullFormatter

from onecycle.writing.names import printable

INK, QUIET, FAINT, GRID = "#22262b", "#5b6570", "#9aa3ad", "#e6e9ed"
BLUE, ORANGE, GREEN, PURPLE, SKY, RED = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00",
)  # fmt: skip
VARIABLES = {
    INK: "ink", QUIET: "faint", FAINT: "faint", GRID: "line", BLUE: "blue", ORANGE: "orange",
    GREEN: "green", PURPLE: "purple", SKY: "sky", RED: "red", "#ffffff": "paper",
}  # fmt: skip
"""A page's CSS variables for these colours, so that it can adapt them to its background."""

NARROW, WIDE = 4.0, 8.0
"""Inches: width of a chart in a page, on a phone and on wider screens."""
WIDTH = 8.0
"""Inches: width of a figure that fills the report's column, 1200 pixels."""
DPI = 150
BLOWN = 25.0
"""A loss above this has blown up: guessing among 1,000 classes gives 6.9 nats."""
MARGIN = 0.16
"""Inches between the figure's edge and its content."""
HEADING = 0.72
"""Inches at the top for title and subtitle."""
TITLE, TEXT, SMALL = 12, 9, 8
"""Font sizes in points."""

STYLE: Any = {
    # From matplotlib's own defaults, so that no matplotlibrc or style sheet changes a figure.
    key: value
    for key, value in rcParamsDefault.items()
    if not key.startswith(("backend", "date.epoch", "docstring", "interactive", "timezone"))
    and not key.startswith(("svg", "toolbar", "webagg"))
} | {
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": TEXT,
    "text.parse_math": False,  # a class may be called $
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}

NO_GLYPH = "(?s)Glyph .* missing from font"
"""matplotlib's warning about a character that the font lacks; it is drawn as a box."""

styled = rc_context(STYLE)
"""Decorator for functions that build a figure."""


class StyledFigure(Figure):
    """A figure that is always drawn in the project's style, and that a notebook displays."""

    def draw(self, renderer: Any) -> None:
        """Draw with the style applied: matplotlib makes ticks only when it draws them."""
        with rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=NO_GLYPH)
            super().draw(renderer)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture and its size in the page, for IPython; it is sharp on dense screens."""
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        return png(self), {"width": width, "height": height}


def png(figure: Figure) -> bytes:
    """`figure` as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure, prefix: str = "") -> str:
    """`figure` as an SVG element to embed in a page: no background, letters as shapes.

    Text and grid colours become the page's CSS variables `--ink`, `--faint` and `--line`, and the
    palette's become `--blue`, `--orange` and so on; the fallbacks are the colours here. Equal
    figures give equal text.

    Args:
        figure: any figure of this package.
        prefix: prefix of its ids, so that several figures in a page don't share any.
    """
    buffer = io.StringIO()
    of_svg = {"svg.hashsalt": "onecycle", "svg.fonttype": "path", "svg.image_inline": True}
    with rc_context(STYLE | of_svg):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("xlink:href", "href")
    text = re.sub(r'<metadata>.*?</metadata>|\sxmlns(:\w+)?="[^"]*"', "", text, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable}, {colour})")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}", text) if prefix else text


def save(figure: Figure, path: str | Path) -> None:
    """Write `figure` as PNG, to a temporary file that is then renamed.

    Equal figures give equal bytes.

    Args:
        figure: any figure of this package.
        path: the file, replaced if it exists; its folder must exist.

    Raises:
        OSError: it can't be written. Nothing is left behind, and an existing file is unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(png(figure))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def new_figure(width: float, height: float) -> StyledFigure:
    """An empty white figure; its size in inches is rounded up to whole pixels."""
    size = (math.ceil(width * DPI - 1e-6) / DPI, math.ceil(height * DPI - 1e-6) / DPI)
    figure = StyledFigure(figsize=size, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def place(
    figure: Figure, left: float, bottom: float, width: float, height: float, **settings: Any
) -> Axes:
    """New axes with their frame at this place, in inches from the figure's lower left corner."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up), **settings)


def heading(figure: Figure, title: str, subtitle: str = "") -> None:
    """Title and subtitle at the top left."""
    across, up = figure.get_size_inches()
    figure.text(MARGIN / across, 1 - 0.14 / up, title, fontsize=TITLE, fontweight="bold", va="top")
    figure.text(MARGIN / across, 1 - 0.39 / up, subtitle, fontsize=TEXT, color=QUIET, va="top")


def top(page_width: float | None) -> float:
    """Inches kept free at the top: for the heading, or very little in a page with its own."""
    return HEADING if page_width is None else 0.12


def note(text: str) -> StyledFigure:
    """A figure with nothing but a line of text."""
    figure = new_figure(WIDTH * 0.6, 1.2)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=10.5)
    return figure


# ------------------------------------------------------------------------------------------- texts


_MEASURE = TextToPath()


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Inches that `text` takes on one line; `size` in points."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=NO_GLYPH)
        return _MEASURE.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def one_line(text: str) -> str:
    """`text` on one line: line breaks become spaces, and other odd characters are escaped."""
    return printable(" ".join(text.split()))


def fit(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """`text` on one line; its middle is left out if it is wider than `width` inches."""
    text = one_line(text)
    if text_width(text, size, bold=bold) <= width:
        return text
    kept = bisect(
        range(3, len(text)), width, key=lambda n: text_width(_cut(text, n), size, bold=bold)
    )
    return _cut(text, kept + 2)


def fit_in_two(text: str, size: float, width: float) -> list[str]:
    """`text` on one line of `width` inches, else on two, broken at a space or punctuation if any.

    The middle of the second line is left out if it is still too wide.
    """
    text = one_line(text)
    if text_width(text, size) <= width:
        return [text]
    most = bisect(range(1, len(text)), width, key=lambda n: text_width(text[:n], size))
    ends = [n for n in range(most // 2 + 1, most + 1) if text[n - 1] in " _-/" or text[n] == " "]
    first = ends[-1] if ends else max(most, 1)
    return [text[:first].rstrip(), fit(text[first:], size, width)]


def _cut(text: str, kept: int) -> str:
    """`kept` characters of `text`, more from its end, because file names differ at the end."""
    tail = (kept + 1) * 3 // 5
    return f"{text[: kept - tail]}…{text[len(text) - tail :]}"


def rate_text(rate: float) -> str:
    """A small number, such as a learning rate, to three digits: 0.0315, 1, 2.5e-5."""
    if not 0 < abs(rate) < 1e-3:
        return f"{rate:.3g}"
    mantissa, exponent = f"{rate:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


class Ticks(Formatter):
    """Plain numbers, or percent, with the same number of decimals all along an axis."""

    def __init__(self, *, percent: bool = False) -> None:
        self.scale, self.unit = (100, " %") if percent else (1, "")

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        numbers = [self.scale * float(value) for value in values]
        for decimals in range(4):
            if all(abs(round(number, decimals) - number) < 1e-6 for number in numbers):
                return [f"{number:.{decimals}f}{self.unit}" for number in numbers]
        return [rate_text(number) + self.unit for number in numbers]

    def __call__(self, value: float, pos: int | None = None) -> str:
        return self.format_ticks([value])[0]


def logarithmic_if_blown(axes: Axes) -> bool:
    """Make the y axis logarithmic if a loss has blown up, and return whether it did.

    On a linear axis, such a loss would flatten all others.
    """
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or drawn.min() <= 0 or drawn.max() <= BLOWN:
        return False
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    return True


def percent_text(share: float, decimals: int = 1) -> str:
    """A share as percent, rounded down, so that only the whole is 100 %."""
    scale = 10**decimals
    return f"{math.floor(100 * scale * share + 1e-9) / scale:.{decimals}f} %"


def spread(values: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Rising values, moved as little as needed to be in [low, high] and `distance` apart.

    Values that would overlap form a block, centred on their mean; blocks that meet are merged.
    """
    blocks: list[tuple[float, int]] = []  # mean and number of the values
    for index, value in enumerate(values):
        floor, ceiling = low + index * distance, high - (len(values) - 1 - index) * distance
        blocks.append((min(max(value, floor), ceiling), 1))
        while len(blocks) > 1:
            (below, n_below), (above, n_above) = blocks[-2:]
            count = n_below + n_above
            if above - below >= distance * count / 2:
                break
            blocks[-2:] = [((below * n_below + above * n_above) / count, count)]
    return [
        middle + (index - (count - 1) / 2) * distance
        for middle, count in blocks
        for index in range(count)
    ]
