"""Confusion matrices, read back from rows of figures to be shown as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batchinf_assets.evaluation.records.figure_records import CONFUSION


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Rows by the class that came, then by the one that was predicted.

    Attributes:
        classes: In the order in which they are declared.
        rows: By label, each in the order of the classes.
    """

    classes: tuple[str, ...]
    rows: Mapping[str, tuple[int, ...]]

    @property
    def cells(self) -> dict[tuple[str, str], int]:
        """Rows by the class that came and the one that was predicted."""
        return {
            (label, said): count
            for label, row in self.rows.items()
            for said, count in zip(self.classes, row, strict=True)
        }


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


def confusion_over(found: Iterable[Confusion]) -> Confusion | None:
    """Add up matrices, such as those of several windows; None where there are none.

    A class that only some of them have counts where it is; the rows of the others are 0.
    """
    matrices = list(found)
    classes = tuple(dict.fromkeys(name for each in matrices for name in each.classes))
    if not classes:
        return None
    counts: Counter[tuple[str, str]] = Counter()
    for each in matrices:
        counts.update(each.cells)
    return Confusion(
        classes=classes,
        rows={label: tuple(counts[label, said] for said in classes) for label in classes},
    )
