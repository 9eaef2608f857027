"""Charts: text stays text, nothing is parsed in it, and equal charts are equal bytes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure

from batchinf_assets.evaluation.report.drawing import INK, Sheet, chart, sheet

HOSTILE = r"<script>alert('x')</script> & $\frac{$ 東京"


def draw(area: Sheet) -> None:
    area.bars([(10, 10, 50, 8)], facecolor=INK, hatch="////")
    area.lines([[(0, 0), (30, 60)]], colors=INK)
    area.text(4, 50, HOSTILE, bold=True)
    area.text(4, 60, HOSTILE, turned=True, anchor="end")


def draw_axes(canvas: Figure) -> None:
    axes = canvas.add_subplot()
    axes.plot([0, 1], [2, 3], label="a")
    axes.set_title(r"a<b & $\frac{$")
    axes.legend()


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(svg).iter("text")]


def test_texts_are_shown_as_they_are_written() -> None:
    assert texts(sheet(200, 100, HOSTILE, draw)) == [HOSTILE, HOSTILE]
    svg = sheet(200, 100, HOSTILE, draw)
    assert "<script" not in svg
    assert ET.fromstring(svg).attrib["aria-label"] == HOSTILE


def test_axes_parse_no_formulas_and_keep_text_as_text() -> None:
    assert r"a<b & $\frac{$" in texts(chart(200, 100, "said", draw_axes))


def test_equal_charts_are_equal_bytes_and_carry_no_time() -> None:
    for make in (lambda: sheet(200, 100, "s", draw), lambda: chart(200, 100, "s", draw_axes)):
        first = make()
        assert make() == first
        assert "date" not in first.lower()
        assert "http" not in first


def test_a_chart_is_as_large_as_was_asked() -> None:
    assert ET.fromstring(sheet(200, 100, "s", draw)).attrib["viewBox"] == "0 0 200 100"


def test_the_readers_own_settings_of_matplotlib_change_nothing_and_stay() -> None:
    before = chart(200, 100, "s", draw_axes)
    with mpl.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "axes.grid": True}):
        assert chart(200, 100, "s", draw_axes) == before
        assert mpl.rcParams["lines.linewidth"] == 9


def test_only_what_is_referred_to_has_an_identity() -> None:
    svg = sheet(200, 100, "s", draw)
    for each in ET.fromstring(svg).iter():
        if "id" in each.attrib:
            assert f"#{each.attrib['id']}" in svg
