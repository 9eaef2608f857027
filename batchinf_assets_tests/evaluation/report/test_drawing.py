"""Charts: text stays text, nothing is parsed in it, and equal charts are equal bytes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure

from batchinf_assets.evaluation.report.drawing import chart


def draw_axes(canvas: Figure) -> None:
    axes = canvas.add_subplot()
    axes.plot([0, 1], [2, 3], label="a")
    axes.set_title(r"a<b & $\frac{$")
    axes.legend()


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(svg).iter("text")]


def test_axes_parse_no_formulas_and_keep_text_as_text() -> None:
    assert r"a<b & $\frac{$" in texts(chart(200, 100, "said", draw_axes))


def test_equal_charts_are_equal_bytes_and_carry_no_time() -> None:
    first = chart(200, 100, "s", draw_axes)
    assert chart(200, 100, "s", draw_axes) == first
    assert "date" not in first.lower()
    assert "http" not in first


def test_a_chart_is_as_large_as_was_asked() -> None:
    assert ET.fromstring(chart(200, 100, "s", draw_axes)).attrib["viewBox"] == "0 0 200 100"


def test_the_readers_own_settings_of_matplotlib_change_nothing_and_stay() -> None:
    before = chart(200, 100, "s", draw_axes)
    with mpl.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "axes.grid": True}):
        assert chart(200, 100, "s", draw_axes) == before
        assert mpl.rcParams["lines.linewidth"] == 9


def test_only_what_is_referred_to_has_an_identity() -> None:
    svg = chart(200, 100, "s", draw_axes)
    for each in ET.fromstring(svg).iter():
        if "id" in each.attrib:
            assert f"#{each.attrib['id']}" in svg
