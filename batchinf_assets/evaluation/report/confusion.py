"""Confusion matrices, read back from rows of figures to be shown as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batchinf_assets.evaluation.figure_records import CONFUSION


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Rows by the class that came, then by the one that was predicted.

    Attributes:
        classes: In the order in which they are declared.
        rows: By label, each in the order of the classes.
    """

    classes: tuple[str, ...]
    rows: Mapping[str, tuple[int, ...]]


def confusion_of(rows: Iterable[Mapping[str, Any]]) -> Confusion | None:
    """Return the matrix over all rows of one revision in one table; None where there is none."""
    cells = [row for row in rows if row["subject_kind"] == CONFUSION and not row["segment"]]
    if not cells:
        return None
    counts = {(row["subject"], row["measure"]): int(row["value"]) for row in cells}
    classes = tuple(dict.fromkeys(row["subject"] for row in cells))
    return Confusion(
        classes=classes,
        rows={label: tuple(counts[label, said] for said in classes) for label in classes},
    )
