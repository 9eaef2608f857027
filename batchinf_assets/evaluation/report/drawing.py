"""Charts as SVG that stands inside a page: text stays text, equal charts give equal bytes.

matplotlib draws without pyplot and without the reader's own settings. Colours are told apart by the
colour-blind and, by their lightness, in grey print (Okabe and Ito 2008, Color Universal Design).
What charts show is in `window_charts`, `range_charts` and `heat_map`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure as Canvas

INK, FAINT, PALE = "#1b1f24", "#6b7280", "#d5d9de"
BLUE, ORANGE, RED = "#0072b2", "#e69f00", "#b3261e"

POINTS_PER_INCH = 72
TEXT_POINTS = 8.5

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "batchinf",
    "text.parse_math": False,  # a category may be called $x$
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT_POINTS,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.titlesize": TEXT_POINTS + 1,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_VIEW_BOX = re.compile(r'viewBox="([^"]+)"')
_REFERENCE = re.compile(r'(?:url\(#|href="#)([^")]+)')
_IDENTITY = re.compile(r'<(\w+) id="([^"]+)"')
_GLOBAL_STYLE = re.compile(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>")


def chart(width: float, height: float, said: str, draw: Callable[[Canvas], None]) -> Markup:
    """Draw a chart with axes.

    Args:
        width: In points.
        height: In points.
        said: What it shows, for who cannot see it.
        draw: Draws on the empty figure.
    """
    return _inline(_drawn(width, height, draw), said)


def sheet(width: float, height: float, said: str, draw: Callable[[Sheet], None]) -> Markup:
    """Draw on an empty area in points, x to the right and y down.

    Args:
        width: In points.
        height: In points.
        said: What it shows, for who cannot see it.
        draw: Draws on it.
    """
    texts: list[Markup] = []

    def draw_on(canvas: Canvas) -> None:
        axes = canvas.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        draw(Sheet(axes=axes, texts=texts))

    return _inline(_drawn(width, height, draw_on), said, texts)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What `sheet` draws on.

    Attributes:
        axes: Where shapes go.
        texts: Where texts go: a report has a hundred, and matplotlib takes a millisecond to measure
            each, which nothing here needs.
    """

    axes: Axes
    texts: list[Markup]

    def bars(self, bars: Iterable[tuple[float, float, float, float]], **look: Any) -> None:
        """Draw rectangles, each by its left, top, width and height."""
        corners = [
            [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
            for x, y, width, height in bars
        ]
        collection = PolyCollection(corners, clip_on=False, **look)
        self.axes.add_collection(collection, autolim=False)

    def lines(self, lines: Sequence[Sequence[tuple[float, float]]], **look: Any) -> None:
        """Draw lines through points."""
        collection = LineCollection(lines, clip_on=False, **look)
        self.axes.add_collection(collection, autolim=False)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: Literal["start", "middle", "end"] = "start",
        color: str = INK,
        bold: bool = False,
        turned: bool = False,
    ) -> None:
        """Write one line with its base at `y`, or upwards with its base at `x`."""
        size, weight = (TEXT_POINTS + 1, "bold") if bold else (TEXT_POINTS, "normal")
        look = f"font: {weight} {size}px 'DejaVu Sans', sans-serif; fill: {color}"
        turn = Markup(' transform="rotate(-90 {0:g} {1:g})"').format(x, y) if turned else ""
        self.texts.append(
            Markup('<text x="{:g}" y="{:g}" text-anchor="{}" style="{}"{}>{}</text>').format(
                x, y, anchor, look, turn, text
            )
        )


def _drawn(width: float, height: float, draw: Callable[[Canvas], None]) -> str:
    with mpl.rc_context():
        mpl.rcParams.update(_settings())
        canvas = Canvas(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
        draw(canvas)
        written = io.StringIO()
        FigureCanvasSVG(canvas).print_svg(written, metadata=_NO_METADATA)
    return written.getvalue()


def _settings() -> dict[Any, Any]:
    """Return matplotlib's own settings and ours, whatever file of settings lies on this machine."""
    defaults = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}
    return {**defaults, **_STYLE}


def _inline(document: str, said: str, texts: Iterable[Markup] = ()) -> Markup:
    """Make an SVG document a part of a page: no prolog, no identities that nothing refers to."""
    svg = document[document.index("<svg") : document.rindex("</svg>")]
    view = _VIEW_BOX.search(svg)
    assert view is not None
    referred = set(_REFERENCE.findall(svg))
    body = _GLOBAL_STYLE.sub("", svg[svg.index(">") + 1 :])
    body = _IDENTITY.sub(lambda m: m[0] if m[2] in referred else f"<{m[1]}", body)
    body = body.replace("<use xlink:href=", "<use href=")  # SVG 2, without a name space of its own
    opening = Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(view[1], said)
    shapes = Markup(body.strip())  # noqa: S704 - matplotlib escapes every text in it
    return Markup("\n").join([opening, shapes, *texts, Markup("</svg>")])
