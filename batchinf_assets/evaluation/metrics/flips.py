"""Which rows get another label from other scores of the same rows.

Which of the ways to tell it a pipeline has is its task's business; a number has no label to flip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from batchinf_assets.evaluation.metrics.bootstrap import Floats


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Rows whose label is another in b than in a.

    Attributes:
        count: How many.
        share: Of the rows that both have; None without rows.
        up: From false to true; None of several classes.
        down: From true to false; None of several classes.
        from_to: Of several classes the rows by the class in a, then by the one in b, those that
            stay included; else empty.
    """

    count: int
    share: float | None
    up: int | None = None
    down: int | None = None
    from_to: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])


def decision_flips(a: Floats, b: Floats, decision: float) -> Flips:
    """Count the rows that cross the decision, both ways; a score equal to it counts as positive.

    Args:
        a: Scores of the one side, (rows,).
        b: Those of the other.
        decision: The score that counts as positive.
    """
    before, after = a >= decision, b >= decision
    up, down = int(np.count_nonzero(after & ~before)), int(np.count_nonzero(before & ~after))
    return Flips(count=up + down, share=_share(up + down, len(a)), up=up, down=down)


def class_flips(a: Floats, b: Floats, classes: Sequence[str]) -> Flips:
    """Count the rows by their most probable class on either side, the first declared of several.

    Args:
        a: Probabilities of the one side, (rows, classes).
        b: Those of the other.
        classes: Their names, in this order.
    """
    number = len(classes)
    said_a, said_b = a.argmax(axis=1), b.argmax(axis=1)
    cells = np.bincount(said_a * number + said_b, minlength=number**2).reshape(number, number)
    count = int(cells.sum() - np.trace(cells))
    return Flips(
        count=count,
        share=_share(count, len(a)),
        from_to={
            name: dict(zip(classes, row, strict=True))
            for name, row in zip(classes, cells.tolist(), strict=True)
        },
    )


def _share(count: int, rows: int) -> float | None:
    return count / rows if rows else None
