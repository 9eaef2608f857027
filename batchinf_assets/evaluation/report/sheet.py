"""Drawings of rectangles, lines and texts as SVG inside a page: every window has some.

They are written down as they are: matplotlib would take twenty times as long, and half a second to
import in each run. Colours are told apart by the colour-blind and, by their lightness, in grey
print (Okabe and Ito 2008, Color Universal Design). Charts with axes are `drawing`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup, escape

INK, FAINT, PALE = "#1b1f24", "#6b7280", "#d5d9de"
BLUE, ORANGE, RED = "#0072b2", "#e69f00", "#b3261e"

TEXT_POINTS = 8.5

Dashes = Literal["solid", "dashed", "dotted"]

DASHES: dict[Dashes, str] = {"solid": "none", "dashed": "4 2", "dotted": "1 2"}
HATCH_STEP = 4.0
HATCH_WIDTH = 0.7

Box = tuple[float, float, float, float]
"""Left, top, width and height, in points; x to the right and y down."""

Point = tuple[float, float]


def sheet(width: float, height: float, said: str, draw: Callable[[Sheet], None]) -> Markup:
    """Draw on an empty area in points, x to the right and y down.

    Args:
        width: In points.
        height: In points.
        said: What it shows, for who cannot see it.
        draw: Draws on it.
    """
    area = Sheet()
    draw(area)
    opening = Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">').format(
        width, height, said
    )
    return Markup("\n").join([opening, *area.shapes, *area.texts, Markup("</svg>")])


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What `sheet` draws on.

    Attributes:
        shapes: In the order drawn, later ones above earlier ones.
        texts: Above all shapes.
    """

    shapes: list[Markup] = field(default_factory=list[Markup])
    texts: list[Markup] = field(default_factory=list[Markup])

    def bars(
        self, bars: Iterable[Box], *, fill: str, edge: str = "none", width: float = 1.0
    ) -> None:
        """Draw rectangles."""
        corners = " ".join(
            f"M{x:g} {y:g}h{wide:g}v{high:g}h{-wide:g}z" for x, y, wide, high in bars
        )
        self._path(corners, fill=fill, edge=edge, width=width)

    def hatch(self, bars: Iterable[Box], *, color: str) -> None:
        """Draw rising lines over rectangles, for who cannot tell colours apart."""
        self.lines(
            [line for bar in bars for line in _hatching(bar)], color=color, width=HATCH_WIDTH
        )

    def lines(
        self,
        lines: Iterable[Sequence[Point]],
        *,
        color: str,
        width: float = 1.0,
        dashes: Dashes = "solid",
    ) -> None:
        """Draw lines through points."""
        path = " ".join("M" + "L".join(f"{x:g} {y:g}" for x, y in line) for line in lines)
        self._path(path, fill="none", edge=color, width=width, dashes=DASHES[dashes])

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
        turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
        place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
        # Markup's own format() takes ten times as long, and a page has hundreds of texts.
        written = f'<text {place} style="{escape(look)}"{turn}>{escape(text)}</text>'
        self.texts.append(Markup(written))  # noqa: S704 - what is foreign is escaped

    def _path(self, path: str, *, fill: str, edge: str, width: float, dashes: str = "none") -> None:
        look = Markup('fill="{}" stroke="{}" stroke-width="{:g}"').format(fill, edge, width)
        dashed = "" if dashes == "none" else Markup(' stroke-dasharray="{}"').format(dashes)
        if path:
            self.shapes.append(Markup('<path d="{}" {}{}/>').format(path, look, dashed))


def _hatching(bar: Box) -> Iterator[tuple[Point, Point]]:
    """Yield rising lines of 45 degrees, `HATCH_STEP` apart, as far as they lie inside."""
    left, top, wide, high = bar
    right_and_down = HATCH_STEP / 2  # the same for all points of a line
    while right_and_down < wide + high:
        start = left + max(right_and_down - high, 0.0), top + min(right_and_down, high)
        end = left + min(right_and_down, wide), top + max(right_and_down - wide, 0.0)
        yield start, end
        right_and_down += HATCH_STEP
