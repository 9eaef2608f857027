"""Charts with axes as SVG inside a page: text stays text, equal charts give equal bytes.

matplotlib draws without pyplot and without the reader's own settings. Drawings without axes are
`sheet`'s, and what is shown is in `window_charts`, `range_charts` and `heat_map`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from batchinf_assets.evaluation.report.sheet import FAINT, INK, TEXT_POINTS

POINTS_PER_INCH = 72

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


def _inline(document: str, said: str) -> Markup:
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
    return Markup("\n").join([opening, shapes, Markup("</svg>")])
