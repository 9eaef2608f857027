"""From values to HTML: everything that comes from data is escaped, numbers are written one way."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from batchinf_assets.evaluation.metrics.figures import Figure

NOT_KNOWN = "not known"
UNDEFINED = "undefined"
SYMBOLS = {
    "stable": "○",
    "moderate": "◐",
    "major": "●",
    "insufficient data": "…",
    "too few windows": "…",
    "not judged": "\N{EN DASH}",
    NOT_KNOWN: "?",
}
"""Of verdicts, so that colour is not all that tells them apart."""


def render(template: str, **values: object) -> bytes:
    """Return a page; the same values give the same bytes."""
    return _environment().get_template(template).render(**values).encode()


def number(value: float | int | None) -> str:
    """Write a number, one with a fraction to four digits that count; None is undefined, never 0."""
    if value is None:
        return UNDEFINED
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 0.001 else f"{value:.4g}"


def probability(value: float) -> str:
    """Write a p-value; nobody reads how many zeros a small one has."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def figure(found: Figure | None) -> str:
    """Write a figure with three decimals and its interval."""
    if found is None:
        return NOT_KNOWN
    if found.value is None:
        return UNDEFINED
    ends = found.interval
    return f"{found.value:.3f}" + (f" [{ends.low:.3f}, {ends.high:.3f}]" if ends else "")


def slope(found: Figure) -> str:
    """Write a change per window with its interval, with its sign."""
    if found.value is None:
        return UNDEFINED
    ends = found.interval
    return f"{found.value:+.4f}" + (f" [{ends.low:+.4f}, {ends.high:+.4f}]" if ends else "")


def share(value: float | None) -> str:
    """Write a share in percent."""
    return NOT_KNOWN if value is None else f"{value:.1%}"


def verdict(word: str | None) -> str:
    """Write a verdict of drift, a symbol before the word."""
    word = word or NOT_KNOWN
    return f"{SYMBOLS.get(word, '?')} {word}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        number=number,
        probability=probability,
        figure=figure,
        share=share,
        slope=slope,
        verdict=verdict,
    )
    return environment
