"""Drawing for a page: vector pictures that follow its colours, and the same bytes for the same numbers.

Text and axes take the page's own ink (``currentColor``); each hue is a CSS variable that the page may lighten in
the dark. All hues are Okabe and Ito's, which colour-blind readers can tell apart.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "ORANGE",
    "PURPLE",
    "UNFINISHED",
    "Picture",
    "canvas",
    "standalone",
    "style",
    "svg",
    "wrapped",
]

UNFINISHED = "No fold was finished for every seed, so that there is nothing to draw."

INK = "#010203"  # a stand-in: no picture keeps it
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
PAINT = {
    INK: "currentColor",
    BLUE: f"var(--blue, {BLUE})",
    ORANGE: f"var(--orange, {ORANGE})",
    GREEN: f"var(--green, {GREEN})",
    PURPLE: f"var(--purple, {PURPLE})",
}
ALONE = (
    "<style>svg { color: #1b1d21; background: #fff } @media (prefers-color-scheme: dark) { svg { color: #e7e9ed; "
    "background: #15171b; --blue: #56b4e9; --orange: #f0a04b; --green: #3cc79b; --purple: #dd9bc0 } }</style>"
)
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "legend.frameon": False,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing and its words.

    Attributes:
        svg: "" when there is nothing to draw; the caption then says why.
        caption: stands below it.
    """

    svg: str
    caption: str


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house's style; the caller's own matplotlib settings come back afterwards."""
    with rc_context(STYLE), warnings.catch_warnings():
        # the reader's own font writes the text; only its width is guessed from ours
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def canvas(width: float, height: float, *, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many inches with axes row after row, without pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def wrapped(title: str, width: int = 38) -> str:
    """Break a title into lines of so many letters; by default they fit a picture of half a page's width."""
    return fill(title, width)


def svg(figure: Figure, *, name: str, alt: str) -> str:
    """Turn a figure into an ``<svg>`` element for a page.

    Args:
        figure: drawn inside `style`.
        name: unique on the page; every id begins with it.
        alt: what the picture shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)  # the latter holds the date
    text = re.sub(r"<[^>]+>", lambda tag: _adapt(tag[0], name), text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def standalone(picture: str) -> str:
    """Turn an ``<svg>`` element into a file, with colours of its own for light and dark."""
    return f"{re.sub('(<svg[^>]*>)', lambda tag: tag[0] + ALONE, picture, count=1)}\n"


def _adapt(tag: str, name: str) -> str:
    """Begin the ids of a tag with a name, and let it follow the page's colours; words between tags stay as they are."""
    tag = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", tag)
    for colour, paint in PAINT.items():
        tag = tag.replace(colour, paint)
    return tag
