"""What past attempts tell of how long a window takes."""

from __future__ import annotations

from typing import Any

import pytest

from batchinf_assets.publishing.backfill.pace import measured_pace


def attempt(rows: int, seconds: float, fixed: float = 3.0, **changes: object) -> dict[str, Any]:
    """An attempt as the ledger returns it: its row stages take `seconds`, the others `fixed`."""
    return {
        "state": "published",
        "rows": rows,
        "shards_total": 1,
        "shards_computed": 1,
        "stage_seconds": [
            ("snapshot", seconds / 4),
            ("features", seconds / 4),
            ("predictions", seconds / 2),
            ("evaluation", fixed / 3),
            ("published", fixed * 2 / 3),
        ],
        **changes,
    }


def test_the_median_attempt_counts_per_row_and_for_what_any_window_takes() -> None:
    pace = measured_pace([attempt(100, 1.0), attempt(200, 4.0, fixed=5.0), attempt(100, 90.0)])
    assert pace is not None
    assert (pace.per_row, pace.fixed, pace.attempts) == (pytest.approx(0.02), 3.0, 3)
    assert pace.seconds(50) == pytest.approx(4.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "failed"},
        {"state": "unchanged"},
        {"rows": 0},
        {"rows": None},
        {"shards_computed": 0},
        {"shards_computed": None},
        {"stage_seconds": [("published", 1.0)]},
        {"stage_seconds": []},
    ],
    ids=str,
)
def test_an_attempt_that_did_not_go_all_the_way_tells_nothing(changes: dict[str, object]) -> None:
    assert measured_pace([attempt(**{"rows": 100, "seconds": 1.0} | changes)]) is None


def test_without_history_the_pace_is_unknown() -> None:
    assert measured_pace([]) is None
