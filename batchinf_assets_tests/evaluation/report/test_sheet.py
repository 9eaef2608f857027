"""Drawings: text stays text, shapes lie where they were put, and equal drawings are equal bytes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from batchinf_assets.evaluation.report.sheet import INK, Sheet, sheet

HOSTILE = r"<script>alert('x')</script> & $\frac{$ 東京"


def draw(area: Sheet) -> None:
    area.bars([(10, 10, 50, 8)], fill=INK)
    area.hatch([(10, 10, 50, 8)], color="white")
    area.lines([[(0, 0), (30, 60)]], color=INK, dashes="dashed")
    area.text(4, 50, HOSTILE, bold=True)
    area.text(4, 60, HOSTILE, turned=True, anchor="end")


def test_texts_are_shown_as_they_are_written() -> None:
    svg = sheet(200, 100, HOSTILE, draw)
    shown = ["".join(each.itertext()) for each in ET.fromstring(svg).iter("text")]
    assert shown == [HOSTILE, HOSTILE]
    assert "<script" not in svg
    assert ET.fromstring(svg).attrib["aria-label"] == HOSTILE


def test_equal_drawings_are_equal_bytes_without_an_address() -> None:
    first = sheet(200, 100, "s", draw)
    assert sheet(200, 100, "s", draw) == first
    assert "http" not in first


def test_a_drawing_is_as_large_as_was_asked() -> None:
    assert ET.fromstring(sheet(200, 100, "s", draw)).attrib["viewBox"] == "0 0 200 100"


def test_shapes_are_drawn_in_their_order_where_they_were_put() -> None:
    bar, hatch, line = ET.fromstring(sheet(200, 100, "s", draw)).iter("path")
    assert bar.attrib["d"] == "M10 10h50v8h-50z"
    assert bar.attrib["fill"] == INK
    assert hatch.attrib["stroke"] == "white"
    assert line.attrib == {
        "d": "M0 0L30 60",
        "fill": "none",
        "stroke": INK,
        "stroke-width": "1",
        "stroke-dasharray": "4 2",
    }


def test_hatching_stays_inside_its_rectangle_and_rises_by_45_degrees() -> None:
    _, hatch, _ = ET.fromstring(sheet(200, 100, "s", draw)).iter("path")
    lines = [
        [float(number) for number in re.findall(r"[0-9.]+", line)]
        for line in hatch.attrib["d"].split("M")[1:]
    ]
    assert len(lines) > 10
    for x, y, to_x, to_y in lines:
        assert 10 <= x < to_x <= 60
        assert 10 <= to_y < y <= 18
        assert to_x - x == y - to_y


def test_nothing_drawn_is_an_empty_drawing() -> None:
    svg = sheet(10, 10, "s", lambda area: area.bars([], fill=INK))
    assert not [*ET.fromstring(svg)]
