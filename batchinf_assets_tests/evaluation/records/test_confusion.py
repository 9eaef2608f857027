"""Confusion matrices read back from rows of figures, and added up over windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchinf_assets.evaluation.records.confusion import Confusion, confusion_of, confusion_over


def cell(label: str, said: str, rows: int, segment: str | None = None) -> Mapping[str, Any]:
    return {
        "subject_kind": "confusion",
        "subject": label,
        "measure": said,
        "segment": segment,
        "value": float(rows),
    }


ROWS = [cell("x", "x", 3), cell("x", "y", 1), cell("y", "x", 0), cell("y", "y", 5)]
MATRIX = Confusion(classes=("x", "y"), rows={"x": (3, 1), "y": (0, 5)})


def test_segments_and_other_figures_are_no_cells_of_the_whole() -> None:
    others = [cell("x", "x", 2, "c=1"), {**cell("accuracy", "", 0), "subject_kind": "golden"}]
    assert confusion_of([*others, *ROWS]) == MATRIX
    assert confusion_of(others) is None


def test_matrices_of_windows_add_up() -> None:
    assert confusion_over([MATRIX, MATRIX]) == Confusion(
        classes=("x", "y"), rows={"x": (6, 2), "y": (0, 10)}
    )
    assert confusion_over([]) is None


def test_a_class_that_one_window_has_counts_where_it_is() -> None:
    other = Confusion(classes=("x", "z"), rows={"x": (1, 1), "z": (0, 7)})
    assert confusion_over([MATRIX, other]) == Confusion(
        classes=("x", "y", "z"), rows={"x": (4, 1, 1), "y": (0, 5, 0), "z": (0, 0, 7)}
    )
